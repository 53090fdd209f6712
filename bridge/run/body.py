"""The body of every run: from the arguments of `respond` to an ending."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic

from bridge.clock import Clock
from bridge.config.settings import Config, Limits, UpstreamConfig
from bridge.errors import ArgumentError
from bridge.json_text import JsonObject
from bridge.questions import Ask
from bridge.run.answer import read_answer
from bridge.run.conversations import Conversations
from bridge.run.engine import C, Tools, Upstream, tell
from bridge.run.limits import Ending, fail_with, lower_limits
from bridge.run.loop import Loop
from bridge.run.request import Request, build_request
from bridge.run.run import Run
from bridge.run.tools.own_tools import OwnTools
from bridge.run.tools.read_output import KeptOutputs, find_last_id


@dataclass(frozen=True)
class Body(Generic[C]):
    """What a run does, and all that it needs for it."""

    config: Config
    upstream: Upstream
    asked: UpstreamConfig
    """Which model `upstream` asks by default, and with which parameters."""
    servers: Tools[C]
    conversations: Conversations
    clock: Clock
    ask: Ask | None
    """Asks the person, instead of the host that began the run."""
    attach: Callable[[JsonObject], Awaitable[JsonObject]]
    """The arguments with the content of the files that they name; raises ArgumentError."""

    async def execute(self, run: Run, arguments: JsonObject) -> Ending:
        """Do what checked `arguments` ask for; whatever happens is told by events of `run`."""
        limits = self._lower_limits(run, arguments)
        try:
            arguments = await self.attach(arguments)
        except ArgumentError as error:
            return fail_with(error)
        request = build_request(arguments, model=self.asked.model or "", defaults=self.asked.defaults)
        request = self.conversations.restore(request, owner=run.owner)
        ending = await self._take_turns(run, request, limits)
        self.conversations.keep(request, run.events, owner=run.owner)
        if ending["status"] == "completed" and (answer := read_answer(run.events, request.parameters.get("text"))):
            run.emit(answer)
        return ending

    def _lower_limits(self, run: Run, arguments: JsonObject) -> Limits:
        wish_turns, wish_time = arguments.get("max_turns"), arguments.get("timeout_s")
        limits, notices = lower_limits(
            self.config.limits,
            int(wish_turns) if isinstance(wish_turns, (int, float)) else None,
            wish_time if isinstance(wish_time, (int, float)) else None,
        )
        for notice in notices:
            run.emit(tell(notice))
        return limits

    async def _take_turns(self, run: Run, request: Request, limits: Limits) -> Ending:
        price = self.config.prices.get(str(request.parameters["model"]))
        kept = KeptOutputs(after=find_last_id(request.items), notify=lambda notice: run.emit(tell(notice)))
        tools = OwnTools[C](self.servers, (kept.tool,), kept.keep, self.ask or run.ask)
        return await Loop(self.upstream, tools, run, limits, price, self.config.tool_search, self.clock).run(request)
