"""A person's machine: a home folder with hosts in it, and the command as it is typed there."""

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

KEY = "sk-relay-0123456789abcdef"
OTHERS_KEY = "hunter2-of-somebody"
RELAY = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "https://relay.example/v1", "OPENAI_MODEL": "m-1"}

JSON = (
    "{\n"
    "  // mine, by hand\n"
    '  "mcpServers": {\n'
    '    "git": {\n'
    '      "command": "uvx",\n'
    '      "args": ["mcp-server-git"], // 仓库\n'
    f'      "env": {{"GIT_TOKEN": "{OTHERS_KEY}"}},\n'
    "    },\n"
    "  },\n"
    '  "theme": "dark" /* not light */\n'
    "}"
)
FILES = {
    "claude-desktop": (".config/Claude/claude_desktop_config.json", JSON),
    "claude-code": (
        ".claude.json",
        '{\n  "numStartups": 7,\n  "mcpServers": {},\n  "projects": {\n    "/home/me/x": {\n      "mcpServers": {"a": '
        '{"type": "stdio", "command": "a", "args": [], "env": {}}}\n    }\n  }\n}\n',
    ),
    "cursor": (".cursor/mcp.json", JSON.replace("\n", "\r\n")),
    "vscode": (
        ".config/Code/User/mcp.json",
        '{\n\t// asked once\n\t"inputs": [\n\t\t{"id": "gh", "type": "promptString", "description": "GitHub"},\n\t],\n'
        '\t"servers": {\n\t\t"gh": {"command": "gh-mcp", "env": {"GH": "${input:gh}"}},\n\t}\n}\n',
    ),
    "codex": (
        ".codex/config.toml",
        '# mine\nmodel = "gpt-5" # best\n\n[mcp_servers.git] # one\ncommand = "uvx"\nargs = [\n  "mcp-server-git",\n'
        f']\nenv = {{ GIT_TOKEN = "{OTHERS_KEY}" }}\n\n# trusted\n[projects."/home/me"]\ntrust_level = "no"\n# end\n',
    ),
    "gemini-cli": (".gemini/settings.json", '{\n    "security": {"auth": {"selectedType": "oauth-personal"}}\n}\n'),
    "windsurf": (".codeium/windsurf/mcp_config.json", '{"mcpServers": {"a": {"serverUrl": "https://a.example/mcp"}}}'),
    "zed": (
        ".config/zed/settings.json",
        '// Zed settings\n//\n{\n  "ui_font_size": 16,\n  "context_servers": {\n    // "old": {},\n'
        '    "a": { "command": { "path": "a", "args": [] }, "settings": {} }\n  },\n'
        '  "theme": { "mode": "system", "light": "One Light", },\n}\n',
    ),
    "opencode": (
        ".config/opencode/opencode.jsonc",
        '{\n  "$schema": "https://opencode.ai/config.json",\n  "mcp": {\n    "a": {"type": "remote", "url": '
        '"https://a.example/mcp", "enabled": false}, // off\n  },\n  "model": "x/y"\n}\n',
    ),
    "copilot-cli": (".copilot/mcp-config.json", '{\n  "mcpServers": {}\n}\n'),
}
"""Each host's file on Linux, as a person has it."""


@dataclass
class Done:
    code: int
    stdout: str
    stderr: str

    @property
    def said(self) -> str:
        return self.stdout + self.stderr


CTRL_C = "\x03"
"""A key that needs no Enter behind it, which would be an answer if it came first."""


@dataclass
class Machine:
    """A home folder, and the environment that is there."""

    home: Path
    environ: dict[str, str] = field(default_factory=lambda: dict(RELAY))

    def put(self, host: str, text: str | bytes | None = None) -> Path:
        """Install the host, with its file as a person has it."""
        place, usual = FILES[host]
        file = self.home / place
        file.parent.mkdir(parents=True, exist_ok=True)
        written = usual if text is None else text
        file.write_bytes(written if isinstance(written, bytes) else written.encode())
        return file

    def build_command(self, *args: str) -> list[str]:
        return [sys.executable, "-m", "bridge", *args]

    def build_environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name.startswith(("PYTHON", "COVERAGE"))}
        return {**kept, "HOME": str(self.home), "PATH": "/usr/bin:/bin", **self.environ}

    def run(self, *args: str, cwd: Path | None = None) -> Done:
        """Type the command where nobody can be asked."""
        done = subprocess.run(
            self.build_command(*args), capture_output=True, check=False, cwd=cwd or self.home, timeout=60,
            env=self.build_environment(), stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    def answer(self, answer: str, *args: str, meanwhile: Callable[[], object] | None = None) -> Done:
        """Type the command at a terminal; at its question do something else first, and then answer."""
        command, environ = self.build_command(*args), self.build_environment()
        child, terminal = pty.fork()
        if child == 0:
            os.chdir(self.home)
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # whoever runs the tests may ignore it, as `nohup … &` does
            os.execve(command[0], command, environ)
        shown, is_asked = "", False
        while chunk := _read(terminal):
            shown += chunk
            if "[y/N]" in shown and not is_asked:
                is_asked = True
                if meanwhile:
                    meanwhile()
                os.write(terminal, (answer if answer == CTRL_C else f"{answer}\n").encode())
        os.close(terminal)
        return Done(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), shown, "")

    def list_files(self) -> dict[str, bytes]:
        """Every file of the home but those of the bridge's own state."""
        files = [file for file in self.home.rglob("*") if file.is_file() and ".local/state" not in str(file)]
        return {str(file.relative_to(self.home)): file.read_bytes() for file in files}


def _read(terminal: int) -> str:
    try:
        return os.read(terminal, 65536).decode("utf-8", "replace")
    except OSError:  # Linux says so at the end
        return ""
