"""Says in plain words what is wrong with text that is nearly JSON. Imported only for such a file."""

import json
import re
from collections.abc import Iterator

_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"?')
_BY_MESSAGE = {
    "Invalid \\escape": r'write each backslash of a path twice ("C:\\Users"), or use /',
    "Invalid control": 'a text ends on the line on which it begins; a " is missing there',
    "Unterminated string": 'a text ends on the line on which it begins; a " is missing there',
}
_BY_REST = (
    (re.compile(r"[“”„‟«»‘’‚]"), 'the quotes there are curly (“ ”); write straight ones (")'),
    (re.compile(r"'"), "JSON wants double quotes (\"), not single ones (')"),
    (re.compile(r"true\b", re.IGNORECASE), "write true in small letters"),
    (re.compile(r"false\b", re.IGNORECASE), "write false in small letters"),
    (re.compile(r"(none|null|undefined)\b", re.IGNORECASE), "write null"),
    (re.compile(r"[A-Za-z_$][\w$-]*\s*:"), 'names are written in double quotes ("mcpServers")'),
)
"""Beginnings of a text that is not JSON, each with what a person has to change."""


def find_hint(text: str, error: json.JSONDecodeError) -> str:
    """Find what a person has to change; "" where that cannot be told."""
    return next(_list_hints(text, error), "")


def _list_hints(text: str, error: json.JSONDecodeError) -> Iterator[str]:
    if "```" in text:
        yield "take away the lines with ``` around it"
    yield from (hint for message, hint in _BY_MESSAGE.items() if error.msg.startswith(message))
    yield from (hint for begin, hint in _BY_REST if begin.match(text, error.pos))
    if error.msg.startswith("Extra data"):
        yield _explain_rest(text)
    if error.pos >= len(text.rstrip()):
        yield from _find_unclosed(text)
    if error.msg.startswith("Expecting ',' delimiter") and text[error.pos : error.pos + 1] in '"{[':
        yield "a comma is missing before it"


def _explain_rest(text: str) -> str:
    if text.lstrip().startswith('"'):
        return 'the braces around it are missing: the whole is {"mcpServers": {"NAME": {…}}}'
    return "the file ends there, with its last }; what follows belongs inside: put all servers into one mcpServers"


def _find_unclosed(text: str) -> Iterator[str]:
    """Name the first bracket that is never closed."""
    bare = _STRING.sub(lambda match: " " * len(match[0]), text)
    opened: list[re.Match[str]] = []
    for bracket in re.finditer(r"[{}\[\]]", bare):
        if bracket[0] in "{[":
            opened.append(bracket)
        elif opened:
            opened.pop()
    for bracket in opened[:1]:
        line, closing = bare.count("\n", 0, bracket.start()) + 1, "}" if bracket[0] == "{" else "]"
        yield f"the {bracket[0]} of line {line} is never closed; a {closing} is missing"
