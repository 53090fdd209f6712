"""What MCP Apps and this bridge call things."""

APPS = "io.modelcontextprotocol/ui"
APP_TYPE = "text/html;profile=mcp-app"
URI = "ui://responses/run"
TIMELINE = "mcp-responses-bridge/timeline"
"""Where the times of a run stand in the `_meta` of its result."""
