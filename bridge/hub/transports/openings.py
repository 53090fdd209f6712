"""What a reply is, by its first bytes: servers and proxies give it another type, or none."""

import codecs
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress

import httpx2
from pydantic_core import from_json
from typing_extensions import override

from bridge.hub.transports.bodies import ERROR_BYTES
from bridge.hub.transports.replies import describe_page, read_headers, read_media_type
from bridge.hub.transports.words import find_words, shorten
from bridge.jsonrpc.lines import KEPT_BYTES, Overlong
from bridge.sse import Event
from bridge.telemetry import Redactor

_FIELD = re.compile(rb":|(data|event|id|retry)(:|$)", re.M)
_LONGEST_FIELD = 6
_MESSAGE = re.compile(rb'[\[{]\s*(\{\s*)?"jsonrpc"')
MAX_TRIES = 8
"""How often a message without framing is tried that may be complete: each costs the whole of it."""


def begins_as_json(data: bytes) -> bool:
    """Tell whether a stream that begins with `data` brings bare JSON."""
    return data.removeprefix(codecs.BOM_UTF8).lstrip()[:1] in (b"{", b"[")


def is_whole(data: bytes) -> bool:
    """Tell whether `data` is a whole JSON value, or several."""
    with suppress(ValueError):
        from_json(data)
        return True
    return all(map(is_whole, data.splitlines())) if b"\n" in data else False


def looks_like_message(data: bytes | Overlong) -> bool:
    """Tell whether `data` was meant as a message: servers also send words of their own, to keep a stream open."""
    start = data.head if isinstance(data, Overlong) else data
    return begins_as_json(start) and any(key in start for key in (b'"jsonrpc"', b'"result"', b'"error"'))


class Opening(httpx2.AsyncByteStream):
    """The body of a reply, whose first bytes are known."""

    def __init__(self, response: httpx2.Response, redact: Redactor) -> None:
        self._response = response
        self._redact = redact
        self._chunks = response.aiter_bytes()
        self.head = b""

    async def begin(self) -> None:
        """Read as much as tells what it is, or KEPT_BYTES.

        If it is cut or cannot be decoded before, close the reply and raise httpx2.TransportError or DecodingError.
        """
        try:
            while not self._is_telling() and (chunk := await anext(self._chunks, None)) is not None:
                self.head += chunk
        except BaseException:
            await self.aclose()
            raise

    def _is_telling(self) -> bool:
        start = self.start
        return len(start) >= _LONGEST_FIELD or start[:1] in (b"{", b"[", b"<", b":") or len(self.head) >= KEPT_BYTES

    @property
    def start(self) -> bytes:
        """The first bytes that are not blank."""
        return self.head.removeprefix(codecs.BOM_UTF8).lstrip()[:KEPT_BYTES]

    @property
    def is_stream(self) -> bool:
        """True for server-sent events."""
        return bool(_FIELD.match(self.start))

    @property
    def is_page(self) -> bool:
        """True for HTML."""
        return self.start.startswith(b"<")

    def explain(self, body: bytes) -> str | None:
        """Explain what the whole `body` is in place of a message; None if it may be one."""
        if not body.strip():
            return "the reply is empty"
        if begins_as_json(body) or _MESSAGE.search(body):
            return None
        if self.is_page:
            return describe_page(body, self._redact)
        if read_media_type(self._response) == "application/json":
            return None
        words = shorten(self._redact(find_words(body[:ERROR_BYTES], read_media_type(self._response))))
        return f"the reply is no message, but text: {words}" if words else "the reply is empty"

    def find_json(self, body: bytes) -> bytes:
        """Return the JSON in a body, as UTF-8: without words before it, such as the warnings of a PHP program."""
        body = self._to_utf8(body)
        if body.startswith(b'"'):
            with suppress(ValueError):
                body = str(json.loads(body)).encode()  # a program and the gateway before it both made JSON of it
        found = None if begins_as_json(body) else _MESSAGE.search(body)
        return body[found.start() :] if found else body

    def _to_utf8(self, body: bytes) -> bytes:
        """Decode text of two or four bytes a character, or of the encoding that its type names."""
        is_wide = b"\0" in self.head[:4]
        encoding = json.detect_encoding(self.head) if is_wide else self._response.charset_encoding
        if encoding is None or encoding.lower().replace("_", "-") in ("utf-8", "utf8", "us-ascii"):
            return body
        with suppress(UnicodeDecodeError):
            if not is_wide:
                body.decode()  # many servers name an encoding that it is not
                return body
        with suppress(LookupError, ValueError):
            return body.decode(encoding).encode()
        return body

    def as_response(self) -> httpx2.Response:
        """Return the reply with all of its body still to be read."""
        response = self._response
        return httpx2.Response(response.status_code, headers=read_headers(response), stream=self)

    async def aiter_bytes(self) -> AsyncGenerator[bytes]:
        """Yield the whole body."""
        yield self.head
        async for chunk in self._chunks:
            yield chunk

    @override
    def __aiter__(self) -> AsyncIterator[bytes]:
        return self.aiter_bytes()

    @override
    async def aclose(self) -> None:
        await self._response.aclose()


class BareReader:
    """Reads a message that stands on an event stream without being framed as an event."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._data = bytearray()
        self._tries = 0

    def feed(self, chunk: bytes) -> list[Event]:
        """Return what has come as an event, once it is complete."""
        self._data += chunk
        if len(self._data) > self._limit:
            kept, size = bytes(self._data), len(self._data)
            self._clear()
            return [Event(data=Overlong(kept[:KEPT_BYTES], kept[-KEPT_BYTES:], size, self._limit))]
        return self.flush() if self._is_complete() else []

    def flush(self) -> list[Event]:
        """Return what is left at the end of the stream."""
        data = bytes(self._data).strip()
        self._clear()
        return [Event(data=data)] if data else []

    def _clear(self) -> None:
        self._data.clear()
        self._tries = 0

    def _is_complete(self) -> bool:
        if self._tries >= MAX_TRIES or self._data[-16:].rstrip()[-1:] not in (b"}", b"]"):
            return False
        self._tries += 1
        last_line = bytes(self._data).rstrip().rpartition(b"\n")[2]
        return is_whole(bytes(self._data)) or is_whole(last_line)
