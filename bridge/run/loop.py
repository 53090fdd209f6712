"""The run: ask the upstream, answer all its calls at once, send the outputs back, until there is an answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic

import anyio

from bridge.clock import Clock
from bridge.errors import BridgeError
from bridge.items import Call, CallOutput, Json, JsonObject, Response, Turn, answer_call, encode, find_calls
from bridge.run.engine import C, Context, OnProgress, Tools, Upstream, tell
from bridge.run.limits import COMPLETED, Ending, RunLimits, fail_with, stop_short
from bridge.run.offer import Offer, make_offer


@dataclass(frozen=True)
class Request:
    """What the caller asked for."""

    parameters: Mapping[str, Json]
    """Create parameters other than `input`, `tools` and `stream`."""
    items: Sequence[str]
    """The input, each item as its JSON text."""
    tools: Sequence[str | JsonObject] | None = None
    """The caller's choice of tools; None is all."""


@dataclass(frozen=True)
class Loop(Generic[C]):
    """One run. Everything it does to the world goes through `ctx.step`; everything it tells through `ctx.emit`."""

    upstream: Upstream
    tools: Tools[C]
    ctx: Context
    limits: RunLimits
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
        catalogue = await self.tools.catalogue()
        offer = make_offer(request.tools, catalogue, self.limits.max_tools)
        for notice in catalogue.notices:
            self.ctx.emit(tell(notice))
        history, calls_left = list(request.items), self.limits.max_tool_calls
        for n in range(1, self.limits.max_turns + 1):
            response = await self._ask(n, _build_turn(n, request, history, offer), deadline)
            calls = find_calls(response["output"])
            if ending := _find_ending(response, calls, is_last=n == self.limits.max_turns):
                return ending
            allowed, calls_left = calls[:calls_left], calls_left - len(calls)
            outputs = await self._answer(n, allowed, offer, catalogue, deadline)
            if calls_left < 0 or any(call.name in offer.foreign for call in calls):
                return stop_short("max_tool_calls" if calls_left < 0 else "caller_tools")
            history += map(encode, response["output"])
            history += outputs
        raise AssertionError("the last turn ends the run")

    async def _ask(self, n: int, turn: Turn, deadline: float) -> Response:
        self.ctx.emit({"type": "turn.started", "turn": n, "tools": len(turn.tools), "model": turn.parameters["model"]})
        create = partial(self.upstream.create, turn, deadline=deadline, on_event=self.ctx.emit)
        response = await self.ctx.step(f"turn:{n}", create)
        for notice in response.get("notices", []):
            self.ctx.emit(tell(notice))
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

    async def _answer(self, n: int, calls: list[Call], offer: Offer, catalogue: C, deadline: float) -> list[str]:
        """The outputs of all `calls`, run at once and returned in call order; the caller's own are left to it."""
        outputs: dict[int, str] = {}
        places = anyio.CapacityLimiter(self.limits.max_parallel)

        async def answer(index: int, call: Call) -> None:
            async with places:
                outputs[index] = await self._call(n, index, call, offer, catalogue, deadline)

        async with anyio.create_task_group() as tasks:
            for index, call in enumerate(calls):
                if call.name not in offer.foreign:
                    tasks.start_soon(answer, index, call)
        return [outputs[index] for index in sorted(outputs)]

    async def _call(self, n: int, index: int, call: Call, offer: Offer, catalogue: C, deadline: float) -> str:
        """The item that answers one call, as JSON text."""
        place: JsonObject = {"turn": n, "index": index, "call_id": call.call_id, "name": call.name}
        place["arguments"] = call.arguments
        server = catalogue.owners.get(call.name)
        self.ctx.emit({"type": "call.started", "server": server, **place})
        began = self.clock.now()
        if not call.is_complete:
            output = _refuse_cut_call()
        elif call.name not in offer.owned:
            output = offer.answer_unknown(call)
        else:
            execute = partial(
                self.tools.call, catalogue, call, deadline=deadline, on_progress=self._relay_progress(place)
            )
            output = await self.ctx.step(f"call:{n}:{index}", execute, once=True)
        item = answer_call(call, output["output"])
        for notice in output.get("notices", []):
            self.ctx.emit(tell(notice))
        self.ctx.emit(
            {
                "type": "call.ended",
                "server": output["server"],
                "tool": output["tool"],
                "is_error": output["is_error"],
                "duration_ms": round((self.clock.now() - began) * 1000, 1),
                "item": item,
                **place,
            }
        )
        return encode(item)

    def _relay_progress(self, place: JsonObject) -> OnProgress:
        async def relay(progress: float, total: float | None, message: str | None) -> None:
            self.ctx.emit({"type": "call.progress", "progress": progress, "total": total, "message": message, **place})

        return relay


def _build_turn(n: int, request: Request, history: Sequence[str], offer: Offer) -> Turn:
    """The n-th request. A forced tool choice holds for the first only: forced on every turn, no run would end."""
    parameters = dict(request.parameters)
    if n > 1 and "tool_choice" in parameters:
        parameters["tool_choice"] = _relax(parameters["tool_choice"])
    return Turn(parameters, tuple(history), offer.texts)


def _relax(choice: Json) -> Json:
    if isinstance(choice, dict):
        return choice | {"mode": "auto"} if choice.get("type") == "allowed_tools" else "auto"
    return "auto" if choice == "required" else choice


def _find_ending(response: Response, calls: list[Call], *, is_last: bool) -> Ending | None:
    """How the run ends with this response, or None when there are calls to answer."""
    match response["status"]:
        case "completed" if any(item.get("type") == "mcp_approval_request" for item in response["output"]):
            return stop_short("approval")
        case "completed" if not calls:
            return COMPLETED
        case "completed":
            return stop_short("max_turns") if is_last else None
        case "incomplete":
            return stop_short(response["incomplete_reason"])
        case status:
            message = f"The upstream's response ended as {status!r} and without a reason"
            return fail_with(
                response["error"]
                or {"code": "bad_status", "message": message, "who": "upstream", "status": None, "request_id": None}
            )


def _refuse_cut_call() -> CallOutput:
    message = "the call was cut off before its arguments were complete; it was not run"
    return {
        "output": encode({"error": "incomplete_call", "message": message}),
        "is_error": True,
        "server": None,
        "tool": None,
    }
