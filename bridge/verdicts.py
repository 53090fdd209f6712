"""Verdicts: whether one tool call may run, who has decided that, and by which rule."""

from dataclasses import dataclass

from bridge.json_text import JsonObject
from bridge.questions import Who


@dataclass
class Verdict:
    """What was decided about one call, and how far it has come since."""

    is_allowed: bool
    by: Who
    rule: str
    """For programs: what of the config let it run, what was asked, or the code of the refusal."""
    definition: str | None = None
    """SHA-256 of what its tool claims."""
    is_sent: bool = False
    """True once it may have reached its server."""
    is_answered: bool = False
    """True once its server has given a result."""

    def to_json(self) -> JsonObject:
        """Return it as JSON."""
        return {**vars(self)}
