"""The tools of one connected server: listed page by page, and again whenever the server announces a change."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

import anyio
from mcp import Client, MCPError, types
from mcp.client.session import IncomingMessage
from mcp_types import METHOD_NOT_FOUND
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from bridge.clock import Clock
from bridge.hub.failures import describe
from bridge.hub.pace import Pace
from bridge.hub.pages import MANY, Pages
from bridge.hub.settling import Settling
from bridge.hub.toolless import NO_ANSWER_S, describe_toolless, has_no_tools, may_have_tools
from bridge.json_text import JsonObject
from bridge.jsonrpc.messages import MENDED_WORDS, is_mended

logger = logging.getLogger(__name__)

PAGE_S = 30.0
"""How long each page after the first may take."""
FIRST_PAUSE_S, LAST_PAUSE_S = 2.0, 60.0
"""Bounds of the pause between two attempts to subscribe to changes."""
LASTING = 10
"""The pause doubles until a subscription has lasted for so many of it."""


Convert: TypeAlias = Callable[[Sequence[types.Tool], Pace], Awaitable[None]]
"""Converts tools that will be offered next, so that no run has to wait for that."""


class Listing:
    """The tools of one server; kept when a new connection replaces a lost one."""

    def __init__(self, key: str, *, clock: Clock, on_change: Callable[[], None], convert: Convert) -> None:
        self.tools: tuple[types.Tool, ...] = ()
        self.by_name: Mapping[str, types.Tool] = {}
        self.skipped: Mapping[str, str] = {}
        """Tools that had to be left out of the last listing, each with the reason."""
        self.notes: Mapping[str, tuple[str, ...]] = {}
        """What was odd in the definitions of tools that were not left out, by their names."""
        self.note: str | None = None
        """What the server has instead, if it has no tools."""
        self.is_whole = True
        """False if a page could not be read, so that tools are missing."""
        self._key = key
        self._clock = clock
        self._on_change = on_change
        self._convert = convert
        self._pages = Pages()
        self._changed = anyio.Event()
        self._settling = Settling(clock)

    async def read(self, client: Client) -> None:
        """List the tools on a new connection; a server that has none lists none."""
        try:
            if may_have_tools(client.server_capabilities):
                self._take(await self._list(client))
            else:
                with self._clock.scope(self._clock.now() + NO_ANSWER_S) as patience:
                    await self._list(client)
                if patience.cancelled_caught and self._pages.count:
                    self._pages.fail("the next one did not come")
                self._take(self._pages)
        except MCPError as error:
            if not has_no_tools(error, client.server_capabilities):
                raise
            self._take(Pages())
        self.note = None if self.tools or self.skipped else describe_toolless(client.server_capabilities)
        if not self.is_whole:
            self._changed.set()  # the page that failed is asked for once more

    def prepare(self, params: JsonObject | None) -> None:
        """Change a request for a page, in place, as its server wants it."""
        if params is not None:
            self._pages.prepare(params)

    def repair(self, result: JsonObject) -> None:
        """Change a page, in place, to what the SDK accepts."""
        self._pages.repair(result)

    def _take(self, pages: Pages) -> None:
        self.tools, self.skipped, self.notes = tuple(pages.tools.values()), pages.skipped, pages.notes
        self.by_name, self.note, self.is_whole = pages.tools, None, pages.is_whole

    async def _list(self, client: Client) -> Pages:
        """List all pages. Raises what the first one raises; a later one that fails costs what comes from there on."""
        pages = self._pages = Pages(self.tools)
        pace = Pace(self._clock, is_gentle=bool(self.tools))
        cursor = await self._add(client, pages, await self._fetch(client, None), pace)
        while cursor is not None:
            cursor = await self._add_next(client, pages, cursor, pace)
        if self.tools and len(pages.tools) > MANY:
            self.notes = {**self.notes, **pages.notes}
            await self._convert(list(pages.tools.values()), pace)
        return pages

    async def _add(self, client: Client, pages: Pages, page: types.ListToolsResult, pace: Pace) -> str | None:
        """Add a page; return the cursor of the next one."""
        await pages.release(page, partial(_absorb, client), pace)
        return pages.add(page, client.protocol_version)

    async def _add_next(self, client: Client, pages: Pages, cursor: str, pace: Pace) -> str | None:
        """Add the page at `cursor`; return the cursor of the next one."""
        reason = f"the next one did not come within {PAGE_S:g} s"
        page: types.ListToolsResult | None = None
        with self._clock.scope(self._clock.now() + PAGE_S):
            try:
                page = await self._fetch(client, cursor)
            except Exception as error:  # noqa: BLE001 - boundary: whatever a page raises, those before it stay
                reason = f"the next one failed: {describe(error)}"
        if page is None:
            pages.fail(reason)
            return None
        return await self._add(client, pages, page, pace)

    async def _fetch(self, client: Client, cursor: str | None) -> types.ListToolsResult:
        try:
            page = await client.list_tools(cursor=cursor, cache_mode="bypass")
        except (ValueError, RecursionError) as error:  # the SDK cannot read what is nested too deeply
            if self._pages.cuts_levels or isinstance(error, ValidationError):
                raise
            self._pages.cuts_levels = True
            return await self._fetch(client, cursor)
        if is_mended(page):
            logger.warning("%s: in its list of tools, %s", self._key, MENDED_WORDS)
        return page

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
                began = self._clock.now()
                await self._read_again(client)
                self._settling.note_listed(self._clock.now() - began)

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
            if self._clock.now() - began >= pause * LASTING:
                pause = FIRST_PAUSE_S
            await self._clock.sleep(pause)
            pause = min(pause * 2, LAST_PAUSE_S)
            self._changed.set()  # changes in the meantime were not announced

    async def _read_again(self, client: Client) -> None:
        """List again; the old list stays if the new one cannot be read, or only a part of it."""
        before = self.tools, self.skipped
        try:
            pages = await self._list(client)
        except Exception as error:  # noqa: BLE001 - boundary: the connection goes on
            logger.warning("%s: its changed tools could not be listed: %s", self._key, error)
            return
        if self.is_whole and not pages.is_whole:
            logger.warning(
                "%s: its changed tools could not be listed: %s", self._key, "; ".join(pages.skipped.values())
            )
            return
        self._take(pages)
        if (self.tools, self.skipped) != before:
            self._on_change()


def _absorb(client: Client, tool: types.Tool) -> bool:
    """Let the SDK note which arguments of a tool become headers (modern era); it has no public way for that."""
    if client.protocol_version not in MODERN_PROTOCOL_VERSIONS:
        return True
    listed = types.ListToolsResult(tools=[tool])
    return bool(client.session._absorb_tool_listing(listed, complete=False).tools)


def _announces_changes(client: Client) -> bool:
    """Tell whether to subscribe to changes: in the modern era, at a server that announces them.

    A server whose revision is set in the config was not asked for its capabilities; it is tried.
    """
    tools = client.server_capabilities.tools
    return client.protocol_version in MODERN_PROTOCOL_VERSIONS and (tools is None or bool(tools.list_changed))
