"""Mends what a host says of itself: a detail of a wrong shape is dropped, and the connection goes on.

A host in PHP writes `[]` for an object without fields, and others leave out what the specification requires.
"""

from collections.abc import Mapping
from typing import Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp_types import CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY, ClientCapabilities, Implementation
from pydantic import BaseModel, ValidationError


async def mend_introduction(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """Handle a request after mending what it says of the host, in place: the SDK (mcp 2.3) reads it again later."""
    if ctx.session.client_params is None and isinstance(params := ctx.params, dict):
        _mend_handshake(params) if ctx.method == "initialize" else _mend_envelope(params.get("_meta"))
    return await call_next(ctx)


def _mend_handshake(params: dict[str, Any]) -> None:
    if not isinstance(params.get("protocolVersion"), str):
        params["protocolVersion"] = ""  # is answered with the newest one of the handshake's
    params["capabilities"] = _mend_capabilities(params.get("capabilities"))
    params["clientInfo"] = _mend_info(params.get("clientInfo"))


def _mend_envelope(meta: object) -> None:
    if isinstance(meta, dict) and CLIENT_CAPABILITIES_META_KEY in meta:
        meta[CLIENT_CAPABILITIES_META_KEY] = _mend_capabilities(meta[CLIENT_CAPABILITIES_META_KEY])
        if CLIENT_INFO_META_KEY in meta:
            meta[CLIENT_INFO_META_KEY] = _mend_info(meta[CLIENT_INFO_META_KEY])


def _mend_capabilities(value: object) -> dict[str, Any]:
    """Return those capabilities that can be read; `[]` stands for one without fields."""
    given = value if isinstance(value, dict) else {}
    shaped = {name: each if each != [] else dict[str, Any]() for name, each in given.items()}
    return {name: each for name, each in shaped.items() if _fits(ClientCapabilities, {name: each})}


def _mend_info(value: object) -> Mapping[str, Any]:
    if isinstance(value, dict) and _fits(Implementation, value):
        return value
    given = value if isinstance(value, dict) else {}
    return {"name": str(given.get("name") or "unknown"), "version": str(given.get("version") or "unknown")}


def _fits(model: type[BaseModel], value: object) -> bool:
    try:
        model.model_validate(value, by_name=False)
    except ValidationError:
        return False
    return True
