"""What is measured: for each workload the calls of its turns, the requests that a run of it sends, and its goal."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Json = dict[str, Any]
Setup = Literal["json", "sse", "many", "builtin"]
"""What stands around a bridge: a few tools and JSON replies, the same with streamed ones, 200 tools, or the built-in
tools alone."""
Measure = Literal["ms", "ms over 200", "first delta ms", "runs/s"]

ROOT = Path(__file__).parents[2]
EXAMPLE: Json = json.loads((ROOT / "bridge" / "example.json").read_text(encoding="utf-8"))
PROMPT = "What is the answer?"
MANY = 200
NAP_MS = 200
KEPT_OUTPUT = 65_536
"""How much of a result the model gets, with default limits."""
COUNTED = b'"type":"function_call_output"'
"""An upstream that remembers nothing tells the turn by how often this is in the request."""


@dataclass(frozen=True)
class Goal:
    """The bounds for a run directly and through `respond`: of the ratio to the floor, or `in_units` of the figure."""

    direct: float | None
    respond: float | None
    in_units: bool = False
    at_least: bool = False
    past_hop: bool = False
    """`respond` is compared with a run directly and the hop, not with the floor."""

    def is_reached(self, bound: float, figure: float) -> bool:
        """Whether `figure`, a ratio or in units, keeps to `bound`."""
        return figure >= bound if self.at_least else figure <= bound


@dataclass(frozen=True)
class Workload:
    """One kind of run. The upstream knows it by `key`, which is sent as the model."""

    key: str
    title: str
    setup: Setup
    rounds: int
    """How often each arm is measured in a full run, in bursts of `burst`."""
    goal: Goal | None = None
    calls: tuple[tuple[str, Json], ...] = ()
    """The tool calls of a turn, all at once."""
    turns: int = 0
    """Turns with calls; one without follows."""
    output: str = "42"
    """What the floor sends back for a call."""
    deltas: int = 1
    paced: bool = False
    """The first delta comes later than the head of the stream and says when it was sent; the rest comes later still."""
    at_once: int = 1
    burst: int = 5
    measure: Measure = "ms"

    @property
    def arguments(self) -> Json:
        """The arguments of `respond`."""
        return {**EXAMPLE, "model": self.key} if self.setup == "builtin" else {"model": self.key, "input": PROMPT}

    def build_replies(self) -> list[list[Json]]:
        """The output items of each response of a run."""
        return [*([*self._call_items(n)] for n in range(self.turns)), [self._message()]]

    def build_bodies(self, tools: Sequence[Json]) -> list[bytes]:
        """The requests of a run that is offered `tools`."""
        history: list[Json] = EXAMPLE["input"] if self.setup == "builtin" else [{"role": "user", "content": PROMPT}]
        parameters = {"model": self.key}
        if self.setup == "builtin":
            parameters, tools = (
                parameters | {name: EXAMPLE[name] for name in ("tool_choice", "metadata")},
                EXAMPLE["tools"],
            )
        rest = {"tools": tools} | ({"stream": True} if self.setup == "sse" else {})
        bodies = list[bytes]()
        for items in self.build_replies():
            bodies.append(encode({**parameters, "input": history, **rest}))
            outputs = [
                {"type": "function_call_output", "call_id": item["call_id"], "output": self.output}
                for item in items
                if "call_id" in item
            ]
            history = [*history, *items, *outputs]
        return bodies

    def _call_items(self, n: int) -> Iterator[Json]:
        for index, (name, arguments) in enumerate(self.calls):
            place = f"{n}_{index}"
            yield {
                "type": "function_call",
                "id": f"fc_{place}",
                "call_id": f"call_{place}",
                "name": name,
                "arguments": encode(arguments).decode(),
                "status": "completed",
            }

    def _message(self) -> Json:
        text = "The answer. " * self.deltas
        part: Json = {"type": "output_text", "text": text, "annotations": []}
        return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}


def past_hop(direct: float) -> Goal:
    """This bound for a run directly; `respond` may take 15 % more than such a run and the hop together."""
    return Goal(direct, 1.15, past_hop=True)


ECHO = ("echo", {"text": "The same, please"})
NAP = ("nap", {"seconds": NAP_MS / 1000})
FOUR: tuple[tuple[str, Json], ...] = (
    ("random_generator", {"min": 1, "max": 100, "count": 3}),
    ("system_info", {}),
    ("math_calculator", {"operation": "add", "a": 123.5, "b": 456.7}),
    ("current_time", {}),
)

WORKLOADS = (
    Workload("text", "text only", "json", 300, past_hop(1.1)),
    Workload("one", "one tool", "json", 200, past_hop(1.0), (ECHO,), 1),
    Workload("ten", "ten turns, a tool in each of nine", "json", 40, Goal(0.9, 0.95), (ECHO,), 9, burst=2),
    Workload(
        "eight",
        f"eight tools of {NAP_MS} ms: beyond those",
        "json",
        30,
        Goal(15, 18, in_units=True),
        (NAP,) * 8,
        1,
        burst=2,
        measure="ms over 200",
    ),
    Workload(
        "crowd",
        "64 runs of one tool at once, runs/s",
        "json",
        16,
        Goal(1.5, 1.2, at_least=True),
        (ECHO,),
        1,
        at_once=64,
        burst=1,
        measure="runs/s",
    ),
    Workload(
        "big",
        "a result of 5 MB",
        "json",
        16,
        Goal(0.2, 0.4),
        (("big", {"megabytes": 5}),),
        1,
        "x" * KEPT_OUTPUT,
        burst=1,
    ),
    Workload("example", "the example: four built-in tools", "builtin", 150, past_hop(0.45), FOUR, 1),
    Workload("many", f"{MANY} tools, one call", "many", 100, past_hop(1.05), (ECHO,), 1),
    Workload("many_text", f"{MANY} tools, text only", "many", 100),
    Workload("text_sse", "text only, streamed", "sse", 200),
    Workload("one_sse", "one tool, streamed", "sse", 150, None, (ECHO,), 1),
    Workload("deltas", "400 deltas of text", "sse", 100, Goal(1.7, 2.5), deltas=400),
    Workload(
        "first",
        "first delta after it was sent",
        "sse",
        60,
        Goal(1.25, 6),
        paced=True,
        measure="first delta ms",
    ),
)
BY_KEY = {workload.key: workload for workload in WORKLOADS}


def build_function(name: str, description: str | None, schema: Mapping[str, Any]) -> Json:
    """A tool as the upstream gets it."""
    function = {"type": "function", "name": name, "description": description, "parameters": schema, "strict": False}
    return {key: value for key, value in function.items() if value is not None}


def encode(value: Any) -> bytes:
    """Compact JSON, in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def count_tokens(texts: Iterable[bytes]) -> int:
    """A rule of thumb: four characters each."""
    return sum(len(text.decode()) for text in texts) // 4
