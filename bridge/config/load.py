"""Loads the configuration: combines file, environment and flags into one `Config`."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from bridge.config.faults import Fault, KeyPath, join_path, name_type, validate
from bridge.config.file import find_leaves, parse
from bridge.config.own_entry import PROGRAM
from bridge.config.places import HOST_KEYS
from bridge.config.references import References
from bridge.config.secrets import is_short_secret, names_secret
from bridge.config.servers import Servers, find_foreign_keys, read_servers
from bridge.config.settings import EMBEDDED, OPENAI_MODEL, OPENAI_URL, Config, UpstreamConfig
from bridge.config.text import read_text
from bridge.config.values import check_base_url, check_credential, is_dummy, is_secret
from bridge.errors import ConfigError
from bridge.items import Notice
from bridge.json_text import Json
from bridge.processes.children import DEPTH
from bridge.visible import show_line


def find(environ: Mapping[str, str], platform: str = sys.platform) -> Path | None:
    """Find the config file to read where `--config` names none; None where there is no file.

    Returns the path in MCP_RESPONSES_BRIDGE_CONFIG, even if there is no such file, else `config.json` in the user's
    config folder if it exists. Never looks in the working directory: a cloned repository must not start commands.
    """
    if named := environ.get("MCP_RESPONSES_BRIDGE_CONFIG"):
        return Path(named)
    file = default_file(environ, platform)
    return file if file and file.is_file() else None


def default_file(environ: Mapping[str, str], platform: str = sys.platform) -> Path | None:
    """Return the config file in the user's config folder, whether it exists or not; None without a home."""
    folder = _user_folder(environ, platform)
    return folder / PROGRAM / "config.json" if folder else None


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
    project: str | None = None,
) -> Config:
    """Load the configuration from `path` (by default from where `find` points), the environment and flags.

    `overrides` are flags, by their path in the file (`{"serve.port": 8080}`); None is a flag that was not given. Flags
    override the file, the file overrides the environment. With `offline`, the upstream is the embedded one, and the
    `upstream` section of the file is ignored, so no key that it refers to has to be set. `project` is a folder for
    which the file, that of Claude Code, has servers of its own. What is wrong in one server's entry costs that server
    only. Raises ConfigError for anything else: one line that says where, what is wrong and what would be right.
    """
    path = path or find(environ)
    flags = {name: value for name, value in (overrides or {}).items() if value is not None}
    try:
        raw = _read(path) if path else {}
        if offline:
            raw["upstream"] = {"base_url": EMBEDDED.base_url, "model": EMBEDDED.model}
        return _assemble(raw, path, environ, flags, project)
    except Fault as fault:
        key_path = join_path(fault.path)
        source = fault.source or ("command line" if key_path in flags else str(path) if path else "environment")
        line = ": ".join(part for part in (source, key_path, fault.message) if part)
        raise ConfigError(show_line(line)) from None


def _read(path: Path) -> dict[str, Json]:
    return parse(read_text(path), path.suffix.lower())


def _assemble(
    raw: dict[str, Json],
    path: Path | None,
    environ: Mapping[str, str],
    flags: Mapping[str, object],
    project: str | None,
) -> Config:
    own = {name: _read_section(raw, name, environ, flags) for name in _OWN_SECTIONS}
    token = _read_variable(environ, "MCP_RESPONSES_BRIDGE_TOKEN", check_credential)
    own["serve"]["token"] = own["serve"].get("token") or token
    references = References(environ, bare="refuse")
    single = {name: references.expand(raw[name], (name,)) for name in _SINGLE_SETTINGS if name in raw}
    upstream = _build_upstream(own.pop("upstream"), environ)
    read = _read_servers(raw, path, environ, project)
    notices = read.notices
    config = validate(Config, {**own, **single}, ())
    notices += _warn_of_readable_secrets(raw, path) if path else []
    notices += _warn_of_short_keys(
        {"upstream.api_key": upstream.api_key if upstream else None, "serve.token": config.serve.token}
    )
    return config.model_copy(
        update={
            "upstream": upstream,
            "servers": tuple(read.servers),
            "off": tuple(read.off),
            "left_out": read.left_out,
            "notices": tuple(notices),
            "path": path,
            "filled": frozenset(read.filled),
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


_OWN_SECTIONS = ("upstream", "limits", "runs", "tool_search", "serve")
_SINGLE_SETTINGS = ("prices", "builtin_tools", "input_roots")
_OWN_KEYS = frozenset({*_OWN_SECTIONS, *_SINGLE_SETTINGS})
_TOP_KEYS = frozenset({*HOST_KEYS, *_OWN_KEYS, "inputs", "$schema"})


def _read_section(
    raw: Mapping[str, Json], name: str, environ: Mapping[str, str], flags: Mapping[str, object]
) -> dict[str, object]:
    """Read one of our own sections: fill in its references and add its flags."""
    strict, free = References(environ, bare="refuse"), References(environ, bare="keep")
    section: dict[str, object] = {
        key: (free if key == "defaults" else strict).expand(value, (name, key))
        for key, value in _check_object(raw.get(name, {}), (name,)).items()
    }
    return section | {
        flag.removeprefix(f"{name}."): value for flag, value in flags.items() if flag.startswith(f"{name}.")
    }


def _check_object(value: Json, path: KeyPath) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise Fault(path, f"expected an object, not {name_type(value)}")
    return value


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


def _read_servers(
    raw: Mapping[str, Json], path: Path | None, environ: Mapping[str, str], project: str | None
) -> Servers:
    if DEPTH in environ:
        nested = Servers()
        nested.note("inside_bridge", "This bridge was started by a bridge: it connects no server.")
        return nested
    read = read_servers(raw, path, environ, project)
    has_entries = bool(read.servers or read.left_out or read.off)
    if not read.is_foreign:
        near = _OWN_KEYS if has_entries else _TOP_KEYS
        read.foreign += find_foreign_keys(raw, _TOP_KEYS, (), near)
    if raw and path and not (has_entries or read.notices or _OWN_KEYS & raw.keys()):
        read.note("no_settings", f"{path}: it has no servers in mcpServers, and none of our settings.")
    for key in raw.keys() & UpstreamConfig.model_fields.keys() if not read.is_foreign else ():
        read.foreign.remove((key,))
        read.note("misplaced", f'{key}: it is read inside of "upstream" only: {{"upstream": {{"{key}": …}}}}.')
    if read.foreign:
        read.note("ignored_keys", f"Ignored, as settings of another program: {_enumerate(read.foreign)}.")
    return read


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
        case ("serve", "principals", _, "token"):
            return True
        case ("upstream", "api_key") | ("serve", "token") | ("upstream", "headers", _):
            return True
        case (_, _, *_, "headers" | "http_headers", _):
            return True
        case (_, *_, "env" | "environment" | "envs", name):
            return names_secret(str(name))
        case _:
            return False


def _is_literal(value: Json) -> bool:
    return isinstance(value, str) and is_secret(value) and "${" not in value
