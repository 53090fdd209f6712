"""Reads the server entries of a config file, in the formats of all hosts, into one shape."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise

from bridge.config.faults import Fault, KeyPath, find_nearest, join_path, name_type
from bridge.json_text import Json

PROGRAM = "mcp-responses-bridge"

SERVER_SECTIONS = ("mcpServers", "servers")
"""The section's key in most hosts, and in VS Code."""

_URL_KEYS = ("url", "serverUrl", "httpUrl")
ENTRY_KEYS = frozenset({"type", *_URL_KEYS})
"""Keys of an entry that `ServerConfig` has under another name."""

_TRANSPORTS = {"stdio": "stdio", "http": "http", "streamable-http": "http", "streamableHttp": "http", "sse": "sse"}
_OURS = re.compile(PROGRAM + r"(\.exe)?(\[[^\]]*\])?([@=<>~!].*)?", re.IGNORECASE)
_PYTHON = re.compile(r"(python|pypy|pyw?$|pyw?\.exe$|uv)", re.IGNORECASE)
_SHELL = re.compile(r"((ba|z|da|fi)?sh|cmd|powershell|pwsh)(\.exe)?", re.IGNORECASE)


def list_entries(raw: Mapping[str, Json]) -> list[tuple[KeyPath, dict[str, Json]]]:
    """List the entries of both sections in file order, each with its path `(section, key)`."""
    found: dict[str, tuple[KeyPath, dict[str, Json]]] = {}
    for section in raw:
        if section not in SERVER_SECTIONS:
            continue
        for key, entry in check_object(raw[section], (section,)).items():
            path = (section, key)
            if key in found:
                raise Fault(path, f"{join_path(found[key][0])} has the same name; keep one, or rename one")
            found[key] = path, check_object(entry, path)
    return list(found.values())


def check_object(value: Json, path: KeyPath) -> dict[str, Json]:
    """Return `value`. Raises Fault where it is not an object."""
    if not isinstance(value, dict):
        raise Fault(path, f"expected an object, not {name_type(value)}")
    return value


def read_input_defaults(raw: Mapping[str, Json]) -> dict[str, str]:
    """Read the defaults of VS Code's `inputs`, by id."""
    inputs = raw.get("inputs") or []
    if not isinstance(inputs, list):
        raise Fault(("inputs",), f"expected a list, not {name_type(inputs)}")
    defined = [check_object(item, ("inputs", index)) for index, item in enumerate(inputs)]
    return {str(item.get("id")): item["default"] for item in defined if isinstance(item.get("default"), str)}


def normalise_entry(entry: Mapping[str, Json], path: KeyPath) -> dict[str, Json]:
    """Convert any host's entry to the shape of `ServerConfig`; null is the same as absent."""
    given: dict[str, Json] = {key: value for key, value in entry.items() if value is not None}
    targets = [key for key in ("command", *_URL_KEYS) if key in given]
    if not targets:
        raise Fault(path, "has neither command nor url; give command to start a server, or url to reach one")
    if len(targets) > 1:
        raise Fault((*path, targets[1]), f"cannot be combined with {targets[0]}; keep one of the two")
    given["transport"] = _read_transport(given.pop("type", None), targets[0], path)
    if targets[0] != "command":
        given["url"] = given.pop(targets[0])
    return given


def _read_transport(written: Json, target: str, path: KeyPath) -> str:
    if written is None:
        return "stdio" if target == "command" else "auto"
    path = (*path, "type")
    if not isinstance(written, str):
        raise Fault(path, f"expected a string, not {name_type(written)}")
    transport = _TRANSPORTS.get(written)
    if transport is None:
        raise Fault(path, f"expected {', '.join(_TRANSPORTS)}, not {json.dumps(written)}")
    if (transport == "stdio") != (target == "command"):
        right = "command" if transport == "stdio" else "url"
        raise Fault(path, f'"{written}" needs {right}, and the entry has {target}; leave type out')
    return transport


def starts_this_program(entry: Mapping[str, Json]) -> bool:
    """Tell whether the entry starts a bridge: directly, as `python -m bridge`, or through uvx, npx, a shell etc.

    A path that ends in our name is another server's argument (a clone of the repository, for example), unless it is in
    a `bin` or `Scripts` folder.
    """
    command, args = entry.get("command"), entry.get("args")
    if not isinstance(command, str):
        return False
    words = [text for text in args if isinstance(text, str)] if isinstance(args, list) else []
    if _SHELL.fullmatch(_basename(command)):
        words = [word for text in words for word in text.split()]
    return (
        bool(_OURS.fullmatch(_basename(command)))
        or any(map(_names_this_program, words))
        or _runs_module(command, words)
    )


def _basename(path: str) -> str:
    return re.split(r"[/\\]", path)[-1]


def _names_this_program(word: str) -> bool:
    *folders, name = re.split(r"[/\\]", word)
    return bool(_OURS.fullmatch(name)) and (not folders or folders[-1] in ("bin", "Scripts"))


def _runs_module(command: str, words: Sequence[str]) -> bool:
    if not any(_PYTHON.match(_basename(word)) for word in (command, *words)):
        return False
    return "-mbridge" in words or ("-m", "bridge") in pairwise(words)


def find_foreign_keys(value: Mapping[str, Json], known: Collection[str], path: KeyPath) -> list[KeyPath]:
    """Find the keys of `value` that belong to some host. Raises Fault for a likely typo of a known key."""
    found: list[KeyPath] = []
    for key in value:
        if key in known:
            continue
        if meant := find_nearest(key, known, at_least=0.8):
            raise Fault((*path, key), f'unknown key; did you mean "{meant}"?')
        found.append((*path, key))
    return found
