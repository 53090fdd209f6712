"""A home folder with the file of a host as somebody has it, and the host, played: it starts what its file says."""

import os
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.config.file import parse
from tests.fakes.servers import ROGUE

KEY, WORD = "ghp_16C7e42F292c6912E7710c838347Ae178B4a", "correct-horse-0815"
"""Secrets of a server: one in its `env`, one in its arguments."""
TEAM = "team-4711"
"""The value of a variable that the host is started with, and that a server wants."""
COMMAND = Path(sys.executable).parent / "mcp-responses-bridge"
ARGS = f'"-S", "-E", "{ROGUE}", "env", "--token", "{WORD}"'


@dataclass(frozen=True)
class Sample:
    """The file of one host: where it is below the home folder, and what it says."""

    path: str
    text: str
    section: tuple[str, ...]
    off: str = ""
    """The name of a server that is switched off in it."""


def _json(section: str, reference: str, *, off: str = '"disabled": true', head: str = "", kind: str = "") -> str:
    return f"""{{
{head}  "{section}": {{
    "git hub": {{{kind}"command": "{sys.executable}", "args": [{ARGS}],
      "env": {{"API_TOKEN": "{KEY}", "REGION": "cn"}}}},
    "team": {{
      {kind}"command": "{sys.executable}",
      "args": ["-S", "-E", "{ROGUE}", "env"],
      "env": {{"TEAM_NAME": "{reference}"}}
    }},
    "idle": {{{kind}"command": "/nowhere/idle", {off}}}
  }}
}}
"""


SAMPLES = {
    "claude-desktop": Sample(
        ".config/Claude/claude_desktop_config.json",
        _json("mcpServers", TEAM, head='  "globalShortcut": "",\n').replace("\n", "\r\n"),
        ("mcpServers",),
        "idle",
    ),
    "claude-code": Sample(
        ".claude.json",
        _json("mcpServers", "${TEAM}", head='  "numStartups": 5,\n', kind='"type": "stdio", '),
        ("mcpServers",),
        "idle",
    ),
    "cursor": Sample(".cursor/mcp.json", _json("mcpServers", "${env:TEAM}"), ("mcpServers",), "idle"),
    "vscode": Sample(
        ".config/Code/User/mcp.json",
        _json(
            "servers",
            "${input:team}",
            head='  // asked once\n  "inputs": [{"id": "team", "type": "promptString", "password": true},],\n',
        ),
        ("servers",),
        "idle",
    ),
    "codex": Sample(
        ".codex/config.toml",
        f"""# mine
model = "o3"   # the best

[mcp_servers."git hub"]
command = "{sys.executable}"
args = [{ARGS}]
enabled_tools = ["environment"]

[mcp_servers."git hub".env]
API_TOKEN = "{KEY}"
REGION = "cn"

[mcp_servers.team]   # the team's
command = "{sys.executable}"
args = ["-S", "-E", "{ROGUE}", "env", "--name"]
env_vars = ["TEAM_NAME"]

[mcp_servers.idle]
command = "/nowhere/idle"
enabled = false

[projects."/home/me"]
trust_level = "trusted"
""",
        ("mcp_servers",),
        "idle",
    ),
    "gemini-cli": Sample(
        ".gemini/settings.json",
        _json("mcpServers", "$TEAM", off='"args": []', head='  "mcp": {"excluded": ["idle"]}, // not now\n'),
        ("mcpServers",),
        "idle",
    ),
    "windsurf": Sample(
        ".codeium/windsurf/mcp_config.json", _json("mcpServers", "${env:TEAM}"), ("mcpServers",), "idle"
    ),
    "zed": Sample(
        ".config/zed/settings.json",
        _json("context_servers", TEAM, off='"enabled": false', head='  // theme\n  "theme": "One Dark",\n'),
        ("context_servers",),
        "idle",
    ),
    "opencode": Sample(
        ".config/opencode/opencode.json",
        f"""{{
  "$schema": "https://opencode.ai/config.json",
  "mcp": {{
    "git hub": {{"type": "local", "command": ["{sys.executable}", {ARGS}], "enabled": true,
      "environment": {{"API_TOKEN": "{KEY}", "REGION": "cn"}}}},
    "team": {{"type": "local", "command": ["{sys.executable}", "-S", "-E", "{ROGUE}", "env"],
      "environment": {{"TEAM_NAME": "{{env:TEAM}}"}}}},
    "idle": {{"type": "local", "command": ["/nowhere/idle"], "enabled": false}} /* later */
  }},
}}
""",
        ("mcp",),
        "idle",
    ),
    "copilot-cli": Sample(
        ".copilot/mcp-config.json",
        _json("mcpServers", "${TEAM}", kind='"type": "local", "tools": ["*"], '),
        ("mcpServers",),
        "idle",
    ),
}


@dataclass
class Home:
    """One home folder."""

    folder: Path
    host: str

    @property
    def theirs(self) -> Path:
        return self.folder / SAMPLES[self.host].path

    @property
    def ours(self) -> Path:
        return self.folder / ".config/mcp-responses-bridge/config.json"

    def write(self) -> bytes:
        """Put the host's file there."""
        self.theirs.parent.mkdir(parents=True, exist_ok=True)
        data = SAMPLES[self.host].text.encode()
        self.theirs.write_bytes(data)
        self.theirs.chmod(0o640)
        return data

    def environ(self, **more: str) -> dict[str, str]:
        """What a desktop app hands down: a home and a path."""
        return {"HOME": str(self.folder), "PATH": os.environ["PATH"], **more}

    def run(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Type a command of ours in a shell of this home."""
        command = [str(COMMAND), *words]
        environ = self.environ(**more)
        return subprocess.run(
            command, env=environ, cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )

    def files(self) -> dict[str, bytes]:
        """All files below the home, with their content."""
        found = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in found}

    def read_theirs(self) -> dict[str, Any]:
        """The entries of the host's file, as it reads them."""
        text = self.theirs.read_bytes().decode()
        value: Any = tomllib.loads(text) if self.theirs.suffix == ".toml" else parse(text)
        for step in SAMPLES[self.host].section:
            value = value[step]
        return value

    def start_of(self, name: str, **variables: str) -> tuple[str, list[str], dict[str, str]]:
        """How the host starts an entry: its command, and its environment with what the host fills in."""
        entry = self.read_theirs()[name]
        command = entry["command"] if isinstance(entry["command"], list) else [entry["command"], *entry["args"]]
        env = entry.get("env") or entry.get("environment") or {}
        passed = {name: variables[name] for name in entry.get("env_vars", []) if name in variables}
        filled = {key: _fill_in(value, variables) for key, value in env.items()}
        return command[0], command[1:], self.environ(**passed, **filled)


def _fill_in(value: str, variables: dict[str, str]) -> str:
    """Fill in a reference, as this host writes it."""
    match = re.fullmatch(r"\$\{(?:env|input):(\w+)\}|\$\{(\w+)\}|\$(\w+)|\{env:(\w+)\}", value)
    if match is None:
        return value
    name = next(group for group in match.groups() if group)
    return variables.get(name) or variables.get(name.upper(), "")
