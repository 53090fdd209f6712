"""The tools that a run offers the model: the caller's choice of the connected ones, and the caller's own."""

import fnmatch
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bridge.arguments import read_arguments
from bridge.config.settings import Limits, ToolSearch
from bridge.errors import ArgumentError
from bridge.items import Call, CallOutput, Notice, fail_call
from bridge.json_text import Json, JsonObject, encode
from bridge.run.protocols import C
from bridge.run.request import Request, read_wishes
from bridge.run.tools.find_tools import Room, make_find_tool, pick_first
from bridge.run.tools.hosted_search import defer
from bridge.run.tools.own_tools import OwnTool, RunCatalogue
from bridge.search.near import MAX_NAME_CHARS, find_near

OURS_TO_EXECUTE = {"local_shell", "shell", "apply_patch", "computer", "computer_use", "computer_use_preview"}
"""Types of tools that only look hosted: whoever makes the request has to execute their calls."""
WRAPPER = "multi_tool_use"
"""In the name of a tool that models make up to call several at once (`multi_tool_use.parallel`)."""
LIMIT_REACHED = fail_call("limit_reached", "the run has reached its limit; it was not run")
MAX_NEAR = 5
MAX_NAMED = 40
"""How many tools a notice names."""


@dataclass(frozen=True)
class Offer:
    """The tools of the next request of a run, and who answers their calls.

    It only grows, and only at its end: a tool keeps its position once it is offered, so that prompt caches hold.
    """

    texts: tuple[str, ...]
    owned: frozenset[str]
    """Names that a connected server, or the run itself, answers. Hidden tools are included: a model may know them."""
    foreign: frozenset[str]
    """Names that the caller answers itself."""
    hidden: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """Tools that are not offered yet, as JSON texts by name."""
    room: Room = field(default=Room(0, 0))
    """How far it may grow."""
    own: tuple[OwnTool, ...] = ()
    """Tools of the run's own that were made for this offer."""
    notices: tuple[Notice, ...] = ()

    def grow(self, names: Iterable[str]) -> "Offer":
        """Return this offer with the hidden tools of these names at its end, as far as there is room."""
        wanted = {name: self.hidden[name] for name in names if name in self.hidden}
        if not wanted:
            return self
        joining = self.room.fit(wanted, self.texts)
        if missed := wanted.keys() - joining.keys():
            return replace(self.grow(joining), notices=(*self.notices, _tell_full(missed, self.room)))
        hidden = {name: text for name, text in self.hidden.items() if name not in joining}
        return replace(self, texts=(*self.texts, *joining.values()), hidden=hidden)

    def refuse(self, call: Call, *, is_over: bool) -> CallOutput | None:
        """Return the output of a call that must not be run, or None. For a name that was not offered, it lists similar
        names and never guesses which was meant."""
        if not call.is_complete:
            return fail_call("incomplete_call", "it was cut off before its arguments were complete; it was not run")
        if is_over:
            return LIMIT_REACHED
        if call.name not in self.owned:
            return _refuse_unknown(call, self.owned)
        return None


def _refuse_unknown(call: Call, names: Collection[str]) -> CallOutput:
    """Return the output of a call whose name the model made up, with similar names: of the tools that it wraps, where
    it is the wrapper that some models make of several calls."""
    message = f"no tool {call.name[:MAX_NAME_CHARS]!r} is offered"
    wanted = [call.name]
    if WRAPPER in call.name:
        message += "; call each tool directly: all calls of one response run at the same time"
        wanted = _read_wrapped(call.arguments) or wanted
    bare = [name.rpartition(".")[2] for name in wanted]  # `functions.add`
    near = dict.fromkeys(found for name in (*bare, *wanted) for found in find_near(name, names, MAX_NEAR))
    return fail_call("unknown_tool", message, near_names=list[Json](list(near)[:MAX_NEAR]))


def _read_wrapped(arguments: Json) -> list[str]:
    try:
        uses = read_arguments(arguments).get("tool_uses")
    except ValueError:
        return []
    named = uses[:MAX_NEAR] if isinstance(uses, list) else []
    return [str(use.get("recipient_name")) for use in named if isinstance(use, dict)]


def make_offer(
    request: Request, items: Sequence[str], catalogue: RunCatalogue[C], limits: Limits, search: ToolSearch
) -> Offer:
    """Make the first offer of a run from `respond`'s `tools`: None is all; strings are globs over model names; objects
    are Responses tools.

    A function object whose name a server owns is sent as the caller wrote it and answered by that server. Where the
    choice is over the limits, the offer begins with a part of it. Raises ArgumentError for a glob that matches nothing,
    for a tool whose calls nobody here executes, and where the tools that must not be left out are over the limit.
    """
    objects = [entry for entry in request.tools or () if isinstance(entry, dict)]
    _refuse_unexecuted(objects)
    chosen = _choose(request.tools, catalogue.functions)
    chosen |= catalogue.find_accompanying(chosen)
    owned = frozenset(chosen.keys() & catalogue.owners.keys())
    foreign = frozenset(str(entry["name"]) for entry in objects if "name" in entry) - owned
    offer = Offer(tuple(chosen.values()), owned, foreign)
    if not exceeds(len(chosen), _count_tokens(chosen, catalogue), limits):
        return offer
    named = frozenset(_find_named(request, items, chosen, search.pinned))
    fixed = {name: text for name, text in chosen.items() if name in named or name not in catalogue.functions}
    hidden = {name: text for name, text in chosen.items() if name not in fixed}
    offer = replace(offer, texts=tuple(fixed.values()), hidden=hidden, room=Room(limits.max_tools, limits.tool_tokens))
    begun = _leave_to_upstream(offer, catalogue) if search.hosted else _begin_small(offer, items, catalogue, search)
    if len(begun.texts) > limits.max_tools:
        raise ArgumentError(_explain_excess(fixed, catalogue, limits.max_tools))
    return begun


def exceeds(tools: int, tokens: int, limits: Limits) -> bool:
    """Tell whether so many tools, which cost so many tokens, are more than one request may carry."""
    return tools > limits.max_tools or tokens > limits.tool_tokens


def _count_tokens(chosen: Iterable[str], catalogue: RunCatalogue[C]) -> int:
    """Count the tokens of the servers' tools. The caller's own do not count: they are its responsibility."""
    tokens = catalogue.tokens
    return sum(tokens[name] for name in chosen if name in tokens)


def _find_named(request: Request, items: Iterable[str], chosen: Iterable[str], pinned: Sequence[str]) -> Iterator[str]:
    """Find the tools that every request of the run must carry: those that somebody named, and the pinned ones."""
    for entry in request.tools or ():
        yield entry if isinstance(entry, str) else _identify(entry)
    yield from request.name_tools(items)
    for glob in pinned:
        yield from fnmatch.filter(chosen, glob)


def _begin_small(offer: Offer, items: Sequence[str], catalogue: RunCatalogue[C], search: ToolSearch) -> Offer:
    """Offer the tools that must not be left out, `find_tools`, and those that fit the input best."""
    if not offer.hidden:
        return offer
    finder = make_find_tool(catalogue, offer.hidden, search)
    begun = replace(
        offer, texts=(*offer.texts, finder.function.encoded), owned=offer.owned | {finder.name}, own=(finder,)
    )
    fitting = pick_first(catalogue, read_wishes(items), offer.hidden, search.first)
    first = begun.room.fit({name: offer.hidden[name] for name in fitting}, begun.texts)
    grown = begun.grow(name for name in offer.hidden if name in first)
    message = (
        f"{len(grown.texts):,} tools are offered at first, the model reaches {len(grown.hidden):,} more with "
        f"{finder.name}: all of them would be over {_name_limits(grown.room)}"
    )
    return replace(grown, notices=(Notice(code="tools_searched", message=message),))


def _leave_to_upstream(offer: Offer, catalogue: RunCatalogue[C]) -> Offer:
    """Offer the tools that must not be left out, and leave all others to the upstream's own search."""
    texts = (*offer.texts, *defer(offer.hidden, catalogue.owners))
    message = (
        f"{len(offer.hidden):,} tools are left to the upstream's own search: they are over {_name_limits(offer.room)}"
    )
    return replace(offer, texts=texts, hidden={}, notices=(Notice(code="tools_searched", message=message),))


def _tell_full(missed: Iterable[str], room: Room) -> Notice:
    names = sorted(missed)
    more = f" and {len(names) - MAX_NAMED:,} more" if len(names) > MAX_NAMED else ""
    named = ", ".join(names[:MAX_NAMED]) + more
    message = f"Found, but not offered, because the requests would be over {_name_limits(room)}: {named}"
    return Notice(code="tools_full", message=message)


def _name_limits(room: Room) -> str:
    return f"limits.max_tools ({room.tools:,}) or limits.tool_tokens ({room.tokens:,})"


def _choose(wanted: Sequence[str | JsonObject] | None, functions: Mapping[str, str]) -> dict[str, str]:
    if wanted is None:
        return dict(functions)
    chosen = dict[str, str]()
    for entry in wanted:
        chosen |= _pick(entry, functions) if isinstance(entry, str) else {_identify(entry): encode(entry)}
    return chosen


def _refuse_unexecuted(tools: Iterable[JsonObject]) -> None:
    for tool in tools:
        if _needs_executor(tool):
            raise ArgumentError(
                f"tools: the calls of {tool['type']!r} have to be executed by whoever makes the request, and the "
                "bridge executes none; offer a connected server's tool for it, or a function of your own"
            )


def _needs_executor(tool: JsonObject) -> bool:
    """Tell whether the upstream would wait for an output that nobody here makes: it refuses every further request
    while a call has none."""
    match tool:
        case {"type": "shell", "environment": {"type": "container_auto" | "container_reference"}}:
            return False  # the upstream's own machine
        case {"type": "tool_search", "execution": "client"}:
            return True
        case _:
            return str(tool["type"]) in OURS_TO_EXECUTE


def _pick(glob: str, functions: Mapping[str, str]) -> dict[str, str]:
    picked = {name: text for name, text in functions.items() if fnmatch.fnmatchcase(name, glob)}
    if not picked and glob != "*":  # all of none is none
        near = find_near(glob, functions, 3)
        hint = f"; near names: {', '.join(near)}" if near else f"; there are: {_enumerate(functions)}"
        raise ArgumentError(f"tools: no tool's name matches {glob!r}{hint}")
    return picked


def _enumerate(functions: Mapping[str, str]) -> str:
    shown = ", ".join(list(functions)[:10]) or "none at all"
    return f"{shown} and {len(functions) - 10} more" if len(functions) > 10 else shown


def _identify(tool: JsonObject) -> str:
    """Return what tells two tools apart: the name of a function, the whole definition of a hosted tool."""
    return str(tool.get("name") or encode(tool))


def _explain_excess(chosen: Mapping[str, str], catalogue: RunCatalogue[C], max_tools: int) -> str:
    counts = Counter(catalogue.owners.get(name, "the caller") for name in chosen)
    each = ", ".join(f"{owner} {count}" for owner, count in counts.most_common())
    return (
        f"tools: {len(chosen)} tools are over the limit of {max_tools} per request ({each}); choose some with `tools` "
        "globs, or hide some with `tools.deny` in the config"
    )
