"""The log of runs: a line when one begins, ends or is refused, with nothing of what it is about."""

import logging

from typing_extensions import override

from bridge.events import Event, RunEnded
from bridge.questions import Answer
from bridge.run.engine import NAMED
from bridge.run.observers import Observer
from bridge.run.run import Run
from bridge.run.summary import add_up
from bridge.telemetry import tell
from bridge.visible import show_name

logger = logging.getLogger(__name__)

KEPT_CHARS = 8
"""Characters shown of a token's hash or a session's id: enough to tell nameless principals apart."""


class RunLog(Observer):
    """Tells of every run that this process drives."""

    @override
    def begin(self, run: Run) -> None:
        who = name_principal(run.principal)
        how = f"is taken up after {len(run.events)} events" if run.events else "begins"
        logger.info("%s %s, of %s", run.run_id, how, show_name(who), extra=tell(run=run.run_id, principal=who))

    @override
    def hear(self, run: Run, event: Event) -> None:
        if isinstance(event, RunEnded):
            self._tell_end(run, event)

    @override
    def settle(self, run: Run, question: str, answer: Answer | None, sender: str) -> None:
        pass

    def _tell_end(self, run: Run, event: RunEnded) -> None:
        totals, why = add_up(run.events), event.error["code"] if event.error else event.reason
        seconds = max(0.0, event.at - run.created)
        logger.info(
            "%s is %s%s: %d turns, %d calls, %d tokens, %.1f s",
            run.run_id,
            event.status,
            f" ({why})" if why else "",
            totals.turns,
            totals.calls,
            totals.tokens,
            seconds,
            extra=tell(
                run=run.run_id,
                principal=name_principal(run.principal),
                status=event.status,
                reason=why,
                turns=totals.turns,
                calls=totals.calls,
                tokens=totals.tokens,
                ms=round(seconds * 1000),
            ),
        )


def tell_refusal(tool: str, code: str, principal: str | None) -> None:
    """Tell that a call of one of our own tools came to no run. Its words may quote what was asked: its code alone."""
    if logger.isEnabledFor(logging.INFO):
        who = name_principal(principal)
        words = "%s of %s was refused: %s"
        logger.info(words, tool, show_name(who), code, extra=tell(tool=tool, principal=who, reason=code))


def name_principal(principal: str | None) -> str:
    """Name a principal for people: its name in the config, or enough of what tells it from others."""
    if principal is None:
        return "terminal"
    kind, _, rest = principal.partition(" ")
    return rest if principal.startswith(NAMED) else f"{kind}:{rest[:KEPT_CHARS]}" if rest else kind
