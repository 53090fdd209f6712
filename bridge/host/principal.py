"""The principal of a call: who a run that it starts belongs to."""

import hashlib

from mcp.server import ServerRequestContext
from starlette.requests import Request


def find_principal(ctx: ServerRequestContext[dict[str, object]]) -> str:
    """Identify the caller by its token, else by its session, else by the kind of connection.

    A process on stdio has one host. Over HTTP, callers with the same token are one principal, also in different
    sessions. Without a token, sessions tell hosts apart; the modern era has none, so all its callers are one principal.
    """
    request = ctx.request
    if not isinstance(request, Request):
        return "host"
    if token := request.headers.get("authorization"):
        return f"token {hashlib.sha256(token.encode()).hexdigest()}"
    session = request.headers.get("mcp-session-id") or request.query_params.get("session_id")
    return f"session {session}" if session else "anonymous"
