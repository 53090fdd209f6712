"""A host's server entries as entries of our config: what restricts is kept, what grants is not, secrets stay there."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from typing_extensions import override

from bridge.config.entries import read_entry, say_grants
from bridge.config.faults import KeyPath, join_path
from bridge.config.file import find_leaves
from bridge.config.places import PROJECTS, Entry, Found, Places, find_entries
from bridge.config.references import name_places
from bridge.config.servers import read_servers
from bridge.config.settings import ServerConfig
from bridge.hosts.hiding import Hiding
from bridge.hosts.secret_names import Secret
from bridge.json_text import Json

_ORDER = ("command", "args", "env", "env_vars", "envFile", "cwd", "url", "headers", "type", "tools")
_KEYS = (ServerConfig.model_fields.keys() - {"key", "transport"}) | {*_ORDER}
_OURS_THAT_GRANT = {"require_approval": "never", "pin": False}
"""Settings of ours that let more run unasked: a host's file, which may be a stranger's, gives none of them."""
_PROJECT = re.compile(r"\$\{(workspaceFolder|workspaceRoot|workspaceFolderBasename|workspaceRootFolderName)\}")
_INPUT = re.compile(r"\$\{input:([^}]*)\}")
_EDITORS = r"\$\{(?:env|input):[^}]+\}|\$\{workspace\w+\}"
FILLED_IN = {
    "claude-code": r"\$\{[A-Za-z_]\w*(?::-[^}]*)?\}",
    "copilot-cli": r"\$\{[A-Za-z_]\w*(?::-[^}]*)?\}",
    "cursor": _EDITORS,
    "vscode": _EDITORS,
    "windsurf": r"\$\{env:[^}]+\}",
    "gemini-cli": r"\$\{[A-Za-z_]\w*(?::-[^}]*)?\}|\$[A-Za-z_]\w*",
    "opencode": r"\{(?:env|file):[^}]+\}",
}
"""The references that each host itself fills in, also in the `env` of our entry there."""
LITERAL = frozenset({"claude-desktop", "codex", "zed"})
"""Hosts that fill in nothing: `${NAME}` in an entry reaches the server as it stands."""
_NOTHING = r"(?!)"
_VARIABLE = re.compile(r"\$\{(?:env:)?([A-Za-z_]\w*)\}")
_ALWAYS = frozenset({"userHome", "pathSeparator", "HOME", "PATH", "USER", "USERPROFILE", "APPDATA", "LOCALAPPDATA"})
"""What is filled in wherever we are started."""
UNSET = "http://unset.invalid/"


@dataclass(frozen=True)
class Taken:
    """An entry that can be taken over."""

    path: KeyPath
    """Where it stands in the host's file."""
    called: str
    """Its name there."""
    name: str
    """Its name in our config."""
    entry: Entry
    """As it will stand there."""
    kept: Mapping[str, Secret] = field(default_factory=dict[str, Secret])
    """What stays in the host's file, by the variable that our entry refers to."""
    passed: tuple[str, ...] = ()
    """Variables of the host's environment that Codex passes on by their names."""

    def list_variables(self) -> list[str]:
        """List the variables of the environment, besides those for `kept`, without which it cannot be started."""
        env = self.entry.get("env")
        own = {*self.kept, *_ALWAYS, *(env if isinstance(env, dict) else ())}
        texts = [value for _, value in find_leaves(self.entry) if isinstance(value, str)]
        return list(dict.fromkeys(name for text in texts for name in _VARIABLE.findall(text) if name not in own))


@dataclass(frozen=True)
class Left:
    """An entry that is not taken over."""

    name: str
    reason: str


@dataclass
class Translation:
    """All entries of a host's file."""

    taken: list[Taken] = field(default_factory=list[Taken])
    left: list[Left] = field(default_factory=list[Left])
    notes: list[str] = field(default_factory=list[str])


class _Anything(Mapping[str, str]):
    """An environment in which every variable is set: that one is not set here says nothing of the host's."""

    def __init__(self, environ: Mapping[str, str], unknown: str = _NOTHING) -> None:
        self._environ = environ
        self._unknown = re.compile(unknown)

    @override
    def __getitem__(self, name: str) -> str:
        if name not in self._environ and self._unknown.fullmatch(name):
            raise KeyError(name)
        return self._environ.get(name) or UNSET

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._environ)

    @override
    def __len__(self) -> int:
        return len(self._environ)


class _Passing(Mapping[str, str]):
    """Notes the variables that an entry passes on by their names: Codex does, and an `env` that is a list."""

    def __init__(self) -> None:
        self._names: list[str] = []

    @override
    def __getitem__(self, name: str) -> str:
        self._names += [name] * (name not in self._names)
        return f"${{env:{name}}}"

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    @override
    def __len__(self) -> int:
        return len(self._names)

    def take_out(self, values: Entry) -> list[str]:
        """Take them out of `env` and name them in `env_vars`: one that is not set is not passed on, and no fault."""
        env = values.get("env")
        passed = [name for name in self._names if isinstance(env, dict) and env.get(name) == f"${{env:{name}}}"]
        if passed and isinstance(env, dict):
            values["env"] = {name: value for name, value in env.items() if name not in passed}
            values["env_vars"] = list[Json](passed)
        return passed


class Translator:
    """Translates the entries of one file of one host."""

    def __init__(
        self,
        raw: Mapping[str, Json],
        file: Path,
        host: str,
        *,
        environ: Mapping[str, str],
        platform: str,
        project: str | None = None,
        moves: bool = False,
    ) -> None:
        """`moves`: the host will start only us, and hand over what it fills in. Raises Fault, as `read_servers`."""
        self._environ = environ
        self._platform = platform
        self._places: Places = find_entries(raw, project)
        self._wanted = [found for found in self._places.entries if project is None or found.path[0] == PROJECTS]
        self._read = read_servers(raw, file, _Anything(environ), project, platform)
        known = name_places(file, environ, platform)
        self._project = {name: value for name, value in known.items() if name.startswith("workspace")}
        if project:
            self._project |= {"workspaceFolder": project, "workspaceRoot": project}
        self._inputs = _list_defaults(raw)
        self._filled_in = None if host in LITERAL else FILLED_IN.get(host, _NOTHING)
        self._moves = moves

    def translate(self, names: Mapping[str, str]) -> Translation:
        """Translate all entries; `names` has those that are called otherwise in our config."""
        done = Translation()
        usable = {server.key for server in self._read.servers}
        for found in self._wanted:
            if found.name in usable:
                self._add(done, found, names.get(found.name, found.name))
            elif found.name in self._read.off:
                done.left.append(Left(found.name, "it is switched off"))
            elif found.name not in self._read.left_out:
                done.left.append(Left(found.name, "it starts this program"))
        others = {found.name for found in self._places.entries} - {found.name for found in self._wanted}
        done.left += [Left(name, reason) for name, reason in self._read.left_out.items() if name not in others]
        if self._read.grants:
            done.notes.append(say_grants(self._read.grants))
        done.notes += [each["message"] for each in self._read.notices if each["code"] in ("projects", "strange_shape")]
        return done

    def _add(self, done: Translation, found: Found, name: str) -> None:
        taken = self._translate(found, name)
        unknown = r"workspace\w+"
        check = read_servers({"mcpServers": {name: taken.entry}}, None, _Anything(self._environ, unknown))
        if check.servers:
            done.taken.append(taken)
        else:
            done.left.append(Left(found.name, next(iter(check.left_out.values()), "it cannot be read back")))

    def _translate(self, found: Found, name: str) -> Taken:
        passing = _Passing()
        reading = read_entry(found.entry, found.path, passing)
        if denied := self._places.list_denied(found.name):
            reading.deny(denied)
        values = _restrict({key: value for key, value in reading.values.items() if value is not None})
        values = cast("Entry", self._fill(values))
        if "command" in values and "cwd" not in values and (folder := self._project.get("workspaceFolder")):
            values["cwd"] = folder
        passed = passing.take_out(values)
        texts = frozenset(leaf for _, leaf in find_leaves(found.entry) if isinstance(leaf, str) and "${" in leaf)
        hidden = Hiding(name, self._filled_in, self._moves, texts if self._filled_in is None else frozenset())
        hidden.hide(values)
        ordered = {key: values[key] for key in sorted(values.keys() & _KEYS, key=_rank)}
        variable = found.entry.get("bearer_token_env_var")
        passed += [variable] if isinstance(variable, str) else []
        named = found.entry.get("env_http_headers")
        passed += [each for each in named.values() if isinstance(each, str)] if isinstance(named, dict) else []
        return Taken(found.path, found.name, name, ordered, hidden.kept, tuple(dict.fromkeys(passed)))

    def _fill(self, value: Json, key: str = "") -> Json:
        """Fill in what only this file tells: its project, and the defaults of its inputs."""
        match value:
            case str():
                text = _PROJECT.sub(lambda match: self._project.get(match[1], match[0]), value)
                if key == "envFile" and (folder := self._project.get("workspaceFolder")) and not text.startswith("~"):
                    text = text if "${" in text else str(Path(folder, text))
                return text if self._moves else _INPUT.sub(lambda match: self._inputs.get(match[1], match[0]), text)
            case list():
                return [self._fill(each) for each in value]
            case dict():
                return {name: self._fill(each, name) for name, each in value.items()}
            case _:
                return value


def _restrict(values: Entry) -> Entry:
    """Take away what lets more run unasked than the defaults of our config do."""
    values = {key: value for key, value in values.items() if _OURS_THAT_GRANT.get(key, ...) != value}
    rules = values.pop("tools", None)
    rules = {key: value for key, value in rules.items() if key != "allow"} if isinstance(rules, dict) else {}
    if rules.get("only") == ["*"]:
        del rules["only"]
    transport = values.pop("transport", None)
    return values | ({"tools": rules} if rules else {}) | ({"type": transport} if transport in ("http", "sse") else {})


def _rank(key: str) -> tuple[int, str]:
    return (_ORDER.index(key) if key in _ORDER else len(_ORDER), key)


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _list_defaults(raw: Mapping[str, Json]) -> dict[str, str]:
    """Write VS Code's inputs that have a default as variables with that default, as they are read in its own file."""
    found: dict[str, str] = {}
    for item in _list(raw.get("inputs")):
        default = item.get("default") if isinstance(item, dict) else None
        if isinstance(item, dict) and isinstance(default, str) and not set("{}$") & set(default):
            name = re.sub(r"\W", "_", str(item.get("id"))).upper()
            found[str(item.get("id"))] = f"${{env:{name}:-{default}}}"
    return found


def describe_place(taken: Taken, secret: Secret) -> str:
    """Name the place in the host's file where a secret stands."""
    return f"{join_path(taken.path)}.{secret.place}"
