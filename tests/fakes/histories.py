"""Random conversations of several runs, and an upstream that remembers what it may.

A seed makes a plan, and the same seed the same plan again: who goes on how and with what, what the model says, and what
goes wrong. `play` has a bridge and its host go through it; the upstream (`Keeper`) notes what each request came to for
the model: what it was sent, behind what it had kept.
"""

import functools
import itertools
import json
import random
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
from anyio.abc import TaskGroup
from mcp.server.mcpserver import MCPServer
from mcp.types import CallToolResult, TextContent
from typing_extensions import override

from bridge.events import CallEnded, CallStarted
from bridge.run.run import Run
from tests.fakes.bridges import OpenBridge, open_bridge
from tests.fakes.clock import VirtualClock, until
from tests.fakes.items import Json, call, message, reasoning, tokens
from tests.fakes.servers import OrderedServer
from tests.fakes.upstream import Reply, Request, api_error, cut, gated, hang, responds

TOOLS: list[str | Json] = [
    "*",
    {"type": "function", "name": "look_up", "parameters": {"type": "object"}, "strict": False},
    {"type": "custom", "name": "shell"},
]
OUTPUTS = {"function_call": "function_call_output", "custom_tool_call": "custom_tool_call_output"}
BEFORE: list[Json] = [{"role": "user", "content": "Before all this."}]
"""What the upstream knows of a response that nobody here does."""
TIMEOUT_S = 5
TOOLS_TOKENS = 500
"""What the upstream counts besides the items."""
NOT_COMPLETED = ("incomplete", "failed", "refused", "cut", "silent")
"""How a turn may end: statuses of a response, and no response."""


@dataclass(frozen=True)
class Turn:
    """One request, and what becomes of it."""

    items: list[Json]
    response_id: str
    ending: str = "completed"
    """`completed`, or one of NOT_COMPLETED."""
    forgets: bool = False
    """The upstream takes none of the compactions back that it has made so far."""
    said: tuple[list[Json], ...] = ()
    """What is said to the run while this turn goes on, message by message; another turn follows."""
    beside: str = ""
    """The key of the call of `o__answer` beside which that is said; else it is while the turn is answered."""
    after: int = 0
    """How many bytes of the answer are there by then."""

    @property
    def output(self) -> list[Json]:
        """What came of it."""
        return self.items if self.ending in ("completed", "incomplete", "failed") else []


@dataclass(frozen=True)
class RunPlan:
    """One call of `respond`."""

    input: str | list[Json]
    turns: list[Turn]
    left: list[Json]
    """The items of the last turn that the caller has to answer before it can go on."""
    goes_on_by: str
    """`run_id` or `previous_response_id`."""
    interruption: str = ""
    """`cancel` or `timeout`, while the last turn is under way."""
    is_limited: bool = False
    """The last turn is one too many."""
    is_unreadable: bool = False
    """Its input names a file that is not there."""


@dataclass(frozen=True)
class Plan:
    """A conversation, and the upstream that it is held with."""

    seed: int
    runs: list[RunPlan]
    state: str | None
    stream: str
    window: int | None
    output_bytes: int
    conversation: str | None
    """Who names a conversation that the upstream keeps: `extra` of the first call, or the config's `defaults`."""
    base: str | None
    """A response that only the upstream knows."""


def make_plan(seed: int) -> Plan:
    """The plan of a seed."""
    return _Planner(random.Random(seed)).plan(seed)


def make_spoken_plan(seed: int) -> Plan:
    """The plan of a seed in which somebody speaks to the runs while they go on."""
    return _SpokenPlanner(random.Random(seed)).plan(seed)


class _Planner:
    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._numbers = itertools.count(1)
        self._left: list[Json] = []

    def plan(self, seed: int) -> Plan:
        chance = self._chance
        conversation = chance.choice((None, None, None, "extra", "defaults"))
        states = {"extra": (None, "previous_response_id"), "defaults": (None,)}
        state = chance.choice(states.get(conversation or "", (None, "stateless", "previous_response_id")))
        is_begun = conversation is None and state != "stateless" and chance.random() < 0.2
        return Plan(
            seed,
            [*(self._plan_run() for _ in range(chance.randint(1, 3))), self._plan_run(is_last=True)],
            state,
            stream=chance.choice(("auto", "never")),
            window=chance.choice((None, 1500)),
            output_bytes=chance.choice((65536, 2000)),
            conversation=conversation,
            base="resp_before" if is_begun else None,
        )

    def _plan_run(self, *, is_last: bool = False) -> RunPlan:
        goes_on_by = self._chance.choice(("run_id", "previous_response_id"))
        if self._chance.random() < 0.07 and not is_last:
            part = {"type": "input_image", "path": "/nowhere.png"}
            unreadable = [*map(self._answer, self._left), {"role": "user", "content": [part]}]
            return RunPlan(unreadable, [], self._left, goes_on_by, is_unreadable=True)
        said, served = self._plan_input(), range(self._chance.randint(0, 2))
        turns = [self._plan_turn([*self._plan_calls(), *self._plan_words()]) for _ in served]
        kinds = ["answer", "caller", "approval", "incomplete", "failed", "refused", "cut", "call", "silent"]
        kind = self._chance.choice([*kinds, "limit"] if turns else kinds)
        turns.append(self._plan_last(kind))
        interruption = self._chance.choice(("cancel", "timeout")) if kind in ("call", "silent") else ""
        return RunPlan(said, turns, self._left, goes_on_by, interruption, is_limited=kind == "limit")

    def _plan_input(self) -> str | list[Json]:
        answers = [self._answer(item) for item in self._left]
        said = [{"role": "user", "content": f"Say {next(self._numbers)}."} for _ in range(self._chance.randint(0, 2))]
        given = self._chance.sample([*answers, *said], len(answers) + len(said))
        return given or f"Say {next(self._numbers)}."

    def _answer(self, item: Json) -> Json:
        if item["type"] == "mcp_approval_request":
            return {"type": "mcp_approval_response", "approval_request_id": item["id"], "approve": True}
        text = f"answer {next(self._numbers)} {'x ' * self._chance.choice((1, 2000))}"
        return {"type": OUTPUTS[item["type"]], "call_id": item["call_id"], "output": text}

    def _plan_turn(self, items: list[Json], ending: str = "completed") -> Turn:
        mixed = self._chance.sample(items, len(items))
        return Turn(mixed, f"resp_{next(self._numbers)}", ending, forgets=self._chance.random() < 0.15)

    def _plan_last(self, kind: str) -> Turn:
        mine, theirs, words = self._plan_own_calls(), self._plan_calls(), [*self._plan_words(), self._say()]
        match kind:
            case "caller":
                items = [*mine, *theirs, *words]
            case "approval":
                mine = [*self._chance.choice((mine, mine[:0])), self._ask()]
                items = [*mine, *theirs, *words]
            case "call":
                mine = self._chance.choice((mine, mine[:0]))
                items = [*mine, *theirs, *words, self._call("desk__hold", {})]
            case "incomplete" | "failed" | "limit":
                items = [*mine, *theirs, *words]
            case _:
                items = words
        is_over = kind in ("incomplete", "failed", "limit")
        turn = self._plan_turn(items, kind if kind in NOT_COMPLETED else "completed")
        self._left = [item for item in turn.items if item in mine and not is_over]
        return turn

    def _plan_words(self) -> list[Json]:
        sealed = {"encrypted_content": "gAAAA"}
        words = [
            reasoning(id=self._id("rs")) | sealed,
            self._say(),
            {"type": "compaction", "id": self._id("cmp")} | sealed,
        ]
        return [item for item, share in zip(words, (0.4, 0.4, 0.3), strict=True) if self._chance.random() < share]

    def _say(self) -> Json:
        return message(f"Well, {next(self._numbers)}. 好 😀", id=self._id("msg"))

    def _ask(self) -> Json:
        item = {"type": "mcp_approval_request", "id": self._id("mcpr"), "name": "pay"}
        return item | {"server_label": "shop", "arguments": "{}"}

    def _plan_calls(self) -> list[Json]:
        """Up to four calls of tools that are not the caller's."""
        tools: list[tuple[str, Json]] = [
            ("desk__echo", {"text": f"echo {next(self._numbers)}"}),
            ("desk__recite", {"chars": self._chance.choice((600, 3000, 6000))}),
            ("desk__refuse", {}),
            ("nobody__knows", {}),
            ("read_output", {"id": self._chance.randint(1, 3)}),
        ]
        return [self._call(*self._chance.choice(tools)) for _ in range(self._chance.choice((1, 1, 2, 4)))]

    def _plan_own_calls(self) -> list[Json]:
        """Up to three calls of the caller's own functions."""
        count = range(self._chance.randint(1, 3))
        custom = {"type": "custom_tool_call", "name": "shell", "input": "ls"}
        return [self._call("look_up", {}) | self._chance.choice(({}, custom)) for _ in count]

    def _call(self, name: str, arguments: Json) -> Json:
        return call(name, arguments, call_id=self._id("call"), id=self._id("fc"))

    def _id(self, kind: str) -> str:
        return f"{kind}_{next(self._numbers)}"


class _SpokenPlanner(_Planner):
    @override
    def _plan_run(self, *, is_last: bool = False) -> RunPlan:
        run = super()._plan_run(is_last=is_last)
        if run.is_unreadable:
            return run
        turns = [self._speak(turn) if self._chance.random() < 0.7 else turn for turn in run.turns[:-1]]
        if not run.is_limited:  # there the turn before the last must have calls
            answers = [self._plan_turn([*self._plan_words(), self._say()]) for _ in range(self._chance.randint(0, 2))]
            for turn in answers:
                turns.insert(self._chance.randint(0, len(turns)), self._speak(turn))
        return replace(run, turns=[*turns, run.turns[-1]])

    def _speak(self, turn: Turn) -> Turn:
        said = tuple(self._plan_message() for _ in range(self._chance.choice((1, 1, 1, 2, 3))))
        if any(item["type"] in OUTPUTS for item in turn.items) and self._chance.random() < 0.5:
            key = self._id("key")
            items = [*turn.items, self._call("o__answer", {"key": key})]
            return replace(turn, items=self._chance.sample(items, len(items)), said=said, beside=key)
        return replace(turn, said=said, after=self._chance.choice((0, 300)))

    def _plan_message(self) -> list[Json]:
        text = f"No, {next(self._numbers)}. 好"
        contents: list[Any] = [text, [{"type": "input_text", "text": text}]]
        kinds: list[Json] = [{}, {"type": "message"}]
        count = self._chance.choice((1, 1, 2))
        return [
            {"role": "user", "content": self._chance.choice(contents)} | self._chance.choice(kinds)
            for _ in range(count)
        ]


@dataclass(frozen=True)
class Seen:
    """One request that was answered."""

    sent: list[Json]
    context: list[Json]
    """What was sent, behind what was kept."""
    refused: frozenset[str]
    """The compactions that were refused before."""
    body: bytes


class Keeper:
    """An upstream that answers as planned, and keeps responses and a conversation. `seen` are the requests that it
    answered, run by run."""

    def __init__(self) -> None:
        self.seen: list[list[Seen]] = []
        self.gates: dict[str, anyio.Event] = {}
        """The answers that wait until something was said, by their ids."""
        self._turns: list[Turn] = []
        self._responses: dict[str, list[Json]] = {"resp_before": BEFORE}
        self._conversation: list[Json] = []
        self._made: set[str] = set()
        self._forgotten: set[str] = set()
        self._refused: set[str] = set()

    def expect(self, turns: list[Turn]) -> None:
        """Be ready for the next run."""
        self.assert_complete()
        self.seen.append([])
        self._turns = list(turns)

    def assert_complete(self) -> None:
        """Fail if a turn was not asked for."""
        assert not self._turns, f"{len(self._turns)} turns were not asked for"

    def answer(self, request: Request) -> Reply:
        """Answer one request."""
        body, turn = request.json, self._turns[0]
        if turn.forgets:
            self._forgotten |= self._made
        for item in body["input"]:
            if item.get("id") in self._forgotten:
                self._refused.add(item["id"])
                return api_error(400, f"The compaction {item['id']} is not known.")
        context = prune([*self._recall(body), *body["input"]])
        self.seen[-1].append(Seen(body["input"], context, frozenset(self._refused), request.body))
        self._turns.pop(0)
        reply = self._reply(turn, context, is_kept="conversation" in body)
        if turn.said and not turn.beside:
            return gated(reply, self.gates.setdefault(turn.response_id, anyio.Event()), after=turn.after)
        return reply

    def _recall(self, body: Json) -> list[Json]:
        if "conversation" in body:
            return self._conversation
        return self._responses[body["previous_response_id"]] if "previous_response_id" in body else []

    def _reply(self, turn: Turn, context: list[Json], *, is_kept: bool) -> Reply:
        usage = tokens(TOOLS_TOKENS + count_tokens(context), 50)
        match turn.ending:
            case "refused":
                return api_error(400, "It cannot be.")
            case "cut":
                return cut(500, responds(*turn.items))
            case "silent":
                return hang()
            case status:
                usable = leave_out_ghosts(turn.items)
                self._made |= {item["id"] for item in usable if item["type"] == "compaction"}
                self._responses[turn.response_id] = whole = prune([*context, *usable])
                if is_kept:
                    self._conversation = whole
                return responds(*turn.items, id=turn.response_id, status=status, usage=usage)


def count_tokens(items: list[Json]) -> int:
    """About how many tokens they are."""
    return len(json.dumps(items, ensure_ascii=False)) // 4


def leave_out_ghosts(output: list[Json]) -> list[Json]:
    """A response without the compactions that stand behind a call: they would stand for a call without its output."""
    calls = [place for place, item in enumerate(output) if item["type"] in OUTPUTS] or [len(output)]
    return [item for place, item in enumerate(output) if item["type"] != "compaction" or place < calls[0]]


def prune(items: list[Json]) -> list[Json]:
    """From the last compaction on: it stands for all before it."""
    places = [place for place, item in enumerate(items) if item.get("type") == "compaction"]
    return items[places[-1] if places else 0 :]


@dataclass
class Played:
    """What came of a plan: the receipt of each run and the run itself, and what the upstream saw."""

    keeper: Keeper
    receipts: list[Json] = field(default_factory=list[Json])
    runs: list[Run] = field(default_factory=list[Run])
    said: list[tuple[Json, Json]] = field(default_factory=list[tuple[Json, Json]])
    """What each call that spoke to a run came to, and what the call that began it did."""


async def play(plan: Plan, *, last_by: str = "run_id") -> Played:
    """Go through a plan, and on to its last run by `run_id` or by `previous_response_id`."""
    played, clock, tool = Played(Keeper()), VirtualClock(), OrderedServer()
    upstream: Json = {"max_retries": 0, "state": plan.state, "stream": plan.stream, "context_window": plan.window}
    upstream |= {"defaults": {"conversation": "conv_1"}} if plan.conversation == "defaults" else {}
    async with open_bridge(
        {"desk": build_desk(), "o": tool.server},
        script=played.keeper.answer,
        clock=clock,
        upstream={name: value for name, value in upstream.items() if value is not None},
        limits={"output_bytes": plan.output_bytes},
    ) as bridge:
        for run in plan.runs:
            played.keeper.expect(run.turns)
            by = last_by if run is plan.runs[-1] else run.goes_on_by
            arguments = _write_arguments(plan, run, played.receipts[-1] if played.receipts else None, by)
            said, receipt, found = await _converse(bridge, clock, played.keeper, tool, run, arguments)
            played.said += [(answer, receipt) for answer in said]
            played.receipts.append(receipt)
            played.runs.append(found)
        played.keeper.assert_complete()
    return played


def _write_arguments(plan: Plan, run: RunPlan, last: Json | None, by: str) -> Json:
    """A run that got no response has no id of one: it is gone on from by its own."""
    arguments: Json = {"input": run.input, "tools": TOOLS, "detail": "full"}
    arguments |= {"timeout_s": TIMEOUT_S if run.interruption == "timeout" else 100}
    arguments |= {"max_turns": len(run.turns) - 1 if run.is_limited else 10}
    if last:
        is_named = by == "previous_response_id" and last["response_id"]
        return arguments | ({by: last["response_id"]} if is_named else {"run_id": last["run_id"]})
    begins: Json = {"previous_response_id": plan.base} if plan.base else {}
    return arguments | begins | ({"extra": {"conversation": "conv_1"}} if plan.conversation == "extra" else {})


async def _converse(
    bridge: OpenBridge, clock: VirtualClock, keeper: Keeper, tool: OrderedServer, run: RunPlan, arguments: Json
) -> tuple[list[Json], Json, Run]:
    receipts, said = list[Json](), list[Json]()

    async def respond() -> None:
        receipts.append(await bridge.respond(**arguments))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(respond)
        for number, turn in enumerate(run.turns, 1):
            if turn.said:
                await until(lambda number=number: len(keeper.seen[-1]) == number)
                await _speak(bridge, tool, turn, tasks, said)
                tool.release(turn.beside)
                keeper.gates.setdefault(turn.response_id, anyio.Event()).set()
        if run.interruption:
            await until(lambda: len(keeper.seen[-1]) == len(run.turns))
            [begun, *_] = await bridge.engine.list(principal="host")
            await until(lambda: _is_under_way(begun, run))
            if run.interruption == "timeout":
                await clock.advance(TIMEOUT_S)
            else:
                await bridge.client.call_tool("respond_cancel", {"run_id": begun.run_id})
    [ended, *_] = await bridge.engine.list(principal="host")
    return said, receipts[0], ended


async def _speak(bridge: OpenBridge, tool: OrderedServer, turn: Turn, tasks: TaskGroup, answers: list[Json]) -> None:
    """Say it all; it has arrived."""
    [begun, *_] = await bridge.engine.list(principal="host")
    if turn.beside:
        await tool.reached(turn.beside)

    async def say(items: list[Json]) -> None:
        answers.append(await bridge.respond(items, run_id=begun.run_id))

    for number, items in enumerate(turn.said, 1):
        tasks.start_soon(say, items)
        await until(lambda number=number: len(begun.inbox) == number)


def _is_under_way(begun: Run, run: RunPlan) -> bool:
    """Of the last turn, all calls have ended but for those that are held; or it has no response yet."""
    turn, number = run.turns[-1], len(run.turns)
    served = [item for item in turn.output if item.get("name") not in (None, "look_up", "shell", "pay")]
    held = [item for item in served if item["name"] == "desk__hold"]
    begun_calls = [event for event in begun.events if isinstance(event, CallStarted) and event.turn == number]
    ended_calls = [event for event in begun.events if isinstance(event, CallEnded) and event.turn == number]
    return (len(begun_calls), len(ended_calls)) == (len(served), len(served) - len(held))


@functools.cache
def build_desk() -> MCPServer:
    """Tools `echo(text)`, `recite(chars)`, `refuse()`, and `hold()`, which never answers."""
    server = MCPServer("desk", log_level="ERROR")

    @server.tool()
    async def echo(text: str) -> str:
        return text

    @server.tool()
    async def recite(chars: int) -> str:
        return "word " * (chars // 5)

    @server.tool()
    async def refuse() -> CallToolResult:
        return CallToolResult(content=[TextContent(type="text", text="no")], is_error=True)

    @server.tool()
    async def hold() -> str:
        await anyio.sleep_forever()
        return ""

    return server
