"""The tool loop: asks the upstream, answers all its calls at once, sends the outputs back, until there is an answer."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Generic, NotRequired, TypedDict

import anyio

from bridge.clock import Clock
from bridge.errors import COMPACTION_REFUSED, CONTEXT_EXCEEDED, DAY_BUDGET, BridgeError, UpstreamError
from bridge.events import Event, InBackground, Retrying, Said, TurnEnded, TurnStarted, tell_notice
from bridge.items import Call, ErrorInfo, Notice, Response, Turn, find_calls, is_empty
from bridge.json_text import Json, JsonObject
from bridge.questions import Ask
from bridge.run.agreement import Agreement
from bridge.run.budget import Budget
from bridge.run.calls import CallAnswerer, Terms
from bridge.run.engine import Context
from bridge.run.limits import (
    COMPLETED,
    Ending,
    Reason,
    describe_error,
    fail_with,
    read_reason,
    restore_error,
    stop_short,
)
from bridge.run.offer import Offer, make_offer
from bridge.run.protocols import Auditor, C, Upstream
from bridge.run.request import Request
from bridge.run.tools.own_tools import OwnTools
from bridge.run.tools.read_output import LongOutputs
from bridge.run.transcript import Transcript
from bridge.run.window import Window, open_window

if TYPE_CHECKING:
    from bridge.run.day import DayBudget

_ABOUT_TOOLS = re.compile(r"tool|\bnone\b", re.IGNORECASE)
"""Found in a refusal of `tool_choice: none`."""
_REASONS: dict[str, Reason] = {CONTEXT_EXCEEDED: "context", DAY_BUDGET: "budget"}
"""By the code of an error, why a run is incomplete rather than failed."""
EMPTY = "The upstream's answer is empty"


class _BeginOutcome(TypedDict):
    """The outcome of a run's first step."""

    catalogue: JsonObject
    window: int | None
    """How many tokens the model takes; None where that is not known."""


class _RequestOutcome(TypedDict):
    """The outcome of a turn's request: a response or an error."""

    response: NotRequired[Response]
    error: NotRequired[ErrorInfo]
    window: int | None
    cut_by: NotRequired[Reason]
    """The limit for which this turn was to be the last, though by what was agreed it need not have been."""


@dataclass
class Loop(Generic[C]):
    """One run. Everything it does to the world goes through `ctx.step`; everything it tells, through `ctx.emit`."""

    upstream: Upstream
    tools: OwnTools[C]
    long_outputs: LongOutputs
    ask: Ask
    ctx: Context
    agreement: Agreement
    clock: Clock
    day: "DayBudget | None" = None
    """What is left to the principal of the run for today; None where that has no bound."""
    audit: Auditor | None = None
    window: int | None = field(default=None, init=False)
    """How many tokens the model takes, as far as that is known."""
    cut_by: Reason | None = field(default=None, init=False)
    """The limit of a process that has taken the run up, if it was stricter than what was agreed, and reached."""

    async def run(self, request: Request, transcript: Transcript) -> Ending:
        """Take turns until the run has an ending; everything done by then has been emitted."""
        deadline = self.ctx.stopwatch.now() + self.agreement.timeout_s - self.ctx.used_s
        with self.ctx.stopwatch.scope(deadline):
            try:
                return await self._take_turns(request, transcript, deadline)
            except BridgeError as error:
                return self._close_with(error, _REASONS.get(error.code))
        return stop_short("timeout")

    async def _take_turns(self, request: Request, transcript: Transcript, deadline: float) -> Ending:
        terms = await self._set_terms(request, transcript, deadline)
        window, last_answer_for = open_window(transcript), None
        answerer = CallAnswerer(self.tools, self.long_outputs, self.ask, self.ctx, self.clock, self.audit)
        await self._hear(1, window, terms.budget)
        for n in count(1):
            try:
                response = await self._ask(n, request, window, terms, is_last=last_answer_for is not None)
            except UpstreamError as error:
                if last_answer_for is None and self.cut_by is None:
                    raise
                return self._close_with(error, last_answer_for or self.cut_by)
            last_answer_for = last_answer_for or self.cut_by
            calls = find_calls(response["output"])
            ending = _read_ending(response, calls)
            is_over = last_answer_for is not None or (ending is not None and ending["status"] != "needs_input")
            names = await answerer.answer(n, calls, None if is_over else terms.budget.allow(calls), terms)
            if ending == COMPLETED and last_answer_for is None and await self._hear_more(n, window, terms.budget):
                continue
            if ending:
                return stop_short(last_answer_for) if last_answer_for and ending == COMPLETED else ending
            if last_answer_for or _are_left_to_caller(calls, terms.offer):
                return stop_short(last_answer_for or "caller_tools")
            outputs = transcript.list_outputs()
            terms.budget.end_turn(calls, outputs)
            last_answer_for = terms.budget.find_limit(n)
            window.count(terms.budget.context, outputs)
            terms = self._grow(terms, names)
            await self._hear(n + 1, window, terms.budget)
        raise AssertionError("every run has an end")

    async def _hear(self, n: int, window: Window, budget: Budget) -> bool:
        """Put what was said to the run before its n-th turn; return whether that was anything."""
        heard = await self.ctx.hear(n)
        for one in heard:
            self.ctx.emit(Said(turn=n, message_id=one["message_id"], items=one["items"]))
            window.add(window.transcript.items[-len(one["items"]) :])
        if heard:
            budget.note_message()
        return bool(heard)

    async def _hear_more(self, n: int, window: Window, budget: Budget) -> bool:
        """Hear what was said before the run would end with the answer of its n-th turn, if it may take another turn.
        What comes after that is for the run that goes on from this one."""
        if budget.find_limit(n):
            return False
        window.count(budget.context, ())
        return await self._hear(n + 1, window, budget)

    async def _set_terms(self, request: Request, transcript: Transcript, deadline: float) -> Terms[C]:
        begun = await self.ctx.step("begin", partial(self._begin, str(request.parameters["model"])))
        self.window = begun["window"]
        catalogue = self.tools.restore(begun["catalogue"])
        limits = self.agreement.agreed.limits
        offer = make_offer(request, transcript.items, catalogue, limits, self.agreement.search)
        self._tell([*catalogue.notices, *offer.notices])
        catalogue = catalogue.extend(offer.own)
        budget = Budget(self.agreement.agreed, self.agreement.here, catalogue.polling)
        return Terms(catalogue, offer, budget, deadline, anyio.Semaphore(limits.max_parallel, fast_acquire=True))

    async def _begin(self, model: str) -> _BeginOutcome:
        return {"catalogue": await self.tools.describe(self.ask), "window": self.upstream.find_window(model)}

    def _grow(self, terms: Terms[C], names: Iterable[str]) -> Terms[C]:
        offer = terms.offer.grow(names)
        self._tell(offer.notices[len(terms.offer.notices) :])
        return terms if offer is terms.offer else replace(terms, offer=offer)

    async def _ask(self, n: int, request: Request, window: Window, terms: Terms[C], *, is_last: bool) -> Response:
        """Get the n-th response. A refusal that something can be done about is met by another request: with less
        history where it was too much for the model, with more of it where the upstream refuses its own compaction, or
        without tools where it must be the last and the upstream does not take that it may use none."""
        keys, is_bare = [f"turn:{n}"], False
        while True:
            self._make_room(window)
            turn = _build_turn(n, request, window, terms.offer, is_last)
            turn = _remove_tools(turn) if is_bare else turn
            try:
                return await self._create_answer(n, keys[-1], turn, terms, is_last=is_last)
            except UpstreamError as error:
                is_last = is_last or self.cut_by is not None
                remedy = self._find_remedy(error, turn, window, is_last=is_last)
                if remedy is None or (key := f"turn:{n}:{remedy}") in keys:
                    raise
                keys.append(key)
                is_bare = is_bare or remedy == "bare"

    def _find_remedy(self, error: UpstreamError, turn: Turn, window: Window, *, is_last: bool) -> str | None:
        """Do something about a refusal; return a name for it, or None where there is nothing to do."""
        if error.code == CONTEXT_EXCEEDED and self._make_room(window, is_over=True):
            return "short"
        if error.code == COMPACTION_REFUSED and window.begin_earlier():
            self._tell([_report_compaction(error)])
            return f"without {len(window.transcript.instead)}"
        if is_last and turn.tools and error.status in (400, 422) and _ABOUT_TOOLS.search(error.message):
            return "bare"
        return None

    def _make_room(self, window: Window, *, is_over: bool = False) -> bool:
        if self.window is None:
            return False
        if is_over:
            window.fill(self.window)
        if moved := window.make_room(self.window, self.long_outputs.keep):
            message = (
                f"The model's window of {self.window:,} tokens is nearly full: {moved} of the oldest outputs moved out"
            )
            self._tell([{"code": "context", "message": message}])
        return bool(moved)

    async def _create_answer(self, n: int, key: str, turn: Turn, terms: Terms[C], *, is_last: bool) -> Response:
        """Get a response; where it is empty, another one. Raises UpstreamError where that is empty too."""
        response = await self._create(n, key, turn, terms, is_last=is_last)
        if is_empty(response):
            self.ctx.emit(Retrying(pause_s=0, reason=EMPTY))
            response = await self._create(n, f"{key}:again", turn, terms, is_last=is_last)
        if is_empty(response):
            raise UpstreamError(f"{EMPTY}, twice: it has no text, no call and nothing else", code="empty_answer")
        return response

    async def _create(self, n: int, key: str, turn: Turn, terms: Terms[C], *, is_last: bool) -> Response:
        self.ctx.emit(TurnStarted(turn=n, tools=len(turn.tools), model=str(turn.parameters["model"])))
        find_limit = None if is_last else partial(terms.budget.find_limit_here, n - 1)
        deadline = terms.deadline + self.ctx.stopwatch.stood_s
        outcome = await self.ctx.step(key, partial(self._send, turn, deadline, find_limit))
        self.window = outcome["window"]
        if (cut_by := outcome.get("cut_by")) and not self.cut_by:
            self.cut_by = cut_by
            self._tell([_report_cut(cut_by)])
        if error := outcome.get("error"):
            raise restore_error(error)
        response = outcome["response"]
        self._tell(response.get("notices", []))
        spent = terms.budget.count(turn, response)
        self.ctx.emit(
            TurnEnded(
                turn=n,
                response_id=response["id"],
                model=response["model"],
                usage=response["usage"],
                output=[] if is_empty(response) else response["output"],  # reasoning alone cannot be sent back
                tokens=spent.tokens,
                cost=spent.cost,
                is_estimated=spent.is_estimated,
            )
        )
        return response

    async def _send(
        self, turn: Turn, deadline: float, find_limit: Callable[[], Reason | None] | None
    ) -> _RequestOutcome:
        """Send a turn, as the last one where this process has a limit that is reached by then. An error is an outcome
        too: a resumed run must meet the same one."""
        outcome: _RequestOutcome = {"window": None}
        turn = replace(turn, begun=find_begun(self.ctx.run.events), is_left=lambda: self.ctx.is_left)
        if find_limit and (cut_by := find_limit()):
            outcome["cut_by"], turn = cut_by, _close(turn)
        try:
            outcome["response"] = await self._create_within(turn, deadline)
        except BridgeError as error:
            outcome["error"] = describe_error(error)
        outcome["window"] = self.upstream.find_window(str(turn.parameters["model"]))
        return outcome

    async def _create_within(self, turn: Turn, deadline: float) -> Response:
        """Have a turn answered, within the day's budget. Raises UsedUp where nothing is left of that."""
        create = partial(self.upstream.create, turn, deadline=deadline, on_event=self.ctx.emit)
        if self.day is None:
            return await create()
        return await self.day.count(turn, self.agreement.here.price, create, lambda: "".join(self.ctx.run.saying))

    def _close_with(self, error: BridgeError, reason: Reason | None) -> Ending:
        """Return the ending of a run after an error: failed; or stopped for a `reason`, without a last answer."""
        if reason is None:
            return fail_with(error)
        self._tell([{"code": "no_last_answer", "message": f"There is no last answer: {error.message}"}])
        return stop_short(reason)

    def _tell(self, notices: Iterable[Notice]) -> None:
        for notice in notices:
            self.ctx.emit(tell_notice(notice))


def find_begun(events: Sequence[Event]) -> str | None:
    """Find the response that a process before this one has had begun in the background, for a turn that it did not see
    the end of."""
    for event in reversed(events):
        match event:
            case InBackground():
                return event.response_id
            case TurnStarted() | TurnEnded() | Retrying():
                return None
            case _:
                pass
    return None


def _are_left_to_caller(calls: list[Call], offer: Offer) -> bool:
    """Tell whether some of the calls are of the caller's own functions, which it must answer itself."""
    return any(call.name in offer.foreign for call in calls)


def _build_turn(n: int, request: Request, window: Window, offer: Offer, is_last: bool) -> Turn:
    """Build the n-th request.

    A forced tool choice holds for the first one only: forced on every turn, no run would end. The last one carries the
    same tools although it may use none: without them, the upstream would find nothing in its cache.
    """
    parameters = dict(request.parameters)
    if is_last and offer.texts:
        parameters["tool_choice"] = "none"
    elif n > 1 and "tool_choice" in parameters:
        parameters["tool_choice"] = _relax(parameters["tool_choice"])
    if base := window.find_base():
        parameters["previous_response_id"] = base
    items, last = tuple(window.list_items()), window.find_last()
    return Turn(parameters, items, offer.texts, last, window.transcript.has_odd_calls)


def _report_compaction(error: UpstreamError) -> Notice:
    message = f"A compaction was not sent back, and what it stands for was, as far as it is known ({error.message})"
    return Notice(code="upstream_adapted", message=message)


def _report_cut(reason: Reason) -> Notice:
    message = f"The limits of the config are lower now than when this run began, so it had to end: {reason}"
    return Notice(code="limit", message=message)


def _close(turn: Turn) -> Turn:
    """Return the turn as the last one of a run."""
    return replace(turn, parameters={**turn.parameters, "tool_choice": "none"}) if turn.tools else turn


def _remove_tools(turn: Turn) -> Turn:
    """Return the turn without tools, for upstreams that do not know `tool_choice: none` or refuse it."""
    parameters = {name: value for name, value in turn.parameters.items() if name != "tool_choice"}
    return replace(turn, parameters=parameters, tools=())


def _relax(choice: Json) -> Json:
    if isinstance(choice, dict):
        return choice | {"mode": "auto"} if choice.get("type") == "allowed_tools" else "auto"
    return "auto" if choice == "required" else choice


def _read_ending(response: Response, calls: list[Call]) -> Ending | None:
    """Return how the run ends with this response, or None where there are calls to answer."""
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
