"""The body of every run: from the arguments of `respond` to an ending."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Generic, NotRequired, TypedDict

from bridge.clock import Clock
from bridge.config.settings import Config, UpstreamConfig
from bridge.errors import BridgeError
from bridge.events import tell_notice
from bridge.items import ErrorInfo
from bridge.json_text import JsonObject
from bridge.questions import Ask
from bridge.run.agreement import Agreed, Agreement, agree, read_agreement
from bridge.run.answer import read_answer
from bridge.run.continuation import find_earlier, find_history
from bridge.run.engine import Context, Engine
from bridge.run.limits import Ending, describe_error, fail_with
from bridge.run.loop import Loop
from bridge.run.observers import Tracing
from bridge.run.protocols import Auditor, C, Tools, Upstream
from bridge.run.request import Request, build_request
from bridge.run.rights import Rights, find_rights
from bridge.run.tools.own_tools import OwnTools
from bridge.run.tools.read_output import LongOutputs, find_last_id
from bridge.run.transcript import Transcript, read_transcript

if TYPE_CHECKING:
    from bridge.run.day import DayBudget


class _Opened(TypedDict):
    """The outcome of the step that finds what the conversation begins with."""

    transcript: NotRequired[JsonObject]
    error: NotRequired[ErrorInfo]
    agreed: Agreed
    """What the run agrees to as it begins."""
    trace: NotRequired[str]
    """The span of the run in the process that began it."""


@dataclass(frozen=True)
class Body(Generic[C]):
    """What a run does, and all that it needs for it."""

    config: Config
    upstream: Upstream
    servers: Tools[C]
    engine: Engine
    """Where the run is found that this one goes on from."""
    clock: Clock
    ask: Ask | None
    """Asks the person here, instead of at the host that began the run."""
    attach: Callable[[JsonObject], Awaitable[JsonObject]]
    """The arguments with the content of the files that they name; raises ArgumentError."""
    find_day: "Callable[[str | None], DayBudget | None]" = lambda _: None
    """Finds the day's budget of a principal."""
    audit: Auditor | None = None
    """Keeps a line of each call."""
    tracing: Tracing | None = None
    """Knows the trace of the run; None where there are no traces."""

    async def execute(self, ctx: Context, arguments: JsonObject) -> Ending:
        """Do what checked `arguments` ask for; whatever happens is told by events of the run."""
        rights = find_rights(self.config, ctx.principal)
        body = replace(self, config=rights.apply(self.config)) if rights else self
        return await body._execute(ctx, arguments, rights)

    async def _execute(self, ctx: Context, arguments: JsonObject, rights: Rights | None) -> Ending:
        asked = self.config.upstream or UpstreamConfig()
        defaults = rights.narrow(asked.defaults) if rights else asked.defaults
        request = build_request(arguments, model=asked.model or "", defaults=defaults)
        opened: _Opened = await ctx.step(
            "input", partial(self._open, ctx.run.run_id, arguments, ctx.principal, request)
        )
        if self.tracing and (trace := opened.get("trace")):
            self.tracing.link(ctx.run.run_id, trace)
        for notice in opened["agreed"].get("notices", []):
            ctx.emit(tell_notice(notice))
        if error := opened.get("error"):
            return fail_with(error)
        transcript = read_transcript(opened.get("transcript", {}))
        ctx.begin(transcript)
        agreement = read_agreement(opened["agreed"], self.config, arguments, _read_model(request))
        ending = await self._take_turns(ctx, request, transcript, agreement, rights)
        if ending["status"] == "completed" and (said := read_answer(ctx.run.events, request.parameters.get("text"))):
            ctx.emit(said)
        return ending

    async def _open(self, run_id: str, arguments: JsonObject, principal: str | None, request: Request) -> _Opened:
        opened: _Opened = {"agreed": agree(self.config, arguments, _read_model(request))}
        if self.tracing and (trace := self.tracing.name(run_id)):
            opened["trace"] = trace
        try:
            arguments = await self.attach(arguments)
            earlier = await find_earlier(self.engine, arguments, principal=principal)
            history = await find_history(self.engine, arguments, earlier, principal=principal)
            transcript = history.go_on(arguments["input"], is_kept=request.is_kept)
        except BridgeError as error:
            return {**opened, "error": describe_error(error)}
        return {**opened, "transcript": transcript.to_json()}

    async def _take_turns(
        self, ctx: Context, request: Request, transcript: Transcript, agreement: Agreement, rights: Rights | None
    ) -> Ending:
        kept = LongOutputs(
            after=find_last_id(transcript.list_texts()),
            notify=lambda notice: ctx.emit(tell_notice(notice)),
        )
        tools = OwnTools[C](self._choose_servers(rights), (kept.tool,))
        ask = self.ask or partial(ctx.ask, approval_s=self.config.limits.approval_s)
        loop = Loop(
            self.upstream, tools, kept, ask, ctx, agreement, self.clock, self.find_day(ctx.principal), self.audit
        )
        return await loop.run(request, transcript)

    def _choose_servers(self, rights: Rights | None) -> Tools[C]:
        if rights is None or not rights.said.tools.is_set:
            return self.servers
        from bridge.run.tools.permitted import PermittedTools  # late: few are told apart

        return PermittedTools[C](self.servers, rights.said.tools)


def _read_model(request: Request) -> str:
    return str(request.parameters["model"])
