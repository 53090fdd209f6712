"""Where in a config file its server entries are, whichever host the file was written for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from bridge.config.faults import Fault, KeyPath, join_path, name_type
from bridge.config.file import list_children
from bridge.json_text import Json

Entry: TypeAlias = dict[str, Json]


class Found(NamedTuple):
    """One entry: where it is, what it is called, and what it says."""

    path: KeyPath
    name: str
    entry: Entry


SERVER_SECTIONS = ("mcpServers", "servers", "mcp_servers", "context_servers")
"""Sections at the top of a file: of most hosts, VS Code, Codex and Zed."""
_DOTTED_SECTIONS = ("mcp.servers", ".mcpServers")
"""Ends of their keys in settings, which have dots there: of VS Code and Copilot, and of Amp."""
MCP, POWERS, PROJECTS, EXPERIMENTAL = "mcp", "powers", "projects", "experimental"
_INNER_SECTIONS = ("servers", "mcpServers")
"""Sections inside `mcp`: of VS Code's settings and of opencode, which also had the entries right in it."""
_SWITCHED_OFF = ("disabledMcpServers", "disabledMcpjsonServers", "disabledServers", "excludeMCPServers")
_SWITCHED_ON = ("allowMCPServers",)
"""Lists of entries that are switched off, and of the only ones that are on."""
HOST_KEYS = frozenset({*SERVER_SECTIONS, *_SWITCHED_OFF, *_SWITCHED_ON, MCP, POWERS, PROJECTS, EXPERIMENTAL})
_TARGETS = frozenset({"command", "cmd", "url", "serverUrl", "httpUrl"})
_BESIDE = frozenset({"args", "env", "envs", "environment", "headers", "type", "transport"})
"""Keys of which an entry has one beside what it starts or reaches, so that it can be told from other settings."""
_DEPTH = 5


@dataclass
class Places:
    """The entries of a file, in its order, and what is to be said of them."""

    entries: list[Found] = field(default_factory=list[Found])
    faults: list[tuple[str, Fault]] = field(default_factory=list[tuple[str, Fault]])
    """Entries that are none, by name."""
    lost: list[Fault] = field(default_factory=list[Fault])
    """Sections that are none."""
    off: set[str] = field(default_factory=set[str])
    """Names of entries that another section switches off."""
    only: set[str] | None = None
    """Names of the only entries that are switched on; None: all."""
    projects: tuple[str, ...] = ()
    """Projects with entries of their own, which were not read."""
    strange: KeyPath | None = None
    """The place of what looks like an entry, in a file in which none was found."""
    is_foreign: bool = False
    """True for the settings of another program, whose keys are all its own."""

    tools_off: tuple[str, ...] = ()
    """Globs of tools that opencode switches off, each with the name of its server and `_` before it."""

    def is_off(self, name: str) -> bool:
        """Tell whether the file switches an entry off, outside of the entry."""
        is_not_on = self.only is not None and name not in self.only
        return name in self.off or is_not_on or any(glob in (f"{name}*", f"{name}_*") for glob in self.tools_off)

    def list_denied(self, name: str) -> list[str]:
        """List the tools of an entry that the file switches off, outside of the entry."""
        return [glob.removeprefix(f"{name}_") for glob in self.tools_off if glob.startswith(f"{name}_")]


def find_entries(raw: Mapping[str, Json], project: str | None) -> Places:
    """Find the entries of the file; `project` is that of `~/.claude.json` whose entries are meant, too.

    Raises Fault for a project that the file does not know.
    """
    places = Places()
    seen: dict[str, KeyPath] = {}
    for path, section in _list_sections(raw, project, places):
        if isinstance(section, (dict, list)):
            for found in _list_entries(section, path):
                _add(places, seen, *found)
        else:
            places.lost.append(Fault(path, f"expected an object, not {name_type(section)}"))
    if not seen and _is_map(raw):
        for name, entry in raw.items():
            _add(places, seen, (name,), name, entry)
        places.is_foreign = True
    if not (seen or places.faults or places.lost):
        places.strange = next(_find_strange(dict(raw)), None)
    return places


def _add(places: Places, seen: dict[str, KeyPath], path: KeyPath, name: str, entry: Json) -> None:
    if not isinstance(entry, dict):
        places.faults.append((name, Fault(path, f"expected an object, not {name_type(entry)}")))
    elif name in seen and seen[name][0] == PROJECTS:
        return  # a project's own server hides that of the user
    elif name in seen:
        words = f"{join_path(seen[name])} has the same name; keep one, or rename one"
        places.faults.append((f"{name} ({join_path(path[:-1])})", Fault(path, words)))
    else:
        seen[name] = path
        places.entries.append(Found(path, name, entry))


def _list_sections(raw: Mapping[str, Json], project: str | None, places: Places) -> Iterator[tuple[KeyPath, Json]]:
    yield from _list_projects(raw.get(PROJECTS), project, places)
    for key, value in raw.items():
        if key in SERVER_SECTIONS or key.endswith(_DOTTED_SECTIONS):
            places.is_foreign |= key not in ("mcpServers", "servers")
            yield (key,), value
        elif key == MCP and isinstance(value, dict):
            places.is_foreign = True
            tools = raw.get("tools")
            places.tools_off = tuple(
                glob for glob, is_on in (tools.items() if isinstance(tools, dict) else ()) if is_on is False
            )
            yield from _list_inner_sections(value, places)
        elif key == POWERS and isinstance(value, dict) and "mcpServers" in value:
            yield (key, "mcpServers"), value["mcpServers"]
        elif key == EXPERIMENTAL and isinstance(value, dict) and "modelContextProtocolServers" in value:
            places.is_foreign = True
            yield (key, "modelContextProtocolServers"), value["modelContextProtocolServers"]
        elif key in _SWITCHED_OFF:
            places.off |= _read_names(value)
        elif key in _SWITCHED_ON and isinstance(value, list):
            places.only = _read_names(value)


def _list_inner_sections(mcp: Mapping[str, Json], places: Places) -> Iterator[tuple[KeyPath, Json]]:
    """Yield the sections in `mcp`; note which entries it switches off, as Gemini CLI does."""
    named = [key for key in _INNER_SECTIONS if isinstance(mcp.get(key), dict) and not _is_entry(mcp[key])]
    for key in named:
        yield (MCP, key), mcp[key]
    entries: Entry = {key: value for key, value in mcp.items() if isinstance(value, dict)}
    if entries and not named:
        yield (MCP,), entries
    places.off |= _read_names(mcp.get("excluded"))
    if isinstance(mcp.get("allowed"), list):
        places.only = _read_names(mcp["allowed"])


def _list_projects(projects: Json, project: str | None, places: Places) -> Iterator[tuple[KeyPath, Json]]:
    """Yield the entries of the project that is meant, in the file of Claude Code."""
    known = projects if isinstance(projects, dict) else {}
    own = {
        path: settings["mcpServers"]
        for path, settings in known.items()
        if isinstance(settings, dict) and settings.get("mcpServers")
    }
    if project is None:
        places.projects = tuple(own)
        return
    if project not in known:
        there = f"it has {', '.join(own)}" if own else "it has none with servers of their own"
        raise Fault((PROJECTS,), f"there is no project {project}; {there}")
    settings = known[project]
    if isinstance(settings, dict):
        for key in _SWITCHED_OFF:
            places.off |= _read_names(settings.get(key))
        yield (PROJECTS, project, "mcpServers"), settings.get("mcpServers") or {}


def _list_entries(section: Entry | list[Json], path: KeyPath) -> Iterator[tuple[KeyPath, str, Json]]:
    """Yield the entries of a section with their paths and names: in a list, as Continue has it, they say their own."""
    if isinstance(section, dict):
        yield from (((*path, name), name, entry) for name, entry in section.items())
        return
    for index, entry in enumerate(section):
        named = [entry[key] for key in ("name", "key", "id") if key in entry] if isinstance(entry, dict) else []
        yield (*path, index), next((name for name in named if isinstance(name, str)), f"server-{index + 1}"), entry


def _read_names(value: Json) -> set[str]:
    return {name for name in value if isinstance(name, str)} if isinstance(value, list) else set()


def _is_map(raw: Mapping[str, Json]) -> bool:
    """Tell whether the file is a bare map of entries, without a section."""
    entries: list[Json] = [value for key, value in raw.items() if not key.startswith("$")]
    return bool(entries) and all(map(_is_entry, entries))


def _is_entry(value: Json) -> bool:
    return isinstance(value, dict) and any(isinstance(value.get(key), (str, list)) for key in _TARGETS)


def _find_strange(value: Json, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Yield the places of what looks like an entry."""
    if len(path) > _DEPTH:
        return
    if isinstance(value, dict) and _is_entry(value) and _BESIDE & value.keys():
        yield path
    for step, below in list_children(value):
        yield from _find_strange(below, (*path, step))
