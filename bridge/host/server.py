"""The MCP server that hosts see: the tool `respond` and its companions, for both protocol eras."""

import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Protocol, TypeAlias

import anyio
from mcp import MCPError, types
from mcp.server import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ToolsListChanged
from mcp.shared._stream_protocols import ReadStream, WriteStream
from mcp.shared.message import SessionMessage
from typing_extensions import override

from bridge import __version__
from bridge.clock import Clock
from bridge.errors import BridgeError, GivenUp
from bridge.events import Notified
from bridge.host.audience import HostAudience, build_elicitation
from bridge.host.cancellation import Cancellations, identify
from bridge.host.delivery import Delivery
from bridge.host.eras import serve_both_eras
from bridge.host.introductions import mend_introduction
from bridge.host.list_changed import ListChangedSubscribers
from bridge.host.mcp_app.extension import add_app, add_timeline, link_app
from bridge.host.principal import HostRequest, find_http, find_principal, is_modern
from bridge.host.rendering import render_receipt, render_refusal, render_run
from bridge.host.schema import clean_arguments
from bridge.host.silences import Silences
from bridge.host.tasks import DIRECT_S, Runs, Tasks, declares_tasks
from bridge.host.tools import list_tools, read_run_id, read_wait
from bridge.host.waiting import Waiting
from bridge.json_text import JsonObject
from bridge.questions import Question, is_yes
from bridge.run.engine import Caller, Settle, Show, Stop, is_unproven
from bridge.run.interjections import Interjected
from bridge.run.limits import fail_with
from bridge.run.rights import Rights
from bridge.run.run import Run
from bridge.run.task import INTERNAL_ERROR
from bridge.visible import show_line

logger = logging.getLogger(__name__)

SETTLE_CHANGES_S = 0.2
"""Changes within this time are announced together, as when servers become ready one after the other."""

WAITS = Notified(
    code="waits", message="The message waits for the next turn of this run, and the result will say which that was"
)
"""Told to a call that is answered before what it has brought stands before a turn."""
TOO_LATE = Notified(
    code="too_late", message="The run had no turn left for the message, so this is another run, which goes on from it"
)
REJOINED = Notified(
    code="rejoined",
    message="An earlier call with the same arguments had not got its result; this is its run, nothing was done twice",
)
UNCOUNTED = "This answer did not count: its question was not open any more, or had been answered by somebody else"

Result: TypeAlias = types.CallToolResult | types.InputRequiredResult | JsonObject
"""The last is a task."""


class Runner(Runs, Protocol):
    """The bridge behind this server, as far as the server needs it."""

    def describe(self, principal: str | None = None) -> str:
        """Describe which model `respond` asks now, and which tools that model can use."""
        ...

    def describe_servers(self) -> list[JsonObject]:
        """List `{name, state, reason}` of each connected server, and of the built-in one."""
        ...

    async def describe_hub(self) -> JsonObject:
        """Describe all servers with their tools, and what a request carries of them."""
        ...

    def find_rights(self, principal: str | None) -> Rights | None:
        """Find what the config says of a principal now; None where it says nothing."""
        ...

    @property
    def is_draining(self) -> bool:
        """True once no more runs are begun."""
        ...

    @property
    def is_drained(self) -> bool:
        """True once, besides, none goes on any more."""
        ...

    @property
    def config_fault(self) -> str | None:
        """Reason that the configuration could not be read again; None where it could, or nobody has tried."""
        ...

    async def start(self, arguments: JsonObject, *, principal: str, caller: Caller) -> tuple[Run, bool]:
        """Start a run, or find the one that an equal call began and was given up; the flag tells that it was found.

        Raises BridgeError before anything is sent.
        """
        ...

    async def interject(self, arguments: JsonObject, *, principal: str, caller: Caller) -> Interjected | None:
        """Say `input` to the run that the arguments name; None where none goes on.

        Raises BridgeError where it cannot be said.
        """
        ...

    def start_soon(self, do: Callable[..., Coroutine[object, object, None]], *arguments: object) -> None:
        """Run a coroutine in the background."""
        ...


class BridgeServer(Server[dict[str, object]]):
    """An MCP server that lists and calls its tools, and notifies hosts of both eras when a description changes."""

    def __init__(self, runner: Runner, clock: Clock) -> None:
        self._runner = runner
        self._clock = clock
        self._bus = InMemorySubscriptionBus()
        self._changed = anyio.Event()
        self._calls = {"respond": self._respond, "respond_wait": self._wait, "respond_cancel": self._cancel}
        super().__init__(
            "mcp-responses-bridge",
            version=__version__,
            on_list_tools=self._list_tools,
            on_subscriptions_listen=ListenHandler(self._bus),
        )
        self.add_request_handler("tools/call", types.CallToolRequestParams, self._call_tool)
        self.middleware.append(mend_introduction)
        add_app(self)
        self._legacy = ListChangedSubscribers(self)
        self._cancellations = Cancellations(self, clock, lambda: runner.engine.outlives)
        self._silences = Silences(clock)
        self._tasks = Tasks(runner, lambda run: render_run(run, runner.limits), clock, self._silences)
        self._tasks.add_to(self)

    @override
    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, object]] | None = None,
        extensions: dict[str, dict[str, object]] | None = None,
    ) -> InitializationOptions:
        """Return the SDK's options with `tools.listChanged` announced; the SDK has no other hook for that. They are
        for the handshake, whose era has no tasks."""
        options = notification_options or NotificationOptions(tools_changed=True)
        built = super().create_initialization_options(options, experimental_capabilities, extensions)
        built.capabilities.extensions = extensions
        return built

    @override
    async def run(
        self,
        read_stream: ReadStream[SessionMessage | Exception],
        write_stream: WriteStream[SessionMessage],
        initialization_options: InitializationOptions,
        raise_exceptions: bool = False,
    ) -> None:
        """Serve one connection in both eras, until its read side closes."""
        async with self.lifespan(self) as state:
            await serve_both_eras(self, read_stream, write_stream, initialization_options, state)

    def describe_servers(self) -> list[JsonObject]:
        """List `{name, state, reason}` of each connected server, and of the built-in one."""
        return self._runner.describe_servers()

    @property
    def runner(self) -> Runner:
        """The bridge behind it."""
        return self._runner

    @property
    def is_draining(self) -> bool:
        """True once no more runs are begun, as the service is to end."""
        return self._runner.is_draining

    @property
    def is_drained(self) -> bool:
        """True once, besides, none goes on any more."""
        return self._runner.is_drained

    @property
    def config_fault(self) -> str | None:
        """Reason that the configuration could not be read again, in a sentence for people."""
        fault = self._runner.config_fault
        return fault and self._runner.redact(fault)

    def note_change(self) -> None:
        """Note that the description of `respond` has changed; `tell_changes` notifies the hosts."""
        self._changed.set()

    async def tell_changes(self) -> None:
        """Notify hosts of changes until cancelled."""
        async with anyio.create_task_group() as tasks:
            while True:
                await self._changed.wait()
                await self._clock.sleep(SETTLE_CHANGES_S)
                self._changed = anyio.Event()
                await self._bus.publish(ToolsListChanged())
                self._legacy.tell(tasks)

    async def _list_tools(
        self, ctx: HostRequest, _params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        tools = list_tools(self._runner.describe(find_principal(ctx)), self._runner.limits.result_chars)
        return types.ListToolsResult(tools=link_app(ctx, tools))

    async def _call_tool(self, ctx: HostRequest, params: types.CallToolRequestParams) -> Result:
        """Call a tool. Raises MCPError for an unknown one, as the specification has it (server/tools, error handling),
        and nothing else but cancellation: the SDK would show a host the text of any exception."""
        call = self._calls.get(params.name)
        if call is None:
            raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {params.name!r}; there are {', '.join(self._calls)}")
        try:
            if params.request_state is not None:
                return await self._go_on(ctx, params, params.request_state)
            return await call(ctx, clean_arguments(params.arguments or {}))
        except BridgeError as error:
            from bridge.run.run_log import tell_refusal  # late: most calls are good

            tell_refusal(params.name, error.code, find_principal(ctx))
            ending = fail_with(error)
        except Exception:
            logger.exception("%s broke", params.name)
            ending = fail_with(INTERNAL_ERROR)
        return render_refusal(ending, self._runner.limits)

    async def _respond(self, ctx: HostRequest, arguments: JsonObject) -> Result:
        principal, as_task = find_principal(ctx), declares_tasks(ctx)
        seconds = DIRECT_S if as_task else self._runner.limits.soft_deadline_s
        said = await self._runner.interject(arguments, principal=principal, caller=identify(ctx))
        if said:
            notices = [REJOINED] if said.is_found else []
            return await self._attend(ctx, said.run, seconds, notices=notices, as_task=as_task, said=said)
        run, is_found = await self._runner.start(arguments, principal=principal, caller=identify(ctx))
        notices = [REJOINED] if is_found else []
        return await self._attend(ctx, run, seconds, after=-1, notices=notices, as_task=as_task)

    async def _respond_late(self, ctx: HostRequest, arguments: JsonObject, until: float, reported: int) -> Result:
        """Start the run that goes on from one that has ended before it heard this call, and wait for it."""
        caller = identify(ctx)
        if caller.is_gone():
            raise GivenUp("this call was given up before a run began for it")
        run, is_found = await self._runner.start(arguments, principal=find_principal(ctx), caller=caller)
        seconds, notices = max(0.0, until - self._clock.now()), [TOO_LATE, REJOINED] if is_found else [TOO_LATE]
        return await self._attend(ctx, run, seconds, after=-1, notices=notices, reported=reported)

    async def _wait(self, ctx: HostRequest, arguments: JsonObject) -> Result:
        principal, engine = find_principal(ctx), self._runner.engine
        run_id = read_run_id(arguments, ("run_id", "wait_s"), may_lack=not is_unproven(principal))
        seconds = read_wait(arguments, self._runner.limits.soft_deadline_s)
        if run_id is None:
            from bridge.host.recent import MOST, build_list  # late: few ask for a list

            runs = await engine.list_recent(principal=principal, limit=MOST)
            return render_receipt(build_list(runs, self._clock.time(), self._runner.limits.result_chars))
        run = await engine.resume(await self._runner.find(run_id, principal=principal))
        return await self._attend(ctx, run, seconds)

    async def _cancel(self, ctx: HostRequest, arguments: JsonObject) -> Result:
        run_id = read_run_id(arguments, ("run_id",))
        assert run_id
        run = await self._runner.find(run_id, principal=find_principal(ctx))
        await self._runner.engine.send(run, Stop())
        return await self._attend(ctx, run, self._runner.limits.soft_deadline_s)

    async def _attend(
        self,
        ctx: HostRequest,
        run: Run,
        seconds: float,
        *,
        after: int | None = None,
        notices: Sequence[Notified] = (),
        as_task: bool = False,
        said: Interjected | None = None,
        reported: int = 0,
    ) -> Result:
        """Wait for `run` to end, at most `seconds`, and relay the events after number `after` (default: new ones).

        Return the receipt, or the questions that the host has to answer first; of a run that goes on, with `as_task`, a
        task, by which the host has the run: a second, equal call is another one's. Where the call has `said` something
        and the run has ended without hearing it, another run goes on from it.
        """
        if request := find_http(ctx):
            from bridge.host.request_log import read_note  # late: not over stdio

            read_note(request.scope).run_id = run.run_id
        until, message_id = self._clock.now() + seconds, said.message_id if said else None
        engine, soft_deadline_s = self._runner.engine, self._runner.limits.soft_deadline_s
        audience = HostAudience(ctx, self._silences, self._clock)
        redact = self._runner.redact
        waiting = Waiting(
            ctx, run, engine, audience, self._clock, soft_deadline_s, redact, message_id=message_id, reported=reported
        )
        delivery = Delivery(run, engine, self._runner.limits.on_cancel, self._runner.start_soon, message_id)
        with self._cancellations.watch(ctx, delivery.note_cancelled):
            if run.ending is None:
                run = await waiting.wait(seconds, after=len(run.events) - 1 if after is None else after)
            if run.ending is None and as_task:
                await delivery.note_result(ctx)
                return self._tasks.hand_out(run, notices)
            if run.ending is None and is_modern(ctx) and (questions := audience.pick(run.questions)):
                await delivery.note_answer(ctx)
                return await self._return_questions(run, questions, audience, message_id)
            if said is None or not said.is_left_out:
                await delivery.note_answer(ctx)
                if run.ending:
                    await delivery.note_result(ctx)
                told = [*notices, WAITS] if said and said.is_waiting else notices
                result = render_run(run, self._runner.limits, told, said)
                return add_timeline(ctx, result, run, self._clock.time(), redact)
        return await self._respond_late(ctx, said.arguments, until, waiting.reported)

    async def _go_on(self, ctx: HostRequest, params: types.CallToolRequestParams, state: str) -> Result:
        """Settle the questions that an earlier call returned with their answers, and wait for the run again."""
        run_id, _, message_id = state.partition(" ")
        run = await self._runner.find(run_id, principal=find_principal(ctx))
        audience = HostAudience(ctx, self._silences, self._clock)
        notices = list[Notified]()
        for key, response in (params.input_responses or {}).items():
            answer = audience.read_answer(response)  # also one that comes too late shows that somebody is there
            if key not in run.questions and run.decisions.get(key) != is_yes(answer):
                notices.append(Notified(code="answered_before", message=f"{UNCOUNTED} ({show_line(key)})"))
            await self._runner.engine.send(run, Settle(key, answer))
        said = Interjected(run, message_id, clean_arguments(params.arguments or {})) if message_id else None
        return await self._attend(ctx, run, self._runner.limits.soft_deadline_s, notices=notices, said=said)

    async def _return_questions(
        self, run: Run, questions: Mapping[str, Question], audience: HostAudience, message_id: str | None
    ) -> types.InputRequiredResult:
        """Return questions of the run as a result; the host calls again with the answers, the run's id, and that of
        what the call has brought."""
        for key in questions:
            await self._runner.engine.send(run, Show(key, self._runner.limits.soft_deadline_s, audience))
        requests = {key: build_elicitation(question) for key, question in questions.items()}
        state = f"{run.run_id} {message_id}" if message_id else run.run_id
        return types.InputRequiredResult(input_requests={**requests}, request_state=state)
