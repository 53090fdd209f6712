"""Cancelled calls of hosts: finding out the reason, and deciding whether the run stops too.

The SDK (mcp 2.3) cancels a call's task before it reports the reason. It does not say whether a reason will follow, nor
whether the host listens to progress. This module finds out; no other reads private attributes of `ctx.session` for it.
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

HostRequest: TypeAlias = ServerRequestContext[dict[str, object]]
"""The SDK's context of one request from a host; in parameters, `ctx` as in the SDK."""
OnCancel: TypeAlias = Literal["auto", "stop", "detach"]

LIKELY_TIMEOUT_S = 30.0
"""A call that is cancelled after this long is taken for one that timed out, not for one that is no longer wanted."""
REMEMBERED = 1000
"""The latest calls, of all hosts together, whose cancellation reason is still recognised."""

_TIMEOUT = re.compile(r"time?d?[ _-]?out|deadline", re.IGNORECASE)
"""Recognises a timeout in the reasons that SDKs give: "timed out after 60s" (Python), "Request timed out" (TypeScript),
"context deadline exceeded" (Go)."""


def decide(on_cancel: OnCancel, reason: str | None, age_s: float) -> Literal["stop", "detach"]:
    """Decide what a cancelled call means for its run; `reason` is None where the connection was just closed."""
    if on_cancel != "auto":
        return on_cancel
    is_timeout = reason is None or age_s >= LIKELY_TIMEOUT_S or bool(_TIMEOUT.search(reason))
    return "detach" if is_timeout else "stop"


class Cancellations:
    """The reasons of cancellations, delivered to the calls they cancel."""

    def __init__(self, server: Server[dict[str, object]], clock: Clock) -> None:
        self._clock = clock
        self._reasons: dict[tuple[int, str], Future[str]] = {}
        server.add_notification_handler("notifications/cancelled", types.CancelledNotificationParams, self._hear)

    @contextmanager
    def watch(self, ctx: HostRequest, on_cancelled: Callable[[str | None, float], None]) -> Generator[None]:
        """Report a cancellation of the call that is served in this context.

        `on_cancelled` gets the reason (None where the connection was just closed) and the call's age in seconds, as
        soon as the reason is known. That may be after the call was answered: the host had stopped waiting by then, and
        ignores the answer.
        """
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

    async def _hear(self, ctx: HostRequest, params: types.CancelledNotificationParams) -> None:
        if reason := self._reasons.pop(_name_call(ctx, params.request_id), None):
            reason.set_result(params.reason or "")


def is_given_up(ctx: HostRequest) -> bool:
    """Tell whether the host has cancelled the call; the call's own task may not be cancelled yet."""
    return ctx.session._request_outbound.cancel_requested.is_set()


def wants_progress(ctx: HostRequest) -> bool:
    """Tell whether the caller listens to progress: it gave a progressToken, or is in this process and needs none."""
    is_in_process = ctx.request is None and not ctx.session._connection.has_standalone_channel
    return is_in_process or "progress_token" in (ctx.meta or {})


def _name_call(ctx: HostRequest, request_id: types.RequestId | None) -> tuple[int, str]:
    """Return a key that a call and its cancellation share: request ids are unique per connection only.

    In the modern era the SDK makes a new connection object for each message, but its `outbound` stays the same.
    """
    return id(ctx.session._connection.outbound), str(request_id)


def _is_closed(ctx: HostRequest) -> bool:
    """Tell whether a cancellation without a reason is a closed HTTP request, which cancels a call in the modern era."""
    return ctx.request is not None and ctx.protocol_version in MODERN_PROTOCOL_VERSIONS
