"""The calls of one turn: all at once, each with exactly one output, and everything told that happens to them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic

import anyio

from bridge.call_options import CallOptions
from bridge.clock import Clock
from bridge.events import CallEnded, CallProgressed, CallStarted, tell_notice
from bridge.items import Call, CallOutput, answer_call, fail_call
from bridge.questions import Answer, Ask, Question
from bridge.run.budget import Budget
from bridge.run.engine import Context, Intend, OutcomeUnknown
from bridge.run.offer import Offer
from bridge.run.protocols import C
from bridge.run.tools.own_tools import OwnTools, RunCatalogue
from bridge.run.tools.read_output import CutTexts, LongOutputs

NOT_STARTED = fail_call("stopped", "the run ended before this call; it was not run")
STOPPED = fail_call("stopped", "the run ended during this call; it may have been executed")
UNKNOWN = fail_call(
    "outcome_unknown", "the bridge ended during this call; it may have been executed, check before you repeat it"
)


@dataclass(frozen=True)
class Terms(Generic[C]):
    """What holds for a whole run: the tools as they were when it began, and how far its calls may go."""

    catalogue: RunCatalogue[C]
    offer: Offer
    """The one thing that changes: it grows between turns."""
    budget: Budget
    deadline: float
    places: anyio.Semaphore
    """One for each call that may be in flight."""


@dataclass(frozen=True)
class CallAnswerer(Generic[C]):
    """Answers the calls of a run, a turn at a time."""

    tools: OwnTools[C]
    kept: LongOutputs
    ask: Ask
    ctx: Context
    clock: Clock

    async def answer(self, n: int, calls: list[Call], allowed: int | None, terms: Terms[C]) -> list[str]:
        """Run `calls` at once, so that each has its output. Returns the names of tools that the next requests are to
        carry, in call order: those that calls have found, or their own.

        Only the first `allowed` are run, but each has an output, so that the items stay a valid input; except for the
        caller's own, which are left to it. None: the run is over, and nothing is run nor left to anybody.
        """
        foreign = terms.offer.foreign if allowed is not None else frozenset[str]()
        places = self.kept.reserve(len(calls))
        limit_bytes = terms.budget.share(calls)
        ours = [
            _OneCall(self, n, index, call, terms, places[index], limit_bytes, allowed is None or index >= allowed)
            for index, call in enumerate(calls)
            if call.name not in foreign
        ]
        try:
            if len(ours) == 1:  # a task of its own would be a good part of what one call costs
                await ours[0].answer()
            elif ours:
                async with anyio.create_task_group() as tasks:
                    for one in ours:
                        tasks.start_soon(one.answer)
        finally:
            for one in ours:
                one.close()
        return [name for one in ours for name in one.names]


class _OneCall(Generic[C]):
    """One call on its way. Its end is told however it ends, also with the run."""

    def __init__(
        self,
        answerer: CallAnswerer[C],
        n: int,
        index: int,
        call: Call,
        terms: Terms[C],
        places: CutTexts,
        limit_bytes: int,
        is_over: bool,
    ) -> None:
        self.names: Sequence[str] = ()
        self._answerer = answerer
        self._ctx = answerer.ctx
        self._call = call
        self._terms = terms
        self._places = places
        self._limit_bytes = limit_bytes
        self._is_over = is_over
        self._about: dict[str, Any] = {"turn": n, "index": index, "call_id": call.call_id, "name": call.name}
        self._key = f"{n}:{index}"
        self._began = answerer.clock.now()
        self._output = NOT_STARTED
        self._is_closed = False

    async def answer(self) -> None:
        """Run the call, if it may run."""
        async with self._terms.places:
            server = self._terms.catalogue.owners.get(self._call.name)
            self._ctx.emit(CallStarted(**self._about, arguments=self._call.arguments, server=server))
            self._began = self._answerer.clock.now()
            self._output = await self._find_output()
            self.close()

    def close(self) -> None:
        """Tell the end of the call, once."""
        if self._is_closed:
            return
        self._is_closed = True
        output, call = self._output, self._call
        self.names = output.get("found", [call.name])
        for notice in output.get("notices", []):
            self._ctx.emit(tell_notice(notice))
        self._ctx.emit(
            CallEnded(
                **self._about,
                arguments=call.arguments,
                server=output["server"],
                tool=output["tool"],
                is_error=output["is_error"],
                duration_ms=round((self._answerer.clock.now() - self._began) * 1000, 1),
                item=answer_call(call, output["output"]),
            )
        )

    async def _find_output(self) -> CallOutput:
        offer, budget = self._terms.offer, self._terms.budget
        if refusal := offer.refuse(self._call, is_over=self._is_over) or budget.refuse(self._call):
            return refusal
        output = await self._do_once()
        self._answerer.kept.put(output.get("kept", {}), self._places.data)
        budget.note(self._call, output)
        return output

    async def _ask(self, question: Question) -> Answer:
        """Ask whether the call may run: a step of its own, so that nobody has to answer twice."""
        key = f"question:{self._key}"
        return await self._ctx.step(key, partial(self._answerer.ask, question))

    async def _do_once(self) -> CallOutput:
        try:
            return await self._ctx.step_once(f"call:{self._key}", self._do)
        except OutcomeUnknown:
            return UNKNOWN

    async def _do(self, intend: Intend) -> CallOutput:
        """Check the call, ask for approval if it needs one, and send it. It is one step, so that its outcome stays the
        same whatever is connected when the run is resumed or replayed. Until it is sent, it can be repeated."""
        send = await self._answerer.tools.prepare(self._terms.catalogue, self._call, self._ask)
        if not callable(send):
            return send

        async def note_sending() -> None:
            await intend()
            self._output = STOPPED

        terms = CallOptions(
            deadline=self._terms.deadline,
            limit_bytes=self._limit_bytes,
            on_progress=self._relay_progress,
            keep=self._places.keep,
            ask=self._answerer.ask,
            on_send=note_sending,
        )
        output = await send(terms)
        return {**output, "kept": self._places.texts} if self._places.texts else output

    async def _relay_progress(self, progress: float, total: float | None, message: str | None) -> None:
        self._ctx.emit(CallProgressed(**self._about, progress=progress, total=total, message=message))
