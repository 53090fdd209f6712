"""An MCP server of its own with four small, harmless tools: the time, the machine, arithmetic and chance."""
