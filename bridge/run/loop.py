"""The run: ask the upstream, answer all its calls at once, send the outputs back, until there is an answer."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Generic, NamedTuple

import anyio

from bridge.clock import Clock
from bridge.errors import BridgeError
from bridge.items import (
    Call,
    CallOutput,
    Json,
    JsonObject,
    Last,
    Notice,
    Response,
    Turn,
    answer_call,
    encode,
    find_calls,
)
from bridge.run.engine import C, Context, OnProgress, Upstream, tell
from bridge.run.limits import COMPLETED, Ending, Reason, RunLimits, fail_with, read_reason, stop_short
from bridge.run.offer import Offer, fail_call, make_offer
from bridge.run.own_tools import OwnTools, RunCatalogue
from bridge.run.request import Request
from bridge.settings import ToolSearch

NOT_STARTED = fail_call("stopped", "the run ended before this call; it was not run")
STOPPED = fail_call("stopped", "the run ended during this call; it may have been executed")


@dataclass(frozen=True)
class Terms(Generic[C]):
    """What holds for a whole run: the tools as they were when it began, and how far its calls may go."""

    catalogue: RunCatalogue[C]
    offer: Offer
    """The one thing that changes: it grows between turns."""
    deadline: float
    places: anyio.CapacityLimiter
    """One for each call that may be in flight."""


class Answered(NamedTuple):
    """What one call came to."""

    item: str
    """The item that answers it, as JSON text."""
    names: Sequence[str]
    """The tools that the next requests are to carry: those that it found, or its own."""


@dataclass(frozen=True)
class Loop(Generic[C]):
    """One run. Everything it does to the world goes through `ctx.step`; everything it tells through `ctx.emit`."""

    upstream: Upstream
    tools: OwnTools[C]
    ctx: Context
    limits: RunLimits
    search: ToolSearch
    clock: Clock

    async def run(self, request: Request) -> Ending:
        """Take turns until an ending; whatever was done before it has been emitted."""
        deadline = self.clock.now() + self.limits.timeout_s
        with self.clock.scope(deadline):
            try:
                return await self._take_turns(request, deadline)
            except BridgeError as error:
                return fail_with(error)
        return stop_short("timeout")

    async def _take_turns(self, request: Request, deadline: float) -> Ending:
        terms = await self._set_terms(request, deadline)
        history, calls_left = list(request.items), self.limits.max_tool_calls
        last: Last | None = None
        for n in range(1, self.limits.max_turns + 1):
            response = await self._ask(n, _build_turn(n, request, history, terms.offer, last), deadline)
            calls = find_calls(response["output"])
            if ending := _find_ending(response, calls):
                return ending
            stop = self._find_stop(n, calls, calls_left, terms.offer)
            answers = await self._answer(n, calls, 0 if stop == "max_turns" else calls_left, terms)
            if stop:
                return stop_short(stop)
            calls_left -= len(calls)
            terms = self._grow(terms, answers)
            outputs = [answer.item for answer in answers]
            history = outputs if request.is_kept else [*history, *map(encode, response["output"]), *outputs]
            last = Last(response["id"], len(history) - len(outputs)) if response["id"] else None
        raise AssertionError("the last turn ends the run")

    async def _set_terms(self, request: Request, deadline: float) -> Terms[C]:
        catalogue = await self.tools.catalogue()
        offer = make_offer(request, catalogue, self.limits, self.search)
        self._tell([*catalogue.notices, *offer.notices])
        catalogue = catalogue.bring(offer.own)
        return Terms(catalogue, offer, deadline, anyio.CapacityLimiter(self.limits.max_parallel))

    def _grow(self, terms: Terms[C], answers: Iterable[Answered]) -> Terms[C]:
        offer = terms.offer.grow(name for answer in answers for name in answer.names)
        self._tell(offer.notices[len(terms.offer.notices) :])
        return replace(terms, offer=offer)

    async def _ask(self, n: int, turn: Turn, deadline: float) -> Response:
        self.ctx.emit({"type": "turn.started", "turn": n, "tools": len(turn.tools), "model": turn.parameters["model"]})
        create = partial(self.upstream.create, turn, deadline=deadline, on_event=self.ctx.emit)
        response = await self.ctx.step(f"turn:{n}", create)
        self._tell(response.get("notices", []))
        self.ctx.emit(
            {
                "type": "turn.ended",
                "turn": n,
                "response_id": response["id"],
                "model": response["model"],
                "usage": response["usage"],
                "output": list[Json](response["output"]),
            }
        )
        return response

    def _find_stop(self, n: int, calls: list[Call], calls_left: int, offer: Offer) -> Reason | None:
        """Why the run ends with these calls. The caller's own are its to answer, whatever limit is reached besides."""
        if any(call.name in offer.foreign for call in calls):
            return "caller_tools"
        if n == self.limits.max_turns:
            return "max_turns"
        return "max_tool_calls" if len(calls) > calls_left else None

    async def _answer(self, n: int, calls: list[Call], allowed: int, terms: Terms[C]) -> list[Answered]:
        """The answers to `calls`, run at once and returned in call order.

        Only the first `allowed` are run, but each has an output, so that the items stay a valid input; except for the
        caller's own, which are left to it.
        """
        answers: dict[int, Answered] = {}

        async def answer(index: int, call: Call) -> None:
            answers[index] = await self._call(n, index, call, terms, is_over=index >= allowed)

        async with anyio.create_task_group() as tasks:
            for index, call in enumerate(calls):
                if call.name not in terms.offer.foreign:
                    tasks.start_soon(answer, index, call)
        return [answers[index] for index in sorted(answers)]

    async def _call(self, n: int, index: int, call: Call, terms: Terms[C], *, is_over: bool) -> Answered:
        """The answer to one call. Its end is told however it ends, also with the run."""
        place: JsonObject = {"turn": n, "index": index, "call_id": call.call_id, "name": call.name}
        place |= {"arguments": call.arguments, "server": terms.catalogue.owners.get(call.name)}
        on_progress = self._relay_progress(place)
        execute = partial(self.tools.call, terms.catalogue, call, deadline=terms.deadline, on_progress=on_progress)
        began, output = self.clock.now(), NOT_STARTED
        try:
            async with terms.places:
                self.ctx.emit({"type": "call.started", **place})
                began, output = self.clock.now(), STOPPED
                refusal = terms.offer.refuse(call, is_over=is_over)
                output = refusal or await self.ctx.step(f"call:{n}:{index}", execute, once=True)
        finally:
            item = answer_call(call, output["output"])
            self._tell_end(place, output, item, self.clock.now() - began)
        return Answered(encode(item), output.get("found", [call.name]))

    def _tell_end(self, place: JsonObject, output: CallOutput, item: JsonObject, seconds: float) -> None:
        self._tell(output.get("notices", []))
        ended: JsonObject = {"server": output["server"], "tool": output["tool"], "is_error": output["is_error"]}
        ended |= {"item": item, "duration_ms": round(seconds * 1000, 1)}
        self.ctx.emit({"type": "call.ended", **place, **ended})

    def _tell(self, notices: Iterable[Notice]) -> None:
        for notice in notices:
            self.ctx.emit(tell(notice))

    def _relay_progress(self, place: JsonObject) -> OnProgress:
        async def relay(progress: float, total: float | None, message: str | None) -> None:
            self.ctx.emit({"type": "call.progress", "progress": progress, "total": total, "message": message, **place})

        return relay


def _build_turn(n: int, request: Request, history: Sequence[str], offer: Offer, last: Last | None) -> Turn:
    """The n-th request. A forced tool choice holds for the first only: forced on every turn, no run would end."""
    parameters = dict(request.parameters)
    if n > 1 and "tool_choice" in parameters:
        parameters["tool_choice"] = _relax(parameters["tool_choice"])
    return Turn(parameters, tuple(history), offer.texts, last)


def _relax(choice: Json) -> Json:
    if isinstance(choice, dict):
        return choice | {"mode": "auto"} if choice.get("type") == "allowed_tools" else "auto"
    return "auto" if choice == "required" else choice


def _find_ending(response: Response, calls: list[Call]) -> Ending | None:
    """How the run ends with this response, or None when there are calls to answer."""
    match response["status"]:
        case "completed" if any(item.get("type") == "mcp_approval_request" for item in response["output"]):
            return stop_short("approval")
        case "completed":
            return None if calls else COMPLETED
        case "incomplete":
            return stop_short(read_reason(response["incomplete_reason"]))
        case status:
            message = f"The upstream's response ended as {status!r} and without a reason"
            return fail_with(
                response["error"]
                or {"code": "bad_status", "message": message, "who": "upstream", "status": None, "request_id": None}
            )
