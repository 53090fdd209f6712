"""The settings: the meaning, unit and default of each. Their types are in `values.py`."""

import fnmatch
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator

from bridge.config.principals import DEFAULT, PersonalToken, TokenHash, check_names, check_tokens
from bridge.config.secrets import (
    find_in_args,
    find_in_credential,
    find_in_url,
    find_lines,
    find_named,
    holds_paths,
    is_short_secret,
    names_secret,
)
from bridge.config.values import (
    Cost,
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
    check_issuer,
    check_path,
    check_public_url,
    check_scopes,
    check_store,
    check_url,
    is_secret,
    read_scalar,
    read_scopes,
)
from bridge.items import Notice

OPENAI_URL = "https://api.openai.com/v1"
OPENAI_MODEL = "gpt-4.1"
BUILTIN = "builtin_tools"
"""The key of the built-in server; its tools keep their plain names."""
LEFT_OUT = "server_left_out"
"""The code of a notice about an entry that cannot be used."""
BUILTIN_NAMES = ("random_generator", "system_info", "math_calculator", "current_time")
"""The names of its tools. While they are offered, no other server's tool gets one of these names."""
_UNSET = (
    "No upstream is configured: set OPENAI_API_KEY, or OPENAI_BASE_URL and OPENAI_MODEL for another Responses "
    "endpoint, or `upstream` in the config file"
)
NO_UPSTREAM = f"{_UNSET}."
NO_UPSTREAM_HERE = f"{_UNSET}, or start with --offline."
"""For the commands that have the flag `--offline`."""
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
"""Upstreams with a preset; "auto" chooses one by the address."""


class _Section(BaseModel):
    # No `use_attribute_docstrings`: for it, pydantic parses this module once per class, which adds 35 ms to each start.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class ToolRules(_Section):
    """Rules for the tools of one server: case-sensitive globs over plain names."""

    allow: Strings = ()
    """Run without asking, whatever `require_approval` says."""
    deny: Strings = ()
    """Neither shown to the model nor run. Beats `ask` and `allow`."""
    ask: Strings = ()
    """Run only after the user has approved the call. Beats `allow`."""
    only: Strings | None = None
    """The only tools that are shown and run. Default: all."""
    strict: Strings = ()
    """Sent with `strict: true`, where the schema allows it without a change of what it accepts."""

    repeat: Strings = ()
    """May be called repeatedly with the same arguments and the same result, such as a tool that polls."""

    def polls(self, name: str) -> bool:
        """Tell whether the tool `name` may be called repeatedly with the same result."""
        return _matches(name, self.repeat)

    def decision(self, name: str) -> Decision | None:
        """Return the strictest rule that matches the tool `name`; None where `require_approval` decides."""
        if self.only is not None and not _matches(name, self.only):
            return "deny"
        rules: tuple[tuple[Decision, tuple[str, ...]], ...] = (
            ("deny", self.deny),
            ("ask", self.ask),
            ("allow", self.allow),
        )
        return next((decision for decision, globs in rules if _matches(name, globs)), None)

    def wants_strict(self, name: str) -> bool:
        """Tell whether the tool `name` is to be sent with `strict: true`."""
        return _matches(name, self.strict)


class ToolGlobs(_Section):
    """Tools that a principal may have used: case-sensitive globs over the names that the model sees. What is hosted by
    the upstream goes by its type, such as `web_search`."""

    only: Strings | None = None
    """The only tools that are shown and run. Default: all."""
    deny: Strings = ()
    """Neither shown nor run. Beats `only`."""

    @property
    def is_set(self) -> bool:
        """True where a tool may be missing by these."""
        return self.only is not None or bool(self.deny)

    def allows(self, name: str) -> bool:
        """Tell whether the tool of this name may be used."""
        return (self.only is None or _matches(name, self.only)) and not _matches(name, self.deny)


def _matches(name: str, globs: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, glob) for glob in globs)


Grant = Literal["authorization_code", "client_credentials"]


class OAuthConfig(_Section):
    """How to sign in to a server that wants OAuth; nothing of it is needed where clients register themselves."""

    grant: Grant = "authorization_code"
    """"authorization_code": a person signs in, by `login`. "client_credentials": this program does, with `client_id`,
    `client_secret` and `issuer`."""
    issuer: Annotated[str, AfterValidator(check_url)] | None = None
    """The authority that signs in, where the server names none, several, or one in your own network. Only it gets
    `client_secret`."""
    client_id: Text | None = None
    """The client that was registered there; also the https URL of a client ID metadata document."""
    client_secret: Credential = Field(default=None, repr=False)
    """Its secret, where it has one."""
    scopes: Annotated[Strings | None, BeforeValidator(read_scopes)] = None
    """Scopes to ask for. Default: those that the server names."""
    callback_port: Annotated[int, BeforeValidator(read_scalar), Field(ge=1, le=65535)] | None = None
    """The port that the browser comes back to, on this machine, where the client was registered with one: as
    `http://localhost:PORT/callback`. Default: any free one."""
    resource: Text | None = None
    """Name by which the authority knows the server (RFC 8707). Default: its URL, or what its metadata says."""


class ServerConfig(_Section):
    """One connected server: exactly one of `command` and `url` is set."""

    key: Text
    """Its key in `mcpServers`, which prefixes the names of its tools and names the server in every message."""
    command: Text | None = None
    """The program to start, looked up when it is started; `~/` is the home folder. No shell is used."""
    args: Strings = ()
    """Arguments of the command; each item is one argument."""
    env: Annotated[dict[str, str], AfterValidator(check_environment)] = Field(
        default_factory=dict[str, str], repr=False
    )
    """Environment variables, added to a short list of harmless ones from our own environment."""
    cwd: Text | None = None
    """The folder to start it in. Default: ours."""
    url: Annotated[str, AfterValidator(check_url)] | None = Field(default=None, repr=False)
    """The URL of a remote server. Also written `serverUrl` or `httpUrl`."""
    headers: Headers = Field(default_factory=dict[str, str], repr=False)
    """Sent with every request to `url`."""
    oauth: OAuthConfig | None = None
    """How to sign in to `url`, where it wants that and cannot be asked. Not looked at where `headers` have an
    `Authorization`."""
    transport: Transport = "stdio"
    """Written as `type`: "stdio" for a command; for a `url` "http" (also "streamable-http", "streamableHttp") or "sse".
    A `url` without it is "auto" here: Streamable HTTP, and SSE where that is refused."""
    tools: ToolRules = ToolRules()
    """Rules for its tools."""
    require_approval: Approval = "writes"
    """Tools that need the user's approval: all, those not declared read-only, or none. Rules in `tools` come first."""
    pin: Flag = True
    """Ask once when its tools are no longer what they were when they were first seen or last approved. False: for a
    server that you are developing, or whose descriptions change by themselves."""
    prefix: Flag = True
    """Offer tools as `<key>__<tool>`; false: by their plain names. Only the first server that sets false gets that."""
    protocol: Annotated[str, Field(pattern=r"^(auto|legacy|\d{4}-\d{2}-\d{2})$")] = "auto"
    """The MCP revision to speak: "auto", "legacy" (before 2026-07-28), or one revision, such as "2025-11-25"."""
    keep_empty: Flag = False
    """Pass on empty strings and nulls that a model gives for optional arguments; by default they are left out."""
    structured_content: StructuredContent = "both"
    """Parts that the model reads of a result with structured content. "both": that content, and the texts unless they
    say the same; "unless_text": the texts, where there are any; "prefer": the structured content instead of the
    texts; "only": the structured content and nothing else."""
    disabled: Flag = False
    """Ignore this entry."""
    serial: Flag = False
    """One call at a time."""
    stateful: Flag = False
    """Its process or session remembers what earlier calls did. A run that another process has taken over does not call
    it: the model is told that the state is lost."""
    max_parallel: Count = 64
    """Calls at one time; further calls wait."""
    idle_timeout_s: Seconds | None = None
    """Seconds without a result or progress after which a call is given up before its timeout. Default: none."""
    call_timeout_s: Seconds | None = None
    """Seconds for one call. Default: that of `limits`."""
    connect_timeout_s: Seconds | None = None
    """Seconds until it must be ready. Default: that of `limits`."""

    @property
    def has_own_authorization(self) -> bool:
        """True where the user has set an `Authorization`: it is sent as it is, and nobody is asked to sign in."""
        return any(name.lower() == "authorization" for name in self.headers)


class UpstreamConfig(_Section):
    """The Responses endpoint, `base_url + "/responses"`."""

    base_url: Annotated[str, AfterValidator(check_base_url)] = OPENAI_URL
    """With or without a trailing slash. No path means `/v1`; any other path is kept as it is."""
    api_key: Credential = Field(default=None, repr=False)
    """Sent as `Authorization: Bearer`; without a key the header is not sent."""
    model: Text | None = None
    """The model for calls that name none. Default: gpt-4.1 at OpenAI's own URL, none elsewhere."""
    headers: Headers = Field(default_factory=dict[str, str], repr=False)
    """Sent with every request."""
    query: dict[str, str] = Field(default_factory=dict[str, str], repr=False)
    """Added to the URL of every request, such as Azure's `api-version`."""
    stream: Literal["auto", "always", "never"] = "auto"
    """Ask for server-sent events; "auto" falls back to JSON where the endpoint cannot stream."""
    connect_timeout_s: Seconds = 10
    """Seconds to reach the endpoint."""
    idle_timeout_s: Seconds = 600
    """Seconds without a single byte of a reply after which a request fails."""
    max_retries: Annotated[int, BeforeValidator(read_scalar), Field(ge=0)] = 2
    """Retries of one request after transient failures."""
    name_chars: Annotated[int, BeforeValidator(read_scalar), Field(ge=16, le=128)] = 64
    """The most characters that the name of a tool may have."""
    description_chars: Annotated[int, BeforeValidator(read_scalar), Field(ge=16)] = 1024
    """The most characters that the description of a tool may have; chat backends and relays refuse longer ones."""
    defaults: dict[str, JsonValue] = {}
    """Parameters for every request, such as `temperature`; the caller's own values win."""
    profile: ProfileName = "auto"
    """The preset for what the endpoint supports; "auto" chooses by the address. What the preset leaves open is learned
    from refusals; each setting below overrides it."""
    auth: Annotated[str, AfterValidator(check_header_name)] | None = None
    """How the key is sent: "bearer", "none", or the name of the header for it, such as "api-key"."""
    state: Literal["auto", "stateless", "previous_response_id"] | None = None
    """"stateless": the endpoint stores no responses. "previous_response_id": it does, and each turn sends only the new
    items. "auto": each turn sends the whole history, and a caller's own `previous_response_id` is passed on."""
    store: Flag | None = None
    """The value of `store` for every request, whatever the caller says."""
    background: Flag | None = None
    """False: the endpoint has no background mode."""
    drop: Strings | None = None
    """Parameters that the endpoint does not accept, or fields of them, such as `reasoning.summary`; values of `include`
    (`include.message.output_text.logprobs`), fields of items that are sent back (`input[reasoning].status`,
    `input[].status` of all types) and tools (`tools[NAME]`)."""
    drop_without_tools: Strings | None = None
    """Parameters that the endpoint does not accept in requests without tools, such as `parallel_tool_calls`."""
    developer_role: Literal["keep", "system", "instructions"] | None = None
    """How developer messages are sent: unchanged, as system messages, or in `instructions` (system messages too)."""
    instructions: Text | None = None
    """Instructions for requests that would have none, where the endpoint refuses those."""
    content_parts: Flag | None = None
    """Send call outputs as lists of parts; false: as text."""
    images: Flag | None = None
    """Send images in call outputs; false: a text that describes them."""
    reasoning_replay: Flag | None = None
    """Send reasoning items back."""
    item_ids: Flag | None = None
    """Send calls and messages back with their ids."""
    odd_arguments: Flag | None = None
    """Send calls back whose arguments are no JSON object; false: with `{}` in their place."""
    context_window: Count | None = None
    """The most tokens that a request and its response may have together."""
    compaction: Flag | None = None
    """Let the endpoint compact the context (`context_management`) when `context_window` is nearly full."""

    @property
    def is_embedded(self) -> bool:
        """True for the embedded upstream of `--offline`."""
        return self.base_url == EMBEDDED.base_url


EMBEDDED = UpstreamConfig(base_url="http://offline.invalid/v1", model="offline-rules")
"""The upstream of `--offline`, which is part of this program; its address is never looked up."""


class Limits(_Section):
    """Limits of one run, but for `max_runs`. A caller may lower a limit, never raise it."""

    max_runs: Count | None = None
    """Runs at one time, of all callers; further ones wait, and the principals take turns. Default: 256, or fewer where
    the system allows few descriptors (`ulimit -n`)."""
    max_turns: Count = 10
    """Upstream requests of a run. After any limit, one more request, without calls, gives a last answer."""
    max_tool_calls: Count = 50
    """Tool calls of a run."""
    max_turn_calls: Count = 32
    """Tool calls of one turn; further calls of that turn get an error as output."""
    max_parallel: Count = 8
    """Tool calls of a run at one time."""
    max_tools: Count = 128
    """Tools offered in one request."""
    tool_tokens: Count = 20000
    """Tokens (estimated) of all tools in one request. Where the tools exceed this or `max_tools`, a request carries the
    most useful ones and `find_tools`, which reaches the rest: see `tool_search`."""
    timeout_s: Seconds = 1800
    """Seconds for a whole run."""
    soft_deadline_s: Seconds = 45
    """Seconds after which `respond` returns while the run goes on: hosts cut long calls, the strictest after 60."""
    on_cancel: Literal["auto", "stop", "detach"] = "auto"
    """Fate of a run whose call of `respond` is cancelled. "auto": it goes on if the call timed out, was over 30 s old,
    or its HTTP request was closed; otherwise it is stopped."""
    orphan_s: Seconds = 600
    """Seconds that a run goes on while no call waits for it."""
    approval_s: Seconds | None = None
    """Seconds for which a call that needs a yes waits for it where the host cannot ask: `runs approve` and `runs deny`
    answer from a terminal, if the run is kept in a file (see `runs`). Default: such a call is refused at once."""
    call_timeout_s: Seconds = 60
    """Seconds for one tool call."""
    connect_timeout_s: Seconds = 10
    """Seconds until a server must be ready."""
    tokens: Count = 1000000
    """Input and output tokens of a run, as the upstream counts them; estimated where it does not count."""
    cost: Cost | None = None
    """Cost of a run, in the currency of `prices`, which must contain the model."""
    output_bytes: Count = 65536
    """Bytes of one call's output that the model gets; the rest is cut, with a note."""
    turn_bytes: Count = 524288
    """Bytes of all outputs of one turn; what exceeds this can be read with `read_output`."""
    run_bytes: Count = 4194304
    """Bytes of all outputs of a run."""
    image_bytes: Count = 5242880
    """Bytes of one image that the model gets; a larger one is scaled down (with the extra `images`) or only named."""
    result_chars: Count = 40000
    """Characters of `respond`'s result that the host gets, its images aside."""
    result_images: Annotated[int, BeforeValidator(read_scalar), Field(ge=0)] = 4
    """Images of tools that the host gets in `respond`'s result, of more than that the last ones; `ask` saves all of
    them. 0: none, and `ask` saves none."""
    result_image_bytes: Count = 655360
    """Bytes of all images in one result; those that do not fit are named. Default: what a host that takes 1 MiB, as
    Claude Desktop does, can take beside the text."""
    message_bytes: Count = 67108864
    """Bytes of one message from a server; a longer one fails its call."""


class ToolSearch(_Section):
    """Choice of the tools that a request carries where all of them would be too many: see `limits.tool_tokens`."""

    pinned: Strings = ()
    """Tools that every request carries: globs over the names that the model sees."""
    first: Count = 3
    """Further tools in the first request: those that fit the input best."""
    found: Count = 5
    """The most tools that one call of `find_tools` offers for what is to be done. Where none clearly fits, it names the
    nearest, and offers those that the model then asks for by name."""
    names_tokens: Count = 2000
    """Tokens (estimated) up to which the description of `find_tools` names all tools, by server. With more of them it
    names the servers, with what their tools are about."""
    hosted: Flag = False
    """Leave the search to the upstream (`tool_search`, namespaces and `defer_loading` in its API), for models that
    support it, such as gpt-5.4 and later at OpenAI."""


Amount = Annotated[float, BeforeValidator(read_scalar), Field(ge=0, allow_inf_nan=False)]


class Price(_Section):
    """Prices of a model per million tokens, in any one currency."""

    input: Amount
    """Input tokens."""
    cached_input: Amount | None = None
    """Input tokens that the upstream had in its cache. Default: the same as `input`."""
    output: Amount
    """Output tokens, reasoning included."""


class RunsConfig(_Section):
    """Where runs are kept, and for how long."""

    store: Annotated[str, AfterValidator(check_store)] | None = None
    """"sqlite": a file in the state folder, which outlives the process; "sqlite:///PATH": that file; "memory": nothing
    outlives the process; "postgresql://…": a database that several services share (extra `cluster`). Default: "sqlite"
    for `serve` over stdio and for `ask`, "memory" for `demo` and for the service."""
    keep_s: Seconds = 86_400
    """Seconds after its end for which a run can be found and continued."""
    keep_bytes: Count = 268_435_456
    """Bytes of ended runs that are kept in all, in memory or in a file; the oldest ones are dropped first. A PostgreSQL
    database has no such bound."""


class IssuerConfig(_Section):
    """An issuer that is there already, such as Keycloak, whose tokens the service accepts."""

    issuer: Annotated[str, AfterValidator(check_issuer)]
    """Its identifier, exactly as its metadata and the `iss` of its tokens have it, also the slash at its end."""
    public_url: Annotated[str, AfterValidator(check_public_url)]
    """The address that clients know the service by, without `/mcp`. Its host need not be in `allowed_hosts`."""
    audience: Strings = ()
    """Audiences: a token must name one of them in `aud`. Default: `public_url`, and that with `/mcp` or `/sse`."""
    scopes: Annotated[Strings, AfterValidator(check_scopes)] = ()
    """Scopes that every token must have (`scope` or `scp`), and that clients are told to ask for."""
    principal_claim: Text = "sub"
    """The claim that says who it is, such as `preferred_username`. `email` counts only with `email_verified`."""
    principals: dict[str, Text] = {}
    """Values of that claim, and whom of `principals` each stands for."""
    others: Text | None = None
    """All others with such a token: "refuse"; "admit", each with runs of their own; or the same with the rights, limits
    and budgets of one of `serve.principals`, for each anew. Default: "refuse" where `principals` names anybody, else
    "admit"."""

    @property
    def lets_others_in(self) -> bool:
        """True where nobody has to be named here."""
        return self.others != "refuse" and (self.others is not None or not self.principals)

    def check_names(self, known: Container[str]) -> None:
        """Raise ValueError where a principal is named that is none."""
        named = {f"principals.{value}": name for value, name in self.principals.items()}
        if self.others in ("admit", "refuse") and self.others in known:
            raise ValueError(f"oauth.others: {self.others!r} is in serve.principals too; give that one another name")
        if self.others not in ("admit", "refuse", None):
            named["others"] = self.others
        for place, name in named.items():
            if name == DEFAULT:
                raise ValueError(f"oauth.{place}: {name!r} is whoever sends serve.token; name another one")
            if name not in known:
                raise ValueError(
                    f"oauth.{place}: {name!r} is not in serve.principals; add it there, or correct it here"
                )


class PrincipalLimits(_Section):
    """Limits of each run of a principal, in place of those of `limits`; a caller may lower two of them further."""

    max_turns: Count | None = None
    """As in `limits`."""
    max_tool_calls: Count | None = None
    """As in `limits`."""
    max_turn_calls: Count | None = None
    """As in `limits`."""
    max_parallel: Count | None = None
    """As in `limits`."""
    max_tools: Count | None = None
    """As in `limits`."""
    tool_tokens: Count | None = None
    """As in `limits`."""
    timeout_s: Seconds | None = None
    """As in `limits`."""
    tokens: Count | None = None
    """As in `limits`."""
    cost: Cost | None = None
    """As in `limits`."""
    output_bytes: Count | None = None
    """As in `limits`."""
    turn_bytes: Count | None = None
    """As in `limits`."""
    run_bytes: Count | None = None
    """As in `limits`."""


class PrincipalConfig(_Section):
    """Somebody who uses the service under a name. Each sees its own runs, conversations, tasks and questions only."""

    token: PersonalToken = Field(default=None, repr=False)
    """The token that it sends. Without this and `token_sha256`, it uses those that `tokens add NAME` prints."""
    token_sha256: TokenHash = None
    """The SHA-256 of its token, in 64 hexadecimal digits."""
    tools: ToolGlobs = ToolGlobs()
    """Tools that its runs may use."""
    models: Strings | None = None
    """Models that it may ask, the default one included: case-sensitive globs. Default: all."""
    limits: PrincipalLimits = PrincipalLimits()
    """Limits of each of its runs."""
    max_runs: Count | None = None
    """Runs of its at one time, in each process; further ones wait. Default: as many as there is a place for."""
    tokens_per_day: Count | None = None
    """Input and output tokens of all of its runs in a day, which begins at 00:00 UTC. No turn is begun once they are
    used up; the last one may go beyond."""
    cost_per_day: Cost | None = None
    """The same for the cost, in the currency of `prices`, which must contain the model."""
    operator: Flag = False
    """See everybody's runs on the page. It can neither answer nor end those of others."""


class ServeConfig(_Section):
    """The HTTP service (`serve --transport http` or `sse`)."""

    host: Text = "127.0.0.1"
    """The address to listen on."""
    port: Annotated[int, BeforeValidator(read_scalar), Field(ge=0, le=65535)] = 8787
    """The port to listen on; 0 takes a free one."""
    token: Credential = Field(default=None, repr=False)
    """The token that clients send as `Authorization: Bearer`. Default: MCP_RESPONSES_BRIDGE_TOKEN."""
    allowed_hosts: Strings = ()
    """`Host` values accepted in addition to the loopback names. One without a port is accepted as it is, which is how a
    proxy with TLS passes it on, and with the port that we listen on."""
    allowed_origins: Strings = ()
    """`Origin` values accepted in addition to our own. No CORS headers are sent: this is for clients that send an
    Origin and need no such headers, and for pages behind a proxy that adds them."""
    oauth: IssuerConfig | None = None
    """An issuer whose tokens are accepted too. Default: none."""
    audit: Annotated[Text, AfterValidator(check_path)] | None = None
    """A file that gets a line of JSON for each tool call of any `serve`, also over stdio: an absolute path, or one that
    begins with `~/`. Default: none."""
    audit_bytes: Annotated[int, BeforeValidator(read_scalar), Field(ge=4096)] = 10_000_000
    """Bytes from which on it is renamed to `FILE.1`, and a new one begun; five such are kept."""
    audit_required: Flag = False
    """Run no tool while the file cannot be written, and write a line before each call is sent, too."""
    drain_s: Annotated[float, BeforeValidator(read_scalar), Field(ge=0, allow_inf_nan=False)] = 25
    """Seconds that runs may go on after SIGTERM, while no new ones are begun; what is left then is cancelled, or kept
    for the next process where runs are kept in a file. 0: none. What ends the service has to wait five seconds longer:
    Kubernetes gives 30 in all, systemd 90, Docker 10."""
    principals: dict[str, PrincipalConfig] = {}
    """People and programs that use the service, by name. Who sends `serve.token` is "default", of whom there
    may be an entry, too, without a token."""

    @model_validator(mode="after")
    def _check_principals(self) -> Self:
        check_names(self.principals)
        check_tokens(self.token, self.principals)
        if self.oauth:
            self.oauth.check_names(self.principals)
        return self


class Config(_Section):
    """The whole configuration, validated. Code that has it needs neither the file nor the environment variables."""

    upstream: UpstreamConfig | None = None
    """None where nothing is configured; the message `NO_UPSTREAM` says what to set."""
    servers: tuple[ServerConfig, ...] = ()
    """The servers to connect, in the order of the file."""
    limits: Limits = Limits()
    runs: RunsConfig = RunsConfig()
    tool_search: ToolSearch = ToolSearch()
    prices: dict[str, Price] = {}
    """Prices by model, as `respond` or the config names it."""
    builtin_tools: Flag = True
    """Offer the built-in tools."""
    input_roots: Annotated[Strings, AfterValidator(check_folders)] = ()
    """Folders whose files `input` may name by path; `~` is the home folder. Their content can reach the upstream."""
    serve: ServeConfig = ServeConfig()
    off: tuple[str, ...] = ()
    """Names of entries that are switched off."""
    left_out: Mapping[str, str] = {}
    """Names of entries that cannot be used, each with the place in the file and the reason."""
    notices: tuple[Notice, ...] = ()
    path: Path | None = None
    """The file that was read, if any."""

    filled: frozenset[str] = Field(default=frozenset(), repr=False, exclude=True)
    """Values of environment variables and inputs that are secrets by their names, wherever they were filled in."""

    def secrets(self) -> frozenset[str]:
        """Return all known secret values, for redaction: see `secrets.py`.

        A value of fewer than 8 characters only if it is called a secret and is no word, as every "1" or "info" would
        be blanked. `Bearer xyz` gives both the whole value and `xyz`.
        """
        certain = set(self._list_certain())
        certain |= {part for value in certain for part in (*find_in_credential(value), *find_lines(value))}
        likely = set(self._list_likely())
        likely |= {part for value in likely for part in find_in_credential(value)}
        short = {value for value in certain if is_short_secret(value)}
        return frozenset(short | set(filter(is_secret, certain | likely)))

    def _list_certain(self) -> Iterator[str]:
        yield self.serve.token or ""
        yield from (each.token or "" for each in self.serve.principals.values())
        yield from self.filled
        if self.upstream:
            yield self.upstream.api_key or ""
            yield from (value for name, value in self.upstream.headers.items() if names_secret(name))
            yield from find_in_url(self.upstream.base_url)
        if (self.runs.store or "").startswith("postgresql:"):
            yield from find_in_url(self.runs.store or "")
        for server in self.servers:
            yield from (value for name, value in server.headers.items() if names_secret(name))
            yield from find_in_args((server.command or "").split())  # it may hold its arguments, too
            yield from find_in_args(server.args)
            yield from find_in_url(server.url or "")
            yield server.oauth.client_secret or "" if server.oauth else ""
            for name, value in server.env.items():
                yield from find_named(name, value)

    def _list_likely(self) -> Iterator[str]:
        """Yield what the config holds where secrets are usual, whatever it is called."""
        if self.upstream:
            yield from self.upstream.headers.values()
            yield from (value for name, value in self.upstream.query.items() if name not in _VERSIONS)
        for server in self.servers:
            yield from (value for value in server.env.values() if not holds_paths(value))
            yield from server.headers.values()
            query = urlsplit(server.url or "").query
            yield from (pair.partition("=")[2] for pair in query.split("&"))
            yield from (value for _, value in parse_qsl(query))


_VERSIONS = ("api-version", "api_version", "version")
"""Parameters whose values are no secrets, and which upstreams name in their refusals."""
