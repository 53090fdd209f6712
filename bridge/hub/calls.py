"""The calls to one server: how many at once, how long each may take, and when one may be sent a second time."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeAlias, runtime_checkable

import anyio
from mcp import Client, types
from pydantic import TypeAdapter

from bridge.call_options import CallOptions, OnProgress
from bridge.clock import Clock
from bridge.config.settings import ServerConfig
from bridge.hub.failures import CallFailed, advise_repeat, explain_call, is_harmless

MAX_WAITING = 1000
"""How many calls may wait for a slot; one more fails as `busy`."""
SECOND_TRY_S = 0.25
"""How long to wait, after a failed call, for the connection to be found lost; then the same one is tried again."""

LONGEST_PAUSE_S, MAX_PAUSES = 30.0, 3
"""How long a server may ask to wait, and how often, for a call to be repeated that it refused."""

Result: TypeAlias = types.CallToolResult | types.InputRequiredResult
_RESULT = TypeAdapter[Result](Result)


@runtime_checkable
class DirectServer(Protocol):
    """A server in this process that is called as a plain function, without messages and their validation."""

    async def answer(self, params: types.CallToolRequestParams) -> Result:
        """Return the result of a call; one that fails returns a result too."""
        ...


@dataclass(eq=False)
class Link:
    """An open connection to a server. `lost` is set by whoever sees that it has ended, `over` once no call may use it.

    Calls that were sent on it before keep it open until they end.
    """

    client: Client
    lost: anyio.Event
    direct: DirectServer | None = None
    """The server itself, if calls can bypass `client`."""
    complain: Callable[[], str | None] = lambda: None
    """Says what was wrong with the last reply, if it could not be given to a call."""
    over: anyio.Event = field(default_factory=anyio.Event)
    running: int = 0
    """How many calls are in flight."""
    _idle: anyio.Event | None = None

    def leave(self) -> None:
        """Note that a call has ended."""
        self.running -= 1
        if self._idle and not self.running:
            self._idle.set()

    async def wait_until_idle(self) -> None:
        """Wait until no call is in flight any more."""
        if self.running:
            self._idle = anyio.Event()
            await self._idle.wait()


class CallSender:
    """Sends calls to one server, from any task.

    `find_link` returns the open connection, waits while one may still come up, or raises CallFailed. A call is sent
    once. It is sent a second time only if the first was never written or certainly not executed, or the tool declares
    that this does no harm.
    """

    def __init__(
        self,
        server: ServerConfig,
        *,
        clock: Clock,
        timeout_s: float,
        find_link: Callable[[], Awaitable[Link]],
        on_answer: Callable[[], None],
    ) -> None:
        self._key = server.key
        self._clock = clock
        self._timeout_s = timeout_s
        self._idle_timeout_s = server.idle_timeout_s
        self._find_link = find_link
        self._on_answer = on_answer
        self._slots = anyio.Semaphore(1 if server.serial else server.max_parallel, fast_acquire=True)

    async def call(self, tool: types.Tool, params: types.CallToolRequestParams, options: CallOptions) -> Result:
        """Send one `tools/call` and return its result, or the input it requires. Raises CallFailed, for the model.

        The wait for a slot counts towards the deadline only, not towards the timeout of the call.
        """
        await self._wait_for_slot(options.end)
        chances = _Chances(min(options.end, self._clock.now() + self._timeout_s))
        try:
            with self._clock.scope(chances.end):
                return await self._send_as_often_as_helps(tool, params, options, chances)
        finally:
            self._slots.release()
        raise CallFailed("timeout", f"no result in time{_complain(chances.link)}; {chances.fate}")

    async def _send_as_often_as_helps(
        self, tool: types.Tool, params: types.CallToolRequestParams, options: CallOptions, chances: "_Chances"
    ) -> Result:
        """Send a call; once more on a new connection, and again after each pause that the server asks for."""
        link = chances.link = await self._find_link()
        while True:
            chances.fate = advise_repeat(tool)
            try:
                return await self._send(link, tool, params, options)
            except CallFailed as failure:
                if not chances.take(failure, self._clock.now()):
                    if failure.may_repeat and failure.pause_s is None:
                        link.lost.set()
                    raise
                if not is_harmless(tool):
                    chances.fate = "it was not executed"
                pause_s = failure.pause_s
            link = chances.link = await (self._replace(link) if pause_s is None else self._wait(pause_s))

    async def _wait_for_slot(self, deadline: float) -> None:
        if self._slots.value:
            self._slots.acquire_nowait()
            return
        if self._slots.statistics().tasks_waiting >= MAX_WAITING:
            raise CallFailed("busy", f"{MAX_WAITING:,} calls wait for {self._key}; it was not sent")
        with self._clock.scope(deadline):
            await self._slots.acquire()
            return
        raise CallFailed("timeout", "no result in time; it was not sent")

    async def _replace(self, failed: Link) -> Link:
        """Return a new connection, or the same one if it is not lost."""
        with self._clock.scope(self._clock.now() + SECOND_TRY_S):
            await failed.over.wait()
        return await self._find_link()

    async def _wait(self, pause_s: float) -> Link:
        await self._clock.sleep(pause_s)
        return await self._find_link()

    async def _send(
        self, link: Link, tool: types.Tool, params: types.CallToolRequestParams, options: CallOptions
    ) -> Result:
        if self._idle_timeout_s is None:
            return await self._send_once(link, tool, params, options)
        silence = _Silence(self._clock, self._idle_timeout_s, options.on_progress)
        outcome: Result | CallFailed | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(silence.end, tasks.cancel_scope)
            try:
                outcome = await self._send_once(link, tool, params, replace(options, on_progress=silence.report))
            except CallFailed as failure:
                outcome = failure
            tasks.cancel_scope.cancel()
        if outcome is None:
            silence_s = f"{self._idle_timeout_s:g} s{_complain(link)}"
            raise CallFailed("timeout", f"neither a result nor progress for {silence_s}; {advise_repeat(tool)}")
        if isinstance(outcome, CallFailed):
            raise outcome
        return outcome

    async def _send_once(
        self, link: Link, tool: types.Tool, params: types.CallToolRequestParams, options: CallOptions
    ) -> Result:
        if options.on_send:
            await options.on_send()
        link.running += 1
        try:
            if link.direct:
                result = await link.direct.answer(params)
            else:
                request = types.CallToolRequest(params=params)
                # Not `call_tool`: that discards the result of an executed call if it does not fit the output schema.
                result = await link.client.session.send_request(request, _RESULT, progress_callback=options.on_progress)
        except Exception as error:  # boundary: whatever a call raises, the model is told
            raise explain_call(self._key, tool, error) from error
        finally:
            link.leave()
        self._on_answer()
        return result


def _complain(link: Link | None) -> str:
    complaint = link.complain() if link else None
    return f", but {complaint}" if complaint else ""


@dataclass
class _Chances:
    """How often one call may still be sent again, until `end`, and what is known of its `fate` meanwhile."""

    end: float
    fate: str = "it was not sent"
    link: Link | None = None
    """The connection that it was sent over last."""
    connections: int = 1
    pauses: int = MAX_PAUSES

    def take(self, failure: CallFailed, now: float) -> bool:
        """Use one up; False if there is none for this failure."""
        if not failure.may_repeat:
            return False
        if failure.pause_s is None:
            self.connections -= 1
            return self.connections >= 0
        self.pauses -= 1
        return self.pauses >= 0 and failure.pause_s <= min(LONGEST_PAUSE_S, self.end - now)


class _Silence:
    """Ends a call after `limit_s` seconds without progress. Progress does not extend the timeout of the call."""

    def __init__(self, clock: Clock, limit_s: float, on_progress: OnProgress | None) -> None:
        self._clock = clock
        self._limit_s = limit_s
        self._on_progress = on_progress
        self._heard = anyio.Event()

    async def report(self, progress: float, total: float | None, message: str | None) -> None:
        self._heard.set()
        if self._on_progress:
            await self._on_progress(progress, total, message)

    async def end(self, call: anyio.CancelScope) -> None:
        """Cancel `call` once the silence has lasted too long."""
        is_heard = True
        while is_heard:
            is_heard, self._heard = False, anyio.Event()
            with self._clock.scope(self._clock.now() + self._limit_s):
                await self._heard.wait()
                is_heard = True
        call.cancel()
