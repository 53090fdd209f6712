"""The host as somebody who shows questions to a person, in either protocol era."""

from typing import cast

from mcp import types
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from bridge.host.cancellation import Context
from bridge.json_text import JsonObject
from bridge.questions import Answer, Question

NO_ELICITATION = "this host has no way to ask them"
UNSEEN = "some hosts give it unseen"
"""What to think of a no."""


class HostAudience:
    """One host. `silent` are the names of those that did not answer once: some declare that they can ask and never show
    a question (anthropics/claude-code#88901, anthropics/claude-ai-mcp#1046), which costs the call its time."""

    def __init__(self, name: str, ctx: Context, silent: set[str]) -> None:
        self._name = name
        self._silent = silent
        self._can_ask = _can_ask(ctx)

    def find_obstacle(self) -> str | None:
        """Why the person cannot be asked; None: they can."""
        if not self._can_ask:
            return NO_ELICITATION
        return "this host left an earlier question unanswered" if self._name in self._silent else None

    def note_silence(self) -> None:
        """Note that it was shown a question, and nobody answered."""
        self._silent.add(self._name)


def is_modern(ctx: Context) -> bool:
    """Whether a question is the result of the call, and the answer comes with another call; else it is a request."""
    return ctx.protocol_version in MODERN_PROTOCOL_VERSIONS


def name_host(ctx: Context) -> str:
    """What the host calls itself: its silence is no other's."""
    client = ctx.session.client_params
    return f"{client.client_info.name} {client.client_info.version}" if client else ""


def write_question(question: Question) -> types.ElicitRequest:
    """A question as the protocol's request."""
    params = types.ElicitRequestFormParams(message=question.message, requested_schema=question.schema)
    return types.ElicitRequest(params=params)


def read_answer(response: object) -> Answer:
    """What the host made of a question; whatever is no answer to it is a dismissal."""
    try:
        result = types.ElicitResult.model_validate(response, from_attributes=True)
    except ValidationError:
        return {"action": "cancel", "content": {}, "reason": UNSEEN}
    return {"action": result.action, "content": cast("JsonObject", result.content or {}), "reason": UNSEEN}


def _can_ask(ctx: Context) -> bool:
    capabilities = ctx.session.client_capabilities
    elicitation = capabilities.elicitation if capabilities else None
    if elicitation is None or (elicitation.form is None and elicitation.url is not None):
        return False
    return is_modern(ctx) or ctx.session.can_send_request
