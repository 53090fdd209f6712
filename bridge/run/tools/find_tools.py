"""`find_tools`: the tool through which a model reaches the tools that its requests do not carry."""

from collections import Counter
from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass
from itertools import zip_longest

from bridge.items import OWN_NAMES
from bridge.json_text import Json, JsonObject, decode
from bridge.run.protocols import C
from bridge.run.tools.own_tools import Found, Function, OwnTool, RunCatalogue
from bridge.schemas.judge import Judge
from bridge.texts import estimate_tokens

FIND_TOOLS = OWN_NAMES[1]
LINE_CHARS = 200
"""How much of a tool's description a result shows; the whole comes with the tool itself."""
SHOWN_OWNERS = 40
PARAMETERS = Judge(
    {
        "type": "object",
        "properties": {
            "query": {"type": "string", "description": "What is to be done, such as: send an e-mail", "maxLength": 1000}
        },
        "required": ["query"],
        "additionalProperties": False,
    }
)


@dataclass(frozen=True)
class Room:
    """The room for tools in a request: how many it may carry, and about how many tokens they may cost."""

    tools: int
    tokens: int

    def fit(self, wanted: Mapping[str, str], carried: Collection[str]) -> dict[str, str]:
        """Return those of `wanted`, by name and in order, that there is room for beside the texts already carried."""
        slots, tokens = self.tools - len(carried), self.tokens - sum(map(estimate_tokens, carried))
        fitting: dict[str, str] = {}
        for name, text in wanted.items():
            if len(fitting) < slots and (cost := estimate_tokens(text)) <= tokens:
                fitting[name] = text
                tokens -= cost
        return fitting


def pick_first(catalogue: RunCatalogue[C], wishes: Iterable[str], names: Container[str], limit: int) -> list[str]:
    """Pick the tools of these names that fit the wishes best: one of each wish in turn."""
    ranked = [[name for name in catalogue.rank(wish) if name in names][:limit] for wish in wishes]
    in_turn = (name for rank in zip_longest(*ranked) for name in rank if name)
    return list(dict.fromkeys(in_turn))[:limit]


def make_find_tool(catalogue: RunCatalogue[C], names: Collection[str], limit: int) -> OwnTool:
    """Make `find_tools` over the tools of these names, with up to `limit` results for one wish.

    Its description is the same in every run over the same tools, because it precedes what differs from run to run.
    """

    async def answer(arguments: JsonObject, _limit_bytes: int) -> Found:
        return find_tools(catalogue, names, str(arguments["query"]), limit)

    owners = _enumerate_owners(catalogue, names)
    description = (
        f"Find tools. {len(names):,} are connected, of which you see only some: {owners}. Say in a few words what is "
        "to be done; you can call what it finds from your next step on. Look here before you say that something cannot "
        "be done."
    )
    return OwnTool(Function(FIND_TOOLS, description, PARAMETERS), answer, accompanies=lambda _: False)


def find_tools(catalogue: RunCatalogue[C], names: Collection[str], wish: str, limit: int) -> Found:
    """Find the tools of these names that fit a wish, and list them for the model, best first; or say that none fits."""
    found = [name for name in catalogue.rank(wish) if name in names][:limit]
    if not found:
        owners = _enumerate_owners(catalogue, names)
        return Found(f"No tool fits {wish!r}. Connected are: {owners}. Try other words, or go on without a tool.", ())
    lines = [f"- {_describe(catalogue.functions[name])}" for name in found]
    return Found("\n".join(["You can call these from now on, the best fit first:", *lines]), found)


def _describe(text: str) -> str:
    """Describe a tool in one line: name, arguments (with a question mark if optional), description."""
    function = decode(text)
    assert isinstance(function, dict)
    words = " ".join(str(function.get("description") or "").split())
    words = words if len(words) <= LINE_CHARS else f"{words[:LINE_CHARS]}…"
    return f"{function['name']}({_enumerate_arguments(function.get('parameters'))}): {words}"


def _enumerate_arguments(schema: Json) -> str:
    schema = schema if isinstance(schema, dict) else {}
    properties, required = schema.get("properties"), schema.get("required")
    names = list(properties) if isinstance(properties, dict) else []
    needed = required if isinstance(required, list) else []
    return ", ".join(name if name in needed else f"{name}?" for name in names)


def _enumerate_owners(catalogue: RunCatalogue[C], names: Collection[str]) -> str:
    counts = Counter(catalogue.owners[name] for name in names)
    shown = ", ".join(f"{owner} ({count})" for owner, count in list(counts.items())[:SHOWN_OWNERS])
    return f"{shown} and {len(counts) - SHOWN_OWNERS} more servers" if len(counts) > SHOWN_OWNERS else shown
