"""Notifications of changed tools to handshake-era connections.

The SDK (mcp 2.3) keeps no list of these connections, and `ctx.session` lives for one request only, so the connection
itself is remembered. It has no public name; no other module uses it for this.
"""

from typing import TYPE_CHECKING

from mcp import types
from mcp.server import Server, ServerRequestContext

if TYPE_CHECKING:
    from mcp.server.connection import Connection


class ListChangedSubscribers:
    """The connections that have finished their handshake and can receive notifications at any time."""

    def __init__(self, server: Server[dict[str, object]]) -> None:
        self._connections: dict[int, Connection] = {}
        server.add_notification_handler("notifications/initialized", types.NotificationParams, self._remember)

    async def tell(self) -> None:
        """Send `notifications/tools/list_changed` to each; never raises."""
        for connection in list(self._connections.values()):
            await connection.send_tool_list_changed()

    async def _remember(self, ctx: ServerRequestContext[dict[str, object]], _params: types.NotificationParams) -> None:
        connection = ctx.session._connection
        if connection.has_standalone_channel and id(connection) not in self._connections:
            self._connections[id(connection)] = connection
            connection.exit_stack.callback(self._connections.pop, id(connection), None)
