"""The tools of one connected server: listed page by page, and again whenever the server announces a change."""

import logging
from collections.abc import Callable, Mapping

import anyio
from mcp import Client, MCPError, types
from mcp.client.session import IncomingMessage
from mcp_types import METHOD_NOT_FOUND
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from bridge.clock import Clock
from bridge.hub.settling import Settling
from bridge.hub.toolless import NO_ANSWER_S, describe_toolless, has_no_tools, may_have_tools
from bridge.jsonrpc.messages import MENDED_WORDS, is_mended

logger = logging.getLogger(__name__)

MAX_PAGES = 50
FIRST_PAUSE_S, LAST_PAUSE_S = 2.0, 60.0
"""Bounds of the pause between two attempts to subscribe to changes; a subscription that lasts for the last one is a
good one."""


class Listing:
    """The tools of one server; kept when a new connection replaces a lost one."""

    def __init__(self, key: str, *, clock: Clock, on_change: Callable[[], None]) -> None:
        self.tools: tuple[types.Tool, ...] = ()
        self.skipped: Mapping[str, str] = {}
        """Tools that had to be left out of the last listing, each with the reason."""
        self.note: str | None = None
        """What the server has instead, if it has no tools."""
        self._key = key
        self._clock = clock
        self._on_change = on_change
        self._skipping: dict[str, str] = {}
        self._changed = anyio.Event()
        self._settling = Settling(clock)

    async def read(self, client: Client) -> None:
        """List the tools on a new connection; a server that has none lists none."""
        try:
            if may_have_tools(client.server_capabilities):
                await self._read_pages(client)
            else:
                with self._clock.scope(self._clock.now() + NO_ANSWER_S) as patience:
                    await self._read_pages(client)
                if patience.cancelled_caught:
                    self._set((), {})
        except MCPError as error:
            if not has_no_tools(error, client.server_capabilities):
                raise
            self._set((), {})
        self.note = None if self.tools or self.skipped else describe_toolless(client.server_capabilities)

    def _set(self, tools: tuple[types.Tool, ...], skipped: Mapping[str, str]) -> None:
        self.tools, self.skipped, self.note = tools, skipped, None

    async def _read_pages(self, client: Client) -> None:
        self._skipping = {}
        tools: dict[str, types.Tool] = {}
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            page = await client.list_tools(cursor=cursor, cache_mode="bypass")
            if is_mended(page):
                logger.warning("%s: in its list of tools, %s", self._key, MENDED_WORDS)
            for tool in page.tools:
                if tools.setdefault(tool.name, tool) is not tool:
                    self._skipping[f"a second {tool.name}"] = "a name can be called for one tool only"
            cursor = page.next_cursor
            if not cursor:
                break
        else:
            self._skipping[f"every page after {MAX_PAGES}"] = "a list must end"
        self._set(tuple(tools.values()), self._skipping)

    def repair(self, result: Mapping[str, object]) -> None:
        """Remove the tools from a result that the SDK would refuse: it rejects the whole list over one of them."""
        tools = result.get("tools")
        if not isinstance(tools, list):
            return
        kept: list[object] = []
        for tool in tools:
            try:
                types.Tool.model_validate(_complete(tool), by_name=False)
                kept.append(tool)
            except ValidationError as error:
                name = str(tool.get("name", "?")) if isinstance(tool, dict) else "?"
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"])) or "its root"
                self._skipping[name] = f"its definition is not valid at {where}: {first['msg']}"
        tools[:] = kept

    async def handle_notification(self, message: IncomingMessage) -> None:
        """Note a change that is announced by a notification, as in the handshake era."""
        if isinstance(message, types.ToolListChangedNotification):
            self._changed.set()

    async def follow(self, client: Client) -> None:
        """List again after each change, until cancelled."""
        async with anyio.create_task_group() as tasks:
            if _announces_changes(client):
                tasks.start_soon(self._subscribe, client)
            while True:
                await self._changed.wait()
                await self._settling.wait()
                self._changed = anyio.Event()
                await self._read_again(client)
                self._settling.note_listed()

    async def _subscribe(self, client: Client) -> None:
        """Note changes that are announced on a subscription, as in the modern era; renew it when it is lost."""
        pause = FIRST_PAUSE_S
        while True:
            began = self._clock.now()
            try:
                async with client.listen(tools_list_changed=True) as changes:
                    async for _ in changes:
                        self._changed.set()
            except Exception as error:  # noqa: BLE001 - boundary: however a server ends it, calls go on without it
                logger.debug("%s: the subscription to changed tools ended: %s", self._key, error)
                if isinstance(error, MCPError) and error.code == METHOD_NOT_FOUND:
                    return
            if self._clock.now() - began >= LAST_PAUSE_S:
                pause = FIRST_PAUSE_S
            await self._clock.sleep(pause)
            pause = min(pause * 2, LAST_PAUSE_S)
            self._changed.set()  # changes in the meantime were not announced

    async def _read_again(self, client: Client) -> None:
        before = self.tools, self.skipped
        try:
            await self._read_pages(client)
        except Exception as error:  # noqa: BLE001 - boundary: the old list stays, the connection goes on
            logger.warning("%s: its changed tools could not be listed: %s", self._key, error)
        if (self.tools, self.skipped) != before:
            self._on_change()


def _complete(tool: object) -> object:
    """Make `tool` valid in both protocol eras, in place: its schemas must have the type "object".

    An output schema of another type is dropped; an input schema without a type gets it.
    """
    if isinstance(tool, dict):
        output, arguments = tool.get("outputSchema"), tool.get("inputSchema")
        if not (isinstance(output, dict) and output.get("type") == "object"):
            tool.pop("outputSchema", None)
        if isinstance(arguments, dict):
            arguments.setdefault("type", "object")
    return tool


def _announces_changes(client: Client) -> bool:
    """Tell whether to subscribe to changes: in the modern era, at a server that announces them.

    A server whose revision is set in the config was not asked for its capabilities; it is tried.
    """
    tools = client.server_capabilities.tools
    return client.protocol_version in MODERN_PROTOCOL_VERSIONS and (tools is None or bool(tools.list_changed))
