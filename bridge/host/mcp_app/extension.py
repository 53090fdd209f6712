"""MCP Apps, the extension by which hosts show pages of servers: for those alone that declare it.

A host of the modern era declares it with each request, one of the handshake era as it opens the connection. Nobody else
sees anything of it. The rest of this folder is imported for the first host that declares it.
"""

from collections.abc import Mapping
from typing import Any

from mcp import MCPError, types
from mcp.server import Server
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext

from bridge.host.mcp_app.names import APP_TYPE, APPS, TIMELINE, URI
from bridge.host.principal import HostRequest
from bridge.run.run import Run
from bridge.telemetry import Redactor

_OPENINGS = {"initialize", "server/discover"}
"""The requests that are answered with what the server can."""


def add_app(server: Server[dict[str, object]]) -> None:
    """Serve the page, and announce it."""
    server.add_request_handler("resources/list", types.PaginatedRequestParams, _list_resources)
    server.add_request_handler("resources/templates/list", types.PaginatedRequestParams, _list_templates)
    server.add_request_handler("resources/read", types.ReadResourceRequestParams, _read_resource)
    server.middleware.append(_announce)


def declares_apps(ctx: HostRequest) -> bool:
    """Tell whether the host shows apps."""
    capabilities = ctx.session.client_capabilities
    return capabilities is not None and _takes_pages(capabilities.extensions)


def link_app(ctx: HostRequest, tools: list[types.Tool]) -> list[types.Tool]:
    """Name the page in `respond`, the first tool. The flat key is the older spelling, and some hosts look for no
    other."""
    if declares_apps(ctx):
        tools[0].meta = {**(tools[0].meta or {}), "ui": {"resourceUri": URI}, "ui/resourceUri": URI}
    return tools


def add_timeline(
    ctx: HostRequest, result: types.CallToolResult, run: Run, now: float, redact: Redactor
) -> types.CallToolResult:
    """Add what the page draws to the result of a run: beside all that a model reads, and nothing of that is changed."""
    if declares_apps(ctx):
        from bridge.host.mcp_app.drawing import describe_drawing

        result.meta = {**(result.meta or {}), TIMELINE: describe_drawing(run, now, redact)}
    return result


async def _announce(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """Announce resources and the extension to hosts that declare it, whatever revision they speak, and to no other: the
    SDK (mcp 2.3) announces either to all, and the extension to none of the handshake era."""
    result = await call_next(ctx)
    if ctx.method not in _OPENINGS or not isinstance(result, dict):
        return result
    can: dict[str, Any] = dict(result["capabilities"])
    can.pop("resources", None)
    if _declares_now(ctx):
        can |= {"resources": {}, "extensions": {**can.get("extensions", {}), APPS: {}}}
    return {**result, "capabilities": can}


def _declares_now(ctx: ServerRequestContext[Any, Any]) -> bool:
    """Tell whether the host declares the extension in this very request, which may be the one that opens it."""
    if ctx.method != "initialize":
        return declares_apps(ctx)
    capabilities = (ctx.params or {}).get("capabilities")
    return isinstance(capabilities, Mapping) and _takes_pages(capabilities.get("extensions"))


def _takes_pages(extensions: object) -> bool:
    settings = extensions.get(APPS) if isinstance(extensions, Mapping) else None
    return isinstance(settings, Mapping) and APP_TYPE in (settings.get("mimeTypes") or ())


async def _list_resources(ctx: HostRequest, _params: types.PaginatedRequestParams) -> types.ListResourcesResult:
    _require_apps(ctx)
    from bridge.host.mcp_app.resource import PAGE

    return types.ListResourcesResult(resources=[PAGE])


async def _list_templates(ctx: HostRequest, _params: types.PaginatedRequestParams) -> types.ListResourceTemplatesResult:
    """List none: hosts ask for them where there are resources."""
    _require_apps(ctx)
    return types.ListResourceTemplatesResult(resource_templates=[])


async def _read_resource(ctx: HostRequest, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
    _require_apps(ctx)
    if str(params.uri) != URI:
        raise MCPError(types.INVALID_PARAMS, f"uri: there is no such resource; there is {URI}")
    from bridge.host.mcp_app.resource import read_page

    return types.ReadResourceResult(contents=[read_page()])


def _require_apps(ctx: HostRequest) -> None:
    """Raise MCPError, as where there are no resources at all, for a host that does not declare the extension."""
    if not declares_apps(ctx):
        raise MCPError(types.METHOD_NOT_FOUND, "Method not found", ctx.method)
