"""`config HOST`: the entry for a host, with this installation's own path, ready to paste."""

import json
import shutil
import sys
from pathlib import Path

from bridge.items import JsonObject

FILES = {
    "claude-desktop": "Claude Desktop: Settings > Developer > Edit Config (claude_desktop_config.json)",
    "claude-code": "Claude Code: .mcp.json of a project, or ~/.claude.json",
    "cursor": "Cursor: ~/.cursor/mcp.json",
    "vscode": "VS Code: .vscode/mcp.json, or the command “MCP: Open User Configuration”",
}


def print_entry(host: str, config: Path | None) -> int:
    """The entry on stdout, where it belongs on stderr."""
    sys.stderr.write(f"# {FILES[host]}\n")
    sys.stdout.write(json.dumps(build_entry(host, config), indent=2) + "\n")
    return 0


def build_entry(host: str, config: Path | None = None) -> JsonObject:
    """The JSON to paste: the host's own shape, and how that host is told a key."""
    server: JsonObject = {"command": find_command(), "args": ["serve"]}
    if config:
        server["args"] = ["serve", "--config", str(config.absolute())]
    if host == "vscode":
        key: JsonObject = {"type": "promptString", "id": "openai-api-key", "description": "OpenAI API key"}
        key["password"] = True
        server |= {"type": "stdio", "env": {"OPENAI_API_KEY": "${input:openai-api-key}"}}
        return {"inputs": [key], "servers": {"responses": server}}
    if host == "claude-code":
        server |= {"type": "stdio", "env": {"OPENAI_API_KEY": "${OPENAI_API_KEY}"}}
    elif host == "cursor":
        server |= {"type": "stdio", "env": {"OPENAI_API_KEY": "${env:OPENAI_API_KEY}"}}
    else:
        server |= {"env": {"OPENAI_API_KEY": "YOUR_OPENAI_API_KEY"}}
    return {"mcpServers": {"responses": server}}


def find_command() -> str:
    """The absolute path of this installation's command: a desktop app has no PATH worth the name."""
    beside = shutil.which("mcp-responses-bridge", path=str(Path(sys.executable).parent))
    return beside or str(Path(sys.argv[0]).absolute())
