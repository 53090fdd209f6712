"""One call of a host that waits for a run: what it hears meanwhile, and the questions that it is asked."""

from functools import partial
from typing import cast

import anyio

from bridge.clock import Clock
from bridge.host.audience import is_modern, read_answer, write_question
from bridge.host.cancellation import Context, is_given_up, wants_progress
from bridge.host.progress import ProgressRelay
from bridge.json_text import JsonObject
from bridge.questions import leave_unasked
from bridge.run.asking import Asked
from bridge.run.run import Run

TEXT_META = "mcp-responses-bridge/text"
"""A caller that sets this in `_meta` gets the text as it arrives, as progress messages."""
TIME_TO_ANSWER = 1 / 3
"""Of the soft deadline: with less of it left, the person is asked by the next call and not in haste by this one."""


class Waiting:
    """The call of `ctx`, which must be answered by the soft deadline."""

    def __init__(self, ctx: Context, run: Run, clock: Clock, soft_deadline_s: float) -> None:
        self._ctx = ctx
        self._run = run
        self._clock = clock
        self._patience_s = soft_deadline_s
        self._deadline = clock.now() + soft_deadline_s

    async def wait(self, seconds: float) -> None:
        """Until the run has ended, or `seconds` are over; or the person has to be asked, and not by this call."""
        until = min(self._clock.now() + seconds, self._deadline)
        relay = self._build_relay() if wants_progress(self._ctx) else None
        with self._run.attend(relay.listen if relay else _hear_nothing, partial(is_given_up, self._ctx)):
            await (self._watch_aloud(until, relay) if relay else self._watch(until))

    def _build_relay(self) -> ProgressRelay:
        meta = cast("dict[str, object]", self._ctx.meta or {})
        return ProgressRelay(self._report, self._clock, wants_text=meta.get(TEXT_META) is True)

    async def _watch_aloud(self, until: float, relay: ProgressRelay) -> None:
        """Watch, and tell what happens; a host that does not read it is not waited for longer."""
        with self._clock.scope(self._deadline):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(relay.relay)
                await self._watch(until)
                if self._run.ending is None:
                    tasks.cancel_scope.cancel()

    async def _watch(self, until: float) -> None:
        while self._run.ending is None:
            if waiting := list(self._run.questions.open.values()):
                if is_modern(self._ctx) or self._clock.now() > self._deadline - self._patience_s * TIME_TO_ANSWER:
                    return
                await self._push(waiting[0])
            elif self._clock.now() >= until:
                return
            else:
                news = self._run.news
                with self._clock.scope(until):
                    await news.wait()

    async def _push(self, asked: Asked) -> None:
        """Ask in the middle of the call, one question at a time."""
        asked.show(self._deadline)
        with self._clock.scope(self._deadline):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._elicit, asked)
                await asked.settled.wait()  # also when the run has ended without it
                tasks.cancel_scope.cancel()

    async def _elicit(self, asked: Asked) -> None:
        params = write_question(asked.question).params
        try:
            result = await self._ctx.session.elicit_form(
                params.message, asked.question.schema, related_request_id=self._ctx.request_id
            )
        except Exception as error:  # noqa: BLE001 - boundary: however a host fails, the run goes on
            asked.settle(leave_unasked(f"this host answered the question with an error: {error}"))
        else:
            asked.settle(read_answer(result))

    async def _report(self, progress: float, message: str) -> None:
        await self._ctx.session.report_progress(progress, None, message)


def _hear_nothing(_event: JsonObject) -> None:
    """What a caller hears that gave no progressToken."""
