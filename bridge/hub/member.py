"""One connected server: the task that owns its connection, its state for people to see, and calls to it."""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Literal

import anyio
from anyio.abc import TaskGroup
from mcp import Client, MCPError, types
from mcp.client.client import ConnectMode
from mcp.client.session import IncomingMessage, MessageHandlerFnT
from mcp.server import MCPServer
from mcp.shared.dispatcher import ProgressFnT
from mcp_types import CONNECTION_CLOSED
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS
from pydantic import TypeAdapter, ValidationError

from bridge.children import Child
from bridge.clock import Clock
from bridge.config import ServerConfig
from bridge.hub.connect import UNREACHABLE, Connection, Wire
from bridge.hub.stdio import Process
from bridge.items import JsonObject

logger = logging.getLogger(__name__)

State = Literal["starting", "late", "ready", "backing off", "failed"]

START_PATIENCE_S = 120.0
"""How long one start may take in all: a first `npx` or `uvx` downloads the server. Runs do not wait this long."""
FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.25, 30.0
STABLE_S = 10.0
"""A connection that lasted this long was a good one: after its loss the next start is immediate."""
MAX_PAGES = 50
SETTLE_CHANGES_S = 0.2
"""How long a listing is left alone after `list_changed`, so that a storm of them costs one listing."""


_RESULT = TypeAdapter[types.CallToolResult | types.InputRequiredResult](
    types.CallToolResult | types.InputRequiredResult
)


class CallFailed(Exception):
    """A call came to no result; the text is for the model."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Member:
    """A connected server.

    `run` is the only task that opens and closes its client (cancel scopes must be left by the task that entered
    them); calls come from any task. What happens here touches no other member.
    """

    def __init__(
        self,
        server: ServerConfig,
        *,
        clock: Clock,
        environ: Mapping[str, str],
        connect_timeout_s: float,
        message_bytes: int,
        on_change: Callable[[], None],
        in_process: MCPServer | None = None,
        child: Child | None = None,
    ) -> None:
        self.key = server.key
        self.server = server
        self.state: State = "starting"
        self.reason: str | None = None
        self.era: str | None = None
        self.tools: tuple[types.Tool, ...] = ()
        self.skipped: Mapping[str, str] = {}
        self.settled = anyio.Event()
        """Set once it is known what a run can expect: ready, failed, or past its connect timeout."""
        self._clock = clock
        self._environ = environ
        self._connect_timeout_s = server.connect_timeout_s or connect_timeout_s
        self._message_bytes = message_bytes
        self._on_change = on_change
        self._in_process = in_process
        self._child = child
        self._client: Client | None = None
        self._ready = anyio.Event()
        self._mode: ConnectMode = _pick_mode(server.protocol)
        self._wires = _pick_wires(server)
        self._turnstile = anyio.CapacityLimiter(1 if server.serial else 1000)
        self._process: Process | None = None
        self._connection: Connection | None = None

    async def run(self) -> None:
        """Keep the server connected until cancelled: connect, serve, and after a loss connect again."""
        failures = 0
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._settle_late)
            while True:
                began = self._clock.now()
                try:
                    await self._connect_once()
                    self._set_state("backing off", self._explain_loss())
                except Exception as error:  # noqa: BLE001 - boundary: whatever a server does stays here
                    self._note_failure(error)
                failures = 0 if self._clock.now() - began > STABLE_S else failures + 1
                if failures:
                    await self._clock.sleep(min(FIRST_BACKOFF_S * 2 ** (failures - 1), LAST_BACKOFF_S))

    async def call(
        self, tool: types.Tool, arguments: JsonObject, *, deadline: float, on_progress: ProgressFnT | None
    ) -> types.CallToolResult:
        """Send one `tools/call`, once; raises CallFailed with words for the model."""
        client = await self._await_client(deadline)
        request = types.CallToolRequest(params=types.CallToolRequestParams(name=tool.name, arguments=arguments))
        with self._clock.scope(deadline):
            try:
                async with self._turnstile:
                    # Not `call_tool`: that discards the result of an executed call when it breaks its output schema.
                    result = await client.session.send_request(request, _RESULT, progress_callback=on_progress)
            except MCPError as error:
                raise self._explain(error, tool) from error
            except ValidationError as error:
                words = f"{self.key} sent a result that cannot be read: {_describe(error)}"
                raise CallFailed("unreadable_result", words) from error
            if isinstance(result, types.InputRequiredResult):
                raise CallFailed("input_required", f"{self.key} asks for input that cannot be given during a run")
            return result
        raise CallFailed("timeout", f"no result in time; {_doubt(tool)}")

    async def _await_client(self, deadline: float) -> Client:
        """The client, once the server is (back) up; a call waits as long for it as a run does at the start."""
        if self._client is None and self.state != "failed":
            with self._clock.scope(min(deadline, self._clock.now() + self._connect_timeout_s)):
                await self._ready.wait()
        if self._client is None:
            raise CallFailed("server_unavailable", f"{self.key} is not connected: {self.reason or self.state}")
        return self._client

    async def _connect_once(self) -> None:
        """One connection, from its start to its loss. Raises what kept it from becoming ready."""
        lost = anyio.Event()
        target = self._in_process or self._build_connection(lost)
        async with anyio.create_task_group() as around:
            around.start_soon(self._give_up_late, around.cancel_scope)
            try:
                async with (
                    Client(target, mode=self._mode, message_handler=self._hear(around), cache=None) as client,
                    anyio.create_task_group() as inside,
                ):
                    await self._list_tools(client)
                    self._open(client)
                    if _subscribes(client):
                        inside.start_soon(self._listen, client)
                    await lost.wait()
                    inside.cancel_scope.cancel()
            finally:
                self._client, self._ready = None, anyio.Event()
            around.cancel_scope.cancel()
        if around.cancel_scope.cancelled_caught and not lost.is_set():
            raise TimeoutError(f"not ready after {START_PATIENCE_S:g} s")

    def _build_connection(self, lost: anyio.Event) -> Connection:
        wire = self._wires[0]
        self._process = Process(self.server, self._environ, self._child) if wire == "stdio" else None
        self._child = None
        self._connection = Connection(self.server, wire, process=self._process, limit=self._message_bytes, lost=lost)
        return self._connection

    def _open(self, client: Client) -> None:
        self.era, self._client = client.protocol_version, client
        self._set_state("ready", None)
        self._ready.set()
        self.settled.set()

    async def _give_up_late(self, scope: anyio.CancelScope) -> None:
        await self._clock.sleep(START_PATIENCE_S)
        if self._client is None:
            scope.cancel()

    def _note_failure(self, error: Exception) -> None:
        """Remember why, and try the next way: the older handshake, the older transport."""
        causes = _flatten(error)
        reason = "; ".join(dict.fromkeys(_describe(cause) for cause in causes))
        if self._mode == "auto" and any(isinstance(c, MCPError) and c.code == CONNECTION_CLOSED for c in causes):
            self._mode = "legacy"  # it exits on a first message it does not know (modelcontextprotocol/go-sdk#1177)
        self._wires = (*self._wires[1:], self._wires[0])
        if self._process and self._process.has_ended:
            reason = self._explain_loss()
        self._set_state("failed", reason)
        self.settled.set()

    def _explain_loss(self) -> str:
        return self._process.explain_end() if self._process else "the connection was lost"

    def _set_state(self, state: State, reason: str | None) -> None:
        self.state, self.reason = state, reason
        logger.info("%s: %s%s", self.key, state, f" ({reason})" if reason else "")
        self._on_change()

    async def _settle_late(self) -> None:
        await self._clock.sleep(self._connect_timeout_s)
        if not self.settled.is_set():
            self._set_state("late", f"not ready after {self._connect_timeout_s:g} s")
            self.settled.set()

    async def _list_tools(self, client: Client) -> None:
        tools: dict[str, types.Tool] = {}
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            page = await client.list_tools(cursor=cursor, cache_mode="bypass")
            tools |= {tool.name: tool for tool in page.tools if tool.name not in tools}
            cursor = page.next_cursor
            if cursor is None:
                break
        self.tools = tuple(tools.values())
        self.skipped = dict(self._connection.skipped) if self._connection else {}

    def _hear(self, tasks: TaskGroup) -> MessageHandlerFnT:
        """The handshake era tells of changed tools by a notification."""
        is_listing = False

        async def list_again() -> None:
            nonlocal is_listing
            await self._clock.sleep(SETTLE_CHANGES_S)
            is_listing = False
            if self._client is not None:
                await self._refresh(self._client)

        async def handle(message: IncomingMessage) -> None:
            nonlocal is_listing
            if isinstance(message, types.ToolListChangedNotification) and not is_listing:
                is_listing = True
                tasks.start_soon(list_again)

        return handle

    async def _listen(self, client: Client) -> None:
        """The modern era tells of them on a subscription, which is renewed when it is lost."""
        while True:
            with suppress(Exception):
                async with client.listen(tools_list_changed=True) as changes:
                    async for _ in changes:
                        await self._clock.sleep(SETTLE_CHANGES_S)
                        await self._refresh(client)
            await self._clock.sleep(FIRST_BACKOFF_S * 8)
            await self._refresh(client)

    async def _refresh(self, client: Client) -> None:
        try:
            await self._list_tools(client)
        except Exception as error:  # noqa: BLE001 - boundary: the old list stays, the connection goes on
            logger.warning("%s: its changed tools could not be listed: %s", self.key, error)
        else:
            self._on_change()

    def _explain(self, error: MCPError, tool: types.Tool) -> CallFailed:
        if error.code == CONNECTION_CLOSED:
            return CallFailed("connection_lost", f"{self.key} went away during the call; {_doubt(tool)}")
        if error.code == UNREACHABLE:
            return CallFailed("connection_lost", f"{self.key}: {error.message}; {_doubt(tool)}")
        return CallFailed("protocol_error", f"{self.key} answered with error {error.code}: {error.message}")


def _doubt(tool: types.Tool) -> str:
    """Whether the call may be repeated. A call is sent once: the bridge never repeats one by itself."""
    hints = tool.annotations
    if hints and (hints.read_only_hint or hints.idempotent_hint):
        return "it is safe to repeat"
    return "it may have been executed, check before repeating it"


def _subscribes(client: Client) -> bool:
    """Whether changes of the tools come on a subscription: in the modern era, from a server that announces them."""
    tools = client.server_capabilities.tools
    return client.protocol_version in MODERN_PROTOCOL_VERSIONS and bool(tools and tools.list_changed)


def _pick_mode(protocol: str) -> ConnectMode:
    return "legacy" if protocol in HANDSHAKE_PROTOCOL_VERSIONS else protocol


def _pick_wires(server: ServerConfig) -> tuple[Wire, ...]:
    return ("http", "sse") if server.transport == "auto" else (server.transport,)


def _flatten(error: BaseException) -> list[BaseException]:
    """The errors inside a group: `async with Client` wraps even its connect error in several."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _flatten(inner)]
    return [error]


def _describe(error: BaseException) -> str:
    if isinstance(error, FileNotFoundError):
        return f"command not found: {error.filename}"
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
