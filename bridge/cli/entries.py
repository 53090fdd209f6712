"""`config HOST`: prints a host's entry for this installation, ready to paste."""

import json
import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path

from bridge.config.load import load
from bridge.errors import ConfigError
from bridge.json_text import JsonObject

FILES = {
    "claude-desktop": "Claude Desktop: Settings > Developer > Edit Config (claude_desktop_config.json)",
    "claude-code": "Claude Code: .mcp.json of a project, or ~/.claude.json",
    "cursor": "Cursor: ~/.cursor/mcp.json",
    "vscode": "VS Code: .vscode/mcp.json, or the command “MCP: Open User Configuration”",
}
KEY = "OPENAI_API_KEY"
KEY_FORMS = {
    "claude-desktop": "YOUR_OPENAI_API_KEY",
    "claude-code": f"${{{KEY}}}",
    "cursor": f"${{env:{KEY}}}",
    "vscode": "${input:openai-api-key}",
}
"""The form in which each host's entry holds the key."""


def print_entry(host: str, config: Path | None) -> int:
    """Print the entry on stdout and the file it belongs in on stderr. Raises ConfigError for a missing config file."""
    if config and not config.is_file():
        raise ConfigError(f"{config}: there is no such file")
    sys.stderr.write(f"# {FILES[host]}\n")
    sys.stdout.write(json.dumps(build_entry(host, config), indent=2) + "\n")
    sys.stdout.flush()
    return 0


def build_entry(host: str, config: Path | None = None) -> JsonObject:
    """Build the JSON to paste, in the host's own shape; without a key if `config` has an upstream that needs none."""
    needs_key = not (config and _has_upstream(config))
    server: JsonObject = {} if host == "claude-desktop" else {"type": "stdio"}
    server |= {"command": find_command(), "args": ["serve"]}
    if config:
        server["args"] = ["serve", "--config", str(config.absolute())]
    if needs_key:
        server["env"] = {KEY: KEY_FORMS[host]}
    if host != "vscode":
        return {"mcpServers": {"responses": server}}
    key: JsonObject = {"type": "promptString", "id": "openai-api-key", "description": "OpenAI API key"}
    return {"inputs": [key | {"password": True}] if needs_key else [], "servers": {"responses": server}}


def _has_upstream(config: Path) -> bool:
    """Tell whether the file alone configures an upstream, without the key in the environment."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    with suppress(ConfigError):
        return load(config, environ=environ).upstream is not None
    return False


def find_command() -> str:
    """Find the absolute path of this installation's command: a desktop app's PATH rarely has it."""
    beside = shutil.which("mcp-responses-bridge", path=str(Path(sys.executable).parent))
    return beside or str(Path(sys.argv[0]).absolute())
