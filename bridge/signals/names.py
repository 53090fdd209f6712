"""The names of traces and metrics, all in one place: OpenTelemetry's conventions for GenAI and MCP are in development.

They are those of open-telemetry/semantic-conventions-genai 0.1 (`gen_ai.*`, `mcp.*`; status Development) and of
open-telemetry/semantic-conventions 1.44 (`http.*`, `server.*`, `url.*`, `error.*`; stable). What they have no name for
begins with OWN.
"""

from dataclasses import dataclass
from typing import Literal

SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
SCOPE = "mcp-responses-bridge"
"""Scope of our spans and metrics; the SDK writes those of MCP messages as `mcp-python-sdk`."""
OWN = "mcp_responses_bridge."
OTHER = "_OTHER"
"""The value that the conventions give for what is not told apart."""
UNKNOWN = ""

# -- attributes --------------------------------------------------------------------------------------------------------

OPERATION = "gen_ai.operation.name"
INVOKE_AGENT, CHAT, EXECUTE_TOOL = "invoke_agent", "chat", "execute_tool"
"""The operations: a run, a request to the upstream with its repetitions, and a call."""
PROVIDER = "gen_ai.provider.name"
OPENAI = "openai"
"""The provider is the API that is spoken, and not who answers there."""
API = "openai.api.type"
AGENT = "gen_ai.agent.name"
REQUEST_MODEL = "gen_ai.request.model"
RESPONSE_MODEL = "gen_ai.response.model"
RESPONSE_ID = "gen_ai.response.id"
FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
CACHED_TOKENS = "gen_ai.usage.cache_read.input_tokens"
REASONING_TOKENS = "gen_ai.usage.reasoning.output_tokens"
TOKEN_TYPE = "gen_ai.token.type"
INPUT, OUTPUT = "input", "output"
TOOL = "gen_ai.tool.name"
TOOL_TYPE = "gen_ai.tool.type"
FUNCTION = "function"
CALL_ID = "gen_ai.tool.call.id"

ERROR = "error.type"
TOOL_ERROR = "tool_error"
"""The error of a call whose server says that it failed."""
METHOD = "http.request.method"
STATUS_CODE = "http.response.status_code"
ROUTE = "http.route"
URL = "url.full"
ADDRESS = "server.address"
PORT = "server.port"

RUN = f"{OWN}run.id"
RUN_STATUS = f"{OWN}run.status"
RUN_REASON = f"{OWN}run.reason"
TURN = f"{OWN}turn"
SERVER = f"{OWN}server"
SERVER_STATE = f"{OWN}server.state"
TOOLS_OFFERED = f"{OWN}tools"
COST = f"{OWN}cost"
PRINCIPAL = f"{OWN}principal"
RETRY, RETRY_PAUSE = f"{OWN}retry", f"{OWN}retry.pause"
QUESTION = f"{OWN}question"
REFUSAL = f"{OWN}refusal"

CALL_ERRORS = frozenset(
    {
        *("approval_required", "busy", "connection_lost", "declined", "denied", "incomplete_call", "input_required"),
        *("invalid_arguments", "limit_reached", "not_allowed", "outcome_unknown", "protocol_error", "repeated_call"),
        *("server_unavailable", "stopped", "timeout", "unknown_tool", "unreadable_result"),
    }
)
"""Our own codes for calls that failed: a server may write anything in their place."""

# -- metrics -----------------------------------------------------------------------------------------------------------

Kind = Literal["counter", "histogram", "gauge"]


@dataclass(frozen=True)
class Instrument:
    """One metric."""

    name: str
    kind: Kind
    unit: str
    """Unit as UCUM writes it; what is in braces is counted, and no unit."""
    text: str
    labels: tuple[str, ...]
    """The attributes of each value, in order."""
    bounds: tuple[float, ...] = ()
    """The upper bounds of a histogram's buckets."""


SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
LONG_SECONDS = (*SECONDS, 300.0, 900.0, 1800.0)
"""A run may take much longer than a request."""
TOKENS = tuple(float(4**power) for power in range(14))

RUN_DURATION = Instrument(
    "gen_ai.invoke_agent.duration",
    "histogram",
    "s",
    "Runs, from the call of respond to their end; what they wait for a place counts.",
    (OPERATION, AGENT, ERROR),
    LONG_SECONDS,
)
TURN_DURATION = Instrument(
    "gen_ai.client.operation.duration",
    "histogram",
    "s",
    "Requests to the upstream, with their repetitions after failures.",
    (OPERATION, PROVIDER, REQUEST_MODEL, ERROR),
    SECONDS,
)
TOKEN_USAGE = Instrument(
    "gen_ai.client.token.usage",
    "histogram",
    "{token}",
    "Tokens of each answer of the upstream, as it counted them.",
    (OPERATION, PROVIDER, REQUEST_MODEL, TOKEN_TYPE),
    TOKENS,
)
FIRST_TEXT = Instrument(
    "gen_ai.client.operation.time_to_first_chunk",
    "histogram",
    "s",
    "From a request to the first piece of text of its answer; there is none where the model only calls tools.",
    (OPERATION, PROVIDER, REQUEST_MODEL),
    SECONDS,
)
CALL_DURATION = Instrument(
    "gen_ai.execute_tool.duration",
    "histogram",
    "s",
    "Calls of tools, from their place among those in flight to their output.",
    (OPERATION, TOOL, SERVER, ERROR),
    LONG_SECONDS,
)
RUNS = Instrument(
    f"{OWN}runs", "counter", "{run}", "Runs that have ended, by how.", (RUN_STATUS, RUN_REASON, PRINCIPAL)
)
SPENT = Instrument(
    f"{OWN}cost",
    "counter",
    "{currency}",
    "Money that was spent on turns, in the currency of `prices`; only models that have a price.",
    (REQUEST_MODEL, PRINCIPAL),
)
RETRIES = Instrument(f"{OWN}retries", "counter", "{retry}", "Requests to the upstream that were sent again.", ())
QUESTIONS = Instrument(f"{OWN}questions", "counter", "{question}", "Questions to a person.", (SERVER,))
REFUSALS = Instrument(
    f"{OWN}refusals",
    "counter",
    "{refusal}",
    "What was refused before it could do anything: requests by their HTTP status, and calls of respond.",
    (REFUSAL,),
)
ACTIVE = Instrument(f"{OWN}runs.active", "gauge", "{run}", "Runs that go on.", ())
WAITING = Instrument(f"{OWN}runs.waiting", "gauge", "{run}", "Runs that wait for a place.", ())
PLACES = Instrument(f"{OWN}runs.places", "gauge", "{run}", "How many runs may go on at once.", ())
SERVERS = Instrument(
    f"{OWN}servers", "gauge", "{server}", "1 for the state that each connected server is in.", (SERVER, SERVER_STATE)
)

COUNTED = (
    *(RUN_DURATION, TURN_DURATION, TOKEN_USAGE, FIRST_TEXT, CALL_DURATION),
    *(RUNS, SPENT, RETRIES, QUESTIONS, REFUSALS),
)
"""Metrics that are added up as things happen."""
READ = (ACTIVE, WAITING, PLACES, SERVERS)
"""Metrics that are read when somebody asks."""

_SUFFIXES = {"s": "_seconds"}


def spell(name: str) -> str:
    """Spell the name of an attribute as a label of Prometheus."""
    return name.replace(".", "_")


def spell_metric(instrument: Instrument) -> str:
    """Spell the name of a metric as Prometheus has it, also where it comes by way of OTLP; without `_total`."""
    return spell(instrument.name) + _SUFFIXES.get(instrument.unit, "")
