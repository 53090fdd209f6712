"""The timeline of a run in a host's chat: a page of ours, as the extension MCP Apps has it."""
