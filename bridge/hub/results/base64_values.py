"""Base64 among JSON values and texts: named by its kind and size, because a model cannot read it.

Servers repeat a picture in the structured content (neka-nat/freecad-mcp#102, anthropics/claude-code#70280), where it
costs a model more than all the rest.
"""

import base64
import re
from collections.abc import Mapping, Sequence
from typing import Final

from mcp import types
from pydantic_core import from_json

from bridge.json_text import Json, write

LONG_CHARS = 2048
"""What is as long and looks like base64 is taken for it; shorter ones may be keys, tokens or cursors."""
SHORT_CHARS = 512
"""What is as long and is known for base64 by its first bytes, its URL or its name is named as well."""
DATA_CHARS = 64
"""In a part of content of an unknown kind, data are named that are as long."""
TEXT_CHARS = 200
"""A text of the content that is as long is not repeated in structured content."""
FEW = 50
"""So many data and texts are looked for in a JSON text one by one; more of them by one way through its values."""
_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_"
_RUN = re.compile(r"(?:[\w+/=-]|\\[nr/]){48}", re.ASCII)
"""A piece of base64 in a JSON text, where lines may end and a slash may be escaped."""
_LONG_RUN = re.compile(rf"(?:[\w+/=-]|\\/){{{DATA_CHARS},}}", re.ASCII)
"""A text in which the data of a part may be."""
_MIXTURE: Final = (re.compile("[A-Z]"), re.compile("[a-z]"), re.compile("[0-9]"))
_STARTS: Final = {
    b"\x89PNG": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"%PDF": "application/pdf",
    b"PK\x03\x04": "application/zip",
    b"PK\x05\x06": "application/zip",
    b"\x1f\x8b": "application/gzip",
    b"ID3": "audio/mpeg",
    b"OggS": "audio/ogg",
    b"fLaC": "audio/flac",
}
_RIFF: Final = {b"WAVE": "audio/wav", b"WEBP": "image/webp", b"AVI ": "video/avi"}
_DATA_KEYS: Final = {"data", "blob", "base64", "b64", "b64_json", "bytes"}


def name_data(part: Json) -> Json:
    """Return a part of content with its data named, also if they are short."""
    return _Walk({}, DATA_CHARS).walk(part)


class KnownData:
    """The data of a result's parts, and its long texts if they are shown: what structured content need not repeat."""

    def __init__(self, content: Sequence[types.ContentBlock], *, shows_texts: bool) -> None:
        self._data = [(data, kind) for data, kind in map(_read_data, content) if len(data) >= 8]
        self._kinds = {data: kind for data, kind in self._data if len(data) >= DATA_CHARS}
        self._texts = [text for text in map(_read_long_text, content) if text] if shows_texts else []

    def __bool__(self) -> bool:
        return bool(self._data)

    def write(self, value: Json) -> str:
        """Write a value as JSON, with base64 and the texts above named."""
        text = write(value)
        if not (self._occur_in(text) or may_hold_base64(text)):
            return text
        shorter = self.shorten(value)
        return text if shorter is value else write(shorter)

    def shorten(self, value: Json) -> Json:
        """Return the value with base64 and the texts above named; the value itself if there are none."""
        names = {text: f"[the text above, {len(text):,} characters]" for text in self._texts}
        names |= {data: _name(kind, data) for data, kind in self._data}
        return _Walk(names).walk(value)

    def blank(self, text: str) -> str:
        """Return a text with the data of the parts named."""
        return _LONG_RUN.sub(self._name_run, text) if self._data else text

    def _name_run(self, run: re.Match[str]) -> str:
        text = run[0].replace("\\/", "/")
        if kind := self._kinds.get(text):
            return _name(kind, text)
        for data, kind in self._data:
            if len(text) > len(data) >= DATA_CHARS and data in text:
                return text.replace(data, _name(kind, data))
        return run[0]

    def _occur_in(self, json_text: str) -> bool:
        if len(self._data) + len(self._texts) > FEW or any(data in json_text for data, _ in self._data):
            return True
        return any(len(text) < len(json_text) and write(text) in json_text for text in self._texts)


def may_hold_base64(text: str) -> bool:
    """Tell, from samples, whether a JSON text may hold SHORT_CHARS of base64."""
    return len(text) >= SHORT_CHARS and any(_RUN.match(text, at) for at in range(0, len(text), SHORT_CHARS - 64))


class _Walk:
    """One way through a JSON value. `names` are those of texts that are named whatever they look like."""

    def __init__(self, names: Mapping[str, str], short: int = SHORT_CHARS) -> None:
        self._names = names
        self._short = short

    def walk(self, value: Json, *, least: int = LONG_CHARS) -> Json:
        """Return the value with base64 of `least` characters or more named; itself if there is none."""
        match value:
            case str():
                return self._shorten(value, least)
            case list():
                items = [self.walk(item) for item in value]
                return value if all(map(_is, items, value)) else items
            case dict():
                fields = {key: self.walk(inner, least=self._find_least(key)) for key, inner in value.items()}
                return value if all(map(_is, fields.values(), value.values())) else fields
            case _:
                return value

    def _find_least(self, key: str) -> int:
        return self._short if key in _DATA_KEYS else LONG_CHARS

    def _shorten(self, text: str, least: int) -> str:
        if name := self._names.get(text):
            return name
        if text.startswith("data:"):
            return self._shorten_url(text)
        if len(text) < min(SHORT_CHARS, least):
            return text
        if text.startswith(("{", "[")):
            return self._shorten_json(text)
        kind = find_kind(text, least)
        return _name(kind, text) if kind else text

    def _shorten_url(self, url: str) -> str:
        head, _, data = url.partition(",")
        is_data = data in self._names or (len(data) >= SHORT_CHARS and find_kind(data, DATA_CHARS))
        return _name(head[5:].partition(";")[0] or "binary", data) if ";base64" in head and is_data else url

    def _shorten_json(self, text: str) -> str:
        """Shorten a JSON text within a JSON value."""
        try:
            value: Json = from_json(text) if may_hold_base64(text) else None
        except ValueError:
            return text
        shorter = self.walk(value)
        return text if shorter is value else write(shorter)


def find_kind(data: str, least: int) -> str | None:
    """Return the kind of base64 data by its first bytes, or "binary"; None for any other text.

    Data of less than `least` characters are base64 only if their first bytes are known. From SHORT_CHARS on, they must
    mix letters and digits as base64 does, and hexadecimal numbers or genomes do not.
    """
    lines = data.split()
    bare = "".join(lines)
    if not bare.isascii() or not _is_regular(lines) or bare.rstrip("=").encode().translate(None, _ALPHABET):
        return None
    start = _decode_start(bare)
    if start.startswith(b"RIFF"):
        return _RIFF.get(start[8:12], "binary")
    kind = next((kind for first, kind in _STARTS.items() if start.startswith(first)), None)
    is_mixed = least < SHORT_CHARS or all(sort.search(bare) for sort in _MIXTURE)
    return kind or ("binary" if len(bare) >= least and is_mixed else None)


def _is_regular(lines: Sequence[str]) -> bool:
    """Tell whether these are one line, or lines of one length, as base64 is written."""
    return len(lines) == 1 or (len(lines) > 1 and len(lines[0]) >= 60 and len(set(map(len, lines[:-1]))) == 1)


def _decode_start(data: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(data[:24].replace("+", "-").replace("/", "_"))
    except ValueError:
        return b""


def _read_long_text(block: types.ContentBlock) -> str | None:
    match block:
        case types.TextContent(text=text) | types.EmbeddedResource(resource=types.TextResourceContents(text=text)):
            return text if len(text) >= TEXT_CHARS else None
        case _:
            return None


def _read_data(block: types.ContentBlock) -> tuple[str, str]:
    match block:
        case types.ImageContent() | types.AudioContent():
            return block.data, block.mime_type
        case types.EmbeddedResource(resource=types.BlobResourceContents() as resource):
            return resource.blob, resource.mime_type or "binary"
        case _:
            return "", ""


def _name(kind: str, data: str) -> str:
    size = len("".join(data.split()).rstrip("=")) * 3 // 4
    return f"[{kind}, {size:,} bytes as base64: not shown]"


def _is(one: Json, other: Json) -> bool:
    return one is other
