"""Names that MCP Apps and this bridge use."""

APPS = "io.modelcontextprotocol/ui"
APP_TYPE = "text/html;profile=mcp-app"
URI = "ui://responses/run"
TIMELINE = "mcp-responses-bridge/timeline"
"""Key of the times of a run in the `_meta` of its result."""
