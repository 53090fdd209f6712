"""One connected server: the task that owns its connection, its state for people to see, and calls to it."""

import logging
from collections.abc import Callable, Mapping
from typing import Literal

import anyio
from mcp import Client, MCPError, types
from mcp.server import MCPServer
from mcp.shared.dispatcher import ProgressFnT
from pydantic import TypeAdapter

from bridge.children import Child
from bridge.clock import Clock
from bridge.hub.connect import Connection
from bridge.hub.failures import CallFailed, describe, doubt, explain_call, flatten
from bridge.hub.guard import UNREACHABLE
from bridge.hub.listing import Listing
from bridge.hub.stdio import Process
from bridge.hub.ways import Way, Ways
from bridge.items import JsonObject
from bridge.settings import ServerConfig
from bridge.telemetry import Redactor

logger = logging.getLogger(__name__)

State = Literal["starting", "late", "ready", "backing off", "failed"]

START_PATIENCE_S = 120.0
"""How long one start may take in all: a first `npx` or `uvx` downloads the server. Runs do not wait this long."""
FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.25, 30.0
STABLE_S = 10.0
"""A connection that lasted this long was a good one: after its loss the next start is immediate."""

_RESULT = TypeAdapter[types.CallToolResult | types.InputRequiredResult](
    types.CallToolResult | types.InputRequiredResult
)


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
        redact: Redactor,
        in_process: MCPServer | None = None,
        child: Child | None = None,
    ) -> None:
        self.key = server.key
        self.server = server
        self.state: State = "starting"
        self.reason: str | None = None
        """Why it is not ready, for people; configured secrets are blanked."""
        self.era: str | None = None
        self.listing = Listing(self.key, clock=clock, on_change=on_change)
        self.settled = anyio.Event()
        """Set while it is known what a run or a call can expect: ready, failed, or past its connect timeout. A server
        that was ready and is lost gets that timeout again to come back."""
        self._clock = clock
        self._environ = environ
        self._connect_timeout_s = server.connect_timeout_s or connect_timeout_s
        self._message_bytes = message_bytes
        self._on_change = on_change
        self._redact = redact
        self._in_process = in_process
        self._child = child
        self._process: Process | None = None
        self._client: Client | None = None
        self._is_lost = False
        self._ways = Ways(server)
        self._complaints: list[str] = []
        self._turnstile = anyio.CapacityLimiter(1 if server.serial else 1000)

    @property
    def tools(self) -> tuple[types.Tool, ...]:
        """What it offers, or offered when it was last ready."""
        return self.listing.tools

    def describe(self) -> str:
        """Its state in words, and the reason where there is one."""
        words = {"backing off": "was lost and is started again", "failed": "failed"}
        reason = f": {self.reason}" if self.reason else ""
        return f'server "{self.key}" {words.get(self.state, f"is {self.state}")}{reason}'

    def last_words(self) -> list[str]:
        """The last lines of the stderr of its process, configured secrets blanked."""
        return [self._redact(line) for line in self._process.tail] if self._process else []

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
                    if self._take_next_way(error):
                        continue
                finally:
                    if self._is_lost:
                        self._is_lost = False
                        tasks.start_soon(self._settle_late)
                failures = 0 if self._clock.now() - began > STABLE_S else failures + 1
                if failures:
                    await self._clock.sleep(min(FIRST_BACKOFF_S * 2 ** (failures - 1), LAST_BACKOFF_S))

    async def call(
        self, tool: types.Tool, arguments: JsonObject, *, deadline: float, on_progress: ProgressFnT | None
    ) -> types.CallToolResult:
        """Send one `tools/call`, once; raises CallFailed with words for the model."""
        doubts = "it was not sent"
        with self._clock.scope(deadline):
            async with self._turnstile:
                client = await self._await_client()
                doubts = doubt(tool)
                return await self._send(client, tool, arguments, on_progress)
        raise CallFailed("timeout", f"no result in time; {doubts}")

    async def _await_client(self) -> Client:
        await self.settled.wait()
        if self._client is None:
            raise CallFailed("server_unavailable", f"{self.key} is not connected: {self.reason or self.state}")
        return self._client

    async def _send(
        self, client: Client, tool: types.Tool, arguments: JsonObject, on_progress: ProgressFnT | None
    ) -> types.CallToolResult:
        request = types.CallToolRequest(params=types.CallToolRequestParams(name=tool.name, arguments=arguments))
        try:
            # Not `call_tool`: that discards the result of an executed call when it breaks its output schema.
            result = await client.session.send_request(request, _RESULT, progress_callback=on_progress)
        except Exception as error:  # boundary: however a call fails, the model is told
            raise explain_call(self.key, tool, error) from error
        if isinstance(result, types.InputRequiredResult):
            raise CallFailed("input_required", f"{self.key} asks for input that cannot be given during a run")
        return result

    async def _connect_once(self) -> None:
        """One connection, from its start to its loss. Raises what kept it from becoming ready."""
        lost = anyio.Event()
        way = self._ways.way
        target = self._in_process or self._build_connection(way, lost)
        async with anyio.create_task_group() as around:
            opened = anyio.Event()
            around.start_soon(self._limit_start, opened)
            try:
                async with (
                    Client(target, mode=way.mode, message_handler=self.listing.hear, cache=None) as client,
                    anyio.create_task_group() as inside,
                ):
                    await self.listing.read(client)
                    self._open(client)
                    opened.set()
                    inside.start_soon(self.listing.follow, client)
                    await lost.wait()
                    self._close()
                    inside.cancel_scope.cancel()
            finally:
                self._close()
            around.cancel_scope.cancel()

    def _build_connection(self, way: Way, lost: anyio.Event) -> Connection:
        self._process = Process(self.server, self._environ, self._child) if way.wire == "stdio" else None
        self._child = None
        return Connection(
            self.server,
            way,
            process=self._process,
            limit=self._message_bytes,
            lost=lost,
            repair=self.listing.repair,
        )

    def _open(self, client: Client) -> None:
        self.era, self._client = client.protocol_version, client
        self._ways.remember(client.protocol_version)
        self._complaints.clear()
        self._set_state("ready", None)
        self.settled.set()

    def _close(self) -> None:
        if self._client is not None:
            self._client, self.settled, self._is_lost = None, anyio.Event(), True

    async def _limit_start(self, opened: anyio.Event) -> None:
        with self._clock.scope(self._clock.now() + START_PATIENCE_S):
            await opened.wait()
            return
        raise TimeoutError(f"not ready after {START_PATIENCE_S:g} s")

    def _take_next_way(self, error: Exception) -> bool:
        """Whether the server may understand another transport or handshake at once; else it has failed for now."""
        causes = flatten(error)
        ended = self._process.explain_end() if self._process and self._process.has_ended else None
        self._complaints.append(ended or "; ".join(dict.fromkeys(map(describe, causes))))
        if any(isinstance(c, MCPError) and c.code != UNREACHABLE for c in causes) and self._ways.try_next():
            return True
        self._ways.start_over()
        self._set_state("failed", "; ".join(dict.fromkeys(self._complaints)))
        self._complaints.clear()
        if self.era is None:
            self.settled.set()
        return False

    def _explain_loss(self) -> str:
        return self._process.explain_end() if self._process else "the connection was lost"

    def _set_state(self, state: State, reason: str | None) -> None:
        news = (state, reason) != (self.state, self.reason)
        self.state, self.reason = state, self._redact(reason) if reason else None
        level = logging.WARNING if news and state in ("failed", "late") else logging.INFO
        logger.log(level, "%s: %s%s", self.key, state, f" ({self.reason})" if self.reason else "")
        self._on_change()

    async def _settle_late(self) -> None:
        settled = self.settled
        await self._clock.sleep(self._connect_timeout_s)
        if not settled.is_set():
            if self.state != "failed":
                self._set_state("late", f"not ready after {self._connect_timeout_s:g} s")
            settled.set()
