"""Background responses: polled until complete, resumed after a cut connection, cancelled with the run."""

from contextlib import suppress
from urllib.parse import quote

import anyio

from bridge.clock import Clock
from bridge.errors import UpstreamError
from bridge.events import InBackground, OnEvent
from bridge.items import Response, Turn
from bridge.upstream.retries import Transient
from bridge.upstream.stream import StreamAccumulator
from bridge.upstream.wire import Form, Wire

BEGUN = "begun"
PENDING = ("queued", "in_progress")
FIRST_PAUSE_S, GROWTH, LAST_PAUSE_S = 1.0, 1.5, 10.0
MAX_FAILURES = 5
"""Consecutive failed polls after which the response counts as lost."""
CANCEL_S = 5.0
"""Seconds that the request to cancel a response may take."""


class Background:
    """One background response, from its creation to its end. Only the run's deadline bounds it, by cancelling it."""

    def __init__(self, wire: Wire, clock: Clock, stream: StreamAccumulator, on_event: OnEvent) -> None:
        self._wire = wire
        self._clock = clock
        self._stream = stream
        self._on_event = on_event
        self._response_id: str | None = None

    async def create(self, turn: Turn, form: Form) -> tuple[Response, Form]:
        """Create a response as `Wire.post` does, and wait until it is complete.

        Raises UpstreamError with the code `no_background` where the upstream accepted the request but does not know
        its response.
        """
        try:
            return await self._find_begun(turn, form) or await self._create(turn, form)
        except anyio.get_cancelled_exc_class():
            if not turn.is_left():
                await self._cancel()
            raise

    async def _find_begun(self, turn: Turn, form: Form) -> tuple[Response, Form] | None:
        """Wait for the response that was begun for this turn before; None where there is none, or no more."""
        if turn.begun is None:
            return None
        self._response_id = turn.begun
        try:
            return await self._poll(turn.begun), form
        except UpstreamError as error:
            if error.code != "no_background":
                raise
        self._response_id = None
        return None

    async def _create(self, turn: Turn, form: Form) -> tuple[Response, Form]:
        self._stream.on_opened = self._note_begun
        try:
            response, form = await self._wire.post(turn, self._stream, form=form)
            self._response_id = response["id"]
        except Transient:
            self._response_id, _ = self._stream.find_position()
            if self._response_id is None:
                raise
            return await self._resume(self._response_id), "stream"
        if self._response_id and response["status"] in PENDING:
            response = await self._poll(self._response_id)
        return response, form

    async def _resume(self, response_id: str) -> Response:
        """Read the events after the last one received; where that fails, poll for the whole response."""
        self._report(response_id, "resumed")
        for _ in range(MAX_FAILURES):
            await self._clock.sleep(FIRST_PAUSE_S)
            _, number = self._stream.find_position()
            try:
                return await self._wire.get(response_id, self._stream.resume(), after=number)
            except Transient:
                continue
            except UpstreamError:
                break
        return await self._poll(response_id)

    async def _poll(self, response_id: str) -> Response:
        pause, failures = FIRST_PAUSE_S, 0
        self._report(response_id, "waited for")
        while True:
            await self._clock.sleep(pause)
            pause = min(pause * GROWTH, LAST_PAUSE_S)
            try:
                response = await self._wire.get(response_id, self._stream)
            except Transient as failure:
                failures += 1
                if failures == MAX_FAILURES:
                    raise failure.error from failure
                continue
            except UpstreamError as error:
                message = f"A background response was started, but cannot be read: {error.message}"
                raise UpstreamError(message, code="no_background", status=error.status) from error
            if response["status"] not in PENDING:
                return response
            failures = 0

    def _note_begun(self, response_id: str) -> None:
        """Have the response known before it is there, for who may have to go on with the run."""
        self._report(response_id, BEGUN)

    def _report(self, response_id: str, what: str) -> None:
        self._on_event(InBackground(response_id=response_id, what=what))

    async def _cancel(self) -> None:
        """Ask the upstream to cancel the response; failures are ignored."""
        response_id = self._response_id or self._stream.find_position()[0]
        scope = self._clock.scope(self._clock.now() + CANCEL_S)
        scope.shield = True
        if response_id:
            with scope, suppress(UpstreamError):
                path = f"/responses/{quote(response_id, safe='')}/cancel"
                await self._wire.fetch("POST", path, None, timeout_s=CANCEL_S)
