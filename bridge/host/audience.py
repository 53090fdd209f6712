"""The host as the audience of a run's questions, which it shows to a person, in either protocol era."""

from typing import cast

from mcp import types
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from bridge.host.cancellation import HostRequest
from bridge.json_text import JsonObject
from bridge.questions import Answer, Question

NO_ELICITATION = "this host has no way to ask them"
UNSEEN = "some hosts answer without showing the question"
"""The `reason` beside every answer of a host: a no may not be the person's."""


class HostAudience:
    """One host. `silent` holds the names of the hosts that have left a question unanswered: some declare elicitation
    and never show a question (anthropics/claude-code#88901, anthropics/claude-ai-mcp#1046), so that the call waits in
    vain."""

    def __init__(self, name: str, ctx: HostRequest, silent: set[str]) -> None:
        self._name = name
        self._silent = silent
        self._can_ask = _can_ask(ctx)

    def find_obstacle(self) -> str | None:
        """Return why the person cannot be asked, or None if they can."""
        if not self._can_ask:
            return NO_ELICITATION
        return "this host left an earlier question unanswered" if self._name in self._silent else None

    def note_silence(self) -> None:
        """Remember that this host was given a question and did not answer."""
        self._silent.add(self._name)


def is_modern(ctx: HostRequest) -> bool:
    """Tell whether the host is of the modern era: there a question is the result of the call, and its answer comes with
    another call; in the handshake era a question is a request to the host."""
    return ctx.protocol_version in MODERN_PROTOCOL_VERSIONS


def name_host(ctx: HostRequest) -> str:
    """Return the host's own name and version, by which its silence is remembered."""
    client = ctx.session.client_params
    return f"{client.client_info.name} {client.client_info.version}" if client else ""


def build_elicitation(question: Question) -> types.ElicitRequest:
    """Build the elicitation request that asks a question."""
    params = types.ElicitRequestFormParams(message=question.message, requested_schema=question.schema)
    return types.ElicitRequest(params=params)


def read_answer(response: object) -> Answer:
    """Read the host's response to a question; a malformed one counts as dismissed."""
    try:
        result = types.ElicitResult.model_validate(response, from_attributes=True)
    except ValidationError:
        return {"action": "cancel", "content": {}, "reason": UNSEEN}
    return {"action": result.action, "content": cast("JsonObject", result.content or {}), "reason": UNSEEN}


def _can_ask(ctx: HostRequest) -> bool:
    capabilities = ctx.session.client_capabilities
    elicitation = capabilities.elicitation if capabilities else None
    if elicitation is None or (elicitation.form is None and elicitation.url is not None):
        return False
    return is_modern(ctx) or ctx.session.can_send_request
