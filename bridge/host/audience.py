"""The host as the audience of a run's questions, which it shows to a person, in either protocol era."""

from collections.abc import Mapping
from typing import cast

from mcp import types
from pydantic import ValidationError

from bridge.clock import Clock
from bridge.host.principal import HostRequest, is_modern
from bridge.host.silences import Silences, identify_asked
from bridge.json_text import JsonObject
from bridge.questions import Answer, Question

NO_ELICITATION = "this host has no way to ask them"
NO_PAGES = "this host has no way to open a page"
FIRST_WITH_PAGES = "2025-11-25"
UNANSWERED = "this host left an earlier question unanswered, so it is not asked such a question for ten minutes"
UNSEEN = "some hosts answer without showing the question"
"""The `reason` beside every answer of a host: a no may not be the person's."""


class HostAudience:
    """One host. Some declare elicitation and never show a question (anthropics/claude-code#88901,
    anthropics/claude-ai-mcp#1046), so that the call waits in vain: `silences` holds who left which unanswered."""

    def __init__(self, ctx: HostRequest, silences: Silences, clock: Clock) -> None:
        self._host = identify_asked(ctx)
        self._silences = silences
        self._since = clock.now()
        elicitation = _find_elicitation(ctx)
        self._can_ask = elicitation is not None and not (elicitation.form is None and elicitation.url is not None)
        self._can_open = elicitation is not None and elicitation.url is not None and _has_pages(ctx)

    def find_obstacle(self, question: Question) -> str | None:
        """Return why the person cannot be asked this, or None if they can."""
        if not (self._can_open if question.address else self._can_ask):
            return NO_PAGES if question.address else NO_ELICITATION
        return UNANSWERED if self._silences.holds(self._host, question) else None

    def pick(self, questions: Mapping[str, Question]) -> dict[str, Question]:
        """Return those that the person can be asked."""
        return {key: question for key, question in questions.items() if not self.find_obstacle(question)}

    def note_silence(self, question: Question) -> bool:
        """Remember that this host was given the question and did not answer; return whether it is held against it."""
        return self._silences.begin(self._host, question, self._since)

    def read_answer(self, response: object) -> Answer:
        """Read the host's response to a question; a malformed one counts as dismissed."""
        try:
            result = types.ElicitResult.model_validate(response, from_attributes=True)
        except ValidationError:
            return {"action": "cancel", "content": {}, "reason": UNSEEN}
        self._silences.end(self._host)
        return {"action": result.action, "content": cast("JsonObject", result.content or {}), "reason": UNSEEN}


def build_elicitation(question: Question) -> types.ElicitRequest:
    """Build the elicitation request that asks a question, as a result of the modern era has it."""
    params: types.ElicitRequestParams
    if question.address:
        params = types.ElicitRequestURLParams(message=question.message, url=question.address)
    else:
        params = types.ElicitRequestFormParams(message=question.message, requested_schema=question.schema)
    return types.ElicitRequest(params=params)


def _find_elicitation(ctx: HostRequest) -> types.ElicitationCapability | None:
    """Return how the host can ask a person, where we can ask the host."""
    capabilities = ctx.session.client_capabilities
    can_send = is_modern(ctx) or ctx.session.can_send_request
    return capabilities.elicitation if capabilities and can_send else None


def _has_pages(ctx: HostRequest) -> bool:
    """Tell whether the revision that is spoken has them, whatever the host declares."""
    return is_modern(ctx) or ctx.protocol_version >= FIRST_WITH_PAGES
