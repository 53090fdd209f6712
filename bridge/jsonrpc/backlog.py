"""The requests of the other side that have no answer yet, or one that it has not taken yet."""

from collections.abc import Callable
from dataclasses import dataclass, field

import anyio
from mcp_types import JSONRPCMessage, JSONRPCNotification, JSONRPCRequest, RequestId

MAX_REQUESTS, MAX_BYTES = 1000, 16 << 20


class Flooded(Exception):
    """There are too many; the text says so to people."""


@dataclass
class Backlog:
    """Counts them, also those that share an id. `is_bounded`: so many, or several of so many bytes, are too many."""

    is_bounded: bool
    _sizes: dict[RequestId, list[int]] = field(default_factory=dict[RequestId, list[int]])
    _count: int = 0
    _bytes: int = 0
    _all_answered: anyio.Event = field(default_factory=anyio.Event)

    def note(self, message: JSONRPCMessage, measure: Callable[[], int]) -> None:
        """Note a message that came. Raises Flooded if it is one request too many. `measure` returns its size."""
        if isinstance(message, JSONRPCRequest):
            self._add(message.id, measure())
        elif isinstance(message, JSONRPCNotification) and message.method == "notifications/cancelled":
            self.settle((message.params or {}).get("requestId"))

    def _add(self, request: RequestId, size: int) -> None:
        self._sizes.setdefault(request, []).append(size)
        self._count += 1
        self._bytes += size
        if self.is_bounded and (self._count > MAX_REQUESTS or (self._bytes > MAX_BYTES and self._count > 1)):
            raise Flooded(
                f"{self._count:,} of its requests, {self._bytes:,} bytes, had no answer yet: it sends them endlessly, "
                "or does not read the answers"
            )

    def settle(self, request: object) -> None:
        """Note that a request has been answered, or never will be."""
        if isinstance(request, str | int) and (sizes := self._sizes.get(request)):
            self._count -= 1
            self._bytes -= sizes.pop()
            if not sizes:
                del self._sizes[request]
        if not self._count:
            self._all_answered.set()

    async def wait_answered(self) -> None:
        """Wait until none is open."""
        while self._count:
            self._all_answered = anyio.Event()
            await self._all_answered.wait()
