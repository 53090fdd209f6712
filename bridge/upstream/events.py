"""The data of the events in a byte stream of server-sent events: a Responses stream needs nothing else of them."""

import re

from bridge.errors import UpstreamError

_BLANK_LINE = re.compile(rb"(?>\r\n?|\n){2}")
_BOM = b"\xef\xbb\xbf"


class EventSplitter:
    """Feed it chunks of a stream (HTML standard, section 9.2.6); an event over `limit` bytes raises UpstreamError."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting = bytearray()
        self._searched = 0

    def feed(self, chunk: bytes) -> list[str]:
        """The data of the events that `chunk` completes. Invalid UTF-8 becomes U+FFFD."""
        self._waiting += chunk
        events, begin = list[str](), 0
        for blank in _BLANK_LINE.finditer(self._waiting, self._searched):
            events.append(_read_data(self._waiting[begin : blank.start()]))
            begin = blank.end()
        del self._waiting[:begin]
        self._searched = max(0, len(self._waiting) - 3)  # a blank line may have begun
        if len(self._waiting) > self._limit:
            raise UpstreamError(
                f"An event of the upstream's stream is over {self._limit:,} bytes", code="reply_too_large"
            )
        return [data for data in events if data]

    def finish(self) -> str:
        """The data of an event behind which the blank line is missing; cut short, if the stream was."""
        return _read_data(self._waiting)


def _read_data(event: bytearray) -> str:
    lines = event.removeprefix(_BOM).splitlines()
    data = [line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:")]
    return b"\n".join(data).decode("utf-8", "replace")
