"""Notifications of changed tools to handshake-era connections.

The SDK (mcp 2.3) keeps no list of these connections, and `ctx.session` lives for one request only, so the connection
itself is remembered. It has no public name; no other module uses it for this.
"""

import logging
from typing import TYPE_CHECKING

from anyio.abc import TaskGroup
from mcp import types
from mcp.server import Server

from bridge.host.principal import HostRequest

if TYPE_CHECKING:
    from mcp.server.connection import Connection

logger = logging.getLogger(__name__)


class ListChangedSubscribers:
    """The connections that have finished their handshake and can receive notifications at any time."""

    def __init__(self, server: Server[dict[str, object]]) -> None:
        self._connections: dict[int, Connection] = {}
        self._being_told: set[int] = set()
        """Connections whose host has not taken the last notification yet; another would tell it nothing more."""
        server.add_notification_handler("notifications/initialized", types.NotificationParams, self._remember)

    def tell(self, tasks: TaskGroup) -> None:
        """Send `notifications/tools/list_changed` to each in a task of its own: some do not read."""
        for key, connection in self._connections.items():
            if key not in self._being_told:
                self._being_told.add(key)
                tasks.start_soon(self._tell, key, connection)

    async def _tell(self, key: int, connection: "Connection") -> None:
        try:
            await connection.send_tool_list_changed()
        except Exception:
            logger.exception("a host could not be told of changed tools")
        finally:
            self._being_told.discard(key)

    async def _remember(self, ctx: HostRequest, _params: types.NotificationParams) -> None:
        connection = ctx.session._connection
        if connection.has_standalone_channel and id(connection) not in self._connections:
            self._connections[id(connection)] = connection
            connection.exit_stack.callback(self._connections.pop, id(connection), None)
