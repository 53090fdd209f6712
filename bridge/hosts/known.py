"""The hosts that we know: what each is called, how its file is laid out, and what to do after it was changed."""

import difflib
from dataclasses import dataclass
from typing import Literal, TypeAlias

from bridge.config.faults import KeyPath
from bridge.errors import ConfigError

Shape: TypeAlias = Literal["plain", "typed", "vscode", "codex", "opencode", "copilot", "goose", "continue", "librechat"]


@dataclass(frozen=True)
class Host:
    """A host, and what is known of its file."""

    name: str
    title: str
    section: KeyPath
    """Where in its file the entries of servers are."""
    shape: Shape
    """What one of its entries looks like."""
    reference: str | None
    """How it writes a variable of its own environment, `{}` for the name; None: it cannot."""
    project_files: tuple[str, ...]
    """Its file in the folder of a project, under all its names; none where it has none."""
    commands: tuple[str, ...]
    """What is on PATH if it is installed."""
    restart: str
    """What to do so that it reads the file again."""
    log: str
    """Where it says what became of a server."""
    file: str = ""
    """Where its file is, in words; only of hosts whose file is not written."""

    @property
    def is_written(self) -> bool:
        """True for hosts whose file we change; for the others we only say what to paste."""
        return not self.file


_JSON: KeyPath = ("mcpServers",)
_RESTART = "Quit it wholly, and start it again."

HOSTS = {
    host.name: host
    for host in (
        Host(
            name="claude-desktop",
            title="Claude Desktop",
            section=_JSON,
            shape="plain",
            reference=None,
            project_files=(),
            commands=(),
            restart="Quit it wholly (closing its window is not enough), and start it again.",
            log="mcp-server-responses.log in ~/Library/Logs/Claude (macOS), %APPDATA%\\Claude\\logs (Windows) or "
            "~/.config/Claude/logs (Linux)",
        ),
        Host(
            name="claude-code",
            title="Claude Code",
            section=_JSON,
            shape="typed",
            reference="${{{}}}",
            project_files=(".mcp.json",),
            commands=("claude",),
            restart="Start a new session; /mcp shows the server.",
            log="what claude --debug shows",
        ),
        Host(
            name="cursor",
            title="Cursor",
            section=_JSON,
            shape="typed",
            reference="${{env:{}}}",
            project_files=(".cursor/mcp.json",),
            commands=("cursor", "cursor-agent"),
            restart="Switch the server on in Settings > MCP, or restart Cursor.",
            log="Output > MCP Logs",
        ),
        Host(
            name="vscode",
            title="VS Code",
            section=("servers",),
            shape="vscode",
            reference="${{env:{}}}",
            project_files=(".vscode/mcp.json",),
            commands=("code", "code-insiders", "codium"),
            restart="Run “MCP: List Servers”, and start the server.",
            log="“MCP: List Servers” > responses > Show Output",
        ),
        Host(
            name="codex",
            title="Codex",
            section=("mcp_servers",),
            shape="codex",
            reference=None,  # it passes variables on by name: `env_vars`
            project_files=(".codex/config.toml",),
            commands=("codex",),
            restart="Start a new session; /mcp shows the server.",
            log="~/.codex/log/codex-tui.log",
        ),
        Host(
            name="gemini-cli",
            title="Gemini CLI",
            section=_JSON,
            shape="plain",
            reference="${}",
            project_files=(".gemini/settings.json",),
            commands=("gemini",),
            restart="Start it again; /mcp shows the server.",
            log="what gemini --debug shows",
        ),
        Host(
            name="windsurf",
            title="Windsurf",
            section=_JSON,
            shape="plain",
            reference="${{env:{}}}",
            project_files=(),
            commands=("windsurf",),
            restart="Press Refresh in the MCP panel of Cascade, or restart Windsurf.",
            log="Output > Windsurf",
        ),
        Host(
            name="zed",
            title="Zed",
            section=("context_servers",),
            shape="plain",
            reference=None,
            project_files=(".zed/settings.json",),
            commands=("zed", "zeditor"),
            restart="It reads the file at once; the Agent Panel's settings show the server.",
            log="“zed: open log”: ~/.local/share/zed/logs/Zed.log (Linux), ~/Library/Logs/Zed/Zed.log (macOS) or "
            "%LOCALAPPDATA%\\Zed\\logs\\Zed.log (Windows)",
        ),
        Host(
            name="opencode",
            title="opencode",
            section=("mcp",),
            shape="opencode",
            reference="{{env:{}}}",
            project_files=("opencode.json", "opencode.jsonc"),
            commands=("opencode",),
            restart=_RESTART,
            log="~/.local/share/opencode/log",
        ),
        Host(
            name="copilot-cli",
            title="Copilot CLI",
            section=_JSON,
            shape="copilot",
            reference="${{{}}}",
            project_files=(".mcp.json",),
            commands=("copilot",),
            restart="Start a new session; /mcp show lists the server.",
            log="~/.copilot/logs",
        ),
        Host(
            name="goose",
            title="Goose",
            section=("extensions",),
            shape="goose",
            reference=None,
            project_files=(),
            commands=("goose",),
            restart="Start a new session.",
            log="~/.local/state/goose/logs",
            file="~/.config/goose/config.yaml (Windows: %APPDATA%\\Block\\goose\\config\\config.yaml)",
        ),
        Host(
            name="continue",
            title="Continue",
            section=("mcpServers",),
            shape="continue",
            reference="${{{{ secrets.{} }}}}",
            project_files=(),
            commands=(),
            restart="Reload the window.",
            log="~/.continue/logs",
            file="a new file in .continue/mcpServers of a project, or ~/.continue/config.yaml",
        ),
        Host(
            name="librechat",
            title="LibreChat",
            section=_JSON,
            shape="librechat",
            reference="${{{}}}",
            project_files=(),
            commands=(),
            restart="Restart its server.",
            log="its server's log",
            file="librechat.yaml",
        ),
    )
}
"""Hosts by name: those whose file we write, then those that we only print for. Not seen by us: Goose's, Continue's and
LibreChat's logs, Windsurf's output, and that Copilot CLI fills in `${NAME}`; their documents say so."""
WRITTEN = tuple(name for name, host in HOSTS.items() if host.is_written)
PRINTED = tuple(name for name, host in HOSTS.items() if not host.is_written)


def find_host(name: str) -> Host:
    """Find a host by its name. Raises ConfigError, which names those that are known."""
    if host := HOSTS.get(name):
        return host
    near = difflib.get_close_matches(name.lower(), HOSTS, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    known = f"known are {', '.join(WRITTEN)}, and to paste yourself {', '.join(PRINTED)}"
    raise ConfigError(f"there is no host {name!r}; {known}{hint}")
