"""The calls of one turn: all at once, each with exactly one output, and with events that tell what happens to them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Generic

import anyio
import anyio.lowlevel

from bridge.call_options import CallOptions
from bridge.clock import Clock
from bridge.events import CallEnded, CallProgressed, CallStarted, tell_notice
from bridge.items import Call, CallOutput, answer_call, fail_call
from bridge.json_text import JsonObject
from bridge.questions import MOOT, Answer, Ask, Question, ask_and_tell
from bridge.run.asking import SharedQuestions
from bridge.run.budget import Budget
from bridge.run.engine import Context, Intend, OutcomeUnknown
from bridge.run.offer import LIMIT_REACHED, Offer
from bridge.run.protocols import Auditor, C, Send
from bridge.run.tools.own_tools import OwnTools, RunCatalogue
from bridge.run.tools.read_output import CutTexts, LongOutputs

if TYPE_CHECKING:
    from bridge.verdicts import Verdict

TOLD_AT_ONCE = 32
"""How many calls that are not run are told of before other tasks may run."""
NOT_STARTED = fail_call("stopped", "the run ended before this call; it was not run")
STOPPED = fail_call("stopped", "the run ended during this call; it may have been executed")
UNKNOWN = fail_call(
    "outcome_unknown", "the bridge ended during this call; it may have been executed, check before you repeat it"
)


@dataclass(frozen=True)
class Terms(Generic[C]):
    """The terms of a whole run: its tools, as they were when it began, and its limits."""

    catalogue: RunCatalogue[C]
    offer: Offer
    """Grows between turns; nothing else here changes."""
    budget: Budget
    deadline: float
    """What the run's stopwatch must not show."""
    slots: anyio.Semaphore
    """One slot for each call that may be in flight."""


@dataclass(frozen=True)
class CallAnswerer(Generic[C]):
    """Answers the calls of a run, a turn at a time."""

    tools: OwnTools[C]
    long_outputs: LongOutputs
    ask: Ask
    ctx: Context
    clock: Clock
    audit: Auditor | None = None
    """Keeps a line of each call; None where nobody wants that."""
    shared: SharedQuestions = field(default_factory=SharedQuestions)

    async def ask_once(self, question: Question) -> Answer:
        """Ask, but not what another call of the run is asking."""
        ask = partial(ask_and_tell, question, self.ask)
        return await (self.shared.ask(question.about, ask) if question.about else ask())

    async def answer(self, n: int, calls: list[Call], allowed: int | None, terms: Terms[C]) -> list[str]:
        """Run `calls` at once, and return the names of the tools that the next requests must carry, in call order:
        those that a call has found, or its own.

        Only the first `allowed` calls are run; with None, the run is over and no call is run. Each call has an output
        all the same, so that the items stay a valid input, except for those of the caller's own functions, which the
        caller answers unless the run is over.
        """
        foreign = terms.offer.foreign if allowed is not None else frozenset[str]()
        cut_texts = self.long_outputs.reserve(len(calls))
        limit_bytes = terms.budget.share(calls)
        runnable = 0 if allowed is None else allowed
        here = terms.budget.allow_here(calls)
        ours = [
            _CallInFlight(
                self,
                n,
                index,
                call,
                terms,
                cut_texts[index],
                limit_bytes,
                is_over=index >= runnable,
                is_over_here=index >= here,
            )
            for index, call in enumerate(calls)
            if call.name not in foreign
        ]
        try:
            if len(ours) == 1:  # a task of its own would be a good part of what one call costs
                await ours[0].answer()
            elif ours:
                async with anyio.create_task_group() as tasks:
                    for one in ours:
                        if not one.is_over:
                            tasks.start_soon(one.answer)
                    tasks.start_soon(_answer_in_turn, [one for one in ours if one.is_over])
        finally:
            for one in ours:
                one.close()
        return [name for one in ours for name in one.names]


async def _answer_in_turn(calls: "Sequence[_CallInFlight[C]]") -> None:
    """Answer calls that are not run. There may be very many, and others have their turn meanwhile."""
    for number, call in enumerate(calls, 1):
        await call.answer()
        if number % TOLD_AT_ONCE == 0:
            await anyio.lowlevel.checkpoint()


class _CallInFlight(Generic[C]):
    """One call. Its end is told exactly once, however it ends: also when the run is stopped in the middle."""

    def __init__(
        self,
        answerer: CallAnswerer[C],
        n: int,
        index: int,
        call: Call,
        terms: Terms[C],
        cut_texts: CutTexts,
        limit_bytes: int,
        *,
        is_over: bool,
        is_over_here: bool,
    ) -> None:
        """`is_over_here`: by the limits of this process it must not be run, which no other need know."""
        self.names: Sequence[str] = ()
        self._answerer = answerer
        self._ctx = answerer.ctx
        self._call = call
        self._terms = terms
        self._cut_texts = cut_texts
        self._limit_bytes = limit_bytes
        self.is_over = is_over
        self._is_over_here = is_over_here
        self._about: dict[str, Any] = {"turn": n, "index": index, "call_id": call.call_id, "name": call.name}
        self._key = f"{n}:{index}"
        self._began = answerer.clock.now()
        self._output = NOT_STARTED
        self._is_closed = False
        self._verdict: Verdict | None = None

    async def answer(self) -> None:
        """Run the call, if it may run."""
        async with self._terms.slots:
            server = self._terms.catalogue.owners.get(self._call.name)
            self._ctx.emit(CallStarted(**self._about, arguments=self._call.arguments, server=server))
            self._began = self._answerer.clock.now()
            self._output = await self._find_output()
            self.close()

    def close(self) -> None:
        """Emit the end of the call, unless that was done before."""
        if self._is_closed:
            return
        self._is_closed = True
        output, call = self._output, self._call
        self.names = output.get("found", [call.name])
        for notice in output.get("notices", []):
            self._ctx.emit(tell_notice(notice))
        ended = CallEnded(
            **self._about,
            arguments=call.arguments,
            server=output["server"],
            tool=output["tool"],
            is_error=output["is_error"],
            duration_ms=round((self._answerer.clock.now() - self._began) * 1000, 1),
            item=answer_call(call, output["output"]),
        )
        self._tell_end(ended, output, self._answerer.audit)

    def _tell_end(self, ended: CallEnded, output: CallOutput, audit: Auditor | None) -> None:
        """Tell the end of the call, and have it noted where an audit is kept: not in a process that goes away, when the
        next one goes on with the call."""
        if audit is None or self._ctx.is_left:
            self._ctx.emit(ended)
            return
        with audit.telling(self._give_account(output)):
            self._ctx.emit(ended)
        for notice in audit.list_news(self._ctx.run):
            self._ctx.emit(tell_notice(notice))

    def _give_account(self, output: CallOutput) -> JsonObject:
        """Say what an audit has to know beside the end of the call."""
        catalogue, name = self._terms.catalogue, self._call.name
        verdict = self._verdict.to_json() if self._verdict else output.get("verdict")
        plain = catalogue.plain_names.get(name)
        return {
            "server": catalogue.owners.get(name),
            "tool": plain,
            "verdict": verdict,
            "is_unknown": output is UNKNOWN,
        }

    async def _find_output(self) -> CallOutput:
        offer, budget = self._terms.offer, self._terms.budget
        if refusal := offer.refuse(self._call, is_over=self.is_over) or budget.refuse(self._call):
            return refusal
        send = await self._answerer.tools.prepare(self._terms.catalogue, self._call, self._ask)
        output = await self._send_once(send) if callable(send) else send
        self._answerer.long_outputs.put(output.get("kept", {}), self._cut_texts.data)
        budget.note(self._call, output)
        return output

    async def _ask(self, question: Question) -> Answer:
        """Ask whether the call may run, in a step of its own: a call that waits for a yes has not been executed, and a
        resumed run must know that."""
        return await self._ctx.step(f"question:{self._key}", partial(self._ask_now, question))

    async def _ask_now(self, question: Question) -> Answer:
        return MOOT if self._is_over_here else await self._answerer.ask_once(question)

    async def _send_once(self, send: Send) -> CallOutput:
        try:
            is_harmless = self._terms.catalogue.is_harmless(self._call.name)
            return await self._ctx.step_once(f"call:{self._key}", partial(self._send, send), is_harmless=is_harmless)
        except OutcomeUnknown:
            return UNKNOWN

    async def _send(self, send: Send, intend: Intend) -> CallOutput:
        if self._is_over_here:
            return LIMIT_REACHED

        async def note_sending() -> None:
            await intend()
            self._output = STOPPED
            if self._verdict:
                self._verdict.is_sent = True

        options = CallOptions(
            deadline=self._terms.deadline,
            find_delay=lambda: self._ctx.stopwatch.stood_s,
            limit_bytes=self._limit_bytes,
            on_progress=self._relay_progress,
            keep=self._cut_texts.keep,
            ask=self._answerer.ask_once,
            is_taken_over=self._ctx.is_taken_over,
            on_send=note_sending,
        )
        audit = self._answerer.audit
        if audit:
            about = {**self._about, **self._give_account(NOT_STARTED), "arguments": self._call.arguments}
            if refused := audit.admit(self._ctx.run, about, self._answerer.clock.time()):
                return refused
            options = replace(options, on_verdict=self._note_verdict)
        output = await send(options)
        if self._verdict:
            output["verdict"] = self._verdict.to_json()
        return {**output, "kept": self._cut_texts.texts} if self._cut_texts.texts else output

    def _note_verdict(self, verdict: "Verdict") -> None:
        self._verdict = verdict

    async def _relay_progress(self, progress: float, total: float | None, message: str | None) -> None:
        self._ctx.emit(CallProgressed(**self._about, progress=progress, total=total, message=message))
