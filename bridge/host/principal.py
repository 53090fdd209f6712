"""Whose a call is: the principal that its run belongs to, the host that sends it, and where from."""

import hashlib
from typing import TypeAlias

from mcp.server import ServerRequestContext
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from starlette.requests import Request

HostRequest: TypeAlias = ServerRequestContext[dict[str, object]]
"""The SDK's context of one request from a host; in parameters, `ctx` as in the SDK."""


def find_principal(ctx: HostRequest) -> str:
    """Identify the caller by its token, else by its session, else by the kind of connection.

    A process on stdio has one host. Over HTTP, callers with the same token are one principal, also in different
    sessions. Without a token, sessions tell hosts apart; the modern era has none, so all its callers are one principal.
    """
    request = find_http(ctx)
    if request is None:
        return "host"
    if token := request.headers.get("authorization"):
        return f"token {hashlib.sha256(token.encode()).hexdigest()}"
    session = _find_session(request)
    return f"session {session}" if session else "anonymous"


def find_origin(ctx: HostRequest) -> str | None:
    """Identify where a call comes from: its session or, where there are none, the host's name and address.

    A call and its repeat have the same origin. None where messages arrive in the order in which they were sent: there
    no repeat can come before the cancellation of what it repeats.
    """
    request = find_http(ctx)
    if request is None:
        return None
    if session := _find_session(request):
        return f"session {session}"
    return f"{name_host(ctx)} at {request.client.host if request.client else ''}"


def find_http(ctx: HostRequest) -> Request | None:
    """Return the HTTP request that brought the call; None on stdio and within this process."""
    return ctx.request if isinstance(ctx.request, Request) else None


def may_return(ctx: HostRequest) -> bool:
    """Tell whether the caller can come back for its runs on another connection: not on stdio, and not where only its
    session tells it apart."""
    return ctx.request is not None and not find_principal(ctx).startswith("session")


def is_modern(ctx: HostRequest) -> bool:
    """Tell whether the host is of the modern era: there a question is the result of the call, and its answer comes with
    another call; in the handshake era a question is a request to the host."""
    return ctx.protocol_version in MODERN_PROTOCOL_VERSIONS


def name_host(ctx: HostRequest) -> str:
    """Return the host's own name and version, by which its silence is remembered."""
    client = ctx.session.client_params
    return f"{client.client_info.name} {client.client_info.version}" if client else ""


def _find_session(request: Request) -> str | None:
    return request.headers.get("mcp-session-id") or request.query_params.get("session_id")
