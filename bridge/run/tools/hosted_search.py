"""Tools as an upstream wants them that searches among them by itself."""

import re
from collections.abc import Iterable, Mapping

from bridge.json_text import JsonObject, encode

SPACE_CHARS = 64
"""Characters that the name of a namespace may have."""


def defer(functions: Mapping[str, str], owners: Mapping[str, str]) -> list[str]:
    """A namespace for each owner with its functions deferred, and the hosted tool that searches them.

    A function keeps its whole name, so that its calls are answered like any other.
    """
    spaces: dict[str, list[str]] = {}
    for name, text in functions.items():
        spaces.setdefault(owners[name], []).append(f'{text[:-1]},"defer_loading":true}}')
    names = _name_spaces(spaces)
    return [*(_write(names[owner], owner, texts) for owner, texts in spaces.items()), encode({"type": "tool_search"})]


def _name_spaces(owners: Iterable[str]) -> dict[str, str]:
    """A legal name for each owner; one that is taken ends in the owner's place."""
    names: dict[str, str] = {}
    for place, owner in enumerate(owners):
        legal = re.sub("[^A-Za-z0-9_-]", "_", owner)[: SPACE_CHARS - 8]
        names[owner] = legal if legal and legal not in names.values() else f"{legal}_{place}"
    return names


def _write(name: str, owner: str, functions: list[str]) -> str:
    space: JsonObject = {"type": "namespace", "name": name, "description": f"The tools of {owner}"}
    return f'{encode(space)[:-1]},"tools":[{",".join(functions)}]}}'
