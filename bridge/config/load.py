"""Loads the configuration: combines file, environment and flags into one `Config`."""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from bridge.config.faults import Fault, KeyPath, join_path, validate
from bridge.config.file import find_leaves, parse
from bridge.config.references import References
from bridge.config.secrets import is_short_secret, names_secret
from bridge.config.servers import (
    ENTRY_KEYS,
    PROGRAM,
    SERVER_SECTIONS,
    check_object,
    find_foreign_keys,
    list_entries,
    normalise_entry,
    read_input_defaults,
    starts_this_program,
)
from bridge.config.settings import EMBEDDED, OPENAI_MODEL, OPENAI_URL, Config, ServerConfig, UpstreamConfig
from bridge.config.values import check_base_url, check_credential, is_dummy, is_secret
from bridge.errors import ConfigError
from bridge.items import Notice
from bridge.json_text import Json
from bridge.processes.children import DEPTH


def find(environ: Mapping[str, str], platform: str = sys.platform) -> Path | None:
    """Find the config file to read where `--config` names none; None where there is no file.

    Returns the path in MCP_RESPONSES_BRIDGE_CONFIG, even if there is no such file, else `config.json` in the user's
    config folder if it exists. Never looks in the working directory: a cloned repository must not start commands.
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
    """Join the path; None where `folder` is relative, as it would then be inside the working directory."""
    return Path(folder, below) if Path(folder).is_absolute() else None


def load(
    path: Path | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    overrides: Mapping[str, object] | None = None,
    offline: bool = False,
) -> Config:
    """Load the configuration from `path` (by default from where `find` points), the environment and flags.

    `overrides` are flags, by their path in the file (`{"serve.port": 8080}`); None is a flag that was not given. Flags
    override the file, the file overrides the environment. With `offline`, the upstream is the embedded one, and the
    `upstream` section of the file is ignored, so no key that it refers to has to be set. Raises ConfigError: one line
    that says where, what is wrong and what would be right.
    """
    path = path or find(environ)
    flags = {name: value for name, value in (overrides or {}).items() if value is not None}
    try:
        raw = _read(path) if path else {}
        if offline:
            raw["upstream"] = {"base_url": EMBEDDED.base_url, "model": EMBEDDED.model}
        return _assemble(raw, path, environ, flags)
    except Fault as fault:
        key_path = join_path(fault.path)
        source = fault.source or ("command line" if key_path in flags else str(path) if path else "environment")
        line = ": ".join(part for part in (source, key_path, fault.message) if part)
        raise ConfigError("".join(char if char.isprintable() else "?" for char in line)) from None


def _read(path: Path) -> dict[str, Json]:
    try:
        return parse(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise Fault((), "not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise Fault((), f"cannot be read: {error.strerror or error}") from None


def _assemble(
    raw: dict[str, Json], path: Path | None, environ: Mapping[str, str], flags: Mapping[str, object]
) -> Config:
    own = {name: _read_section(raw, name, environ, flags) for name in _OWN_SECTIONS}
    token = _read_variable(environ, "MCP_RESPONSES_BRIDGE_TOKEN", check_credential)
    own["serve"]["token"] = own["serve"].get("token") or token
    references = References(environ, bare="refuse")
    single = {name: references.expand(raw[name], (name,)) for name in _SINGLE_SETTINGS if name in raw}
    upstream = _build_upstream(own.pop("upstream"), environ)
    filled = set[str]()
    servers, notices = _build_servers(raw, environ, filled)
    config = validate(Config, {**own, **single}, ())
    notices += _warn_of_readable_secrets(raw, path) if path else []
    notices += _warn_of_short_keys(
        {"upstream.api_key": upstream.api_key if upstream else None, "serve.token": config.serve.token}
    )
    return config.model_copy(
        update={
            "upstream": upstream,
            "servers": tuple(servers),
            "notices": tuple(notices),
            "path": path,
            "filled": frozenset(filled),
        }
    )


def _warn_of_short_keys(credentials: Mapping[str, str | None]) -> list[Notice]:
    """Return a notice for each credential that is too short to be redacted and is not a dummy."""
    short = [
        name
        for name, key in credentials.items()
        if key and not is_secret(key) and not is_short_secret(key) and not is_dummy(key)
    ]
    return [Notice(code="short_key", message=f"{name}: the key is too short to be blanked in logs.") for name in short]


_OWN_SECTIONS = ("upstream", "limits", "tool_search", "serve")
_SINGLE_SETTINGS = ("prices", "builtin_tools", "input_roots")
_TOP_KEYS = frozenset({*SERVER_SECTIONS, *_OWN_SECTIONS, *_SINGLE_SETTINGS, "inputs"})
_SERVER_KEYS = ENTRY_KEYS | ServerConfig.model_fields.keys() - {"key", "transport"}


def _read_section(
    raw: Mapping[str, Json], name: str, environ: Mapping[str, str], flags: Mapping[str, object]
) -> dict[str, object]:
    """Read one of our own sections: fill in its references and add its flags."""
    strict, free = References(environ, bare="refuse"), References(environ, bare="keep")
    section: dict[str, object] = {
        key: (free if key == "defaults" else strict).expand(value, (name, key))
        for key, value in check_object(raw.get(name, {}), (name,)).items()
    }
    return section | {
        flag.removeprefix(f"{name}."): value for flag, value in flags.items() if flag.startswith(f"{name}.")
    }


def _read_variable(environ: Mapping[str, str], name: str, check: Callable[[str], str | None]) -> str | None:
    """Read an environment variable; an empty one counts as unset."""
    value = environ.get(name, "").strip()
    try:
        return check(value) if value else None
    except ValueError as error:
        raise Fault((name,), str(error), "environment") from None


def _build_upstream(section: dict[str, object], environ: Mapping[str, str]) -> UpstreamConfig | None:
    """Build the endpoint's config; None where neither a base URL nor a key is known.

    OPENAI_API_KEY, OPENAI_BASE_URL and OPENAI_MODEL are used together: if the file names a base URL, all three are
    ignored. Otherwise the file's settings override them one by one. But a key, headers or a query in the file were not
    written for an OPENAI_BASE_URL that happens to be set, so they are refused together with it, unless the key equals
    OPENAI_API_KEY.
    """
    section = {key: value for key, value in section.items() if key != "api_key" or value not in ("", None)}
    if "base_url" not in section:
        openai = _read_openai_variables(environ)
        if "base_url" in openai:
            _refuse_mixed_sources(section, openai)
        section = {**openai, **section}
    upstream = validate(UpstreamConfig, section, ("upstream",))
    if "base_url" not in section and upstream.api_key is None:
        return None
    if upstream.model is None and upstream.base_url == OPENAI_URL:
        return upstream.model_copy(update={"model": OPENAI_MODEL})
    return upstream


def _read_openai_variables(environ: Mapping[str, str]) -> dict[str, str]:
    openai = {
        "api_key": _read_variable(environ, "OPENAI_API_KEY", check_credential),
        "base_url": _read_variable(environ, "OPENAI_BASE_URL", check_base_url),
        "model": _read_variable(environ, "OPENAI_MODEL", str),
    }
    return {name: value for name, value in openai.items() if value}


def _refuse_mixed_sources(section: Mapping[str, object], openai: Mapping[str, str]) -> None:
    for key in ("api_key", "headers", "query"):
        value = section.get(key)
        if value and not (key == "api_key" and isinstance(value, str) and value.strip() == openai.get("api_key")):
            message = "would be sent to OPENAI_BASE_URL of the environment; also set the base_url that it is meant for"
            raise Fault(("upstream", key), message)


def _build_servers(
    raw: Mapping[str, Json], environ: Mapping[str, str], filled: set[str]
) -> tuple[list[ServerConfig], list[Notice]]:
    foreign = find_foreign_keys(raw, _TOP_KEYS, ())
    servers: list[ServerConfig] = []
    notices: list[Notice] = []
    if DEPTH in environ:
        notices.append(
            Notice(code="inside_bridge", message="This bridge was started by a bridge: it connects no server.")
        )
        return servers, notices
    inputs = read_input_defaults(raw)
    for key_path, entry in list_entries(raw):
        if entry.get("disabled") is True:
            continue  # it may be invalid, or refer to variables that are not set on this machine
        if starts_this_program(entry):
            notices.append(
                Notice(code="own_entry", message=f"{join_path(key_path)} starts this program and is left out.")
            )
            continue
        foreign += find_foreign_keys(entry, _SERVER_KEYS, key_path)
        references = References(environ, bare="fill", inputs=inputs, filled=filled)
        servers.append(_build_server(entry, key_path, references))
    if foreign:
        notices.append(
            Notice(code="ignored_keys", message=f"Ignored, as settings of another program: {_enumerate(foreign)}.")
        )
    return _allow_one_without_prefix([server for server in servers if not server.disabled], notices), notices


def _allow_one_without_prefix(servers: list[ServerConfig], notices: list[Notice]) -> list[ServerConfig]:
    """Give plain names to one server only: with two, the owner of a name would depend on which of them is connected."""
    first, *others = [server.key for server in servers if not server.prefix] or [""]
    for key in others:
        words = f'Only one server can have plain names: "{first}" has them, the tools of "{key}" keep their prefix.'
        notices.append(Notice(code="prefix", message=words))
    return [server.model_copy(update={"prefix": True}) if server.key in others else server for server in servers]


def _build_server(entry: dict[str, Json], key_path: KeyPath, references: References) -> ServerConfig:
    env = entry.get("env")
    own = frozenset(env) if isinstance(env, dict) else frozenset[str]()
    outside_env = replace(references, own=own)
    known = {
        key: (references if key == "env" else outside_env).expand(value, (*key_path, key))
        for key, value in entry.items()
        if key in _SERVER_KEYS
    }
    return validate(ServerConfig, {**normalise_entry(known, key_path), "key": key_path[-1]}, key_path)


def _enumerate(key_paths: list[KeyPath]) -> str:
    shown = ", ".join(join_path(key_path) for key_path in key_paths[:5])
    return f"{shown} and {len(key_paths) - 5} more" if len(key_paths) > 5 else shown


def _warn_of_readable_secrets(raw: Mapping[str, Json], path: Path) -> list[Notice]:
    """Return a notice for a file that other users can read and that holds secrets as plain text. POSIX only."""
    if os.name != "posix" or not path.stat().st_mode & 0o044:
        return []
    secrets = [key_path for key_path, value in find_leaves(dict(raw)) if _is_secret(key_path) and _is_literal(value)]
    if not secrets:
        return []
    what = f"{path} can be read by other users and holds {_enumerate(secrets)} as plain text"
    return [
        Notice(
            code="readable_secrets", message=f"{what}: make it yours alone (chmod 600), or write ${{env:NAME}} there."
        )
    ]


def _is_secret(key_path: KeyPath) -> bool:
    match key_path:
        case ("upstream", "api_key") | ("serve", "token") | ("upstream", "headers", _):
            return True
        case ("mcpServers" | "servers", _, "headers", _):
            return True
        case ("mcpServers" | "servers", _, "env", name):
            return names_secret(str(name))
        case _:
            return False


def _is_literal(value: Json) -> bool:
    return isinstance(value, str) and is_secret(value) and "${" not in value
