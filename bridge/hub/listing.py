"""The tools of one connected server: listed page by page, and again when the server says that they have changed."""

import logging
from collections.abc import Callable, Mapping

import anyio
from mcp import Client, MCPError, types
from mcp.client.session import IncomingMessage
from mcp_types import METHOD_NOT_FOUND
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from bridge.clock import Clock
from bridge.jsonrpc.messages import MENDED_WORDS, is_mended

logger = logging.getLogger(__name__)

MAX_PAGES = 50
SETTLE_CHANGES_S = 0.2
"""How long a listing is left alone after a change, so that a storm of changes costs one listing."""
FIRST_PAUSE_S, LAST_PAUSE_S = 2.0, 60.0
"""Between two attempts to subscribe to changes."""


class Listing:
    """What one server offers, over all its connections."""

    def __init__(self, key: str, *, clock: Clock, on_change: Callable[[], None]) -> None:
        self.tools: tuple[types.Tool, ...] = ()
        self.skipped: Mapping[str, str] = {}
        """What had to be left out of the last listing, each with the reason."""
        self._key = key
        self._clock = clock
        self._on_change = on_change
        self._skipping: dict[str, str] = {}
        self._changed = anyio.Event()

    async def read(self, client: Client) -> None:
        """List all pages."""
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
        self.tools, self.skipped = tuple(tools.values()), self._skipping

    def repair(self, result: Mapping[str, object]) -> None:
        """Take out of a result the tools that the SDK would refuse: it loses the whole list over one of them."""
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

    async def hear(self, message: IncomingMessage) -> None:
        """The handshake era tells of changes by a notification."""
        if isinstance(message, types.ToolListChangedNotification):
            self._changed.set()

    async def follow(self, client: Client) -> None:
        """List again after each change, until cancelled."""
        async with anyio.create_task_group() as tasks:
            if _announces_changes(client):
                tasks.start_soon(self._subscribe, client)
            while True:
                await self._changed.wait()
                await self._clock.sleep(SETTLE_CHANGES_S)
                self._changed = anyio.Event()
                await self._read_again(client)

    async def _subscribe(self, client: Client) -> None:
        """The modern era tells of changes on a subscription, which is renewed when it is lost."""
        pause = FIRST_PAUSE_S
        while True:
            try:
                async with client.listen(tools_list_changed=True) as changes:
                    pause = FIRST_PAUSE_S
                    async for _ in changes:
                        self._changed.set()
            except Exception as error:  # noqa: BLE001 - boundary: however a server ends it, calls go on without it
                logger.debug("%s: no news of changed tools: %s", self._key, error)
                if isinstance(error, MCPError) and error.code == METHOD_NOT_FOUND:
                    return
            await self._clock.sleep(pause)
            pause = min(pause * 2, LAST_PAUSE_S)
            self._changed.set()  # what changed meanwhile was told to nobody

    async def _read_again(self, client: Client) -> None:
        before = self.tools, self.skipped
        try:
            await self.read(client)
        except Exception as error:  # noqa: BLE001 - boundary: the old list stays, the connection goes on
            logger.warning("%s: its changed tools could not be listed: %s", self._key, error)
        if (self.tools, self.skipped) != before:
            self._on_change()


def _complete(tool: object) -> object:
    """`tool` as both protocol eras allow it: an output schema is an object's, or none; an input schema says so."""
    if isinstance(tool, dict):
        output, arguments = tool.get("outputSchema"), tool.get("inputSchema")
        if not (isinstance(output, dict) and output.get("type") == "object"):
            tool.pop("outputSchema", None)
        if isinstance(arguments, dict):
            arguments.setdefault("type", "object")
    return tool


def _announces_changes(client: Client) -> bool:
    """Whether changes come on a subscription: in the modern era, from a server that announces them.

    One whose revision is set in the config was not asked what it can do.
    """
    tools = client.server_capabilities.tools
    return client.protocol_version in MODERN_PROTOCOL_VERSIONS and (tools is None or bool(tools.list_changed))
