"""Changes to the text of a host's file, each proved by reading the result again before anybody writes it."""

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from bridge.config.faults import Fault, KeyPath
from bridge.config.file import parse
from bridge.hosts import json_splices, toml_splices
from bridge.json_text import Json, JsonObject


@dataclass(frozen=True)
class Set:
    """Put a value at a path, in place of one that is there; objects on the way are made."""

    path: KeyPath
    value: Json


@dataclass(frozen=True)
class Append:
    """Put a value at the end of the list at a path, which is made where there is none."""

    path: KeyPath
    value: Json


@dataclass(frozen=True)
class Remove:
    """Take out what is at a path; nothing where there is nothing."""

    path: KeyPath


Change: TypeAlias = Set | Append | Remove


def read_value(text: str, suffix: str = "") -> JsonObject:
    """Read the text of a host's file; one that is blank holds nothing. Raises Fault for one that is broken."""
    return parse(text, suffix) if text.strip() else {}


def edit(text: str, changes: Iterable[Change], suffix: str = "") -> str:
    """Make `changes` to the text of a host's file, and nothing else; `suffix` is that of its name.

    The new text is read again: it must say what the old one said with just these changes. Raises Fault where the file
    is broken already, or cannot be changed in this way.
    """
    for change in changes:
        before = read_value(text, suffix)
        after = make_change(copy.deepcopy(before), change)
        if after == before:
            continue
        text = _edit_toml(text, change, after) if suffix == ".toml" else _edit_json(text, change)
        if not _says(text, suffix, after):
            raise Fault(change.path, "cannot be changed safely")
    return text


def find_value(value: Json, path: KeyPath) -> Json:
    """Find what is at a path; None where there is nothing."""
    for step in path:
        if isinstance(value, dict) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int):
            value = value[step] if step < len(value) else None
        else:
            return None
    return value


def make_change(value: JsonObject, change: Change) -> JsonObject:
    """Make a change to a value, in place. Raises Fault where something else than an object or a list is in its way."""
    *above, last = change.path
    inner: Json = value
    for depth, step in enumerate(above):
        if isinstance(inner, dict):
            if isinstance(change, Remove) and step not in inner:
                return value
            inner = inner.setdefault(str(step), {})
        else:
            inner = find_value(inner, (step,))
        if not isinstance(inner, (dict, list)):
            raise Fault(change.path[: depth + 1], "expected an object")
    match change, inner:
        case Set(), dict():
            inner[str(last)] = change.value
        case Append(), dict():
            items = inner.setdefault(str(last), [])
            if not isinstance(items, list):
                raise Fault(change.path, "expected a list")
            items.append(change.value)
        case Remove(), dict():
            inner.pop(str(last), None)
        case Remove(), list() if isinstance(last, int) and last < len(inner):
            del inner[last]
        case _:
            raise Fault(change.path[:-1], "expected an object")
    return value


def _says(text: str, suffix: str, value: JsonObject) -> bool:
    """Tell whether the text says this; in TOML a table with nothing in it is the same as none."""
    try:
        read = read_value(text, suffix)
    except Fault:
        return False
    return _drop_empty(read) == _drop_empty(value) if suffix == ".toml" else read == value


def _drop_empty(value: Json) -> Json:
    if not isinstance(value, dict):
        return value
    inner = {key: _drop_empty(below) for key, below in value.items()}
    return {key: below for key, below in inner.items() if below != {}}


def _edit_json(text: str, change: Change) -> str:
    text = text if text.strip() else "{}\n"
    match change:
        case Set():
            return json_splices.set_value(text, change.path, change.value)
        case Append():
            return json_splices.append_value(text, change.path, change.value)
        case Remove():
            return json_splices.remove_value(text, change.path)


def _edit_toml(text: str, change: Change, after: JsonObject) -> str:
    """Change the tables of the text; one in another shape is left to tomlkit."""
    match change:
        case Set(path, dict() as table):
            changed = toml_splices.set_table(text, path, table)
            return changed if _says(changed, ".toml", after) else toml_splices.set_by_tomlkit(text, path, table)
        case Remove(path):
            changed = toml_splices.remove_table(text, path)
            return changed if _says(changed, ".toml", after) else toml_splices.remove_by_tomlkit(text, path)
        case _:
            raise Fault(change.path, "expected a table")
