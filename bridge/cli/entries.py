"""`config HOST` and `install HOST --print`: a host's entry for this installation, ready to paste."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from bridge.cli.exits import COMPLETED
from bridge.cli.output import tell
from bridge.hosts.known import Host, find_host
from bridge.hosts.places import list_places
from bridge.hosts.shapes import NAME, build_entry
from bridge.hosts.start import build_start
from bridge.hosts.toml_splices import write_table
from bridge.json_text import Json, JsonObject
from bridge.visible import show_prose


def print_entry(name: str, config: Path | None) -> int:
    """Print the entry on stdout, and on stderr where it belongs. Raises ConfigError for an unknown host or no config.

    A key is never printed: a placeholder stands in its place.
    """
    host = find_host(name)
    text = write_entry(host, config)
    tell(f"# {host.title}: merge this into {host.file or _say_where(host)}. {host.restart}")
    tell(f"# If it does not work, look into its log: {host.log}.")
    sys.stdout.write(show_prose(text))
    sys.stdout.flush()
    return COMPLETED


def write_entry(host: Host, config: Path | None) -> str:
    """Write the entry as the host's file has it, in JSON, TOML or YAML, with its section around it."""
    document = build_document(host, config)
    if host.shape == "codex":
        return "\n".join(write_table((*host.section, NAME), document)) + "\n"
    if host.shape in ("goose", "continue", "librechat"):
        return "\n".join(_write_yaml(document)) + "\n"
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def build_document(host: Host, config: Path | None = None) -> JsonObject:
    """Build what is to be merged into the host's file; of Codex the entry alone."""
    start, inputs = build_start(host, config, os.environ, with_secrets=False)
    entry = build_entry(host, start)
    match host.shape:
        case "codex":
            return entry
        case "vscode":
            return {"inputs": list(inputs), "servers": {NAME: entry}}
        case "continue":
            return {"name": NAME, "version": "1.0.0", "schema": "v1", "mcpServers": [entry]}
        case _:
            return {str(host.section[0]): {NAME: entry}}


def _say_where(host: Host) -> str:
    places = list_places(host, os.environ, sys.platform) if "HOME" in os.environ or "USERPROFILE" in os.environ else []
    files = [str(place.folder / place.names[0]) for place in places[:1]]
    project = [f"{host.project_files[0]} of a project"] if host.project_files else []
    return " or ".join([*files, *project])


def _write_yaml(value: Json, indent: str = "") -> Iterator[str]:
    """Write an object as YAML; its texts are quoted as in JSON, which is YAML too."""
    for key, inner in value.items() if isinstance(value, dict) else ():
        match inner:
            case dict() if inner:
                yield f"{indent}{key}:"
                yield from _write_yaml(inner, f"{indent}  ")
            case [dict() as item]:
                yield f"{indent}{key}:"
                first, *rest = _write_yaml(item, f"{indent}    ")
                yield from (f"{indent}  - {first.strip()}", *rest)
            case _:
                yield f"{indent}{key}: {json.dumps(inner, ensure_ascii=False)}"
