"""`init`: writes a config file to begin with, with comments."""

import os
import sys
from pathlib import Path

from bridge.cli.exits import COMPLETED
from bridge.cli.output import tell
from bridge.config.load import default_file
from bridge.errors import ConfigError

STARTER = """\
{
  // The endpoint: OpenAI, Azure, a relay or a server of your own. Without this section OPENAI_API_KEY, OPENAI_BASE_URL
  // and OPENAI_MODEL of the environment are used.
  // "upstream": {"base_url": "https://api.openai.com/v1", "api_key": "${env:OPENAI_API_KEY}", "model": "gpt-4.1"},

  // Your MCP servers, in the form of Claude Desktop and others. A tool that is not read-only is asked about, unless a
  // line here allows it.
  // "mcpServers": {
  //   "git": {"command": "uvx", "args": ["mcp-server-git"], "tools": {"allow": ["git_log"], "deny": ["git_reset"]}},
  //   "notes": {"url": "https://mcp.example.com/mcp", "headers": {"Authorization": "Bearer ${env:NOTES_TOKEN}"}}
  // }
}
"""


def write_config(file: Path | None) -> int:
    """Write the starter config; raise ConfigError where there is a file already, or none can be written."""
    file = file or default_file(os.environ)
    if file is None:
        raise ConfigError("init: there is no home folder here; say where to write with --config FILE")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConfigError(f"init: {file} exists; it is left as it is") from None
    except OSError as error:
        raise ConfigError(f"init: {file} cannot be written: {error.strerror}") from None
    with open(descriptor, "w", encoding="utf-8") as written:  # noqa: PTH123 - it is ours alone from the beginning
        written.write(STARTER)
    sys.stdout.write(f"{file}\n")
    sys.stdout.flush()
    tell("Fill it in (an editor shows what is possible), or set OPENAI_API_KEY; then: mcp-responses-bridge check")
    return COMPLETED
