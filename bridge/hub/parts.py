"""Results of very many parts: kept from the SDK, which would read all parts at one go, and read here a few at a time.

The SDK (mcp 2.3) validates, writes and validates again whatever a server answers: 200,000 short texts held up the event
loop for 1.4 s, fifteen times as long as reading their bytes.
"""

from typing import Final

import anyio.lowlevel
from mcp import types
from pydantic import TypeAdapter, ValidationError

PARTS_AT_ONCE = 200
"""How many are read at one go: the event loop waits meanwhile."""
_KEY: Final = "mcp-responses-bridge/parts"
_BLOCKS = TypeAdapter(list[types.ContentBlock])


class Held(str):
    """Parts behind an empty text, which the SDK passes on as it is. No server can send one."""

    __slots__ = ("parts",)

    def __new__(cls, parts: list[object]) -> "Held":
        held = super().__new__(cls)
        held.parts = parts
        return held

    parts: list[object]


def hold_parts(result: dict[str, object]) -> None:
    """Put the content of a result aside, in place, where it has more parts than are read at one go."""
    content, meta = result.get("content"), result.get("_meta")
    if isinstance(content, list) and len(content) > PARTS_AT_ONCE:
        result |= {"content": [], "_meta": {**(meta if isinstance(meta, dict) else {}), _KEY: Held(content)}}


async def release_parts(result: types.CallToolResult) -> None:
    """Bring back what was put aside. Raises ValueError for what is no content."""
    held = (result.meta or {}).pop(_KEY, None)
    parts = held.parts if isinstance(held, Held) else []
    for start in range(0, len(parts), PARTS_AT_ONCE):
        try:
            result.content += _BLOCKS.validate_python(parts[start : start + PARTS_AT_ONCE], by_name=False)
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"content.{start + int(first['loc'][0])}: {first['msg']}") from None
        await anyio.lowlevel.checkpoint()
