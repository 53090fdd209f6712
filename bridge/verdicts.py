"""Verdicts: whether one tool call may run, who has decided that, and by which rule."""

from dataclasses import dataclass
from typing import Literal

from bridge.json_text import JsonObject
from bridge.questions import AT_TERMINAL, IN_ADVANCE, ON_PAGE, Answer

Who = Literal["config", "host", "terminal", "page", "advance", "nobody", "limits", "run", "bridge", "before"]
"""The config; a person at the host, at a terminal or at the page; one who agreed in advance; nobody, where a person had
to; a limit; the end of the run; the bridge itself; the process that drove the run before."""
_PLACES: dict[str, Who] = {AT_TERMINAL: "terminal", ON_PAGE: "page", IN_ADVANCE: "advance"}


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


def find_who(answer: Answer) -> Who:
    """Find who gave an answer."""
    if answer["action"] in ("unasked", "moot"):
        return "nobody"
    return _PLACES.get(answer["reason"], "host")
