"""Hosts that give up a call: what that means for its run.

The SDK (mcp 2.3) cancels a call's task before it tells anybody the reason, and says nowhere whether one follows, nor
whether progress is heard; it is found out here, the one place that looks behind `ctx.session` for it.
"""

import re
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Literal, TypeAlias

import anyio
from mcp import types
from mcp.server import Server, ServerRequestContext
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from bridge.clock import Clock

Context: TypeAlias = ServerRequestContext[dict[str, object]]
OnCancel: TypeAlias = Literal["auto", "stop", "detach"]

PATIENT_S = 30.0
"""A call that was waited for this long is rather one that took too long than one that nobody wants any more."""
REMEMBERED = 1000
"""Calls, of all hosts together, whose cancellation is still heard."""

_TIMEOUT = re.compile(r"time?d?[ _-]?out|deadline", re.IGNORECASE)
"""Of the reasons that SDKs give: "timed out after 60s" (Python), "Request timed out" (TypeScript), "context deadline
exceeded" (Go)."""


def decide(on_cancel: OnCancel, reason: str | None, age_s: float) -> Literal["stop", "detach"]:
    """What a cancelled call means for its run; `reason` is None where the connection was closed without a word."""
    if on_cancel != "auto":
        return on_cancel
    is_timeout = reason is None or age_s >= PATIENT_S or bool(_TIMEOUT.search(reason))
    return "detach" if is_timeout else "stop"


class Cancellations:
    """Tells each call that is cancelled why."""

    def __init__(self, server: Server[dict[str, object]], clock: Clock) -> None:
        self._clock = clock
        self._reasons: dict[tuple[int, str], Future[str]] = {}
        server.add_notification_handler("notifications/cancelled", types.CancelledNotificationParams, self._hear)

    @contextmanager
    def watch(self, ctx: Context, on_cancelled: Callable[[str | None, float], None]) -> Generator[None]:
        """While a call is served. If it is cancelled, `on_cancelled` gets the reason, None where the connection was
        closed without a word, and the call's age in seconds: at once, or as soon as the reason is there. That may be
        after the call was answered: the host had stopped waiting, and will never look at the answer."""
        key, began = _name_call(ctx, ctx.request_id), self._clock.now()
        reason = self._remember(key)
        try:
            yield
        except anyio.get_cancelled_exc_class():
            if not is_given_up(ctx):
                on_cancelled(None if _is_closed(ctx) else "", self._clock.now() - began)
            raise
        finally:
            age_s = self._clock.now() - began
            reason.add_done_callback(lambda reason: on_cancelled(reason.result(), age_s))

    def _remember(self, key: tuple[int, str]) -> Future[str]:
        self._reasons.pop(key, None)
        self._reasons[key] = reason = Future[str]()
        while len(self._reasons) > REMEMBERED:
            del self._reasons[next(iter(self._reasons))]
        return reason

    async def _hear(self, ctx: Context, params: types.CancelledNotificationParams) -> None:
        if reason := self._reasons.pop(_name_call(ctx, params.request_id), None):
            reason.set_result(params.reason or "")


def is_given_up(ctx: Context) -> bool:
    """Whether the host has said that it gives the call up; the call's own task may not have heard of it yet."""
    return ctx.session._request_outbound.cancel_requested.is_set()


def wants_progress(ctx: Context) -> bool:
    """Whether somebody would hear of the call's progress: a caller that gave a progressToken, or one in this process,
    which needs none."""
    is_in_process = ctx.request is None and not ctx.session._connection.has_standalone_channel
    return is_in_process or "progress_token" in (ctx.meta or {})


def _name_call(ctx: Context, request_id: types.RequestId | None) -> tuple[int, str]:
    """A name for a call that its cancellation has too: hosts number their requests per connection. In the modern era a
    connection is made up anew for each message, but not what it writes to."""
    return id(ctx.session._connection.outbound), str(request_id)


def _is_closed(ctx: Context) -> bool:
    """Whether a cancellation without a word is a closed HTTP request, the modern era's way to say so."""
    return ctx.request is not None and ctx.protocol_version in MODERN_PROTOCOL_VERSIONS
