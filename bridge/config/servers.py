"""The server entries of a config file, whichever host wrote them, in one shape."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise

from bridge.config.faults import Place, Wrong, dotted, kind, nearest
from bridge.json_text import Json

PROGRAM = "mcp-responses-bridge"

SERVER_SECTIONS = ("mcpServers", "servers")
"""The key of most hosts, and that of VS Code."""

_URL_KEYS = ("url", "serverUrl", "httpUrl")
ENTRY_KEYS = frozenset({"type", *_URL_KEYS})
"""Keys of an entry that hosts write and `ServerConfig` has under another name."""

_TRANSPORTS = {"stdio": "stdio", "http": "http", "streamable-http": "http", "streamableHttp": "http", "sse": "sse"}
_OURS = re.compile(PROGRAM + r"(\.exe)?(\[[^\]]*\])?([@=<>~!].*)?", re.IGNORECASE)
_PYTHON = re.compile(r"(python|pypy|pyw?$|pyw?\.exe$|uv)", re.IGNORECASE)
_SHELL = re.compile(r"((ba|z|da|fi)?sh|cmd|powershell|pwsh)(\.exe)?", re.IGNORECASE)


def server_entries(raw: Mapping[str, Json]) -> list[tuple[Place, dict[str, Json]]]:
    """The entries of both sections in file order, each with its place `(section, key)`."""
    found: dict[str, tuple[Place, dict[str, Json]]] = {}
    for section in raw:
        if section not in SERVER_SECTIONS:
            continue
        for key, entry in as_object(raw[section], (section,)).items():
            place = (section, key)
            if key in found:
                raise Wrong(place, f"{dotted(found[key][0])} has the same name; keep one, or rename one")
            found[key] = place, as_object(entry, place)
    return list(found.values())


def as_object(value: Json, place: Place) -> dict[str, Json]:
    """`value`, which has to be an object."""
    if not isinstance(value, dict):
        raise Wrong(place, f"expected an object, not {kind(value)}")
    return value


def input_defaults(raw: Mapping[str, Json]) -> dict[str, str]:
    """The defaults of VS Code's `inputs`, by id."""
    inputs = raw.get("inputs") or []
    if not isinstance(inputs, list):
        raise Wrong(("inputs",), f"expected a list, not {kind(inputs)}")
    defined = [as_object(item, ("inputs", index)) for index, item in enumerate(inputs)]
    return {str(item.get("id")): item["default"] for item in defined if isinstance(item.get("default"), str)}


def one_shape(entry: Mapping[str, Json], place: Place) -> dict[str, Json]:
    """An entry in the one shape of `ServerConfig`, whichever host wrote it; null is the same as absent."""
    given: dict[str, Json] = {key: value for key, value in entry.items() if value is not None}
    targets = [key for key in ("command", *_URL_KEYS) if key in given]
    if not targets:
        raise Wrong(place, "has neither command nor url; give command to start a server, or url to reach one")
    if len(targets) > 1:
        raise Wrong((*place, targets[1]), f"stands beside {targets[0]}; keep one of the two")
    given["transport"] = _transport(given.pop("type", None), targets[0], place)
    if targets[0] != "command":
        given["url"] = given.pop(targets[0])
    return given


def _transport(written: Json, target: str, place: Place) -> str:
    if written is None:
        return "stdio" if target == "command" else "auto"
    place = (*place, "type")
    if not isinstance(written, str):
        raise Wrong(place, f"expected a string, not {kind(written)}")
    transport = _TRANSPORTS.get(written)
    if transport is None:
        raise Wrong(place, f"expected {', '.join(_TRANSPORTS)}, not {json.dumps(written)}")
    if (transport == "stdio") != (target == "command"):
        right = "command" if transport == "stdio" else "url"
        raise Wrong(place, f'"{written}" needs {right}, and the entry has {target}; leave type out')
    return transport


def starts_this_program(entry: Mapping[str, Json]) -> bool:
    """Whether the entry starts a bridge: directly, as `python -m bridge`, or through uvx, npx, a shell and the like.

    A path that only ends in our name is some other server's argument (a clone of the repository, say), unless it
    lies in a `bin` or `Scripts` folder.
    """
    command, args = entry.get("command"), entry.get("args")
    if not isinstance(command, str):
        return False
    words = [text for text in args if isinstance(text, str)] if isinstance(args, list) else []
    if _SHELL.fullmatch(_basename(command)):
        words = [word for text in words for word in text.split()]
    return bool(_OURS.fullmatch(_basename(command))) or any(map(_is_ours, words)) or _runs_module(command, words)


def _basename(path: str) -> str:
    return re.split(r"[/\\]", path)[-1]


def _is_ours(word: str) -> bool:
    *folders, name = re.split(r"[/\\]", word)
    return bool(_OURS.fullmatch(name)) and (not folders or folders[-1] in ("bin", "Scripts"))


def _runs_module(command: str, words: Sequence[str]) -> bool:
    if not any(_PYTHON.match(_basename(word)) for word in (command, *words)):
        return False
    return "-mbridge" in words or ("-m", "bridge") in pairwise(words)


def foreign_keys(value: Mapping[str, Json], known: Collection[str], place: Place) -> list[Place]:
    """The keys of `value` that are some host's own. Raises Wrong for one that is a near miss of a known key."""
    found: list[Place] = []
    for key in value:
        if key in known:
            continue
        if meant := nearest(key, known, at_least=0.8):
            raise Wrong((*place, key), f'unknown key; did you mean "{meant}"?')
        found.append((*place, key))
    return found
