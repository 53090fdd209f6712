"""Reads the file that `envFile` of a server entry names: lines of NAME=value, as VS Code and Cursor read them."""

import re
from pathlib import Path

from bridge.config.faults import KeyPath
from bridge.config.text import read_text

_LINE = re.compile(
    r"""^[ \t]*(?:export[ \t]+)?([\w.-]+)[ \t]*=[ \t]*"""
    r"""(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([^\n]*?))[ \t]*(?:[ \t]\#[^\n]*)?$""",
    re.MULTILINE,
)
_ESCAPES = {"\\n": "\n", "\\r": "\r", "\\t": "\t", '\\"': '"', "\\\\": "\\", "\\$": "$"}


def read_env_file(file: Path, path: KeyPath) -> dict[str, str]:
    """Read the variables in `file`; `path` is the place that names it. Raises Fault where it cannot be read."""
    text = read_text(file, path).replace("\r\n", "\n")
    return {match[1]: _unquote(match) for match in _LINE.finditer(text) if not match[0].lstrip().startswith("#")}


def _unquote(match: re.Match[str]) -> str:
    if match[2] is not None:
        return re.sub(r"\\.", lambda escape: _ESCAPES.get(escape[0], escape[0]), match[2])
    return match[3] if match[3] is not None else match[4]
