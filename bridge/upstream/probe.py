"""Checks that the upstream is reachable, accepts the key and knows the model, without spending a token."""

import json
from collections.abc import Awaitable, Callable
from typing import Literal, TypeAlias

import httpx2

from bridge.errors import UpstreamError
from bridge.json_text import JsonObject
from bridge.upstream.errors import build_error
from bridge.upstream.replies import read_reply
from bridge.upstream.wire import is_event_stream

Verdict: TypeAlias = tuple[Literal["ok", "warning", "error"], str, str | None]
"""The level, a message for people, and advice on what to do."""

SendProbe: TypeAlias = Callable[[str, str, bytes | None], Awaitable[httpx2.Response]]
"""Sends a request: method, path below the base URL, body. Raises UpstreamError where there is no reply."""


UNKNOWN_MODEL = "model_not_found"
"""The API's code for a model that it does not know or that the key may not use."""


async def probe(send: SendProbe, model: str | None) -> Verdict:
    """Check endpoint and key by a request that must be refused (its input is empty), and the model by the list of
    models, where there is one."""
    body: JsonObject = {"model": model or "none", "input": []}
    try:
        reply = await send("POST", "/responses", json.dumps(body).encode())
    except UpstreamError as error:
        return "error", error.message, "check the address, and that nothing between here and there refuses it"
    error = await _find_error(reply, model)
    return ("error", error.message, _advise(error)) if error else await _look_for_model(send, model)


async def _find_error(reply: httpx2.Response, model: str | None) -> UpstreamError | None:
    """Return what is wrong apart from the request itself, whose refusal is expected."""
    if reply.is_success:
        return await _find_foreign(reply)
    error = build_error(reply.status_code, await reply.aread(), None)
    if error.code == UNKNOWN_MODEL:
        return error if model else None
    return None if reply.status_code in (400, 422) else error


async def _find_foreign(reply: httpx2.Response) -> UpstreamError | None:
    """Return the error for a reply that is not a response: some servers answer everything with a page."""
    if is_event_stream(reply):
        return None
    try:
        read_reply(await reply.aread(), status=reply.status_code, request_id=None)
    except UpstreamError as error:
        return error
    return None


def _advise(error: UpstreamError) -> str:
    if error.code == UNKNOWN_MODEL:
        return "set upstream.model or OPENAI_MODEL to one that it offers"
    match error.status:
        case 401 | 403:
            return "set the key that belongs to this address"
        case 429 | 500 | 502 | 503 | 504:
            return "try again later, or ask its operator"
        case _:
            return "give base_url up to, not including, /responses"


async def _look_for_model(send: SendProbe, model: str | None) -> Verdict:
    if model is None:
        return "warning", "reachable, key accepted; no model is configured", "set upstream.model or OPENAI_MODEL"
    try:
        reply = await send("GET", "/models", None)
        known = [entry["id"] for entry in json.loads(await reply.aread())["data"]] if reply.is_success else []
    except (UpstreamError, ValueError, KeyError, TypeError):
        known = list[str]()
    if not known:
        return "ok", f"reachable, key accepted; it lists no models, so {model} is not looked up", None
    if model in known:
        return "ok", f"reachable, key accepted, {model} known", None
    some = ", ".join(known[:10]) + (" …" if len(known) > 10 else "")
    return "warning", f"reachable, key accepted; {model} is not among its models", f"it lists: {some}"
