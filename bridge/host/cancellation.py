"""Cancelled calls of hosts: finding out the reason, and deciding whether the run stops too.

The SDK (mcp 2.3) cancels a call's task before it reports the reason. It does not say whether a reason will follow, nor
whether the host listens to progress. This module finds out; no other reads private attributes of `ctx.session` for it.
"""

import re
import weakref
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from typing import Literal, TypeAlias

import anyio
from mcp.server import Server
from mcp.server.context import CallNext, HandlerResult

from bridge.clock import Clock
from bridge.host.presence import find_presence
from bridge.host.principal import HostRequest, find_http, find_origin, may_return
from bridge.run.engine import Caller

OnCancel: TypeAlias = Literal["auto", "stop", "detach"]
OnCancelled: TypeAlias = Callable[[str | None, float], None]

LIKELY_TIMEOUT_S = 30.0
"""A call that is cancelled after this long is taken for one that timed out, not for one that is no longer wanted."""
REMEMBERED = 1000
"""The latest calls that were answered, of all hosts together, whose cancellation is still recognised."""

_TIMEOUT = re.compile(r"time?d?[ _-]?out|deadline", re.IGNORECASE)
"""Recognises a timeout in the reasons that SDKs give: "timed out after 60s" (Python), "Request timed out" (TypeScript),
"context deadline exceeded" (Go)."""

_Name: TypeAlias = tuple[weakref.ref[object], str]
_Reason: TypeAlias = Future[str]


def decide(on_cancel: OnCancel, reason: str | None, age_s: float) -> Literal["stop", "detach"]:
    """Decide what a cancelled call means for its run; `reason` is None where the connection was just closed."""
    if on_cancel != "auto":
        return on_cancel
    is_timeout = reason is None or age_s >= LIKELY_TIMEOUT_S or bool(_TIMEOUT.search(reason))
    return "detach" if is_timeout else "stop"


class Cancellations:
    """The reasons of cancellations, delivered to the calls they cancel."""

    def __init__(self, server: Server[dict[str, object]], clock: Clock, outlives: Callable[[], bool]) -> None:
        """`outlives`: tells whether runs go on in another process after the end of this one."""
        self._clock = clock
        self._outlives = outlives
        self._open: dict[_Name, _Reason] = {}
        self._answered: dict[_Name, _Reason] = {}
        # Not a handler of that notification: the SDK drops one whose reason is no text, though it cancels the call.
        server.middleware.append(self._listen)

    @contextmanager
    def watch(self, ctx: HostRequest, on_cancelled: OnCancelled) -> Generator[None]:
        """Report a cancellation of the call that is served in this context, or the end of its connection.

        `on_cancelled` gets the reason (None where the connection was just closed) and the call's age in seconds, as
        soon as the reason is known. That may be after the call was answered: the host had stopped waiting by then, and
        ignores the answer.
        """
        began = self._clock.now()
        if presence := find_presence(ctx):
            presence.on_leaving = lambda: on_cancelled(None, self._clock.now() - began)
        name, reason = _name_call(ctx, ctx.request_id), _Reason()
        self._open[name] = reason
        try:
            yield
        except anyio.get_cancelled_exc_class():
            if not is_given_up(ctx):
                is_back_later = may_return(ctx) or (find_http(ctx) is None and self._outlives())
                on_cancelled(None if is_back_later else "", self._clock.now() - began)
            raise
        finally:
            age_s = self._clock.now() - began
            if presence:
                presence.on_leaving = None
            reason.add_done_callback(lambda reason: on_cancelled(reason.result(), age_s))
            self._note_answered(name, reason)

    def _note_answered(self, name: _Name, reason: _Reason) -> None:
        if self._open.get(name) is reason:
            del self._open[name]
            self._answered.pop(name, None)
            self._answered[name] = reason
        while len(self._answered) > REMEMBERED:
            del self._answered[next(iter(self._answered))]

    async def _listen(self, ctx: HostRequest, call_next: CallNext) -> HandlerResult:
        if ctx.method == "notifications/cancelled" and ctx.params:
            self._hear(_name_call(ctx, ctx.params.get("requestId")), ctx.params.get("reason"))
        return await call_next(ctx)

    def _hear(self, name: _Name, words: object) -> None:
        if reason := self._open.pop(name, None) or self._answered.pop(name, None):
            reason.set_result(words if isinstance(words, str) else "")


def is_given_up(ctx: HostRequest) -> bool:
    """Tell whether the host has cancelled the call, or hung up; the call's own task may not be cancelled yet."""
    presence = find_presence(ctx)
    return ctx.session._request_outbound.cancel_requested.is_set() or bool(presence and presence.has_left)


def identify(ctx: HostRequest) -> Caller:
    """Describe the call as one that waits for a run."""
    return Caller(find_origin(ctx), partial(is_given_up, ctx))


def wants_progress(ctx: HostRequest) -> bool:
    """Tell whether the caller listens to progress: it gave a progressToken, or is in this process and needs none."""
    is_in_process = ctx.request is None and not ctx.session._connection.has_standalone_channel
    return is_in_process or "progress_token" in (ctx.meta or {})


def _name_call(ctx: HostRequest, request_id: object) -> _Name:
    """Return a key that a call and its cancellation share: request ids are unique per connection only.

    In the modern era the SDK makes a new connection object for each message, but its `outbound` stays the same. Held
    weakly, that of a connection that has ended is equal to no other, wherever the next one is in memory.
    """
    return weakref.ref(ctx.session._connection.outbound), str(request_id)
