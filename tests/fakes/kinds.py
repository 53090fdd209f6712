"""A server with one tool for each kind of result: those of MCP's conformance suite, and those it has no fixture for."""

from base64 import b64encode
from collections.abc import Callable

from mcp import MCPError
from mcp.server.mcpserver import Context, MCPServer
from mcp.types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)

from tests.fakes.servers import PIXEL

SILENCE = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA="
"""A WAV file without a sample."""

_TEXT = TextContent(type="text", text="a text")
_IMAGE = ImageContent(type="image", data=PIXEL, mime_type="image/png")
_MIRROR = {"content": [_IMAGE.model_dump(by_alias=True)]}
_NOTE = TextResourceContents(uri="test://note", mime_type="text/plain", text="a note")
_ARCHIVE = BlobResourceContents(uri="test://archive", mime_type="application/zip", blob="UEsFBg==")
_PICTURE = BlobResourceContents(uri="test://picture", mime_type="image/png", blob=PIXEL)
_FILE = b64encode(b"PK\x03\x04" + bytes(5000)).decode()
_LINK = ResourceLink(type="resource_link", uri="test://note", name="note", mime_type="text/plain")


def _embed(resource: TextResourceContents | BlobResourceContents) -> EmbeddedResource:
    return EmbeddedResource(type="resource", resource=resource)


def _return(*content: ContentBlock, structured: object = None, fails: bool = False) -> CallToolResult:
    return CallToolResult(content=list(content), structured_content=structured, is_error=fails)


RESULTS = {
    "text": _return(_TEXT),
    "two texts": _return(_TEXT, _TEXT),
    "nothing": _return(),
    "image": _return(_IMAGE),
    "image of an unknown kind": _return(ImageContent(type="image", data="PHN2Zz4=", mime_type="image/svg+xml")),
    "audio": _return(AudioContent(type="audio", data=SILENCE, mime_type="audio/wav")),
    "embedded text": _return(_embed(_NOTE)),
    "embedded file": _return(_embed(_ARCHIVE)),
    "embedded image": _return(_embed(_PICTURE)),
    "resource link": _return(_LINK),
    "mixed": _return(_TEXT, _IMAGE, _embed(_NOTE)),
    "structured content": _return(structured={"n": 1}),
    "structured content, said as text too": _return(TextContent(type="text", text='{"n": 1}'), structured={"n": 1}),
    "structured content and another text": _return(_TEXT, structured={"n": 1}),
    "structured content that is no object": _return(_TEXT, structured=[1]),
    "structured content that repeats an image": _return(_IMAGE, structured=_MIRROR),
    "structured content with a file in it": _return(structured={"name": "a.zip", "file": _FILE}),
    "error": _return(_TEXT, fails=True),
    "error with an image": _return(_TEXT, _IMAGE, fails=True),
}
"""Each kind as a server returns it."""
PROTOCOL_ERROR = "JSON-RPC error"

SCHEMA_2020_12 = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "address",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contact": {"oneOf": [{"type": "string"}, {"type": "null"}]},
    },
    "allOf": [{"anyOf": [{"required": ["name"]}, {"required": ["address"]}]}],
    "if": {"required": ["contact"]},
    "then": {"required": ["name"]},
    "additionalProperties": False,
}
"""As the conformance suite's `json_schema_2020_12_tool`: `$defs`, `$anchor`, combinations and a condition."""


def _answer(result: CallToolResult) -> Callable[[], CallToolResult]:
    def answer() -> CallToolResult:
        return result

    return answer


def build_kinds() -> MCPServer:
    """Tools `kind_0`, `kind_1`, ... for RESULTS in order; `protocol_error`; `progress`, which reports 0, 50 and 100."""
    server = MCPServer("kinds")
    for number, result in enumerate(RESULTS.values()):
        server.add_tool(_answer(result), name=f"kind_{number}")

    @server.tool()
    def protocol_error() -> str:
        raise MCPError(-32050, "refused")

    @server.tool()
    async def progress(ctx: Context) -> str:
        for percent in (0, 50, 100):
            await ctx.report_progress(percent, 100, f"{percent} of 100")
        return "progressed"

    return server
