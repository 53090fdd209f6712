"""The configuration: what each setting means, and how file, environment and flags become one `Config`, read once."""

import fnmatch
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import SplitResult, parse_qsl, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from bridge.configfile import (
    ENTRY_KEYS,
    PROGRAM,
    SERVER_SECTIONS,
    Json,
    Place,
    References,
    Wrong,
    as_object,
    dotted,
    foreign_keys,
    input_defaults,
    leaves,
    one_shape,
    parse,
    server_entries,
    starts_this_program,
    validate,
)
from bridge.errors import ConfigError

DEPTH_VARIABLE = "MCP_RESPONSES_BRIDGE_DEPTH"
"""Every child is started with it. A bridge that finds it set is inside a bridge and connects no server."""

OPENAI_URL = "https://api.openai.com/v1"
OPENAI_MODEL = "gpt-4.1"
NO_UPSTREAM = (
    "No upstream is configured: set OPENAI_API_KEY, or OPENAI_BASE_URL and OPENAI_MODEL for another Responses "
    "endpoint, or `upstream` in the config file, or start with --offline."
)


@dataclass(frozen=True)
class Notice:
    """Something the user should know that is no error. `code` is stable and for programs."""

    code: str
    message: str


# -- values ------------------------------------------------------------------------------------------------------------

_SCALAR = re.compile(r"true|false|-?(0|[1-9][0-9]{0,15})(\.[0-9]{1,15})?")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NO_URL = "expected a URL that begins with http:// or https:// and names a host"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _scalar(value: object) -> object:
    """`"8787"` as 8787: a reference such as `${env:PORT}` can only stand in a string."""
    if not isinstance(value, str) or not (match := _SCALAR.fullmatch(value)):
        return value
    if value in ("true", "false"):
        return value == "true"
    return float(value) if match[2] else int(value)


def _http_url(url: str) -> str:
    _split(url)
    return url


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        named = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # its text would show the URL, and with it a password
        raise ValueError(_NO_URL) from None
    if not named or _CONTROL.search(url) or " " in url:
        raise ValueError(_NO_URL)
    if "@" in parts.netloc:
        raise ValueError("a URL must not hold a user name or a password; put credentials into headers")
    return parts


def _base_url(url: str) -> str:
    """The form of which `base_url + "/responses"` is the endpoint.

    A trailing slash and a pasted `/responses` go. A URL without a path gets `/v1`; any other path is kept as it is
    (Azure's `/openai/v1`, a relay's own prefix).
    """
    parts = _split(url.strip())
    if parts.query or parts.fragment:
        raise ValueError("a base URL ends with its path; put query parameters into upstream.query")
    path = parts.path.rstrip("/").removesuffix("/responses").rstrip("/")
    return f"{parts.scheme}://{parts.netloc.lower()}{path or '/v1'}"


def _headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not a header name")
        if _CONTROL.search(value) or not value.isascii():
            raise ValueError(f"the value of {name} holds a character that no header can carry")
    return headers


def _environment(env: dict[str, str]) -> dict[str, str]:
    if any(not name or "=" in name for name in env):
        raise ValueError("the name of an environment variable must not be empty or hold '='")
    return env


def _credential(key: str | None) -> str | None:
    """A key or token, without the line end that a secret read from a file often has. Empty means none."""
    key = (key or "").strip()
    if not re.fullmatch(r"[!-~]*", key):
        raise ValueError('holds a character that no Authorization header can carry; give the key alone, no "Bearer"')
    return key or None


Flag = Annotated[bool, BeforeValidator(_scalar)]
Count = Annotated[int, BeforeValidator(_scalar), Field(ge=1)]
Seconds = Annotated[float, BeforeValidator(_scalar), Field(gt=0, allow_inf_nan=False)]
Strings = Annotated[tuple[str, ...], Field(strict=False)]  # JSON has lists, no tuples
Text = Annotated[str, Field(min_length=1)]
Headers = Annotated[dict[str, str], AfterValidator(_headers)]
Credential = Annotated[str | None, AfterValidator(_credential)]
Decision = Literal["allow", "deny", "ask"]
Approval = Literal["always", "writes", "never"]
Transport = Literal["stdio", "http", "sse", "auto"]


def is_loopback(url: str) -> bool:
    """Whether `url` names this machine: no proxy is ever asked for it."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


# -- sections ----------------------------------------------------------------------------------------------------------


class _Section(BaseModel):
    # No `use_attribute_docstrings`: pydantic parses this module once per class for it, 35 ms of every start.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class ToolRules(_Section):
    """Which tools of one server may run: globs over plain names, upper and lower case distinct."""

    allow: Strings = ()
    """Run without asking, whatever `require_approval` says."""
    deny: Strings = ()
    """Neither shown to the model nor run. Beats `ask` and `allow`."""
    ask: Strings = ()
    """Run only after the user said yes. Beats `allow`."""

    def decision(self, name: str) -> Decision | None:
        """What the rules say of the tool `name`, the strictest that matches; None = `require_approval` decides."""
        rules: tuple[tuple[Decision, tuple[str, ...]], ...] = (
            ("deny", self.deny),
            ("ask", self.ask),
            ("allow", self.allow),
        )
        for decision, globs in rules:
            if any(fnmatch.fnmatchcase(name, glob) for glob in globs):
                return decision
        return None


class ServerConfig(_Section):
    """One connected server: exactly one of `command` and `url` is set."""

    key: Text
    """Its key in `mcpServers`: the first half of its tools' names, and its name in every message."""
    command: Text | None = None
    """The program to start, found when it is started. Never given to a shell; `~` stays as it is."""
    args: Strings = ()
    """Its arguments, each passed on as one argument."""
    env: Annotated[dict[str, str], AfterValidator(_environment)] = Field(default_factory=dict[str, str], repr=False)
    """What it gets besides a short list of harmless variables of our own environment."""
    cwd: Text | None = None
    """The folder it is started in. Default: ours."""
    url: Annotated[str, AfterValidator(_http_url)] | None = Field(default=None, repr=False)
    """Where a remote server listens. Also written `serverUrl` or `httpUrl`."""
    headers: Headers = Field(default_factory=dict[str, str], repr=False)
    """Sent with every request to `url`."""
    transport: Transport = "stdio"
    """From `type`. "auto" is a `url` without `type`: Streamable HTTP, and SSE where that is refused."""
    tools: ToolRules = ToolRules()
    """Which of its tools may run."""
    require_approval: Approval = "writes"
    """Who needs a yes: every tool, those not declared read-only, or none. `tools` decides first."""
    prefix: Flag = True
    """Offer `<key>__<tool>`; false: the tool's plain name where it is free."""
    protocol: Annotated[str, Field(pattern=r"^(auto|legacy|\d{4}-\d{2}-\d{2})$")] = "auto"
    """The MCP revision to speak: "auto", "legacy" (before 2026-07-28), or one revision, such as "2025-11-25"."""
    disabled: Flag = False
    """Left out as if the entry were not there."""
    serial: Flag = False
    """One call at a time."""
    call_timeout_s: Seconds | None = None
    """Seconds for one call. Default: that of `limits`."""
    connect_timeout_s: Seconds | None = None
    """Seconds until it must be ready. Default: that of `limits`."""


class UpstreamConfig(_Section):
    """The Responses endpoint, `base_url + "/responses"`."""

    base_url: Annotated[str, AfterValidator(_base_url)] = OPENAI_URL
    """With or without a trailing slash. No path means `/v1`; any other path is kept as it is."""
    api_key: Credential = Field(default=None, repr=False)
    """Sent as `Authorization: Bearer`; without one no such header is sent."""
    model: Text | None = None
    """For calls that name none. Default: gpt-4.1 at OpenAI's own URL, none elsewhere."""
    headers: Headers = Field(default_factory=dict[str, str], repr=False)
    """Sent with every request."""
    query: dict[str, str] = Field(default_factory=dict[str, str], repr=False)
    """Added to the URL of every request, such as Azure's `api-version`."""
    stream: Literal["auto", "always", "never"] = "auto"
    """Ask for server-sent events; "auto" falls back to JSON where the endpoint cannot."""
    connect_timeout_s: Seconds = 10
    """Seconds to reach the endpoint."""
    idle_timeout_s: Seconds = 600
    """Seconds without a single byte of a reply."""
    max_retries: Annotated[int, BeforeValidator(_scalar), Field(ge=0)] = 2
    """Repeats of one request after a passing failure."""
    defaults: dict[str, JsonValue] = {}
    """Create parameters for every request, such as `temperature`; what the caller gives wins."""


class Limits(_Section):
    """What one run may use. A caller may lower a limit, never raise it."""

    max_turns: Count = 10
    """Upstream requests of a run."""
    max_tool_calls: Count = 50
    """Tool calls of a run."""
    max_parallel: Count = 8
    """Tool calls of a run at one time."""
    max_tools: Count = 128
    """Tools offered in one request."""
    timeout_s: Seconds = 1800
    """Seconds for a whole run."""
    call_timeout_s: Seconds = 60
    """Seconds for one tool call."""
    connect_timeout_s: Seconds = 10
    """Seconds until a server must be ready."""
    output_bytes: Count = 65536
    """Bytes of one call's output that the model gets; the rest is cut with a note."""
    result_chars: Count = 40000
    """Characters of `respond`'s result that the host gets."""
    message_bytes: Count = 67108864
    """Bytes of one message from a server; a longer one fails its call."""


class ServeConfig(_Section):
    """The HTTP service (`serve --transport http` or `sse`)."""

    host: Text = "127.0.0.1"
    """The address to listen on."""
    port: Annotated[int, BeforeValidator(_scalar), Field(ge=0, le=65535)] = 8787
    """The port to listen on; 0 takes a free one."""
    token: Credential = Field(default=None, repr=False)
    """What clients send as `Authorization: Bearer`. Default: MCP_RESPONSES_BRIDGE_TOKEN."""
    allowed_hosts: Strings = ()
    """`Host` values accepted besides the loopback names."""
    allowed_origins: Strings = ()
    """`Origin` values accepted besides our own."""


class Config(_Section):
    """The whole configuration, checked. Nobody past it sees a dict of the file or an environment variable."""

    upstream: UpstreamConfig | None = None
    """None = nothing is configured; `NO_UPSTREAM` says what to set."""
    servers: tuple[ServerConfig, ...] = ()
    """The servers to connect, in the order of the file."""
    limits: Limits = Limits()
    builtin_tools: Flag = True
    """Offer the built-in tools."""
    serve: ServeConfig = ServeConfig()
    notices: tuple[Notice, ...] = ()
    path: Path | None = None
    """The file that was read, None = none."""

    def secrets(self) -> frozenset[str]:
        """Every secret value known, for redaction.

        Of headers, `env` and URL queries the values from 8 characters on: blanking every "1" or "info" in a log
        would destroy it. Of `Bearer xyz` both the whole and `xyz`.
        """
        values = set(self._settings())
        values |= {value.split()[1] for value in values if len(value.split()) == 2}
        credentials = {self.serve.token, self.upstream.api_key if self.upstream else None}
        return frozenset({value for value in values if _long(value)} | {value for value in credentials if value})

    def _settings(self) -> Iterator[str]:
        if self.upstream:
            yield from self.upstream.headers.values()
            yield from self.upstream.query.values()
        for server in self.servers:
            yield from server.env.values()
            yield from server.headers.values()
            query = urlsplit(server.url or "").query
            yield from (pair.partition("=")[2] for pair in query.split("&"))
            yield from (value for _, value in parse_qsl(query))


def _long(value: str) -> bool:
    return len(value) >= 8


# -- loading -----------------------------------------------------------------------------------------------------------


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
) -> Config:
    """The configuration from `path` (else from where `find` points), the environment and flags.

    `overrides` are flags, by their place in the file (`{"serve.port": 8080}`); None is a flag that was not given.
    Flags beat the file, the file beats the environment. Raises ConfigError: one line that says where, what is wrong
    and what would be right.
    """
    path = path or find(environ)
    flags = {name: value for name, value in (overrides or {}).items() if value is not None}
    try:
        return _assemble(_read(path) if path else {}, path, environ, flags)
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
    token = _variable(environ, "MCP_RESPONSES_BRIDGE_TOKEN", _credential)
    own["serve"]["token"] = own["serve"].get("token") or token
    builtin_tools = References(environ, bare="refuse").expand(raw.get("builtin_tools", True), ("builtin_tools",))
    upstream = _upstream(own.pop("upstream"), environ)
    servers, notices = _servers(raw, environ)
    config = validate(Config, {**own, "builtin_tools": builtin_tools}, ())
    notices += _exposure(raw, path) if path else []
    return config.model_copy(
        update={"upstream": upstream, "servers": tuple(servers), "notices": tuple(notices), "path": path}
    )


_OWN_SECTIONS = ("upstream", "limits", "serve")
_TOP_KEYS = frozenset({*SERVER_SECTIONS, *_OWN_SECTIONS, "inputs", "builtin_tools"})
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
        "api_key": _variable(environ, "OPENAI_API_KEY", _credential),
        "base_url": _variable(environ, "OPENAI_BASE_URL", _base_url),
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
    if DEPTH_VARIABLE in environ:
        notices.append(Notice("inside_bridge", "This bridge was started by a bridge: it connects no server."))
        return servers, notices
    inputs = input_defaults(raw)
    for place, entry in server_entries(raw):
        if entry.get("disabled") is True:
            continue  # nothing in it has to be right, or set, on this machine
        if starts_this_program(entry):
            notices.append(Notice("own_entry", f"{dotted(place)} starts this program and is left out."))
            continue
        foreign += foreign_keys(entry, _SERVER_KEYS, place)
        servers.append(_server(entry, place, environ, inputs))
    if foreign:
        notices.append(Notice("ignored_keys", f"Ignored, as settings of another program: {_enumerate(foreign)}."))
    return [server for server in servers if not server.disabled], notices


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
    return [Notice("readable_secrets", f"{what}: make it yours alone (chmod 600), or write ${{env:NAME}} there.")]


def _is_secret(place: Place) -> bool:
    match place:
        case ("upstream", "api_key") | ("serve", "token") | ("upstream", "headers", _):
            return True
        case ("mcpServers" | "servers", _, "env" | "headers", _):
            return True
        case _:
            return False


def _is_literal(value: Json) -> bool:
    return isinstance(value, str) and _long(value) and "${" not in value
