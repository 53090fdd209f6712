"""The servers of a config file: each entry alone, so that one that cannot be used costs no other."""

import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from bridge.config.entries import (
    HOST_KEYS,
    OTHER_KEYS,
    RENAMED,
    URL_KEYS,
    Reading,
    is_switched_off,
    read_entry,
    say_grants,
)
from bridge.config.faults import Fault, KeyPath, find_nearest, join_path, name_type, validate
from bridge.config.file import find_leaves
from bridge.config.own_entry import is_shell, starts_this_program
from bridge.config.places import Found, Places, find_entries
from bridge.config.references import References, find_unfilled, name_places
from bridge.config.settings import LEFT_OUT, ServerConfig
from bridge.items import Notice
from bridge.json_text import Json
from bridge.visible import quote_name

_ENTRY_KEYS = HOST_KEYS | ServerConfig.model_fields.keys() - {"key", "transport"}
_READ = (ServerConfig.model_fields.keys() - {"key"}) | {"envFile"}
_FILLED = ("command", "args", "cwd", "headers", "env", "envFile", *URL_KEYS, *RENAMED)
"""Keys in which a reference of another program is noticed."""
_PATHS = ("command", "cwd", "envFile")
"""Keys in which `~` is the home folder."""


@dataclass
class Servers:
    """The servers of a file, the entries that are left out, and the notices about them."""

    servers: list[ServerConfig] = field(default_factory=list[ServerConfig])
    left_out: dict[str, str] = field(default_factory=dict[str, str])
    """Names of entries that cannot be used, each with the place and the reason."""
    off: list[str] = field(default_factory=list[str])
    """Names of entries that are switched off."""
    notices: list[Notice] = field(default_factory=list[Notice])
    foreign: list[KeyPath] = field(default_factory=list[KeyPath])
    """Keys that belong to some other program."""
    grants: list[KeyPath] = field(default_factory=list[KeyPath])
    """Keys that grant something in another program, and nothing here."""
    unfilled: list[str] = field(default_factory=list[str])
    """Sentences about references of other programs, which are passed on as they are."""
    filled: set[str] = field(default_factory=set[str])
    """Values that were filled in for variables whose names are those of secrets."""
    is_foreign: bool = False
    """True if the whole file is another program's."""

    def note(self, code: str, message: str) -> None:
        """Add a notice."""
        self.notices.append(Notice(code=code, message=message))


def read_servers(
    raw: Mapping[str, Json],
    file: Path | None,
    environ: Mapping[str, str],
    project: str | None = None,
    platform: str = sys.platform,
) -> Servers:
    """Read all entries of a file; `project` is a folder that `~/.claude.json` has entries for.

    Raises Fault for `inputs` of a wrong shape, and for a project that the file does not know.
    """
    places = find_entries(raw, project)
    read = Servers(is_foreign=places.is_foreign)
    references = References(
        environ,
        bare="fill",
        inputs=_read_input_defaults(raw),
        places=name_places(file, environ, platform),
        filled=read.filled,
    )
    for found in places.entries:
        try:
            if server := _read_server(found, places, references, read):
                read.servers.append(server)
        except Fault as fault:
            _leave_out(read, found.name, fault)
    for name, fault in places.faults:
        _leave_out(read, name, fault)
    for fault in places.lost:
        read.note("servers_left_out", f"{join_path(fault.path)}: {fault.message}; no server is read there.")
    if read.grants:
        read.note("grants_ignored", say_grants(read.grants))
    if read.unfilled:
        read.note("unfilled", _enumerate(read.unfilled))
    _report_places(read, places, file)
    read.servers = _allow_one_without_prefix(read.servers, read)
    return read


def _leave_out(read: Servers, name: str, fault: Fault) -> None:
    read.left_out[name] = f"{join_path(fault.path)}: {fault.message}"
    read.note(LEFT_OUT, f"{read.left_out[name]}; the server is left out.")


def _read_server(found: Found, places: Places, references: References, read: Servers) -> ServerConfig | None:
    """Read one entry; None if it is switched off or starts this program. Raises Fault."""
    if not found.name:
        raise Fault(found.path, "its name is empty; give it one")
    if places.is_off(found.name) or is_switched_off(found.entry, found.path):
        read.off.append(found.name)  # it may be invalid, or refer to variables that are not set on this machine
        return None
    foreign = find_foreign_keys(found.entry, _ENTRY_KEYS, found.path)
    reading = read_entry(found.entry, found.path, references.environ)
    if starts_this_program(reading.values):
        read.note("own_entry", f"{join_path(found.path)} starts this program and is left out.")
        return None
    read.foreign += [*foreign, *reading.strange]
    if denied := places.list_denied(found.name):
        reading.deny(denied)
    server = _build_server(reading, found, references)
    if server.disabled:
        read.off.append(found.name)
        return None
    read.grants += reading.grants
    read.unfilled += _list_unfilled(found)
    return server


def _build_server(reading: Reading, found: Found, references: References) -> ServerConfig:
    values = {key: value for key, value in reading.values.items() if key in _READ}
    env = values.get("env")
    own = frozenset(env) if isinstance(env, dict) else frozenset[str]()
    outside_env = replace(references, own=own)
    filled = {
        key: (references if key == "env" else outside_env).expand(value, (*found.path, key))
        for key, value in values.items()
    }
    home = references.places.get("userHome")
    for key in _PATHS:
        filled[key] = _fill_home(filled.get(key), home)
    if file := filled.pop("envFile"):
        own_env = filled.get("env")
        filled["env"] = _read_env_file(file, references, found.path) | (own_env if isinstance(own_env, dict) else {})
    known = {key: value for key, value in filled.items() if value is not None}
    server = validate(ServerConfig, {**known, "key": found.name}, found.path)
    _check_oauth(server, (*found.path, "oauth"))
    return server


def _check_oauth(server: ServerConfig, path: KeyPath) -> None:
    """Raise Fault for a sign-in that cannot come about."""
    if server.oauth is None:
        return
    if server.url is None:
        raise Fault(path, "only a server with url can be signed in to; remove it")
    if not server.has_own_authorization and server.oauth.grant == "client_credentials":
        for key in ("client_id", "client_secret", "issuer"):
            if getattr(server.oauth, key) is None:
                raise Fault((*path, key), 'it is missing; the grant "client_credentials" needs it')


def _fill_home(value: Json, home: str | None) -> Json:
    is_in_home = isinstance(value, str) and (value == "~" or value.startswith(("~/", "~\\")))
    return f"{home}{value[1:]}" if home and is_in_home and isinstance(value, str) else value


def _read_env_file(file: Json, references: References, path: KeyPath) -> dict[str, Json]:
    """Read the file that an entry names; a relative path starts in its project."""
    from bridge.config.env_file import read_env_file

    if not isinstance(file, str):
        raise Fault((*path, "envFile"), f"expected a string, not {name_type(file)}")
    place = Path(references.places.get("workspaceFolder", ""), file)
    if not place.is_absolute():
        raise Fault((*path, "envFile"), f"{file} is relative, and this file is in no project; write the whole path")
    return dict(read_env_file(place, (*path, "envFile")))


def _list_unfilled(found: Found) -> Iterator[str]:
    """Say of each reference of another program, in what is started or sent, how it is written here."""
    is_script = is_shell(found.entry.get("command"))  # it fills in its variables itself
    for key in _FILLED if not is_script else ("command", "env", "envFile"):
        for leaf, value in find_leaves(found.entry.get(key), (*found.path, key)):
            if (unfilled := find_unfilled(value)) and not (unfilled[0] == "~" and key in _PATHS):
                written, right = unfilled
                yield f"{join_path(leaf)}: {written} is passed on as it is; to have it filled in, write {right}."


def _enumerate(sentences: list[str]) -> str:
    more = f" {len(sentences) - 5} more like this." if len(sentences) > 5 else ""
    return " ".join(sentences[:5]) + more


def _report_places(read: Servers, places: Places, file: Path | None) -> None:
    if places.projects:
        known = ", ".join(places.projects)
        read.note("projects", f"Servers of single projects were not read ({known}); --project takes those of one.")
    if places.strange is not None:
        where = join_path(places.strange) or "the top"
        shape = '{"mcpServers": {"NAME": {"command": …}}}'
        read.note("strange_shape", f"{file}: what looks like a server, at {where}, is not read there; write {shape}.")


def _read_input_defaults(raw: Mapping[str, Json]) -> dict[str, str]:
    """Read the defaults of VS Code's `inputs`, by id."""
    inputs = raw.get("inputs") or []
    if not isinstance(inputs, list):
        raise Fault(("inputs",), f"expected a list, not {name_type(inputs)}")
    defined: dict[str, str] = {}
    for index, item in enumerate(inputs):
        if not isinstance(item, dict):
            raise Fault(("inputs", index), f"expected an object, not {name_type(item)}")
        if isinstance(default := item.get("default"), str):
            defined[str(item.get("id"))] = default
    return defined


def _allow_one_without_prefix(servers: list[ServerConfig], read: Servers) -> list[ServerConfig]:
    """Give plain names to one server only: with two, the owner of a name would depend on which of them is connected."""
    first, *others = [server.key for server in servers if not server.prefix] or [""]
    for key in others:
        has, keeps = quote_name(first), quote_name(key)
        read.note(
            "prefix", f"Only one server can have plain names: {has} has them, the tools of {keeps} keep their prefix."
        )
    return [server.model_copy(update={"prefix": True}) if server.key in others else server for server in servers]


def find_foreign_keys(
    value: Mapping[str, Json], known: Collection[str], path: KeyPath, near: Collection[str] | None = None
) -> list[KeyPath]:
    """Find the keys of `value` that belong to some host. Raises Fault for a likely typo of one in `near` (`known`)."""
    found: list[KeyPath] = []
    for key in value:
        if key in known:
            continue
        meant = find_nearest(key, known if near is None else near, at_least=0.8)
        if meant and key not in OTHER_KEYS:
            raise Fault((*path, key), f'unknown key; did you mean "{meant}"?')
        found.append((*path, key))
    return found
