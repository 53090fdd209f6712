"""What the body of a refusal says, in one line for people and models: JSON of any shape, plain text, a page's title."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

from bridge.json_text import Json

WORDS_CHARS = 500
"""How much is told of what a server says."""
_FIELDS = (
    "title",
    "error",
    "message",
    "msg",
    "error_description",
    "errorMessage",
    "detail",
    "details",
    "description",
    "reason",
    "errors",
)
"""The fields of a JSON body that say what is wrong, in the order in which they are told."""
_DEPTH, _ENTRIES, _TEXTS = 4, 3, 20
_TITLE = re.compile(r"<title[^>]*>([^<]*)", re.IGNORECASE)


def find_words(body: bytes, media_type: str, charset: str | None = None) -> str:
    """Find what a body says; "" where it says nothing that can be read, as a page without a title or an image."""
    text = _decode(body, charset).strip()
    if media_type.startswith(("image/", "audio/", "video/")):
        return ""
    with suppress(ValueError, RecursionError):
        return fold(": ".join(_drop_echoes(_list_words(json.loads(text)))) or text)
    if "html" in media_type or text.startswith("<"):
        import html  # late: few servers answer with a page

        title = _TITLE.search(text)
        return fold(html.unescape(title[1])) if title else ""
    is_text = text.count("\ufffd") * 10 <= len(text) and "\0" not in text
    return fold(text) if is_text else ""


def fold(text: str) -> str:
    """Write a text as one line without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def shorten(text: str, limit: int = WORDS_CHARS) -> str:
    """Cut a text to `limit` characters; it must have been redacted before, as half a secret is not found."""
    return text if len(text) <= limit else f"{text[: limit - 1].rstrip()}…"


def _decode(body: bytes, charset: str | None) -> str:
    with suppress(LookupError, ValueError):
        return body.decode(charset or "utf-8-sig", "replace")
    return body.decode("utf-8-sig", "replace")


def _list_words(value: Json, depth: int = _DEPTH) -> Iterator[str]:
    """Yield the texts in the fields that say what is wrong, at any level."""
    match value:
        case str():
            yield fold(value)
        case list() if depth:
            for entry in value[:_ENTRIES]:
                yield from _list_words(entry, depth - 1)
        case dict() if depth:
            for name in _FIELDS:
                yield from _list_words(value.get(name), depth - 1)
        case _:
            pass


def _drop_echoes(words: Iterator[str]) -> list[str]:
    """Leave out texts that another one holds."""
    told = list(dict.fromkeys(islice(filter(None, words), _TEXTS)))
    return [text for text in told if not any(text != other and text in other for other in told)]
