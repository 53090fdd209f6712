"""How a host starts this installation, and which variables it must be given."""

import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution
from pathlib import Path, PurePath

from bridge.config.faults import Fault
from bridge.config.file import find_leaves, parse
from bridge.config.load import default_file, find
from bridge.config.own_entry import PROGRAM
from bridge.config.secrets import find_in_url
from bridge.config.text import read_text
from bridge.config.values import check_url
from bridge.errors import ConfigError
from bridge.hosts.known import Host
from bridge.hosts.shapes import UNIT, Start
from bridge.json_text import Json, JsonObject
from bridge.visible import show_line

KEY, URL, MODEL = UNIT
PLACEHOLDER = "YOUR_{}"
INPUT: JsonObject = {
    "type": "promptString",
    "id": "openai-api-key",
    "description": "OpenAI API key",
    "password": True,
}
"""What VS Code asks for."""
_UV_CACHE = re.compile(r"(archive|environments|builds)-v\d+")
_CACHES = frozenset((".cache", "cache", "caches"))
_REFERENCE = re.compile(r"\$\{env:(\w+)")


@dataclass(frozen=True)
class Needs:
    """What the upstream needs of the environment."""

    names: tuple[str, ...]
    """The variables, in the order in which they are written."""
    values: Mapping[str, str]
    """Their values, as far as they are set."""
    is_known: bool
    """False where no upstream is configured at all."""

    @property
    def missing(self) -> tuple[str, ...]:
        return tuple(name for name in self.names if name not in self.values)


def build_start(
    host: Host, config: Path | None, environ: Mapping[str, str], *, with_secrets: bool, is_shared: bool = False
) -> tuple[Start, list[JsonObject]]:
    """Build how the host is to start us, and the inputs that it refers to.

    The upstream of the environment comes along as one unit, and so does what the config file's upstream refers to: as
    references where the host knows such, else as values. A key is among these only `with_secrets`, else a placeholder
    stands in its place, and never in a file that `is_shared`. Raises ConfigError for a config that is missing.
    """
    config = find_config(config, environ)
    command, *args = find_command_line(environ)
    args += ["serve", *(["--config", str(config.absolute())] if config and not is_default(config, environ) else [])]
    needs = find_needs(config, environ)
    if host.shape == "vscode":
        public = {name: needs.values.get(name, "") for name in (URL, MODEL)}
        if any(find_in_url(public[URL])):
            public[URL] = ""
        asked = {KEY: f"${{input:{INPUT['id']}}}", **public}
        env = {name: asked.get(name) or f"${{env:{name}}}" for name in needs.names}
        return Start(command, tuple(args), env), [INPUT] if KEY in env else []
    if host.reference is not None:
        return Start(command, tuple(args), {name: host.reference.format(name) for name in needs.names}), []
    if host.shape == "codex":
        return Start(command, tuple(args), passed=needs.names), []
    if is_shared:
        return Start(command, tuple(args)), []
    return Start(command, tuple(args), _write_values(needs, with_secrets=with_secrets)), []


def _write_values(needs: Needs, *, with_secrets: bool) -> dict[str, str]:
    """Write the variables as values; without secrets all of them stand there, the secret ones as placeholders."""
    if with_secrets:
        return {name: needs.values[name] for name in needs.names if name in needs.values}
    public = {name: needs.values[name] for name in (URL, MODEL) if name in needs.values}
    return {name: public.get(name, PLACEHOLDER.format(name)) for name in needs.names}


def find_needs(config: Path | None, environ: Mapping[str, str]) -> Needs:
    """Find out which variables the upstream needs. A config that is broken raises ConfigError.

    The three of OpenAI are ignored where the file names the address, as they are when it is read.
    """
    section = _read_upstream(config)
    names = [*dict.fromkeys(name for _, leaf in find_leaves(section) for name in _find_names(leaf))]
    values = {name: value for name in (*UNIT, *names) if (value := environ.get(name, "").strip())}
    has_address = isinstance(section, dict) and bool(section.get("base_url"))
    if not has_address:
        _check_address(values)
        unit = [name for name in UNIT if name in values]
        names = [*(unit or ([] if names else [KEY])), *(name for name in names if name not in unit)]
    is_known = has_address or any(name in values for name in (KEY, URL, *names))
    return Needs(tuple(names), values, is_known)


def _check_address(values: Mapping[str, str]) -> None:
    """Raise ConfigError for an address that no bridge would take."""
    try:
        if URL in values:
            check_url(values[URL])
    except ValueError as error:
        raise ConfigError(f"{URL}: {error}") from None


def find_config(config: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Find the config file that is meant. Raises ConfigError where one is named that is not there."""
    config = config or find(environ)
    if config and not config.is_file():
        raise ConfigError(f"{config}: there is no such file")
    return config


def is_default(config: Path, environ: Mapping[str, str]) -> bool:
    """Tell whether the bridge finds the file by itself, wherever a host starts it."""
    return config == default_file(environ) and "XDG_CONFIG_HOME" not in environ


def _read_upstream(config: Path | None) -> Json:
    if config is None:
        return {}
    try:
        return parse(read_text(config), config.suffix.lower()).get("upstream") or {}
    except Fault as fault:
        raise ConfigError(show_line(f"{config}: {fault.message}")) from None


def _find_names(leaf: Json) -> list[str]:
    return _REFERENCE.findall(leaf) if isinstance(leaf, str) else []


def find_command_line(
    environ: Mapping[str, str], prefix: str = sys.prefix, installed: Distribution | None = None
) -> list[str]:
    """Find the command that starts this installation, with absolute paths: a desktop app's PATH rarely has it.

    One that runs from a cache (`uvx`, `pipx run`) is asked for again by what it was made from, since the cache may be
    emptied. `installed` says what that was; by default this package does.
    """
    parts = PurePath(prefix).parts
    if any(map(_UV_CACHE.fullmatch, parts)):
        return [_find_uvx(environ), "--from", _name_source(installed), PROGRAM]
    if any(part.lower() == "pipx" for part in parts) and _CACHES.intersection(part.lower() for part in parts):
        return [
            shutil.which("pipx", path=environ.get("PATH")) or "pipx",
            "run",
            "--spec",
            _name_source(installed),
            PROGRAM,
        ]
    return [find_command()]


def find_command() -> str:
    """Find the absolute path of this installation's command."""
    beside = shutil.which(PROGRAM, path=str(Path(sys.executable).parent))
    return beside or str(Path(sys.argv[0]).absolute())


def _find_uvx(environ: Mapping[str, str]) -> str:
    """Find uvx: beside the uv that started us, which says in UV where it is, else on PATH."""
    beside = str(Path(environ["UV"]).parent) if environ.get("UV") else ""
    folders = os.pathsep.join(filter(None, (beside, environ.get("PATH", ""))))
    return shutil.which("uvx", path=folders) or "uvx"


def _name_source(installed: Distribution | None) -> str:
    """Name what this installation was made from: a file, a folder, a repository, or a version of the package."""
    installed = installed or distribution(PROGRAM)
    text = installed.read_text("direct_url.json")
    if not text:
        return f"{PROGRAM}=={installed.version}"
    source = json.loads(text)
    if (vcs := source.get("vcs_info")) and vcs.get("commit_id"):
        return f"{vcs['vcs']}+{source['url']}@{vcs['commit_id']}"
    url: str = source["url"]
    return _read_path(url) if url.startswith("file:") else url


def _read_path(url: str) -> str:
    from urllib.parse import urlsplit  # late: few come from a file
    from urllib.request import url2pathname

    return url2pathname(urlsplit(url).path)
