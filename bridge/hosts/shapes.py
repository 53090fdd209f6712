"""An entry that starts a server, in the shape of each host."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain, count

from bridge.config.faults import KeyPath
from bridge.config.own_entry import is_installed
from bridge.hosts.edits import Append, Change, Set, find_value
from bridge.hosts.known import Host
from bridge.json_text import Json, JsonObject

NAME = "responses"
"""The name of our entry, unless somebody else's has it."""
OTHER_NAME = "mcp-responses-bridge"


UNIT = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL")
"""The variables that belong together: the key is for that address, and the model is there."""
_VARIABLES, _PASSED = ("env", "environment"), "env_vars"


@dataclass(frozen=True)
class Start:
    """How a server is started."""

    command: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    """Variables as they are written in the entry: values, or references in the host's own words."""
    passed: tuple[str, ...] = ()
    """Names of variables that the host is to pass on from its own environment; Codex knows such."""


def build_entry(host: Host, start: Start, *, is_shared: bool = False) -> JsonObject:
    """Build the entry of a server as the host writes it; in the file of a project, Claude Code reads Copilot's, too."""
    env: JsonObject = dict(start.env)
    args: list[Json] = list(start.args)
    match host.shape:
        case "opencode":
            entry: JsonObject = {"type": "local", "command": [start.command, *args], "enabled": True}
            return entry | ({"environment": env} if env else {})
        case "goose":
            entry = {"name": NAME, "type": "stdio", "cmd": start.command, "args": args, "envs": env}
            return entry | {"enabled": True, "timeout": 300}
        case "continue":
            entry = {"name": NAME, "command": start.command, "args": args}
        case "copilot":
            kind = "stdio" if is_shared else "local"
            entry = {"type": kind, "command": start.command, "args": args, "tools": ["*"]}
        case "typed" | "vscode" | "librechat":
            entry = {"type": "stdio", "command": start.command, "args": args}
        case "plain" | "codex":
            entry = {"command": start.command, "args": args}
    if start.passed:
        entry["env_vars"] = list(start.passed)
    return entry | ({"env": env} if env else {})


def find_section(host: Host, value: JsonObject) -> KeyPath:
    """Find where the entries are in this file: in its second version, opencode has them one level deeper."""
    inner = find_value(value, (*host.section, "servers"))
    is_second = host.shape == "opencode" and isinstance(inner, dict) and not {"command", "type", "url"} & inner.keys()
    return (*host.section, "servers") if is_second else host.section


def list_own(host: Host, value: JsonObject) -> list[KeyPath]:
    """List the entries of the file that start this program as an entry of ours does."""
    section = find_section(host, value)
    entries = find_value(value, section)
    if not isinstance(entries, dict):
        return []
    return [
        (*section, name)
        for name, entry in entries.items()
        if isinstance(entry, dict) and is_installed(_split_command(entry))
    ]


def choose_path(host: Host, value: JsonObject) -> KeyPath:
    """Choose where our entry goes: in place of one of ours, else under a name that is free."""
    if own := list_own(host, value):
        return own[0]
    section = find_section(host, value)
    names = chain((NAME, OTHER_NAME), (f"{OTHER_NAME}-{number}" for number in count(2)))
    return next((*section, name) for name in names if find_value(value, (*section, name)) is None)


def list_changes(host: Host, value: JsonObject, entry: JsonObject, inputs: list[JsonObject]) -> list[Change]:
    """List what is to be changed in the file so that it has this entry, and the inputs that it refers to."""
    path = choose_path(host, value)
    old = find_value(value, path)
    entry = _keep_others(old, entry) if isinstance(old, dict) else entry
    changes: list[Change] = [] if old == entry else [Set(path, entry)]
    known = find_value(value, ("inputs",))
    ids = {item.get("id") for item in known if isinstance(item, dict)} if isinstance(known, list) else set()
    return [*(Append(("inputs",), new) for new in inputs if new["id"] not in ids), *changes]


def find_added(value: JsonObject, changes: Iterable[Change]) -> tuple[KeyPath, ...]:
    """Find what the changes add to this file: the topmost of what is made for each."""
    paths: list[KeyPath] = []
    for change in changes:
        path = change.path
        missing = (depth for depth in range(1, len(path)) if find_value(value, path[:depth]) is None)
        paths.append(path[: next(missing, len(path))])
    return tuple(paths)


def _keep_others(old: JsonObject, new: JsonObject) -> JsonObject:
    """Return a new entry with what a person has added to the old one; the variables of the unit are the new one's."""
    has_unit = bool(new.keys() & {*_VARIABLES, _PASSED})
    kept: JsonObject = {}
    for key, value in old.items():
        made = new.get(key)
        if key in _VARIABLES and isinstance(value, dict) and has_unit:
            others: JsonObject = {name: inner for name, inner in value.items() if name not in UNIT}
            kept[key] = others | (made if isinstance(made, dict) else {})
        elif key == _PASSED and isinstance(value, list) and isinstance(made, list):
            kept[key] = [*(name for name in value if name not in (*made, *UNIT)), *made]
        else:
            kept[key] = value if key == "tools" or made is None else made
    return kept | {key: value for key, value in new.items() if key not in kept}


def _split_command(entry: JsonObject) -> JsonObject:
    """Return the entry with a command that is a list, or an object, as program and arguments."""
    match entry.get("command", entry.get("cmd")):
        case [command, *args]:
            return {"command": command, "args": args}
        case {"path": command, **rest}:
            return {"command": command, "args": rest.get("args")}
        case command:
            return {"command": command, "args": entry.get("args")}
