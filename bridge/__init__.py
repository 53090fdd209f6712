"""Any model behind `POST /v1/responses` as one MCP tool, with the user's own MCP servers as its tools."""

__version__ = "0.1.0"
