"""The bridge's face: an MCP server with the tool `respond`, for hosts of both protocol eras."""

import logging
from typing import Literal, Protocol, cast

import anyio
from mcp import types
from mcp.server import NotificationOptions, Server, ServerRequestContext
from mcp.server.models import InitializationOptions
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ToolsListChanged
from typing_extensions import override

from bridge import __version__
from bridge.clock import Clock
from bridge.errors import ArgumentError, BridgeError
from bridge.host.legacy import LegacyListeners
from bridge.host.progress import ProgressRelay
from bridge.host.schema import ARGUMENTS, RESULT, read_arguments
from bridge.items import JsonObject
from bridge.run.limits import fail_with
from bridge.run.memory import INTERNAL_ERROR, Listener, Run
from bridge.run.receipt import Detail, build_receipt, render_text

logger = logging.getLogger(__name__)

TEXT_META = "mcp-responses-bridge/text"
"""A caller that sets this in `_meta` gets the text as it arrives, as progress messages."""
SETTLE_CHANGES_S = 0.2
"""Servers that become ready one after the other are told of once."""


class Runner(Protocol):
    """What the face needs of the bridge behind it."""

    @property
    def result_chars(self) -> int:
        """How long a result may be."""
        ...

    def describe(self) -> str:
        """Whom `respond` asks now, and what that model can use."""
        ...

    def start(self, arguments: JsonObject, listener: Listener | None) -> Run:
        """Start a run. Raises BridgeError before anything is sent."""
        ...


class BridgeServer(Server[dict[str, object]]):
    """An MCP server that lists and calls `respond`, and tells hosts of both eras when its description changes."""

    def __init__(self, runner: Runner, clock: Clock) -> None:
        self._runner = runner
        self._clock = clock
        self._bus = InMemorySubscriptionBus()
        self._changed = anyio.Event()
        super().__init__(
            "mcp-responses-bridge",
            version=__version__,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_subscriptions_listen=ListenHandler(self._bus),
        )
        self._legacy = LegacyListeners(self)

    @override
    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, object]] | None = None,
        extensions: dict[str, dict[str, object]] | None = None,
    ) -> InitializationOptions:
        """As the SDK's, with `tools.listChanged` announced: it has no other hook for it."""
        options = notification_options or NotificationOptions(tools_changed=True)
        return super().create_initialization_options(options, experimental_capabilities, extensions)

    def note_change(self) -> None:
        """The description of `respond` is another one now; `tell_changes` will say so."""
        self._changed.set()

    async def tell_changes(self) -> None:
        """Tell hosts of changes until cancelled."""
        while True:
            await self._changed.wait()
            await self._clock.sleep(SETTLE_CHANGES_S)
            self._changed = anyio.Event()
            await self._bus.publish(ToolsListChanged())
            await self._legacy.tell()

    async def _list_tools(
        self, _ctx: ServerRequestContext[dict[str, object]], _params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        respond = types.Tool(
            name="respond",
            title="Ask another model",
            description=self._runner.describe(),
            input_schema=ARGUMENTS,
            output_schema=RESULT,
            annotations=types.ToolAnnotations(
                title="Ask another model", read_only_hint=False, destructive_hint=True, open_world_hint=True
            ),
            _meta={"anthropic/maxResultSizeChars": self._runner.result_chars},
        )
        return types.ListToolsResult(tools=[respond])

    async def _call_tool(
        self, ctx: ServerRequestContext[dict[str, object]], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        """Never raises but for cancellation: the SDK would show a host the text of any exception."""
        try:
            if params.name != "respond":
                raise ArgumentError(f"there is no tool {params.name!r}; the tool is 'respond'")
            return await self._respond(ctx, read_arguments(params.arguments or {}))
        except BridgeError as error:
            ending = fail_with(error)
        except Exception:
            logger.exception("respond broke")
            ending = fail_with(INTERNAL_ERROR)
        return _render(build_receipt(None, [], ending, limit_chars=self._runner.result_chars))

    async def _respond(
        self, ctx: ServerRequestContext[dict[str, object]], arguments: JsonObject
    ) -> types.CallToolResult:
        meta = cast("dict[str, object]", ctx.meta or {})

        async def report(progress: float, message: str) -> None:  # to nobody, if the caller gave no progressToken
            await ctx.session.report_progress(progress, None, message)

        relay = ProgressRelay(report, self._clock, wants_text=meta.get(TEXT_META) is True)
        run = self._runner.start(arguments, relay.listen)
        try:
            await relay.relay()
        finally:  # a caller that is gone, or cannot be told anything, waits for nothing
            if decide_cancellation() == "stop":
                run.cancel()
        assert run.ending
        detail: Detail = "full" if arguments.get("detail") == "full" else "summary"
        limit = self._runner.result_chars
        return _render(build_receipt(run.run_id, run.events, run.ending, detail=detail, limit_chars=limit))


def decide_cancellation() -> Literal["stop"]:
    """What the cancellation of a `respond` call means for its run: it stops, and its request and calls with it."""
    return "stop"


def _render(receipt: JsonObject) -> types.CallToolResult:
    """The receipt in both forms a host may show its model: each says all that is needed, also to go on from there."""
    texts = [render_text(receipt)]
    if receipt["response_id"]:
        texts.append(f"[response_id: {receipt['response_id']}]")
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=text) for text in texts],
        structured_content=receipt,
        is_error=receipt["status"] in ("failed", "cancelled"),
    )
