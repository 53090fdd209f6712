"""One call of a host that waits for a run: it relays progress meanwhile, and asks the run's questions."""

import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import anyio
from mcp import types

from bridge.clock import Clock
from bridge.host.audience import HostAudience
from bridge.host.cancellation import identify, wants_progress
from bridge.host.principal import HostRequest, is_modern
from bridge.host.progress import ProgressRelay
from bridge.questions import Question, leave_unasked
from bridge.run.engine import Engine, Settle, Show
from bridge.run.run import Run

TEXT_META = "mcp-responses-bridge/text"
"""A caller that sets this key of `_meta` to true gets the streamed text as progress messages."""
TIME_TO_ANSWER = 1 / 3
"""As a share of the soft deadline: with less time left, a question waits for the next call, so that the person is not
hurried."""


class Waiting:
    """The call of `ctx`, which waits for a run and must be answered by the soft deadline."""

    def __init__(
        self,
        ctx: HostRequest,
        run: Run,
        engine: Engine,
        audience: HostAudience,
        clock: Clock,
        soft_deadline_s: float,
        redact: Callable[[str], str],
        *,
        message_id: str | None = None,
        reported: int = 0,
    ) -> None:
        """`message_id`: the interjection that the call has brought; `reported`: how much progress it was told."""
        self._ctx = ctx
        self._run = run
        self._engine = engine
        self._audience = audience
        self._clock = clock
        self._redact = redact
        self._caller = replace(identify(ctx), message_id=message_id)
        self.reported = reported
        self._patience_s = soft_deadline_s
        self._deadline = clock.now() + soft_deadline_s

    async def wait(self, seconds: float, *, after: int) -> Run:
        """Wait until the run has ended, `seconds` are over, or there is a question that this call must not ask."""
        until = min(self._clock.now() + seconds, self._deadline)
        relay = self._build_relay() if wants_progress(self._ctx) else None
        listener = relay.listen if relay else None
        with self._engine.attend(self._run, listener, after=after, audience=self._audience, caller=self._caller):
            await (self._watch_with_progress(until, relay) if relay else self._watch(until))
        self.reported = relay.sent if relay else 0
        return self._run

    def _build_relay(self) -> ProgressRelay:
        meta = cast("dict[str, object]", self._ctx.meta or {})
        wants_text = meta.get(TEXT_META) is True
        return ProgressRelay(self._report, self._clock, self._redact, wants_text=wants_text, sent=self.reported)

    async def _watch_with_progress(self, until: float, relay: ProgressRelay) -> None:
        """Watch and report progress; never past the deadline, even if the host does not read the reports."""
        with self._clock.scope(self._deadline):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(relay.relay)
                await self._watch(until)
                if self._run.ending is None:
                    tasks.cancel_scope.cancel()
                relay.end()  # whoever takes a run up while this call waits may tell its end elsewhere

    async def _watch(self, until: float) -> None:
        while self._run.ending is None:
            if questions := self._audience.pick(self._run.questions):
                if is_modern(self._ctx) or self._clock.now() > self._deadline - self._patience_s * TIME_TO_ANSWER:
                    return
                await self._ask(*next(iter(questions.items())))
            elif self._clock.now() >= until:
                return
            else:
                self._run = await self._engine.wait(self._run, news=self._run.news, until=until)

    async def _ask(self, key: str, question: Question) -> None:
        """Ask one question during the call, and wait until it is settled."""
        await self._engine.send(self._run, Show(key, self._deadline - self._clock.now(), self._audience))
        with self._clock.scope(self._deadline):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._elicit, key, question)
                while self._is_open(key):
                    self._run = await self._engine.wait(self._run, news=self._run.news, until=self._deadline)
                tasks.cancel_scope.cancel()

    def _is_open(self, key: str) -> bool:
        return self._run.ending is None and key in self._run.questions and self._clock.now() < self._deadline

    async def _elicit(self, key: str, question: Question) -> None:
        try:
            result = await self._put(question)
        except Exception as error:  # noqa: BLE001 - boundary: however a host fails, the run goes on
            answer = leave_unasked(f"this host answered the question with an error: {error}")
        else:
            answer = self._audience.read_answer(result)
        await self._engine.send(self._run, Settle(key, answer))

    async def _put(self, question: Question) -> types.ElicitResult:
        session, call = self._ctx.session, self._ctx.request_id
        if question.address:
            return await session.elicit_url(
                question.message, question.address, secrets.token_hex(16), related_request_id=call
            )
        return await session.elicit_form(question.message, question.schema, related_request_id=call)

    async def _report(self, progress: float, message: str) -> None:
        await self._ctx.session.report_progress(progress, None, message)
