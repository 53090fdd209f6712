"""`find_tools`: the tool through which a model reaches the tools that its requests do not carry."""

from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple, cast

from bridge.config.settings import ToolSearch
from bridge.items import OWN_NAMES
from bridge.json_text import Json, JsonObject, decode
from bridge.run.protocols import C
from bridge.run.tools.own_tools import Found, Function, OwnTool, RunCatalogue
from bridge.run.tools.tool_list import Owned, describe_all, list_owners
from bridge.schemas.judge import Judge
from bridge.search.near import find_near
from bridge.texts import estimate_tokens

FIND_TOOLS = OWN_NAMES[1]
LINE_CHARS = 200
"""How much of a tool's description a result shows; the whole comes with the tool itself."""
NEAR, NEAR_CHARS, FURTHER = 5, 60, 5
"""How many tools are named that do not clearly fit, how much of their descriptions is shown, and how many more get
their names only."""
MOST_NAMES = 20
OFFERED = "You can call these from now on, the best fit first:"
PARAMETERS = Judge(
    {
        "type": "object",
        "properties": {
            "query": {
                "type": "string",
                "description": "What is to be done, such as: send an e-mail",
                "maxLength": 1000,
            },
            "names": {
                "type": "array",
                "items": {"type": "string", "maxLength": 256},
                "maxItems": MOST_NAMES,
                "description": "Exact names of tools",
            },
        },
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


_ASK = (
    "Say in a few words what is to be done (query), or name tools (names); you can call what it finds from your next "
    "step on. Look here before you say that something cannot be done."
)


def pick_first(catalogue: RunCatalogue[C], wishes: Iterable[str], names: Container[str], limit: int) -> list[str]:
    """Pick the tools of these names that fit the wishes best: one of each wish in turn. They are a guess, and need not
    clearly fit: a right one saves a whole step."""
    ranked = [[name for name in catalogue.search(wish).names if name in names][:limit] for wish in wishes]
    in_turn = (name for rank in zip_longest(*ranked) for name in rank if name)
    return list(dict.fromkeys(in_turn))[:limit]


def make_find_tool(catalogue: RunCatalogue[C], names: Collection[str], search: ToolSearch) -> OwnTool:
    """Make `find_tools` over the tools of these names.

    Its description is the same in every run over the same tools, because it precedes what differs from run to run.
    """

    async def answer(arguments: JsonObject, _limit_bytes: int) -> Found:
        wish, wanted = str(arguments.get("query", "")), cast("list[str]", arguments.get("names", []))
        if not wish.strip() and not wanted:
            raise ValueError("nothing to find: say what is to be done in `query`, or name tools in `names`")
        answers = list[Found]()
        if wanted:
            answers.append(find_named(catalogue, names, wanted))
        if wish.strip():
            answers.append(find_tools(catalogue, names, wish, search.found))
        return Found("\n\n".join(text for text, _ in answers), [name for _, found in answers for name in found])

    count, listed = len(names), describe_all(_group(catalogue, names), search.names_tokens)
    description = f"Find tools. {count:,} are connected, of which you see only some. {_ASK} {listed}"
    return OwnTool(Function(FIND_TOOLS, description, PARAMETERS), answer, accompanies=lambda _: False)


class Fitting(NamedTuple):
    """The tools that have to do with a wish, by name, best first."""

    offered: list[str]
    """Those that clearly fit."""
    near: list[str]
    """Others, to be named only."""


def find_fitting(catalogue: RunCatalogue[C], names: Container[str], wish: str, limit: int) -> Fitting:
    """Find the tools of these names that fit a wish: up to `limit`, or all that it names, and the nearest others."""
    ranked, clear, named = catalogue.search(wish)
    offered = [name for name in ranked[:clear] if name in names][: max(limit, min(named, MOST_NAMES))]
    near = [name for name in ranked if name in names and name not in offered]
    return Fitting(offered, near[: NEAR + FURTHER])


def find_tools(catalogue: RunCatalogue[C], names: Collection[str], wish: str, limit: int) -> Found:
    """Find the tools of these names that fit a wish, and list them for the model, best first.

    Where none clearly fits, the nearest are named, and a model that sees one that does asks for it by name.
    """
    found, near = find_fitting(catalogue, names, wish, limit)
    if found:
        others = _enumerate("Less near", near[:FURTHER])
        return Found("\n".join([OFFERED, *_list(catalogue, found), *others]), found)
    if near:
        lines = (f"- {name} ({catalogue.owners[name]}): {_quote(catalogue.functions[name])}" for name in near[:NEAR])
        head = f"Nothing clearly fits {wish!r}. The nearest are below: ask for one by its name, or in other words."
        return Found("\n".join([head, *lines, *_enumerate("Less near", near[NEAR:])]), ())
    owners = list_owners(_group(catalogue, names), with_topics=False)
    return Found(f"No tool fits {wish!r}. Connected are: {owners}. Try other words, or go on without a tool.", ())


def find_named(catalogue: RunCatalogue[C], names: Collection[str], wanted: Iterable[str]) -> Found:
    """Find tools by their exact names, with or without their server's; for one that there is none of, name the most
    similar ones."""
    found, lines = dict[str, None](), list[str]()
    for name in dict.fromkeys(wanted):
        same = [each for each in catalogue.find_named(name) if each in names]
        found |= dict.fromkeys(same)
        if not same:
            near = ", ".join(find_near(name, names, NEAR))
            lines.append(f"There is no tool {name!r}{f'; similar: {near}' if near else ''}.")
    offered = [OFFERED, *_list(catalogue, found)] if found else []
    return Found("\n".join([*offered, *lines]), list(found))


def _enumerate(head: str, names: Sequence[str]) -> list[str]:
    return [f"{head}: {', '.join(names)}."] if names else []


def _list(catalogue: RunCatalogue[C], names: Iterable[str]) -> list[str]:
    return [f"- {_describe(catalogue.functions[name])}" for name in names]


def _group(catalogue: RunCatalogue[C], names: Iterable[str]) -> Owned:
    """The plain names of these tools, by their owner; in the catalogue's order."""
    owned = dict[str, list[str]]()
    for name in names:
        owned.setdefault(catalogue.owners[name], []).append(catalogue.plain_names[name])
    return tuple((owner, tuple(plain)) for owner, plain in owned.items())


def _describe(text: str) -> str:
    """Describe a tool in one line: name, arguments (with a question mark if optional), description."""
    function = _read(text)
    words = _shorten(function, LINE_CHARS)
    return f"{function['name']}({_enumerate_arguments(function.get('parameters'))}): {words}"


def _quote(text: str) -> str:
    """The first words of a tool's description."""
    return _shorten(_read(text), NEAR_CHARS)


def _read(text: str) -> JsonObject:
    function = decode(text)
    assert isinstance(function, dict)
    return function


def _shorten(function: JsonObject, chars: int) -> str:
    words = " ".join(str(function.get("description") or "").split())
    return words if len(words) <= chars else f"{words[:chars]}…"


def _enumerate_arguments(schema: Json) -> str:
    schema = schema if isinstance(schema, dict) else {}
    properties, required = schema.get("properties"), schema.get("required")
    names = list(properties) if isinstance(properties, dict) else []
    needed = required if isinstance(required, list) else []
    return ", ".join(name if name in needed else f"{name}?" for name in names)
