"""The settings: what each one means, its unit and its default. What a value looks like is in `values.py`."""

import fnmatch
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from bridge.config.values import (
    Count,
    Credential,
    Flag,
    Headers,
    Seconds,
    Strings,
    Text,
    check_base_url,
    check_environment,
    check_folders,
    check_header_name,
    check_url,
    is_secret,
    read_scalar,
)
from bridge.items import Notice

OPENAI_URL = "https://api.openai.com/v1"
OPENAI_MODEL = "gpt-4.1"
BUILTIN = "builtin_tools"
"""The key of the built-in server; its tools keep their plain names."""
BUILTIN_NAMES = ("random_generator", "system_info", "math_calculator", "current_time")
"""The names of its tools, which no other server's tool is given while they are offered."""
_UNSET = (
    "No upstream is configured: set OPENAI_API_KEY, or OPENAI_BASE_URL and OPENAI_MODEL for another Responses "
    "endpoint, or `upstream` in the config file"
)
NO_UPSTREAM = f"{_UNSET}."
NO_UPSTREAM_HERE = f"{_UNSET}, or start with --offline."
"""For the commands that have the flag."""
NO_MODEL = (
    "model: none is configured for this upstream; name one in `model` (of `ask`: --model), in upstream.model of the "
    "config file, or in OPENAI_MODEL"
)


Decision = Literal["allow", "deny", "ask"]
Approval = Literal["always", "writes", "never"]
Transport = Literal["stdio", "http", "sse", "auto"]
StructuredContent = Literal["both", "unless_text", "prefer", "only"]
ProfileName = Literal[
    "auto",
    "azure",
    "bedrock",
    "codex",
    "dashscope",
    "deepseek",
    "digitalocean",
    "furiosa",
    "groq",
    "huggingface",
    "litellm",
    "llama.cpp",
    "lmstudio",
    "new-api",
    "ollama",
    "one-api",
    "openai",
    "openrouter",
    "sarvam",
    "together",
    "upstage",
    "vllm",
    "xai",
]
"""Upstreams of which something is known beforehand; "auto" looks at the address."""


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
    strict: Strings = ()
    """Sent with `strict: true`, where their schema allows that without a change of what it accepts."""

    repeat: Strings = ()
    """May be called again and again with the same arguments and result, such as one that polls."""

    def polls(self, name: str) -> bool:
        """Whether the tool `name` may be repeated."""
        return _matches(name, self.repeat)

    def decision(self, name: str) -> Decision | None:
        """What the rules say of the tool `name`, the strictest that matches; None = `require_approval` decides."""
        rules: tuple[tuple[Decision, tuple[str, ...]], ...] = (
            ("deny", self.deny),
            ("ask", self.ask),
            ("allow", self.allow),
        )
        return next((decision for decision, globs in rules if _matches(name, globs)), None)

    def wants_strict(self, name: str) -> bool:
        """Whether the tool `name` is to be strict."""
        return _matches(name, self.strict)


def _matches(name: str, globs: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, glob) for glob in globs)


class ServerConfig(_Section):
    """One connected server: exactly one of `command` and `url` is set."""

    key: Text
    """Its key in `mcpServers`: the first half of its tools' names, and its name in every message."""
    command: Text | None = None
    """The program to start, found when it is started. Never given to a shell; `~` stays as it is."""
    args: Strings = ()
    """Its arguments, each passed on as one argument."""
    env: Annotated[dict[str, str], AfterValidator(check_environment)] = Field(
        default_factory=dict[str, str], repr=False
    )
    """What it gets besides a short list of harmless variables of our own environment."""
    cwd: Text | None = None
    """The folder it is started in. Default: ours."""
    url: Annotated[str, AfterValidator(check_url)] | None = Field(default=None, repr=False)
    """Where a remote server listens. Also written `serverUrl` or `httpUrl`."""
    headers: Headers = Field(default_factory=dict[str, str], repr=False)
    """Sent with every request to `url`."""
    transport: Transport = "stdio"
    """Written as `type`: "stdio" for a command; for a `url` "http" (also "streamable-http", "streamableHttp") or "sse".
    A `url` without it is "auto" here: Streamable HTTP, and SSE where that is refused."""
    tools: ToolRules = ToolRules()
    """Which of its tools may run."""
    require_approval: Approval = "writes"
    """Who needs a yes: every tool, those not declared read-only, or none. `tools` decides first."""
    prefix: Flag = True
    """Offer `<key>__<tool>`; false: the tool's plain name. One server can have that, the first that asks for it."""
    protocol: Annotated[str, Field(pattern=r"^(auto|legacy|\d{4}-\d{2}-\d{2})$")] = "auto"
    """The MCP revision to speak: "auto", "legacy" (before 2026-07-28), or one revision, such as "2025-11-25"."""
    keep_empty: Flag = False
    """Pass on empty strings and nulls that a model gives for optional arguments; else they are left out."""
    structured_content: StructuredContent = "both"
    """What the model reads of a result with structured content: also its texts, unless they say the same;
    "unless_text": its texts, where it has any; "prefer": not its texts; "only": nothing else."""
    disabled: Flag = False
    """Left out as if the entry were not there."""
    serial: Flag = False
    """One call at a time."""
    max_parallel: Count = 64
    """Calls at one time; more wait for their turn."""
    idle_timeout_s: Seconds | None = None
    """Seconds without a result or a word of progress after which a call is given up, sooner than its timeout.
    Default: none."""
    call_timeout_s: Seconds | None = None
    """Seconds for one call. Default: that of `limits`."""
    connect_timeout_s: Seconds | None = None
    """Seconds until it must be ready. Default: that of `limits`."""


class UpstreamConfig(_Section):
    """The Responses endpoint, `base_url + "/responses"`."""

    base_url: Annotated[str, AfterValidator(check_base_url)] = OPENAI_URL
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
    max_retries: Annotated[int, BeforeValidator(read_scalar), Field(ge=0)] = 2
    """Repeats of one request after a transient failure."""
    name_chars: Annotated[int, BeforeValidator(read_scalar), Field(ge=16, le=128)] = 64
    """Characters that the name of a tool may have."""
    description_chars: Annotated[int, BeforeValidator(read_scalar), Field(ge=16)] = 1024
    """Characters that the description of a tool may have; chat-family backends and relays refuse longer ones."""
    defaults: dict[str, JsonValue] = {}
    """Create parameters for every request, such as `temperature`; what the caller gives wins."""
    profile: ProfileName = "auto"
    """Whose endpoint it is, for what it can and cannot do; "auto" goes by the address. What is not known is learned
    from its refusals; each setting below says it for sure."""
    auth: Annotated[str, AfterValidator(check_header_name)] | None = None
    """How the key is sent: "bearer", "none", or the name of the header that carries it, such as "api-key"."""
    state: Literal["auto", "stateless", "previous_response_id"] | None = None
    """"stateless": it keeps no responses. "previous_response_id": it does, and gets only what is new in each turn.
    "auto": the whole history goes with each turn, and a caller's own `previous_response_id` is passed on."""
    store: Flag | None = None
    """Sent with every request, whatever the caller says."""
    background: Flag | None = None
    """Whether it has a background mode."""
    drop: Strings | None = None
    """Parameters that it does not take, or parts of them, such as `reasoning.summary`."""
    developer_role: Literal["keep", "system", "instructions"] | None = None
    """What becomes of a developer's messages; "instructions" moves the system's there too."""
    content_parts: Flag | None = None
    """Whether the output of a call may be a list of parts; else it is a text."""
    images: Flag | None = None
    """Whether the output of a call may hold images."""
    reasoning_replay: Flag | None = None
    """Whether reasoning items are sent back."""
    item_ids: Flag | None = None
    """Whether calls and messages are sent back with their ids."""
    context_window: Count | None = None
    """Tokens that a request and its response may have together."""
    compaction: Flag | None = None
    """Whether it makes room by itself (`context_management`) when `context_window` is nearly full."""

    @property
    def is_embedded(self) -> bool:
        """Whether it is the one of `--offline`."""
        return self.base_url == EMBEDDED.base_url


EMBEDDED = UpstreamConfig(base_url="http://offline.invalid/v1", model="offline-rules")
"""The upstream of `--offline`, which is a part of this program; its address is never looked up."""


class Limits(_Section):
    """What one run may use. A caller may lower a limit, never raise it."""

    max_turns: Count = 10
    """Upstream requests of a run. Whatever limit a run meets, one more request, with no call, gives a last answer."""
    max_tool_calls: Count = 50
    """Tool calls of a run."""
    max_turn_calls: Count = 32
    """Tool calls of one turn; the others of that turn are answered with an error."""
    max_parallel: Count = 8
    """Tool calls of a run at one time."""
    max_tools: Count = 128
    """Tools offered in one request."""
    tool_tokens: Count = 20000
    """About how many tokens the tools of one request may cost. Where all of them are over this or over `max_tools`, a
    request carries the most useful ones and `find_tools`, which reaches the rest: `tool_search`."""
    timeout_s: Seconds = 1800
    """Seconds for a whole run."""
    soft_deadline_s: Seconds = 45
    """Seconds after which `respond` answers that the run goes on: hosts cut calls, the strictest after 60."""
    on_cancel: Literal["auto", "stop", "detach"] = "auto"
    """What a cancelled call means for its run. "auto": one that timed out, is over 30 s old, or whose HTTP request was
    closed goes on by itself; any other is stopped."""
    orphan_s: Seconds = 600
    """Seconds that a run goes on by itself while nobody asks for it."""
    call_timeout_s: Seconds = 60
    """Seconds for one tool call."""
    connect_timeout_s: Seconds = 10
    """Seconds until a server must be ready."""
    tokens: Count = 1000000
    """Input and output tokens of a run, as the upstream counts them; estimated where it does not."""
    cost: Annotated[float, BeforeValidator(read_scalar), Field(gt=0, allow_inf_nan=False)] | None = None
    """Money for a run, in the unit of `prices`, which must name the model's."""
    output_bytes: Count = 65536
    """Bytes of one call's output that the model gets; the rest is cut with a note."""
    turn_bytes: Count = 524288
    """Bytes of all outputs of one turn; those beyond are kept for `read_output`."""
    run_bytes: Count = 4194304
    """Bytes of all outputs of a run."""
    image_bytes: Count = 5242880
    """Bytes of one image that the model gets; a larger one is scaled down (with the extra `images`), or named only."""
    result_chars: Count = 40000
    """Characters of `respond`'s result that the host gets."""
    message_bytes: Count = 67108864
    """Bytes of one message from a server; a longer one fails its call."""


class ToolSearch(_Section):
    """What a request carries where all tools would be too many for it: see `limits.tool_tokens`."""

    pinned: Strings = ()
    """Tools that every request carries: globs over the names that the model sees."""
    first: Count = 12
    """Tools besides them that the first request carries, those that fit the input best."""
    found: Count = 5
    """Tools that one call of `find_tools` finds."""
    hosted: Flag = False
    """Leave the search to the upstream (`tool_search`, namespaces and `defer_loading` in its API): for models that can,
    such as gpt-5.4 and later at OpenAI."""


Amount = Annotated[float, BeforeValidator(read_scalar), Field(ge=0, allow_inf_nan=False)]


class Price(_Section):
    """What a model costs for a million tokens, in any one currency."""

    input: Amount
    """Input tokens."""
    cached_input: Amount | None = None
    """Input tokens that the upstream had in its cache. Default: as `input`."""
    output: Amount
    """Output tokens, reasoning included."""


class ServeConfig(_Section):
    """The HTTP service (`serve --transport http` or `sse`)."""

    host: Text = "127.0.0.1"
    """The address to listen on."""
    port: Annotated[int, BeforeValidator(read_scalar), Field(ge=0, le=65535)] = 8787
    """The port to listen on; 0 takes a free one."""
    token: Credential = Field(default=None, repr=False)
    """What clients send as `Authorization: Bearer`. Default: MCP_RESPONSES_BRIDGE_TOKEN."""
    allowed_hosts: Strings = ()
    """`Host` values accepted besides the loopback names."""
    allowed_origins: Strings = ()
    """`Origin` values accepted besides our own. No CORS header is ever sent: it is for clients that send an Origin and
    need none, and for pages behind a proxy that adds them."""


class Config(_Section):
    """The whole configuration, checked. Nobody past it sees a dict of the file or an environment variable."""

    upstream: UpstreamConfig | None = None
    """None = nothing is configured; `NO_UPSTREAM` says what to set."""
    servers: tuple[ServerConfig, ...] = ()
    """The servers to connect, in the order of the file."""
    limits: Limits = Limits()
    tool_search: ToolSearch = ToolSearch()
    prices: dict[str, Price] = {}
    """By model, as `respond` or the config names it."""
    builtin_tools: Flag = True
    """Offer the built-in tools."""
    input_roots: Annotated[Strings, AfterValidator(check_folders)] = ()
    """Folders whose files `input` may name by path; `~` is the home folder. What is in them can reach the upstream."""
    serve: ServeConfig = ServeConfig()
    notices: tuple[Notice, ...] = ()
    path: Path | None = None
    """The file that was read, None = none."""

    def secrets(self) -> frozenset[str]:
        """Every secret value known, for redaction.

        Those from 8 characters on: blanking every "1" or "info" would destroy whatever is printed. Of `Bearer xyz`
        both the whole and `xyz`.
        """
        values = set(self._settings())
        values |= {value.split()[1] for value in values if len(value.split()) == 2}
        return frozenset(value for value in values if is_secret(value))

    def _settings(self) -> Iterator[str]:
        yield self.serve.token or ""
        if self.upstream:
            yield self.upstream.api_key or ""
            yield from self.upstream.headers.values()
            yield from self.upstream.query.values()
        for server in self.servers:
            yield from server.env.values()
            yield from server.headers.values()
            query = urlsplit(server.url or "").query
            yield from (pair.partition("=")[2] for pair in query.split("&"))
            yield from (value for _, value in parse_qsl(query))
