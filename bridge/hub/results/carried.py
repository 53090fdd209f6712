"""A tool result as the server sent it, carried past the SDK.

The SDK (mcp 2.3) refuses a whole result over one detail of it, not over the same ones in each era, and it validates,
writes and validates again all that it accepts: 200,000 short texts blocked the event loop for 1.4 s, fifteen times as
long as reading their bytes. So it is given an empty result, which carries the server's.
"""

from typing import Final

from mcp import types

from bridge.hub.results.parts import read_parts
from bridge.json_text import Json, JsonObject
from bridge.jsonrpc.messages import BARE

_KEY: Final = "mcp-responses-bridge/result"
_FALSE: Final = {"", "0", "f", "false", "n", "no", "none", "null", "off"}
_TRUE: Final = {"1", "t", "true", "y", "yes", "on"}
_SURROUNDINGS: Final = {"_meta", "resultType", "isError", "is_error", "ttlMs", "cacheScope"}
"""What is said about a result, and is none."""


class Held(str):
    """An empty text that carries a result; the SDK passes it on as it is. No server can send one."""

    __slots__ = ("result",)

    def __new__(cls, result: JsonObject) -> "Held":
        held = super().__new__(cls)
        held.result = result
        return held

    result: JsonObject


def carry_result(result: JsonObject) -> None:
    """Change the result of a call, in place, to an empty one that carries it; a request for input stays as it is."""
    if _asks_for_input(result):
        result["resultType"] = "input_required"
        return
    held = Held(dict(result))
    result.clear()
    result |= {"content": [], "resultType": "complete", "_meta": {_KEY: held}}


async def release_result(result: types.CallToolResult) -> None:
    """Put what `carry_result` held back into the result: all of it that can be read, and the rest in words."""
    held = (result.meta or {}).get(_KEY)
    if not isinstance(held, Held):
        return
    raw = held.result
    meta = raw.get("_meta")
    result.meta = meta if isinstance(meta, dict) else None
    raw = _unwrap(raw)
    result.structured_content = raw.get("structuredContent", raw.get("structured_content"))
    result.is_error, doubt = _read_flag(raw.get("isError", raw.get("is_error")))
    result.content = await read_parts(_find_content(raw))
    if doubt:
        result.content.append(types.TextContent(type="text", text=doubt))


def _asks_for_input(result: JsonObject) -> bool:
    asks = bool(result.get("inputRequests")) or result.get("requestState") is not None
    is_said = result.get("resultType", "input_required") == "input_required"
    return asks and is_said and not result.keys() & {"content", "structuredContent"}


def _unwrap(raw: JsonObject) -> JsonObject:
    """Return the result itself: one that is no object stands in one, and so do those of revision 2024-10-07
    (cloudflare/mcp-server-cloudflare#12)."""
    inner = raw.get(BARE, raw.get("toolResult"))
    if inner is None or raw.keys() & {"content", "structuredContent"}:
        return raw
    return inner if isinstance(inner, dict) else {"content": inner}


def _find_content(raw: JsonObject) -> Json:
    """Return the content; without any, what else the result holds."""
    content = raw.get("content")
    if content is not None or raw.keys() & {"structuredContent", "structured_content"}:
        return content
    rest: JsonObject = {key: value for key, value in raw.items() if key not in _SURROUNDINGS and value is not None}
    return rest or None


def _read_flag(value: Json) -> tuple[bool, str | None]:
    """Read what a server wrote for a boolean; words that are neither yes nor no are an error's."""
    if value is None or isinstance(value, bool | int | float):
        return bool(value), None
    if not isinstance(value, str):
        return bool(value), None
    word = value.strip().lower()
    return (word in _TRUE, None) if word in _TRUE | _FALSE else (True, value)
