"""Tables of a TOML text, and texts to be put there: all else stays as it is, byte for byte."""

import json
import re
import tomllib
from collections.abc import Iterator
from typing import NamedTuple

from bridge.config.faults import Fault, KeyPath
from bridge.json_text import Json, JsonObject

_PIECE = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'|#[^\n]*|[\[\]{}\n]|[^\"'#\[\]{}\n]+",
    re.DOTALL,
)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


class _Table(NamedTuple):
    """A table of the text: from its header to the end of its last line that is neither blank nor a comment."""

    path: KeyPath
    start: int
    end: int


def set_table(text: str, path: KeyPath, value: JsonObject) -> str:
    """Put a table at `path`, in place of one that is there, else at the end of the file."""
    newline = "\r\n" if "\r\n" in text else "\n"
    written = newline.join(write_table(path, value)) + newline
    own = _find_own(text, path)
    if own:
        rest = _cut(text, own[1:])
        return rest[: own[0].start] + written + rest[own[0].end :]
    if not text.strip():
        return text + written
    gap = "" if text.endswith(("\n\n", "\n\r\n")) else newline
    return text + ("" if text.endswith("\n") else newline) + gap + written


def remove_table(text: str, path: KeyPath) -> str:
    """Take out the table at `path` and those in it, with the blank line before it; comments around it stay."""
    return _cut(text, _find_own(text, path))


def set_by_tomlkit(text: str, path: KeyPath, value: Json) -> str:
    """Put a value at `path` of a text that has it in another shape than as a table of its own. Raises Fault."""
    return _change_by_tomlkit(text, path, value)


def remove_by_tomlkit(text: str, path: KeyPath) -> str:
    """Take out what is at `path` of a text that has it in another shape than as a table. Raises Fault."""
    return _change_by_tomlkit(text, path, None)


def _change_by_tomlkit(text: str, path: KeyPath, value: Json) -> str:
    import tomlkit  # late: few files need it
    from tomlkit.exceptions import TOMLKitError

    try:
        document = tomlkit.parse(text)
        inner = document
        for step in path[:-1]:
            inner = inner.setdefault(str(step), tomlkit.table())
        if value is None:
            inner.pop(str(path[-1]), None)
        else:
            new = tomlkit.inline_table()
            new.update(value if isinstance(value, dict) else {})
            inner[str(path[-1])] = new
        changed = tomlkit.dumps(document)
    except (TOMLKitError, TypeError, AttributeError, ValueError) as error:
        raise Fault(path, f"is in a shape that cannot be changed: {error}") from None
    lost = [comment for comment in _list_comments(text) if comment not in changed]
    if lost:
        raise Fault(path, "cannot be changed without losing a comment")
    return changed


def _list_comments(text: str) -> list[str]:
    return [piece[0].rstrip() for piece in _PIECE.finditer(text) if piece[0].startswith("#")]


def _find_own(text: str, path: KeyPath) -> list[_Table]:
    return [table for table in _list_tables(text) if table.path[: len(path)] == path]


def _cut(text: str, tables: list[_Table]) -> str:
    for table in reversed(tables):
        start, end = table.start, table.end
        blank = re.compile(r"\r?\n\r?\n\Z|\A\r?\n\Z").search(text[:start])
        if blank and (end == len(text) or re.compile(r"[ \t]*\r?\n").match(text, end)):
            start -= len(blank[0]) // (2 if blank[0].count("\n") == 2 else 1)
        text = text[:start] + text[end:]
    return text


def _list_tables(text: str) -> Iterator[_Table]:
    """List the tables of the text with a header of their own, in order; arrays of tables are told apart by none."""
    header: tuple[KeyPath, int] | None = None
    end = 0
    for start, stop, is_header in _list_statements(text):
        if is_header:
            if header:
                yield _Table(*header, end)
            header = (_read_header(text[start:stop]), text.rfind("\n", 0, start) + 1)
        end = stop
    if header:
        yield _Table(*header, end)


def _list_statements(text: str) -> Iterator[tuple[int, int, bool]]:
    """Yield where each header and each `key = value` begins and ends, with its line end, and whether it is a header."""
    start, depth, is_header = -1, 0, False
    for piece in _PIECE.finditer(text):
        sign = piece[0]
        if sign == "\n" and not depth:
            if start >= 0:
                yield start, piece.end(), is_header
            start = -1
        elif start < 0 and (sign.startswith("#") or not sign.strip()):
            continue
        else:
            if start < 0:
                start, is_header = piece.start(), sign == "["
            depth += (sign in ("[", "{")) - (sign in ("]", "}"))
    if start >= 0:
        yield start, len(text), is_header


def _read_header(line: str) -> KeyPath:
    try:
        value: object = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return ()
    path: list[str] = []
    while isinstance(value, dict) and value:
        [(key, value)] = value.items()
        path.append(key)
    return tuple(path)


def write_table(path: KeyPath, value: JsonObject) -> Iterator[str]:
    """Write a table: its plain values, then each object in it as a table of its own."""
    yield f"[{'.'.join(_write_key(str(step)) for step in path)}]"
    for key, inner in value.items():
        if not isinstance(inner, dict):
            yield f"{_write_key(key)} = {_write_value(inner)}"
    for key, inner in value.items():
        if isinstance(inner, dict):
            yield ""
            yield from write_table((*path, key), inner)


def _write_key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _write_value(key)


def _write_value(value: Json) -> str:
    match value:
        case list():
            return f"[{', '.join(map(_write_value, value))}]"
        case dict():
            return f"{{ {', '.join(f'{_write_key(key)} = {_write_value(inner)}' for key, inner in value.items())} }}"
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case _:
            return json.dumps(value)
