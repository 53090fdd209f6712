"""What a run offers the model: the caller's choice among the connected tools, and tools of the caller's own."""

import difflib
import fnmatch
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bridge.errors import ArgumentError
from bridge.items import Call, CallOutput, Json, JsonObject, encode, encode_error
from bridge.run.engine import C
from bridge.run.own_tools import RunCatalogue

OURS_TO_EXECUTE = {"local_shell", "shell", "apply_patch", "computer", "computer_use", "computer_use_preview"}
"""Hosted tools by name only: their calls are executed by whoever makes the request."""


@dataclass(frozen=True)
class Offer:
    """The tools of every request of a run, in one order, and who answers their calls."""

    texts: tuple[str, ...]
    owned: frozenset[str]
    """Names that a connected server answers."""
    foreign: frozenset[str]
    """Names that the caller answers itself."""

    def refuse(self, call: Call, *, is_over: bool) -> CallOutput | None:
        """The output of a call that must not be run, or None. For a name that was not offered it has near names, never
        a guess at what was meant."""
        if not call.is_complete:
            return fail_call("incomplete_call", "it was cut off before its arguments were complete; it was not run")
        if is_over:
            return fail_call("limit_reached", "the run has reached its limit; it was not run")
        if call.name not in self.owned:
            near: list[Json] = [*difflib.get_close_matches(call.name, self.owned, n=5, cutoff=0.4)]
            return fail_call("unknown_tool", f"no tool {call.name!r} is offered", near_names=near)
        return None


def fail_call(code: str, message: str, **details: Json) -> CallOutput:
    """The output of a call that came to nothing, as the model reads it."""
    return {"output": encode_error(code, message, **details), "is_error": True, "server": None, "tool": None}


def make_offer(wanted: Sequence[str | JsonObject] | None, catalogue: RunCatalogue[C], max_tools: int) -> Offer:
    """The offer for `respond`'s `tools`: None is all; strings are globs over model names; objects are Responses tools.

    A function object whose name a server owns is sent as the caller wrote it and answered by that server. Raises
    ArgumentError for a glob that matches nothing, for a tool whose calls nobody here executes, and for more tools than
    a request may carry.
    """
    _refuse_unexecuted(entry for entry in wanted or () if isinstance(entry, dict))
    functions = catalogue.functions
    if wanted is None:
        chosen = dict(functions)
    else:
        chosen = dict[str, str]()
        for entry in wanted:
            chosen |= _pick(entry, functions) if isinstance(entry, str) else {_name(entry): encode(entry)}
    chosen |= catalogue.accompany(chosen)
    if len(chosen) > max_tools:
        raise ArgumentError(_explain_excess(chosen, catalogue, max_tools))
    named = {str(entry.get("name")) for entry in wanted or () if isinstance(entry, dict) and "name" in entry}
    owned = frozenset(name for name in chosen if name in catalogue.owners)
    return Offer(tuple(chosen.values()), owned, frozenset(named) - owned)


def _refuse_unexecuted(tools: Iterable[JsonObject]) -> None:
    for tool in tools:
        if _is_executed_by_us(tool):
            raise ArgumentError(
                f"tools: the calls of {tool['type']!r} have to be executed by whoever makes the request, and the "
                "bridge executes none; offer a connected server's tool for it, or a function of your own"
            )


def _is_executed_by_us(tool: JsonObject) -> bool:
    """Whether the upstream would wait for an output that nobody here makes: with one call open, it takes no more."""
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
        near = difflib.get_close_matches(glob, functions, n=3, cutoff=0.4)
        hint = f"; near names: {', '.join(near)}" if near else f"; there are: {_enumerate(functions)}"
        raise ArgumentError(f"tools: no tool's name matches {glob!r}{hint}")
    return picked


def _enumerate(functions: Mapping[str, str]) -> str:
    shown = ", ".join(list(functions)[:10]) or "none at all"
    return f"{shown} and {len(functions) - 10} more" if len(functions) > 10 else shown


def _name(tool: JsonObject) -> str:
    """What tells two tools apart: the name of a function, the whole definition of a hosted tool."""
    return str(tool.get("name") or encode(tool))


def _explain_excess(chosen: Mapping[str, str], catalogue: RunCatalogue[C], max_tools: int) -> str:
    counts = Counter(catalogue.owners.get(name, "the caller") for name in chosen)
    each = ", ".join(f"{owner} {count}" for owner, count in counts.most_common())
    return (
        f"tools: {len(chosen)} tools are over the limit of {max_tools} per request ({each}); choose some with `tools` "
        "globs, or hide some with `tools.deny` in the config"
    )
