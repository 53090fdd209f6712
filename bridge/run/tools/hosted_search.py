"""Tools in the form for an upstream that searches them by itself."""

import re
from collections.abc import Iterable, Mapping

from bridge.json_text import JsonObject, encode

NAMESPACE_CHARS = 64
"""How long the name of a namespace may be."""


def defer(functions: Mapping[str, str], owners: Mapping[str, str]) -> list[str]:
    """Return a namespace of deferred functions for each owner, then the hosted tool that searches them.

    A function keeps its whole name, so that its calls are answered like any other.
    """
    spaces: dict[str, list[str]] = {}
    for name, text in functions.items():
        spaces.setdefault(owners[name], []).append(f'{text[:-1]},"defer_loading":true}}')
    names = _name_namespaces(spaces)
    return [*(_write(names[owner], owner, texts) for owner, texts in spaces.items()), encode({"type": "tool_search"})]


def _name_namespaces(owners: Iterable[str]) -> dict[str, str]:
    """Give each owner a legal name; one that is taken already, or empty, gets the owner's number at its end."""
    names: dict[str, str] = {}
    for index, owner in enumerate(owners):
        legal = re.sub("[^A-Za-z0-9_-]", "_", owner)[: NAMESPACE_CHARS - 8]
        names[owner] = legal if legal and legal not in names.values() else f"{legal}_{index}"
    return names


def _write(name: str, owner: str, functions: list[str]) -> str:
    space: JsonObject = {"type": "namespace", "name": name, "description": f"The tools of {owner}"}
    return f'{encode(space)[:-1]},"tools":[{",".join(functions)}]}}'
