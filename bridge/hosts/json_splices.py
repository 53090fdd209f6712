"""Places in a JSON text with comments, and texts to be put there: all else stays as it is, byte for byte."""

import json
import re
from dataclasses import dataclass, field

from bridge.config.faults import Fault, KeyPath
from bridge.json_text import Json

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\n]*|/\*.*?\*/|[{}\[\],:]|[^\s{}\[\],:"/]+', re.DOTALL)
_INDENT = re.compile(r'^([ \t]+)["{\[]', re.MULTILINE)
_REST_OF_LINE = re.compile(r"[ \t]*(?:/\*(?:(?!\*/)[^\n])*\*/[ \t]*)*(?://[^\n\r]*)?(?=\r?\n)")


@dataclass
class _Member:
    """A value of an object or a list, with its key."""

    key: str | int
    start: int
    value: int = -1
    """Where the value begins; -1: not read yet."""
    end: int = -1
    comma: int = -1
    """Where the comma behind it is; -1: there is none."""


@dataclass
class _Container:
    """An object or a list of the text."""

    start: int
    close: int = -1
    """Where its closing bracket is."""
    members: list[_Member] = field(default_factory=list[_Member])

    def find(self, key: str | int) -> _Member | None:
        return next((member for member in self.members if member.key == key), None)


def set_value(text: str, path: KeyPath, value: Json) -> str:
    """Put `value` at `path`, in place of one that is there; objects on the way are made. Raises Fault."""
    start, end = _find_root(text), len(text)
    for depth, step in enumerate(path):
        if text[start] != "{":
            raise Fault(path[:depth], "expected an object")
        container = _read(text, start)
        member = container.find(step)
        if member is None:
            return _insert(text, container, str(step), _nest(path[depth + 1 :], value))
        start, end = member.value, member.end
    layout = _Layout(text)
    return text[:start] + layout.write(value, layout.indent_at(start)) + text[end:]


def append_value(text: str, path: KeyPath, value: Json) -> str:
    """Put `value` at the end of the list at `path`, which is made where there is none. Raises Fault."""
    start = _find_root(text)
    for depth, step in enumerate(path):
        container = _read(text, start)
        member = container.find(step)
        if member is None:
            return _insert(text, container, str(step), _nest(path[depth + 1 :], [value]))
        start = member.value
    if text[start] != "[":
        raise Fault(path, "expected a list")
    return _insert(text, _read(text, start), None, value)


def remove_value(text: str, path: KeyPath) -> str:
    """Take out what is at `path`, with its comma and its line; comments around it stay. Raises Fault."""
    start = _find_root(text)
    for step in path[:-1]:
        member = _read(text, start).find(step) if text[start] in "{[" else None
        if member is None:
            return text
        start = member.value
    container = _read(text, start)
    member = container.find(path[-1])
    return text if member is None else _cut(text, container, member)


def _nest(path: KeyPath, value: Json) -> Json:
    for step in reversed(path):
        value = {str(step): value}
    return value


def _find_root(text: str) -> int:
    for token in _TOKEN.finditer(text):
        if not token[0].startswith(("//", "/*")):
            if token[0] == "{":
                return token.start()
            break
    raise Fault((), "expected an object at the top")


def _read(text: str, start: int) -> _Container:
    """Read what is right inside the object or list at `start`; what is deeper is passed over."""
    container, depth = _Container(start), 0
    is_object, pending = text[start] == "{", False
    for token in _TOKEN.finditer(text, start + 1):
        sign = token[0]
        if sign.startswith(("//", "/*")):
            continue
        if depth:
            depth += (sign in ("{", "[")) - (sign in ("}", "]"))
            container.members[-1].end = token.end()
        elif sign in ("}", "]"):
            container.close = token.start()
            return container
        elif sign == ",":
            container.members[-1].comma = token.start()
            pending = False
        elif sign == ":":
            continue
        elif is_object and not pending:
            container.members.append(_Member(json.loads(sign), token.start()))
            pending = True
        else:
            if not is_object:
                container.members.append(_Member(len(container.members), token.start()))
            container.members[-1].value, container.members[-1].end = token.start(), token.end()
            depth = int(sign in ("{", "["))
    raise Fault((), "it has no end")


class _Layout:
    """How the text is laid out: its line ends and indentation."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.newline = "\r\n" if "\r\n" in text else "\n"
        found = _INDENT.search(text)
        self.unit = found[1] if found else "  "
        self.is_compact = "\n" not in text.strip() and text.strip() != "{}"

    def indent_at(self, offset: int) -> str:
        """Return the white space that the line of `offset` begins with."""
        begin = self._text.rfind("\n", 0, offset) + 1
        line = self._text[begin:offset]
        return line[: len(line) - len(line.lstrip(" \t"))]

    def begins_line(self, offset: int) -> bool:
        begin = self._text.rfind("\n", 0, offset) + 1
        return not self._text[begin:offset].strip(" \t")

    def write(self, value: Json, indent: str, *, compact: bool | None = None) -> str:
        """Write a value whose first line stands on a line that is indented so."""
        if self.is_compact if compact is None else compact:
            return json.dumps(value, ensure_ascii=False)
        lines = json.dumps(value, ensure_ascii=False, indent=self.unit).split("\n")
        return (self.newline + indent).join(lines)


def _insert(text: str, container: _Container, key: str | None, value: Json) -> str:
    """Put a member at the end of an object, or of a list where `key` is None."""
    layout = _Layout(text)
    name = "" if key is None else f"{json.dumps(key, ensure_ascii=False)}: "
    if not container.members:
        return _fill(text, container, name, value, layout)
    last = container.members[-1]
    own_line = layout.begins_line(last.start)
    indent = layout.indent_at(last.start)
    after = last.end if last.comma < 0 else last.comma + 1
    written = name + layout.write(value, indent, compact=None if own_line else True)
    if not own_line:
        between, behind = (", ", "") if last.comma < 0 else (" ", ",")
        return text[:after] + between + written + behind + text[after:]
    rest = _REST_OF_LINE.match(text, after)
    at = rest.end() if rest else after
    comma, behind = (",", "") if last.comma < 0 else ("", ",")
    new = layout.newline + indent + written + behind
    if rest is None:  # the closing bracket, or more, is on the same line
        new += layout.newline + layout.indent_at(container.start) if text[after:].lstrip(" \t")[:1] in "}]" else ""
    return text[:after] + comma + text[after:at] + new + text[at:]


def _fill(text: str, container: _Container, name: str, value: Json, layout: _Layout) -> str:
    """Put the first member into an object or a list; comments in it stay before the new member."""
    inner = text[container.start + 1 : container.close]
    if layout.is_compact and not inner.strip():
        written = name + layout.write(value, "")
        return text[: container.start + 1] + written + text[container.close :]
    base = layout.indent_at(container.start)
    kept = inner.rstrip()
    written = layout.newline + base + layout.unit + name + layout.write(value, base + layout.unit)
    tail = inner[len(kept) :] if kept and "\n" in inner[len(kept) :] else layout.newline + base
    return text[: container.start + 1] + kept + written + tail + text[container.close :]


def _cut(text: str, container: _Container, member: _Member) -> str:
    """Take a member out: with its own comma, or that of the one before it, and with what was its line."""
    start, end = member.start, member.end
    index = container.members.index(member)
    before = container.members[index - 1] if index else None
    own_line = _Layout(text).begins_line(start)
    if member.comma >= 0:
        if text[end : member.comma].strip():  # a comment between the value and its comma
            text = text[: member.comma] + " " + text[member.comma + 1 :]
        else:
            end = member.comma + 1
        if not own_line and index + 1 < len(container.members):
            following = container.members[index + 1].start
            end = following if not text[end:following].strip() else end
        text, start, end = _widen(text, start, end, own_line=own_line)
        return text[:start] + text[end:]
    if before is None:
        text, start, end = _widen(text, start, end, own_line=own_line)
        return text[:start] + text[end:]
    if not own_line and not text[before.comma + 1 : start].strip():
        return text[: before.comma] + text[end:]
    text, start, end = _widen(text, start, end, own_line=own_line)
    return text[: before.comma] + text[before.comma + 1 : start] + text[end:]


def _widen(text: str, start: int, end: int, *, own_line: bool) -> tuple[str, int, int]:
    """Widen a span to its whole lines where nothing else is on them."""
    if not own_line:
        return text, start, end
    rest = re.compile(r"[ \t]*\r?\n").match(text, end)
    begin = text.rfind("\n", 0, start) + 1
    return (text, begin, rest.end()) if rest else (text, start, end)
