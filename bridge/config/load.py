"""How file, environment and flags become one `Config`, read once."""

import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from bridge.config.faults import Place, Wrong, dotted, validate
from bridge.config.file import leaves, parse
from bridge.config.references import References
from bridge.config.servers import (
    ENTRY_KEYS,
    PROGRAM,
    SERVER_SECTIONS,
    as_object,
    foreign_keys,
    input_defaults,
    one_shape,
    server_entries,
    starts_this_program,
)
from bridge.config.settings import EMBEDDED, OPENAI_MODEL, OPENAI_URL, Config, ServerConfig, UpstreamConfig
from bridge.config.values import check_base_url, check_credential, is_dummy, is_secret
from bridge.errors import ConfigError
from bridge.items import Notice
from bridge.json_text import Json
from bridge.processes.children import DEPTH


def find(environ: Mapping[str, str], platform: str = sys.platform) -> Path | None:
    """The config file to read when `--config` names none; None = there is none.

    MCP_RESPONSES_BRIDGE_CONFIG, whether the file exists or not, else `config.json` in the user's config folder if it
    exists. Never the working directory: a cloned repository must not start commands.
    """
    if named := environ.get("MCP_RESPONSES_BRIDGE_CONFIG"):
        return Path(named)
    folder = _user_folder(environ, platform)
    file = folder / PROGRAM / "config.json" if folder else None
    return file if file and file.is_file() else None


def _user_folder(environ: Mapping[str, str], platform: str) -> Path | None:
    home = environ.get("HOME", "")
    if platform == "win32":
        return _absolute(environ.get("APPDATA", ""))
    if platform == "darwin":
        return _absolute(home, "Library/Application Support")
    return _absolute(environ.get("XDG_CONFIG_HOME", "")) or _absolute(home, ".config")


def _absolute(folder: str, below: str = "") -> Path | None:
    """None for a relative folder: it would be the working directory's."""
    return Path(folder, below) if Path(folder).is_absolute() else None


def load(
    path: Path | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    overrides: Mapping[str, object] | None = None,
    offline: bool = False,
) -> Config:
    """The configuration from `path` (else from where `find` points), the environment and flags.

    `overrides` are flags, by their place in the file (`{"serve.port": 8080}`); None is a flag that was not given.
    Flags beat the file, the file beats the environment. `offline`: the upstream is the embedded one, and no key that
    the file names for another has to be set. Raises ConfigError: one line that says where, what is wrong and what would
    be right.
    """
    path = path or find(environ)
    flags = {name: value for name, value in (overrides or {}).items() if value is not None}
    try:
        raw = _read(path) if path else {}
        if offline:
            raw["upstream"] = {"base_url": EMBEDDED.base_url, "model": EMBEDDED.model}
        return _assemble(raw, path, environ, flags)
    except Wrong as wrong:
        place = dotted(wrong.place)
        source = wrong.source or ("command line" if place in flags else str(path) if path else "environment")
        line = ": ".join(part for part in (source, place, wrong.message) if part)
        raise ConfigError("".join(char if char.isprintable() else "?" for char in line)) from None


def _read(path: Path) -> dict[str, Json]:
    try:
        return parse(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise Wrong((), "not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise Wrong((), f"cannot be read: {error.strerror or error}") from None


def _assemble(
    raw: dict[str, Json], path: Path | None, environ: Mapping[str, str], flags: Mapping[str, object]
) -> Config:
    own = {name: _section(raw, name, environ, flags) for name in _OWN_SECTIONS}
    token = _variable(environ, "MCP_RESPONSES_BRIDGE_TOKEN", check_credential)
    own["serve"]["token"] = own["serve"].get("token") or token
    references = References(environ, bare="refuse")
    single = {name: references.expand(raw[name], (name,)) for name in _SINGLE_SETTINGS if name in raw}
    upstream = _upstream(own.pop("upstream"), environ)
    servers, notices = _servers(raw, environ)
    config = validate(Config, {**own, **single}, ())
    notices += _exposure(raw, path) if path else []
    notices += _shortness(
        {"upstream.api_key": upstream.api_key if upstream else None, "serve.token": config.serve.token}
    )
    return config.model_copy(
        update={"upstream": upstream, "servers": tuple(servers), "notices": tuple(notices), "path": path}
    )


def _shortness(credentials: Mapping[str, str | None]) -> list[Notice]:
    """A notice for each of these that is too short to be blanked and no dummy."""
    short = [name for name, key in credentials.items() if key and not is_secret(key) and not is_dummy(key)]
    return [Notice(code="short_key", message=f"{name}: the key is too short to be blanked in logs.") for name in short]


_OWN_SECTIONS = ("upstream", "limits", "tool_search", "serve")
_SINGLE_SETTINGS = ("prices", "builtin_tools", "input_roots")
_TOP_KEYS = frozenset({*SERVER_SECTIONS, *_OWN_SECTIONS, *_SINGLE_SETTINGS, "inputs"})
_SERVER_KEYS = ENTRY_KEYS | ServerConfig.model_fields.keys() - {"key", "transport"}


def _section(
    raw: Mapping[str, Json], name: str, environ: Mapping[str, str], flags: Mapping[str, object]
) -> dict[str, object]:
    """One of our own sections, references filled in, with the flags that go into it."""
    strict, free = References(environ, bare="refuse"), References(environ, bare="keep")
    section: dict[str, object] = {
        key: (free if key == "defaults" else strict).expand(value, (name, key))
        for key, value in as_object(raw.get(name, {}), (name,)).items()
    }
    return section | {
        flag.removeprefix(f"{name}."): value for flag, value in flags.items() if flag.startswith(f"{name}.")
    }


def _variable(environ: Mapping[str, str], name: str, check: Callable[[str], str | None]) -> str | None:
    """An environment variable; one that is empty counts as unset."""
    value = environ.get(name, "").strip()
    try:
        return check(value) if value else None
    except ValueError as error:
        raise Wrong((name,), str(error), "environment") from None


def _upstream(section: dict[str, object], environ: Mapping[str, str]) -> UpstreamConfig | None:
    """The endpoint, None where neither a base URL nor a key is known.

    OPENAI_API_KEY, OPENAI_BASE_URL and OPENAI_MODEL belong together: a file that names a base URL gets none of
    them. A file that names none adds to them; but a key, headers or a query of its own were not written for the
    OPENAI_BASE_URL that happens to be set, so they are refused beside it, unless the key is that of the environment.
    """
    section = {key: value for key, value in section.items() if key != "api_key" or value not in ("", None)}
    if "base_url" not in section:
        unit = _environment_unit(environ)
        if "base_url" in unit:
            _refuse_strangers(section, unit)
        section = {**unit, **section}
    upstream = validate(UpstreamConfig, section, ("upstream",))
    if "base_url" not in section and upstream.api_key is None:
        return None
    if upstream.model is None and upstream.base_url == OPENAI_URL:
        return upstream.model_copy(update={"model": OPENAI_MODEL})
    return upstream


def _environment_unit(environ: Mapping[str, str]) -> dict[str, str]:
    unit = {
        "api_key": _variable(environ, "OPENAI_API_KEY", check_credential),
        "base_url": _variable(environ, "OPENAI_BASE_URL", check_base_url),
        "model": _variable(environ, "OPENAI_MODEL", str),
    }
    return {name: value for name, value in unit.items() if value}


def _refuse_strangers(section: Mapping[str, object], unit: Mapping[str, str]) -> None:
    for key in ("api_key", "headers", "query"):
        value = section.get(key)
        if value and not (key == "api_key" and isinstance(value, str) and value.strip() == unit.get("api_key")):
            message = "would go to OPENAI_BASE_URL of the environment; name the base_url that it is meant for beside it"
            raise Wrong(("upstream", key), message)


def _servers(raw: Mapping[str, Json], environ: Mapping[str, str]) -> tuple[list[ServerConfig], list[Notice]]:
    foreign = foreign_keys(raw, _TOP_KEYS, ())
    servers: list[ServerConfig] = []
    notices: list[Notice] = []
    if DEPTH in environ:
        notices.append(
            Notice(code="inside_bridge", message="This bridge was started by a bridge: it connects no server.")
        )
        return servers, notices
    inputs = input_defaults(raw)
    for place, entry in server_entries(raw):
        if entry.get("disabled") is True:
            continue  # nothing in it has to be right, or set, on this machine
        if starts_this_program(entry):
            notices.append(Notice(code="own_entry", message=f"{dotted(place)} starts this program and is left out."))
            continue
        foreign += foreign_keys(entry, _SERVER_KEYS, place)
        servers.append(_server(entry, place, environ, inputs))
    if foreign:
        notices.append(
            Notice(code="ignored_keys", message=f"Ignored, as settings of another program: {_enumerate(foreign)}.")
        )
    return _keep_one_plain([server for server in servers if not server.disabled], notices), notices


def _keep_one_plain(servers: list[ServerConfig], notices: list[Notice]) -> list[ServerConfig]:
    """Plain names belong to one server: shared, who gets one would depend on who is connected and what it offers."""
    first, *others = [server.key for server in servers if not server.prefix] or [""]
    for key in others:
        words = f'Only one server can have plain names: "{first}" has them, the tools of "{key}" keep their prefix.'
        notices.append(Notice(code="prefix", message=words))
    return [server.model_copy(update={"prefix": True}) if server.key in others else server for server in servers]


def _server(
    entry: dict[str, Json], place: Place, environ: Mapping[str, str], inputs: Mapping[str, str]
) -> ServerConfig:
    env = entry.get("env")
    own = frozenset(env) if isinstance(env, dict) else frozenset[str]()
    around = References(environ, bare="fill", inputs=inputs)
    beside_env = replace(around, own=own)
    known = {
        key: (around if key == "env" else beside_env).expand(value, (*place, key))
        for key, value in entry.items()
        if key in _SERVER_KEYS
    }
    return validate(ServerConfig, {**one_shape(known, place), "key": place[-1]}, place)


def _enumerate(places: list[Place]) -> str:
    shown = ", ".join(dotted(place) for place in places[:5])
    return f"{shown} and {len(places) - 5} more" if len(places) > 5 else shown


def _exposure(raw: Mapping[str, Json], path: Path) -> list[Notice]:
    """A notice for a file with secrets in plain text that other users can read. POSIX only."""
    if os.name != "posix" or not path.stat().st_mode & 0o044:
        return []
    secrets = [place for place, value in leaves(dict(raw)) if _is_secret(place) and _is_literal(value)]
    if not secrets:
        return []
    what = f"{path} can be read by other users and holds {_enumerate(secrets)} as plain text"
    return [
        Notice(
            code="readable_secrets", message=f"{what}: make it yours alone (chmod 600), or write ${{env:NAME}} there."
        )
    ]


_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH", re.IGNORECASE)


def _is_secret(place: Place) -> bool:
    match place:
        case ("upstream", "api_key") | ("serve", "token") | ("upstream", "headers", _):
            return True
        case ("mcpServers" | "servers", _, "headers", _):
            return True
        case ("mcpServers" | "servers", _, "env", name):
            return bool(_SECRET_NAME.search(str(name)))
        case _:
            return False


def _is_literal(value: Json) -> bool:
    return isinstance(value, str) and is_secret(value) and "${" not in value
