"""One server entry of a config file, from the shape of any host to ours."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import cast

from bridge.config.faults import Fault, KeyPath, join_path, name_type
from bridge.config.oauth import BESIDE, KEYS, read_oauth
from bridge.config.places import Entry
from bridge.config.settings import ToolRules
from bridge.config.values import read_scalar
from bridge.json_text import Json

URL_KEYS = ("url", "serverUrl", "httpUrl", "uri", "baseUrl")
RENAMED = {
    "cmd": "command",
    "environment": "env",
    "envs": "env",
    "http_headers": "headers",
    "workingDirectory": "cwd",
    "working_directory": "cwd",
    "env_file": "envFile",
    "transportType": "type",
    "server_url": "url",
}
"""Keys of other programs that mean the same as ours."""
_TRANSPORTS = {
    "stdio": "stdio",
    "local": "stdio",
    "command": "stdio",
    "http": "http",
    "streamablehttp": "http",
    "httpstream": "http",
    "httpstreamable": "http",
    "streamable": "http",
    "sse": "sse",
    "httpsse": "sse",
    "remote": "auto",
    "url": "auto",
    "auto": "auto",
}
"""The words of hosts for `type`, in small letters without hyphens and the like, and the transport that each means."""
_SHOWN_TRANSPORTS = "stdio (or local), http (or streamable-http, streamableHttp), sse or remote"
_ON = ("enabled", "isActive", "is_active", "active")
_RULES = {
    "only": ("includeTools", "enabled_tools", "enabledTools", "allowed_tools", "allowedTools"),
    "deny": ("deny", "disabledTools", "excludeTools", "disabled_tools", "excluded_tools", "suppressedTools"),
    "ask": ("ask",),
}
"""Keys of an entry that restrict its tools, by the rule that they are here."""
_GRANTS = frozenset({"allow", "alwaysAllow", "autoApprove", "autoApprovedTools", "trust", "autoRun"})
"""Keys with which other programs, or a hand that meant `tools`, let tools run unasked."""
_SCALARS = frozenset({"args", "env", "headers"})
HOST_KEYS = frozenset(
    {*URL_KEYS, *RENAMED, *_ON, *_GRANTS, *chain.from_iterable(_RULES.values())}
    | {"type", "envFile", "requestInit", "bearer_token_env_var", "env_http_headers", "env_vars"}
    | {"name", "key", "transport", *BESIDE, *KEYS}
)
"""Keys of an entry that `ServerConfig` has under another name, or not at all."""


OTHER_KEYS = frozenset({"tcp", "bearer_token", "autostart", "server", "commands"})
"""Keys of other programs that are not typos of ours, however near they are."""


@dataclass
class Reading:
    """An entry in our shape, and what is to be said of it."""

    values: Entry
    """For `ServerConfig`, but for references that are not filled in yet."""
    grants: list[KeyPath] = field(default_factory=list[KeyPath])
    """Keys that grant something in another program, and nothing here."""
    strange: list[KeyPath] = field(default_factory=list[KeyPath])
    """Keys about signing in that mean nothing here."""

    def deny(self, tools: list[str]) -> None:
        """Add tools that are not offered."""
        rules = self.values.get("tools", {})
        if isinstance(rules, dict):
            self.values["tools"] = {**rules, "deny": [*_list(rules.get("deny")), *tools]}


def is_switched_off(entry: Mapping[str, Json], path: KeyPath) -> bool:
    """Tell whether the entry says that it is off; one whose `disabled` is a reference is known when that is filled in.

    Raises Fault for a switch that is neither on nor off.
    """
    inner = entry.get("anythingllm")
    if isinstance(inner, dict) and inner.get("autoStart") is False:
        return True
    for key in ("disabled", *_ON):
        value = read_scalar(entry.get(key))
        if value is None or (key == "disabled" and "${" in str(value)):
            continue
        if not isinstance(value, bool):
            raise Fault((*path, key), f"expected true or false, not {name_type(value)}")
        if value == (key == "disabled"):
            return True
    return False


def read_entry(entry: Mapping[str, Json], path: KeyPath, environ: Mapping[str, str]) -> Reading:
    """Convert any host's entry to the shape of `ServerConfig`, with `envFile` beside it; null is the same as absent.

    `environ` is what some hosts pass variables on from. Raises Fault where it can be taken for nothing.
    """
    given = _unwrap({key: value for key, value in entry.items() if value is not None and key not in _ON})
    for key in RENAMED.keys() & given.keys():
        given.setdefault(RENAMED[key], given[key])
        del given[key]
    _split_command(given, path)
    _read_target(given, path)
    _pass_variables(given, environ)
    _read_lists(given, path)
    for key in _SCALARS & given.keys():
        given[key] = _write_scalars(given[key])
    strange = read_oauth(given, path)
    grants: list[KeyPath] = [(*path, key) for key in entry if key in _GRANTS and entry[key]]
    return Reading({key: value for key, value in given.items() if key not in _GRANTS}, grants, strange)


def _unwrap(given: Entry) -> Entry:
    """Take out what stands one level deeper: a transport or command that is an object, headers in `requestInit`."""
    for key in ("transport", "command", "requestInit", "anythingllm"):
        if isinstance(inner := given.get(key), dict):
            del given[key]
            inner = {("command" if name == "path" else name): value for name, value in inner.items()}
            given |= {name: value for name, value in inner.items() if name not in given}
    transport = given.pop("transport", None)
    if given.get("type", "") == "":
        given["type"] = transport
    return {key: value for key, value in given.items() if value is not None}


def _split_command(given: Entry, path: KeyPath) -> None:
    """Let a command that is a list be the program and its arguments."""
    command, args = given.get("command"), given.get("args", [])
    if isinstance(command, list):
        if not command:
            raise Fault((*path, "command"), "must not be empty")
        given["command"], given["args"] = command[0], [*command[1:], *_list(args)]


def _read_target(given: Entry, path: KeyPath) -> None:
    """Find out what is started or reached, and how; an empty one beside another is absent."""
    targets = [key for key in ("command", *URL_KEYS) if key in given]
    filled = [key for key in targets if given[key] != ""]
    for key in targets if filled else targets[1:]:
        if key not in filled:
            del given[key]
    targets = filled or targets[:1] * (len(targets) == 1)
    if not targets:
        what = "; it is an extension of that program" if given.get("source") == "extension" else ""
        raise Fault(path, f"has neither command nor url{what}; give command to start a server, or url to reach one")
    if len(targets) > 1:
        raise Fault((*path, targets[1]), f"cannot be combined with {targets[0]}; keep one of the two")
    written = given.pop("type", "http" if targets[0] == "httpUrl" else None)
    given["transport"] = _read_transport(written, targets[0], path)
    if targets[0] != "command":
        given["url"] = given.pop(targets[0])


def _read_transport(written: Json, target: str, path: KeyPath) -> str:
    if written is None:
        return "stdio" if target == "command" else "auto"
    path = (*path, "type")
    if not isinstance(written, str):
        raise Fault(path, f"expected a string, not {name_type(written)}")
    transport = _TRANSPORTS.get(re.sub(r"[^a-z]", "", written.lower()))
    if transport is None:
        raise Fault(path, f"expected {_SHOWN_TRANSPORTS}, not {json.dumps(written)}")
    if (transport == "stdio") != (target == "command"):
        right = "command" if transport == "stdio" else "url"
        raise Fault(path, f'"{written}" needs {right}, and the entry has {target}; leave type out')
    return transport


def _pass_variables(given: Entry, environ: Mapping[str, str]) -> None:
    """Fill in what is named by variables of our own environment: by Codex, and in an `env` that is a list."""
    named, variable, passed = (given.pop(key, None) for key in ("env_http_headers", "bearer_token_env_var", "env_vars"))
    headers: Entry = {}
    if isinstance(named, dict):
        headers |= {name: f"${{env:{variable}}}" for name, variable in named.items()}
    if isinstance(variable, str):
        headers["Authorization"] = f"Bearer ${{env:{variable}}}"
    env: Entry = {name: environ[name] for name in _list(passed) if isinstance(name, str) and name in environ}
    if isinstance(given.get("env"), list):
        pairs = [pair.partition("=") for pair in _list(given["env"]) if isinstance(pair, str)]
        env |= {name: environ[name] for name, equals, _ in pairs if not equals and name in environ}
        given["env"] = cast("Json", {name: value for name, equals, value in pairs if equals})
    for key, added in (("headers", headers), ("env", env)):
        own = given.get(key, Entry())
        if added and isinstance(own, dict):
            given[key] = cast("Json", added | own)


def _holds_objects(value: Mapping[str, Json]) -> bool:
    return all(isinstance(inner, dict) for inner in value.values())


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _read_lists(given: Entry, path: KeyPath) -> None:
    """Make one set of rules of all lists that restrict the tools."""
    rules = given.pop("tools", {})
    rules = {"only": rules} if isinstance(rules, list) else rules
    if isinstance(rules, dict) and not rules.keys() & ToolRules.model_fields.keys() and _holds_objects(rules):
        rules = Entry()  # Codex: settings of single tools, which can only grant
    if not isinstance(rules, dict):
        raise Fault((*path, "tools"), f"expected an object, not {name_type(rules)}")
    for rule, keys in _RULES.items():
        for key in keys:
            if key in given:
                names, own = given.pop(key), rules.get(rule, [])
                if not isinstance(names, list):
                    raise Fault((*path, key), f"expected a list, not {name_type(names)}")
                rules = {**rules, rule: [*names, *own] if isinstance(own, list) else own}
    if rules:
        given["tools"] = cast("Json", rules)


def _write_scalars(value: Json) -> Json:
    """Write numbers and booleans, at any place where only text can be meant, as their text."""
    match value:
        case bool() | int() | float():
            return json.dumps(value)
        case list():
            return [_write_scalars(inner) for inner in value]
        case dict():
            return {key: _write_scalars(inner) for key, inner in value.items()}
        case _:
            return value


def say_grants(grants: list[KeyPath]) -> str:
    """Say that keys of other programs let nothing run unasked, and what does."""
    shown = ", ".join(map(join_path, grants[:5])) + (f" and {len(grants) - 5} more" if len(grants) > 5 else "")
    return f'{shown}: grants nothing here; what may run unasked stands in the entry\'s "tools": {{"allow": […]}}.'
