"""Both protocol eras on one connection: each request is served in the era that it is written in.

The SDK's own loop (mcp 2.3, mcp/server/runner.py) fixes the era by the first request of a connection. Hosts that ask
`server/discover` and then send `initialize` all the same (github/copilot-cli#4888, anthropics/claude-code#96183), or
whose wait for our first answer ran out, were refused for good. The specification lets a server do both at once
(2026-07-28, basic/versioning), as it is over Streamable HTTP.
"""

import secrets
from collections.abc import Mapping
from typing import Any

from mcp import MCPError, types
from mcp.server import Server
from mcp.server.connection import Connection
from mcp.server.models import InitializationOptions
from mcp.server.runner import ServerRunner, aclose_shielded, modern_error_data, serve_one
from mcp.shared._stream_protocols import ReadStream, WriteStream
from mcp.shared.dispatcher import DispatchContext
from mcp.shared.inbound import InboundModernRoute, classify_inbound_request
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp.shared.message import SessionMessage
from mcp.shared.transport_context import TransportContext
from mcp_types import PROTOCOL_VERSION_META_KEY

Params = Mapping[str, Any] | None
Context = DispatchContext[TransportContext]


async def serve_both_eras(
    server: Server[dict[str, object]],
    incoming: ReadStream[SessionMessage | Exception],
    outgoing: WriteStream[SessionMessage],
    options: InitializationOptions,
    state: dict[str, object],
) -> None:
    """Serve one connection until `incoming` ends; `state` is what the server's lifespan gave."""
    dispatcher = JSONRPCDispatcher[TransportContext](incoming, outgoing, inline_methods=frozenset({"initialize"}))
    eras = _Eras(server, dispatcher, options, state)
    try:
        await dispatcher.run(eras.answer, eras.hear)
    finally:
        await aclose_shielded(eras.handshake)


class _Eras:
    """One connection in both eras: what its handshake settled, and requests that need none."""

    def __init__(
        self,
        server: Server[dict[str, object]],
        dispatcher: JSONRPCDispatcher[TransportContext],
        options: InitializationOptions,
        state: dict[str, object],
    ) -> None:
        self._server = server
        self._dispatcher = dispatcher
        self._state = state
        self.handshake = Connection.for_loop(dispatcher, session_id=secrets.token_hex(16))
        """Its session is this connection: an id of our own, which no request can name."""
        self._runner = ServerRunner(server, self.handshake, state, init_options=options)

    async def answer(self, dctx: Context, method: str, params: Params) -> dict[str, Any]:
        """Answer a request. Raises MCPError alone: of another exception the SDK would send the text."""
        try:
            if method != "initialize" and _names_revision(params):
                return await self._answer_modern(dctx, method, params)
            self._refuse_early(method)
            return await self._runner.on_request(dctx, method, params)
        except Exception as error:
            raise MCPError.from_error_data(modern_error_data(error)) from error

    async def hear(self, dctx: Context, method: str, params: Params) -> None:
        """Pass on a notification; those of the modern era are read in the handshake's as well."""
        if self.handshake.initialize_accepted:
            await self._runner.on_notify(dctx, method, params)
            return
        modern = Connection.from_envelope(types.LATEST_PROTOCOL_VERSION, None, None, outbound=self._dispatcher)
        await ServerRunner(self._server, modern, self._state).on_notify(dctx, method, params)

    async def _answer_modern(self, dctx: Context, method: str, params: Params) -> dict[str, Any]:
        route = classify_inbound_request({"method": method, "params": params})
        if not isinstance(route, InboundModernRoute):
            raise MCPError(route.code, route.message, route.data)
        connection = Connection.from_envelope(
            route.protocol_version, route.client_info, route.client_capabilities, outbound=self._dispatcher
        )
        connection.session_id = self.handshake.session_id
        return await serve_one(self._server, dctx, method, params, connection=connection, lifespan_state=self._state)

    def _refuse_early(self, method: str) -> None:
        """Refuse what comes before the handshake and names no revision: it belongs to neither era."""
        is_early = not self.handshake.initialize_accepted and method not in ("initialize", "ping")
        if is_early and self._server.get_request_handler(method):
            raise MCPError(types.INVALID_PARAMS, EARLY.format(method=method))


EARLY = (
    "{method}: send `initialize` first, or name the protocol revision in params._meta, as revision 2026-07-28 requires "
    f"(missing: {PROTOCOL_VERSION_META_KEY})"
)


def _names_revision(params: Params) -> bool:
    """Tell whether a request names its revision itself, as only those of the modern era do."""
    meta = (params or {}).get("_meta")
    return isinstance(meta, Mapping) and PROTOCOL_VERSION_META_KEY in meta
