"""HTTP/1.1 requests as clients write them, by h11, which is stricter here: what is too large, or can be read in two
ways, is refused before anything else reads it."""

import re
from typing import TypeAlias, cast

import h11
from typing_extensions import override

MAX_HEAD_BYTES = 32_768
MAX_HEADERS = 128

_END = re.compile(rb"\n\r?\n")
_FOLDED = re.compile(rb"\n[ \t]")
"""A line that goes on with the header before it (RFC 9112, 5.2), or is one of its own to others."""
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)

Event: TypeAlias = h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]


class Wire(h11.Connection):
    """The server's side of one connection. `next_event` raises RemoteProtocolError for what is refused; the reply and
    the end of the connection are left to the web server."""

    refusal_status = 400
    """The status of the reply to what was refused."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, MAX_HEAD_BYTES)

    @override
    def next_event(self) -> Event:
        try:
            if self.their_state is h11.IDLE:
                _check_head(self.trailing_data[0])
            event = super().next_event()
            return _read_target(event) if isinstance(event, h11.Request) else cast("Event", event)
        except h11.RemoteProtocolError as error:
            self.refusal_status = error.error_status_hint
            raise


def _check_head(data: bytes) -> None:
    """Check the head of a request, or what has come of it. Parsing 10,000 headers takes longer than many requests."""
    end = _END.search(data)
    head_bytes = end.end() if end else len(data)
    if head_bytes > MAX_HEAD_BYTES or data.count(b"\n", 0, head_bytes) > MAX_HEADERS + 2:
        raise h11.RemoteProtocolError("the head is too large", error_status_hint=431)
    if _FOLDED.search(data, 0, head_bytes):
        raise h11.RemoteProtocolError("a folded line")


def _read_target(request: h11.Request) -> h11.Request:
    """Check what says how long the body is, and return the request with its target as a path.

    RFC 9112, 6.3: a request with both headers may be an attempt to smuggle another one past a proxy. 3.2.2: a target
    may be a whole URL; its host has to be that of the Host header, by which the request is judged.
    """
    headers = list(request.headers)
    names = {name for name, _ in headers}
    if {b"content-length", b"transfer-encoding"} <= names:
        raise h11.RemoteProtocolError("two lengths")
    found = _ABSOLUTE.fullmatch(request.target)
    if found is None:
        return request
    hosts = [value.lower() for name, value in headers if name == b"host"]
    if hosts != [found[1].lower()]:
        raise h11.RemoteProtocolError("two hosts")
    path = found[2].partition(b"#")[0]
    target = path if path.startswith(b"/") else b"/" + path
    return h11.Request(method=request.method, headers=headers, target=target, http_version=request.http_version)
