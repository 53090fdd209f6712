"""The run: ask the upstream, answer all its calls at once, send the outputs back, until there is an answer."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Generic

import anyio

from bridge.clock import Clock
from bridge.config.settings import Limits, Price, ToolSearch
from bridge.errors import CONTEXT_EXCEEDED, BridgeError, UpstreamError
from bridge.items import Call, Notice, Response, Turn, find_calls
from bridge.json_text import Json
from bridge.run.budget import Budget
from bridge.run.calls import Answered, CallAnswerer, Terms
from bridge.run.engine import C, Context, Upstream, tell
from bridge.run.history import History, begin_history
from bridge.run.limits import COMPLETED, Ending, Reason, fail_with, read_reason, stop_short
from bridge.run.offer import Offer, make_offer
from bridge.run.request import Request
from bridge.run.tools.own_tools import OwnTools

_ABOUT_TOOLS = re.compile(r"tool|\bnone\b", re.IGNORECASE)
"""In a refusal of `tool_choice: none`."""


@dataclass(frozen=True)
class Loop(Generic[C]):
    """One run. Everything it does to the world goes through `ctx.step`; everything it tells through `ctx.emit`."""

    upstream: Upstream
    tools: OwnTools[C]
    ctx: Context
    limits: Limits
    price: Price | None
    search: ToolSearch
    clock: Clock

    async def run(self, request: Request) -> Ending:
        """Take turns until an ending; whatever was done before it has been emitted."""
        deadline = self.clock.now() + self.limits.timeout_s
        with self.clock.scope(deadline):
            try:
                return await self._take_turns(request, deadline)
            except BridgeError as error:
                return self._close_with(error, "context" if error.code == CONTEXT_EXCEEDED else None)
        return stop_short("timeout")

    async def _take_turns(self, request: Request, deadline: float) -> Ending:
        terms = await self._set_terms(request, deadline)
        history, last_answer_for = begin_history(request), None
        answerer = CallAnswerer(self.tools, self.ctx, self.clock)
        for n in count(1):
            try:
                response = await self._ask(n, request, history, terms, is_last=last_answer_for is not None)
            except UpstreamError as error:
                if last_answer_for is None:
                    raise
                return self._close_with(error, last_answer_for)
            calls = find_calls(response["output"])
            ending = _read_ending(response, calls)
            is_over = last_answer_for is not None or (ending is not None and ending["status"] != "needs_input")
            answers = await answerer.answer(n, calls, None if is_over else terms.budget.allow(calls), terms)
            if ending:
                return stop_short(last_answer_for) if last_answer_for and ending == COMPLETED else ending
            if last_answer_for or _are_left_to_caller(calls, terms.offer):
                return stop_short(last_answer_for or "caller_tools")
            outputs = [answer.item for answer in answers]
            terms.budget.end_turn(calls, outputs)
            last_answer_for = terms.budget.find_limit(n)
            history.extend(response, outputs, tokens=terms.budget.context)
            terms = self._grow(terms, answers)
        raise AssertionError("every run has an end")

    async def _set_terms(self, request: Request, deadline: float) -> Terms[C]:
        catalogue = await self.tools.catalogue()
        offer = make_offer(request, catalogue, self.limits, self.search)
        self._tell([*catalogue.notices, *offer.notices])
        catalogue = catalogue.bring(offer.own)
        budget = Budget(self.limits, self.price, catalogue.polling)
        return Terms(catalogue, offer, budget, deadline, anyio.Semaphore(self.limits.max_parallel, fast_acquire=True))

    def _grow(self, terms: Terms[C], answers: Iterable[Answered]) -> Terms[C]:
        offer = terms.offer.grow(name for answer in answers for name in answer.names)
        self._tell(offer.notices[len(terms.offer.notices) :])
        return terms if offer is terms.offer else replace(terms, offer=offer)

    async def _ask(self, n: int, request: Request, history: History, terms: Terms[C], *, is_last: bool) -> Response:
        """The n-th response; once more with less history where it was too much for the model, or without tools where it
        must be the last and the upstream does not take that it may use none."""
        model = str(request.parameters["model"])
        self._make_room(history, model)
        turn = _build_turn(n, request, history, terms.offer, is_last)
        try:
            return await self._create(n, f"turn:{n}", turn, terms)
        except UpstreamError as error:
            if error.code == CONTEXT_EXCEEDED and self._make_room(history, model, is_over=True):
                turn, key = _build_turn(n, request, history, terms.offer, is_last), f"turn:{n}:short"
            elif is_last and turn.tools and error.status in (400, 422) and _ABOUT_TOOLS.search(error.message):
                turn, key = _take_tools(turn), f"turn:{n}:bare"
            else:
                raise
        return await self._create(n, key, turn, terms)

    def _make_room(self, history: History, model: str, *, is_over: bool = False) -> bool:
        window = self.upstream.find_window(model)
        if window is None:
            return False
        history.tokens = max(history.tokens, window) if is_over else history.tokens
        if moved := history.make_room(window, self.tools.keep):
            message = f"The model's window of {window:,} tokens is nearly full: {moved} of the oldest outputs moved out"
            self._tell([{"code": "context", "message": message}])
        return bool(moved)

    async def _create(self, n: int, key: str, turn: Turn, terms: Terms[C]) -> Response:
        self.ctx.emit({"type": "turn.started", "turn": n, "tools": len(turn.tools), "model": turn.parameters["model"]})
        create = partial(self.upstream.create, turn, deadline=terms.deadline, on_event=self.ctx.emit)
        response = await self.ctx.step(key, create)
        self._tell(response.get("notices", []))
        self.ctx.emit(
            {
                "type": "turn.ended",
                "turn": n,
                "response_id": response["id"],
                "model": response["model"],
                "usage": response["usage"],
                "output": list[Json](response["output"]),
                **terms.budget.count(turn, response),
            }
        )
        return response

    def _close_with(self, error: BridgeError, reason: Reason | None) -> Ending:
        """The ending of a run that failed, or that had come as far as it could."""
        if reason is None:
            return fail_with(error)
        self._tell([{"code": "no_last_answer", "message": f"There is no last answer: {error.message}"}])
        return stop_short(reason)

    def _tell(self, notices: Iterable[Notice]) -> None:
        for notice in notices:
            self.ctx.emit(tell(notice))


def _are_left_to_caller(calls: list[Call], offer: Offer) -> bool:
    """Whether there are calls of the caller's own functions, which are its to answer."""
    return any(call.name in offer.foreign for call in calls)


def _build_turn(n: int, request: Request, history: History, offer: Offer, is_last: bool) -> Turn:
    """The n-th request. A forced tool choice holds for the first only: forced on every turn, no run would end. The last
    answer has the same tools, and may use none: taken away, they would cost the upstream's cache."""
    parameters = dict(request.parameters)
    if is_last and offer.texts:
        parameters["tool_choice"] = "none"
    elif n > 1 and "tool_choice" in parameters:
        parameters["tool_choice"] = _relax(parameters["tool_choice"])
    return Turn(parameters, tuple(history.items), offer.texts, history.last)


def _take_tools(turn: Turn) -> Turn:
    """The same without tools: for upstreams that know no `tool_choice: none`, or refuse it."""
    parameters = {name: value for name, value in turn.parameters.items() if name != "tool_choice"}
    return replace(turn, parameters=parameters, tools=())


def _relax(choice: Json) -> Json:
    if isinstance(choice, dict):
        return choice | {"mode": "auto"} if choice.get("type") == "allowed_tools" else "auto"
    return "auto" if choice == "required" else choice


def _read_ending(response: Response, calls: list[Call]) -> Ending | None:
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
