"""Whose a call is: the principal that its run belongs to, the host that sends it, and where from."""

import hashlib
import secrets
from typing import TypeAlias

from mcp.server import ServerRequestContext
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from starlette.requests import Request

from bridge.host.principals import read_verified
from bridge.run.engine import UNPROVEN

HostRequest: TypeAlias = ServerRequestContext[dict[str, object]]
"""The SDK's context of one request from a host; in parameters, `ctx` as in the SDK."""
_ALONE = "bridge.principal"
"""The key, in the scope of a request, of a principal that is this request's alone."""


def find_principal(ctx: HostRequest) -> str:
    """Identify the caller by its name in the config, else by its token, its session, or what it says of itself.

    A process on stdio has one host. Over HTTP, callers with the same token are one principal, also in different
    sessions. Without a token, sessions tell hosts apart: those that the transport itself knows, never one that is only
    named. The modern era has none, so there a caller without a token is whoever says the same name from the same
    address; one that names a session all the same has no runs, and could not come back for them.
    """
    request = find_http(ctx)
    if request is None:
        return "host"
    if named := read_verified(request.scope).principal:
        return named
    if named := name_token(request.headers.get("authorization", "")):
        return named
    if session := _find_session(ctx):
        return f"session {session}"
    if _claims_session(request):
        return str(request.scope.setdefault(_ALONE, f"request {secrets.token_hex(16)}"))
    return f"{UNPROVEN}{_hash(_locate(ctx, request))}"


def name_token(header: str) -> str | None:
    """Name whoever sends this Authorization header and has no name in the config; None where it proves nothing."""
    credential = _read_credential(header)
    return f"token {_hash(credential)}" if credential else None


def find_origin(ctx: HostRequest) -> str | None:
    """Identify where a call comes from: its session or, where there are none, the host's name and address.

    A call and its repeat have the same origin. None where messages arrive in the order in which they were sent: there
    no repeat can come before the cancellation of what it repeats.
    """
    request = find_http(ctx)
    if request is None:
        return None
    session = _find_session(ctx)
    return f"session {session}" if session else _locate(ctx, request)


def find_http(ctx: HostRequest) -> Request | None:
    """Return the HTTP request that brought the call; None on stdio and within this process."""
    return ctx.request if isinstance(ctx.request, Request) else None


def may_return(ctx: HostRequest) -> bool:
    """Tell whether the caller can come back for its runs on another connection: not on stdio, and not where only its
    session, or nothing, tells it apart."""
    return ctx.request is not None and not find_principal(ctx).startswith(("session ", "request "))


def is_modern(ctx: HostRequest) -> bool:
    """Tell whether the host is of the modern era: there a question is the result of the call, and its answer comes with
    another call; in the handshake era a question is a request to the host."""
    return ctx.protocol_version in MODERN_PROTOCOL_VERSIONS


def name_host(ctx: HostRequest) -> str:
    """Return the host's own name and version, by which its silence is remembered."""
    client = ctx.session.client_params
    return f"{client.client_info.name} {client.client_info.version}" if client else ""


def _locate(ctx: HostRequest, request: Request) -> str:
    return f"{name_host(ctx)} at {request.client.host if request.client else ''}"


def _find_session(ctx: HostRequest) -> str | None:
    """Return the id of the session that the request came through; a header or a parameter can name any."""
    return ctx.session._connection.session_id


def _claims_session(request: Request) -> bool:
    return "mcp-session-id" in request.headers or "session_id" in request.query_params


def _read_credential(header: str) -> str:
    """Return what an Authorization header proves, the same however its scheme is spelt; "" where that is nothing."""
    scheme, _, credential = header.strip().partition(" ")
    return f"{scheme.lower()} {credential.strip()}" if credential else scheme if scheme.lower() != "bearer" else ""


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
