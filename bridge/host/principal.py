"""Whose a call is: a run belongs to the one who began it."""

import hashlib

from mcp.server import ServerRequestContext
from starlette.requests import Request


def find_principal(ctx: ServerRequestContext[dict[str, object]]) -> str:
    """The token that a request came with, else its session, else the connection's kind.

    One process on stdio has one host. Over HTTP, whoever has the same token is the same principal, also in another
    session; without tokens a session is what tells hosts apart, and the modern era, which has none, is one principal.
    """
    request = ctx.request
    if not isinstance(request, Request):
        return "host"
    if token := request.headers.get("authorization"):
        return f"token {hashlib.sha256(token.encode()).hexdigest()}"
    session = request.headers.get("mcp-session-id") or request.query_params.get("session_id")
    return f"session {session}" if session else "anonymous"
