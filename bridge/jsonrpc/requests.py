"""Which of a connection's open requests a reply belongs to, also where its id is not the one that was sent.

Servers answer `1` with `1.0` (yurineko73/Godot-MCP-Native#16) or `"1"` (python-sdk#1720), everything with `0`
(radareorg/radare2-mcp#68) or an error with `null` (helidon-io/helidon-mcp#65); and some answer notifications, with
`null` (yjacquin/fast-mcp#39) or `0` (oisee/odata_mcp_go#33). The SDK (mcp 2.3) drops all but the second.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import anyio
from mcp_types import (
    PARSE_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
    RequestId,
)

from bridge.json_text import write
from bridge.jsonrpc.messages import NO_ID

Reply: TypeAlias = JSONRPCResponse | JSONRPCError
Answer: TypeAlias = tuple[str, Reply]
"""The method of a request, and its reply, with its id."""

CALL = "tools/call"
MAX_OTHERS = 100
MAX_DIGITS = 18
"""Of an id that is written as a text. Ours are counted from 1; Python refuses to read 5,000 digits."""
NAMED_CHARS = 60
"""How much of an id is told."""
_NEVER_ANSWERED = "subscriptions/listen"
"""Stays open as long as the connection."""
_KEYS = {
    "protocolVersion": "initialize",
    "supportedVersions": "server/discover",
    "tools": "tools/list",
    "content": CALL,
    "structuredContent": CALL,
    "toolResult": CALL,
    "inputRequests": CALL,
}
"""What tells the kind of a result."""


@dataclass
class _Stray:
    """A reply that may belong to any of these requests."""

    reply: Reply
    requests: set[RequestId]
    id: RequestId | None
    """As it came."""


class OpenRequests:
    """The requests of one connection that wait for a reply. Ids are numbers that grow, as the SDK makes them."""

    def __init__(self) -> None:
        self.complaint: str | None = None
        """What was wrong with the last reply, if it could not be given to a request."""
        self._open: dict[RequestId, str] = {}
        self._given_up: dict[RequestId, str] = {}
        self._others: dict[RequestId, str] = {}
        """The last requests that were no calls, whether they were answered or not."""
        self._answered = deque[RequestId](maxlen=MAX_OTHERS)
        """The last calls that were answered with their own ids."""
        self._strays: list[_Stray] = []
        self._replaced: dict[RequestId, int | None] = {}
        """The requests that were given a reply with another id, and by how much it was off; None where it was no number
        near ours. Their own replies may yet come."""
        self._last = 0
        self._notified_after: int | None = None
        """The last request before a notification that may still be answered, against the rules."""
        self._is_confused = False
        self._is_stuck = False
        """A request was given up among replies without the right ids: each later one might be its reply."""
        self._is_over = False
        self._settled = anyio.Event()

    async def wait_turn(self, message: JSONRPCMessage) -> None:
        """Wait, before a call is sent to a server that mixes up its ids, until no other is open; if it would find no
        reply, until the connection has ended."""
        while self._is_confused and not self._is_over and _is_call(message) and (self._is_stuck or self._has_call()):
            await self._settled.wait()

    @property
    def is_useless(self) -> bool:
        """True if no call is open, and none would find its reply any more."""
        return self._is_stuck and not self._has_call()

    def _has_call(self) -> bool:
        return CALL in self._open.values()

    def note_sent(self, message: JSONRPCMessage) -> None:
        if isinstance(message, JSONRPCRequest):
            self._last = message.id if isinstance(message.id, int) else self._last
            self._open[message.id] = message.method
            if message.method != CALL:
                self._others[message.id] = message.method
                if len(self._others) > MAX_OTHERS:
                    del self._others[next(iter(self._others))]
        elif isinstance(message, JSONRPCNotification):
            self._notified_after = self._last
            if message.method == "notifications/cancelled":
                self._give_up((message.params or {}).get("requestId"))

    def end(self) -> None:
        """Let go whoever waits for a turn: the connection has ended."""
        self._is_over = True
        self._wake()

    def take(self, reply: Reply) -> Sequence[Answer]:
        """Return what a reply answers: its own request as a rule; none, or several, if it cannot be told."""
        id = _read_id(reply.id)
        if id is not None and id in self._open:
            if self._open[id] == CALL:
                self._answered.append(id)
            return [self._settle(id, reply), *self._place_strays()]
        if id is not None and self._given_up.pop(id, None):
            return self._place_strays()
        if id is not None and (self._is_late(id) or self._is_old(id, reply)):
            self._replaced.pop(id, None)
            self.complaint = f"a reply came with {_name(id)}, which belongs to an earlier request"
            return []
        if _is_unreadable(reply) and id is not None:
            return []  # what has an id of its own may be no reply at all, but a line of a log
        return [] if self._answers_notification(reply) else self._place(id, reply)

    def _settle(self, id: RequestId, reply: Reply) -> Answer:
        self.complaint = None
        if self._notified_after is not None and _is_after(id, self._notified_after):
            self._notified_after = None  # messages are answered in order, and this one came later
        self._wake()
        return self._open.pop(id), reply if reply.id == id else reply.model_copy(update={"id": id})

    def _give_up(self, id: object) -> None:
        if isinstance(id, int | str) and id in self._open:
            self._given_up[id] = method = self._open.pop(id)
            self._is_stuck |= self._is_confused and method != _NEVER_ANSWERED
            self._wake()

    def _wake(self) -> None:
        self._settled.set()
        self._settled = anyio.Event()

    def _is_late(self, id: RequestId) -> bool:
        """Tell whether the id is that of a request that was given another reply: this is its own, unless it is of a
        server that counts otherwise, by so much, and answers one that waits."""
        if id not in self._replaced:
            return False
        off = self._replaced[id]
        waiting = self._open.keys() | self._given_up.keys()
        return off is None or not any(isinstance(each, int) and id == each + off for each in waiting)

    def _is_old(self, id: RequestId, reply: Reply) -> bool:
        """Tell whether the id is that of a request that has had its reply: this one came twice, or too late."""
        if not isinstance(id, int) or not 0 < id <= self._last or (self._is_confused and id not in self._answered):
            return False
        kinds = _find_kinds(reply)
        return not kinds or self._others.get(id, CALL) in kinds

    def _answers_notification(self, reply: Reply) -> bool:
        """Tell whether a reply with no request's id may answer a notification: it has no content, and one was sent."""
        if self._notified_after is None or _is_unreadable(reply) or _find_kinds(reply):
            return False
        self._notified_after = None
        self.complaint = f"a reply came with {_name(_read_id(reply.id))}, which no open request has"
        return True

    def _place(self, id: RequestId | None, reply: Reply) -> Sequence[Answer]:
        """Give a reply with no request's id to the only one that it fits, or keep it until there is only one."""
        waiting = {**self._open, **self._given_up}
        fitting = {request for request, method in waiting.items() if _fits(method, reply)}
        if not fitting:
            return []
        self._is_confused |= id is not None or isinstance(reply, JSONRPCResponse)
        self._strays.append(_Stray(reply, fitting, id))
        return self._place_strays() or self._refuse_strays(id)

    def _place_strays(self) -> list[Answer]:
        placed = list[Answer]()
        while stray := self._find_certain():
            self._strays.remove(stray)
            [id] = stray.requests
            self._replaced[id] = self._measure(stray.id, id)
            if id in self._open:
                placed.append(self._settle(id, stray.reply))
            self._given_up.pop(id, None)
        return placed

    def _measure(self, id: RequestId | None, request: RequestId) -> int | None:
        is_near = isinstance(id, int) and 0 <= id <= self._last + 1
        return id - request if is_near and isinstance(id, int) and isinstance(request, int) else None

    def _find_certain(self) -> _Stray | None:
        waiting = self._open.keys() | self._given_up.keys()
        for stray in self._strays:
            stray.requests &= waiting
        self._strays = [stray for stray in self._strays if stray.requests]
        return next((stray for stray in self._strays if len(stray.requests) == 1), None)

    def _refuse_strays(self, id: RequestId | None) -> Sequence[Answer]:
        """Fail the requests among which replies cannot be told apart, once there are as many replies."""
        asked = {request for stray in self._strays for request in stray.requests}
        self.complaint = f"a reply came with {_name(id)}, which no open request has"
        if len(self._strays) < len(asked):
            return []
        words = f"{len(self._strays)} replies came with {_name(id)}, and nobody can tell which belongs to which call"
        error = ErrorData(code=PARSE_ERROR, message=f"{words}; from now on, it gets one call at a time")
        self._strays.clear()
        for request in asked:
            self._given_up.pop(request, None)
        lost = sorted(asked & self._open.keys(), key=str)
        return [self._settle(request, JSONRPCError(jsonrpc="2.0", id=request, error=error)) for request in lost]


def _is_unreadable(reply: Reply) -> bool:
    """Tell whether an error stands for a line that could not be read."""
    return isinstance(reply, JSONRPCError) and reply.error.code == PARSE_ERROR


def _is_call(message: JSONRPCMessage) -> bool:
    return isinstance(message, JSONRPCRequest) and message.method == CALL


def _read_id(id: RequestId | None) -> RequestId | None:
    """Return an id as it was sent: a number; None for none."""
    if isinstance(id, str):
        digits = id.strip().removesuffix(".0")
        is_number = digits.isdecimal() and len(digits) <= MAX_DIGITS
        return None if id == NO_ID else int(digits) if is_number else id
    return id


def _is_after(id: RequestId, other: int) -> bool:
    return isinstance(id, int) and id > other


def _find_kinds(reply: Reply) -> set[str]:
    """Return the methods that a result can be the reply to; none if it does not tell."""
    return {_KEYS[key] for key in _KEYS.keys() & reply.result.keys()} if isinstance(reply, JSONRPCResponse) else set()


def _fits(method: str, reply: Reply) -> bool:
    kinds = _find_kinds(reply)
    return method in kinds if kinds else method != _NEVER_ANSWERED


def _name(id: RequestId | None) -> str:
    text = write(id)
    return "no id" if id is None else f"the id {text if len(text) <= NAMED_CHARS else f'{text[:NAMED_CHARS]}…'}"
