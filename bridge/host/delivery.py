"""The result of a run on its way to one call, which the host may give up at any moment, also when it was answered."""

import weakref
from collections.abc import Callable
from typing import TypeAlias

from bridge.host.cancellation import OnCancel, decide, is_given_up
from bridge.host.principal import HostRequest
from bridge.run.engine import Engine
from bridge.run.run import Run

StartSoon: TypeAlias = Callable[..., None]
"""Runs a coroutine function with these arguments in the background."""


class Delivery:
    """Tells the engine what became of one call that waits for a run."""

    def __init__(
        self, run: Run, engine: Engine, on_cancel: OnCancel, start_soon: StartSoon, message_id: str | None = None
    ) -> None:
        """`message_id`: the interjection that the call has brought.

        A cancellation may come long after the answer, and holds this until then: nothing large may hang on it.
        """
        self._run = weakref.ref(run)
        self._engine = engine
        self._on_cancel: OnCancel = on_cancel
        self._start_soon = start_soon
        self._message_id = message_id
        self._is_delivered = False

    async def note_answer(self, ctx: HostRequest) -> None:
        """Note that the call is answered, if anybody still waits for that."""
        if self._message_id and (run := self._run()) and not is_given_up(ctx):
            await self._engine.note_answer(run, self._message_id, is_answered=True)

    async def note_result(self, ctx: HostRequest) -> None:
        """Note that the call is answered with the result, if anybody still waits for that."""
        if (run := self._run()) and not is_given_up(ctx):
            self._is_delivered = True
            await self._engine.note_delivery(run, is_delivered=True)

    def note_cancelled(self, reason: str | None, age_s: float) -> None:
        """Handle the cancellation of the call, which was waiting or had just been answered."""
        if run := self._run():
            self._start_soon(self._handle_cancelled, run, reason, age_s)

    async def _handle_cancelled(self, run: Run, reason: str | None, age_s: float) -> None:
        if self._message_id:
            await self._engine.note_answer(run, self._message_id, is_answered=False)
        if run.ending is None and decide(self._on_cancel, reason, age_s) == "stop":
            await self._engine.give_up(run)
        elif run.ending is None or self._is_delivered:  # else another call has got the result
            await self._engine.note_delivery(run, is_delivered=False)
