"""The calls of one turn: all at once, each with exactly one output, and everything told that happens to them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, NamedTuple

import anyio

from bridge.call_terms import OnProgress
from bridge.clock import Clock
from bridge.items import Call, CallOutput, answer_call, fail_call
from bridge.json_text import JsonObject, encode
from bridge.run.budget import Budget
from bridge.run.engine import C, Context, tell
from bridge.run.offer import Offer
from bridge.run.tools.own_tools import OwnTools, RunCatalogue

NOT_STARTED = fail_call("stopped", "the run ended before this call; it was not run")
STOPPED = fail_call("stopped", "the run ended during this call; it may have been executed")


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


class Answered(NamedTuple):
    """What one call came to."""

    item: str
    """The item that answers it, as JSON text."""
    names: Sequence[str]
    """The tools that the next requests are to carry: those that it found, or its own."""


@dataclass(frozen=True)
class CallAnswerer(Generic[C]):
    """Answers the calls of a run, a turn at a time."""

    tools: OwnTools[C]
    ctx: Context
    clock: Clock

    async def answer(self, n: int, calls: list[Call], allowed: int | None, terms: Terms[C]) -> list[Answered]:
        """The answers to `calls`, run at once and returned in call order.

        Only the first `allowed` are run, but each has an output, so that the items stay a valid input; except for the
        caller's own, which are left to it. None: the run is over, and nothing is run nor left to anybody.
        """
        foreign = terms.offer.foreign if allowed is not None else frozenset[str]()
        ours = [(index, call) for index, call in enumerate(calls) if call.name not in foreign]
        answers: dict[int, Answered] = {}
        limit_bytes = terms.budget.share(calls)

        async def answer_one(index: int, call: Call) -> None:
            is_over = allowed is None or index >= allowed
            answers[index] = await self._call(n, index, call, terms, limit_bytes, is_over=is_over)

        if len(ours) <= 1:  # a task of its own would be a good part of what one call costs
            for index, call in ours:
                await answer_one(index, call)
        else:
            async with anyio.create_task_group() as tasks:
                for index, call in ours:
                    tasks.start_soon(answer_one, index, call)
        return [answers[index] for index, _ in ours]

    async def _call(
        self, n: int, index: int, call: Call, terms: Terms[C], limit_bytes: int, *, is_over: bool
    ) -> Answered:
        """The answer to one call. Its end is told however it ends, also with the run."""
        place: JsonObject = {"turn": n, "index": index, "call_id": call.call_id, "name": call.name}
        place |= {"arguments": call.arguments, "server": terms.catalogue.owners.get(call.name)}
        on_progress = self._relay_progress(place)
        execute = partial(
            self.tools.call,
            terms.catalogue,
            call,
            deadline=terms.deadline,
            limit_bytes=limit_bytes,
            on_progress=on_progress,
        )
        began, output = self.clock.now(), NOT_STARTED
        try:
            async with terms.places:
                self.ctx.emit({"type": "call.started", **place})
                began, output = self.clock.now(), STOPPED
                if refusal := terms.offer.refuse(call, is_over=is_over) or terms.budget.refuse(call):
                    output = refusal
                else:
                    output = await self.ctx.step(f"call:{n}:{index}", execute, once=True)
                    terms.budget.note(call, output)
        finally:
            item = answer_call(call, output["output"])
            self._tell_end(place, output, item, self.clock.now() - began)
        return Answered(encode(item), output.get("found", [call.name]))

    def _tell_end(self, place: JsonObject, output: CallOutput, item: JsonObject, seconds: float) -> None:
        for notice in output.get("notices", []):
            self.ctx.emit(tell(notice))
        ended: JsonObject = {"server": output["server"], "tool": output["tool"], "is_error": output["is_error"]}
        ended |= {"item": item, "duration_ms": round(seconds * 1000, 1)}
        self.ctx.emit({"type": "call.ended", **place, **ended})

    def _relay_progress(self, place: JsonObject) -> OnProgress:
        async def relay(progress: float, total: float | None, message: str | None) -> None:
            self.ctx.emit({"type": "call.progress", "progress": progress, "total": total, "message": message, **place})

        return relay
