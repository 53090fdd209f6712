"""The MCP server that hosts see: the tool `respond` and its companions, for both protocol eras."""

import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

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
from bridge.config.settings import Limits
from bridge.errors import BridgeError
from bridge.events import Notified
from bridge.host.audience import HostAudience, build_elicitation
from bridge.host.cancellation import Cancellations, identify
from bridge.host.delivery import Delivery
from bridge.host.eras import serve_both_eras
from bridge.host.introductions import mend_introduction
from bridge.host.list_changed import ListChangedSubscribers
from bridge.host.principal import HostRequest, find_principal, is_modern
from bridge.host.recent import MOST, build_list
from bridge.host.schema import clean_arguments
from bridge.host.silences import Silences
from bridge.host.tools import list_tools, read_run_id, read_wait
from bridge.host.waiting import Waiting
from bridge.json_text import JsonObject
from bridge.questions import Question
from bridge.run.engine import Caller, Engine, Settle, Show, Stop, is_unproven
from bridge.run.limits import IN_PROGRESS, fail_with
from bridge.run.receipt import Detail, build_receipt, has_pictures, render_text
from bridge.run.run import Run
from bridge.run.task import INTERNAL_ERROR
from bridge.telemetry import Redactor

if TYPE_CHECKING:
    from bridge.run.pictures import Album

logger = logging.getLogger(__name__)

SETTLE_CHANGES_S = 0.2
"""Changes within this time are announced together, as when servers become ready one after the other."""

REJOINED = Notified(
    code="rejoined",
    message="An earlier call with the same arguments had not got its result; this is its run, nothing was done twice",
)

Result: TypeAlias = types.CallToolResult | types.InputRequiredResult


class Runner(Protocol):
    """The bridge behind this server, as far as the server needs it."""

    @property
    def limits(self) -> Limits:
        """The limits on how long a call may take and how large its result may be."""
        ...

    @property
    def redact(self) -> Redactor:
        """Blank the secrets in what people are shown."""
        ...

    def describe(self) -> str:
        """Describe which model `respond` asks now, and which tools that model can use."""
        ...

    def describe_servers(self) -> list[JsonObject]:
        """List `{name, state, reason}` of each connected server, and of the built-in one."""
        ...

    async def start(self, arguments: JsonObject, *, principal: str, caller: Caller) -> tuple[Run, bool]:
        """Start a run, or find the one that an equal call began and was given up; the flag tells that it was found.

        Raises BridgeError before anything is sent.
        """
        ...

    async def find(self, run_id: str, *, principal: str) -> Run:
        """Find a run of this principal. Raises ArgumentError where there is none, whatever the reason."""
        ...

    @property
    def engine(self) -> Engine:
        """The engine that keeps the runs."""
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
            on_call_tool=self._call_tool,
            on_subscriptions_listen=ListenHandler(self._bus),
        )
        self.middleware.append(mend_introduction)
        self._legacy = ListChangedSubscribers(self)
        self._cancellations = Cancellations(self, clock)
        self._silences = Silences(clock)

    @override
    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, object]] | None = None,
        extensions: dict[str, dict[str, object]] | None = None,
    ) -> InitializationOptions:
        """Return the SDK's options with `tools.listChanged` announced; the SDK has no other hook for that."""
        options = notification_options or NotificationOptions(tools_changed=True)
        return super().create_initialization_options(options, experimental_capabilities, extensions)

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
        self, _ctx: HostRequest, _params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        return types.ListToolsResult(tools=list_tools(self._runner.describe(), self._runner.limits.result_chars))

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
            ending = fail_with(error)
        except Exception:
            logger.exception("%s broke", params.name)
            ending = fail_with(INTERNAL_ERROR)
        return _render(build_receipt(None, [], ending, limit_chars=self._runner.limits.result_chars))

    async def _respond(self, ctx: HostRequest, arguments: JsonObject) -> Result:
        run, is_found = await self._runner.start(arguments, principal=find_principal(ctx), caller=identify(ctx))
        seconds = self._runner.limits.soft_deadline_s
        return await self._attend(ctx, run, seconds, after=-1, notices=[REJOINED] if is_found else [])

    async def _wait(self, ctx: HostRequest, arguments: JsonObject) -> Result:
        principal, engine = find_principal(ctx), self._runner.engine
        run_id = read_run_id(arguments, ("run_id", "wait_s"), may_lack=not is_unproven(principal))
        seconds = read_wait(arguments, self._runner.limits.soft_deadline_s)
        if run_id is None:
            runs = await engine.list_recent(principal=principal, limit=MOST)
            return _render(build_list(runs, self._clock.time(), self._runner.limits.result_chars))
        run = await engine.resume(await self._runner.find(run_id, principal=principal))
        return await self._attend(ctx, run, seconds)

    async def _cancel(self, ctx: HostRequest, arguments: JsonObject) -> Result:
        run_id = read_run_id(arguments, ("run_id",))
        assert run_id
        run = await self._runner.find(run_id, principal=find_principal(ctx))
        await self._runner.engine.send(run, Stop())
        return await self._attend(ctx, run, self._runner.limits.soft_deadline_s)

    async def _attend(
        self, ctx: HostRequest, run: Run, seconds: float, *, after: int | None = None, notices: Sequence[Notified] = ()
    ) -> Result:
        """Wait for `run` to end, at most `seconds`, and relay the events after number `after` (default: new ones).

        Return the receipt, or the questions that the host has to answer first.
        """
        engine, soft_deadline_s = self._runner.engine, self._runner.limits.soft_deadline_s
        audience = HostAudience(ctx, self._silences, self._clock)
        waiting = Waiting(ctx, run, engine, audience, self._clock, soft_deadline_s, self._runner.redact)
        delivery = Delivery(run, engine, self._runner.limits.on_cancel, self._runner.start_soon)
        with self._cancellations.watch(ctx, delivery.note_cancelled):
            if run.ending is None:
                run = await waiting.wait(seconds, after=len(run.events) - 1 if after is None else after)
            if run.ending is None and is_modern(ctx) and (questions := audience.pick(run.questions)):
                return await self._return_questions(run, questions, audience)
            if run.ending:
                await delivery.note_result(ctx)
            return self._render_run(run, notices)

    async def _go_on(self, ctx: HostRequest, params: types.CallToolRequestParams, run_id: str) -> Result:
        """Settle the questions that an earlier call returned with their answers, and wait for the run again."""
        run = await self._runner.find(run_id, principal=find_principal(ctx))
        audience = HostAudience(ctx, self._silences, self._clock)
        for key, response in (params.input_responses or {}).items():
            answer = audience.read_answer(response)  # also one that comes too late shows that somebody is there
            await self._runner.engine.send(run, Settle(key, answer))
        return await self._attend(ctx, run, self._runner.limits.soft_deadline_s)

    async def _return_questions(
        self, run: Run, questions: Mapping[str, Question], audience: HostAudience
    ) -> types.InputRequiredResult:
        """Return questions of the run as a result; the host calls again with the answers and the run's id."""
        for key in questions:
            await self._runner.engine.send(run, Show(key, self._runner.limits.soft_deadline_s, audience))
        requests = {key: build_elicitation(question) for key, question in questions.items()}
        return types.InputRequiredResult(input_requests={**requests}, request_state=run.run_id)

    def _render_run(self, run: Run, notices: Sequence[Notified]) -> types.CallToolResult:
        detail: Detail = "full" if run.arguments.get("detail") == "full" else "summary"
        limits, events, ending = self._runner.limits, [*run.told, *notices], run.ending or IN_PROGRESS
        album = _choose_pictures(run, limits) if run.ending and has_pictures(run.events) else None
        limit = limits.result_chars
        return _render(build_receipt(run.run_id, events, ending, detail=detail, limit_chars=limit, album=album), album)


def _choose_pictures(run: Run, limits: Limits) -> "Album | None":
    if not limits.result_images:
        return None
    from bridge.run.pictures import Room, choose_pictures  # late: few runs have any

    return choose_pictures(run.events, Room(limits.result_images, limits.result_image_bytes))


def _render(receipt: JsonObject, album: "Album | None" = None) -> types.CallToolResult:
    """Return the receipt as text and as structured content: a host may show its model only one of them, so each holds
    all that is needed, also to continue from there. The pictures come behind the texts."""
    texts = [render_text(receipt)]
    if receipt["response_id"]:
        texts.append(f"[response_id: {receipt['response_id']}]")
    content: list[types.ContentBlock] = [types.TextContent(type="text", text=text) for text in texts]
    for picture in album.pictures if album else ():
        content.append(types.ImageContent(type="image", data=picture.data, mime_type=picture.kind or ""))
    return types.CallToolResult(
        content=content,
        structured_content=receipt,
        is_error=receipt["status"] in ("failed", "cancelled"),
    )
