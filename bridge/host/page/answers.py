"""Actions of a visitor on a run: to answer what it asks, and to end it."""

from bridge.host.page.door import Visitor
from bridge.host.page.replies import Refusal
from bridge.json_text import JsonObject
from bridge.questions import ON_PAGE, approve, decline
from bridge.run.engine import Engine, Settle, Stop
from bridge.run.run import Run

SENDER = "page"
"""Beginning of the sender of an answer that was given on the page."""
NOBODY = Refusal(403, "may_not", "Without tokens any program of this machine could do this, so nobody can.")
NOT_YOURS = Refusal(403, "may_not", "Only whose run it is may do this.")
WRONG = Refusal(400, "invalid", 'The body must say {"question": its id, "yes": true or false}.')
MOVED_ON = Refusal(409, "moved_on", "The run does not ask this any more, so this answer does not count.")
NO_FORM = Refusal(409, "no_form", "This is a question of the server's, which only the host that called can answer.")
ENDED = Refusal(409, "ended", "The run has ended.")


def check(visitor: Visitor, run: Run) -> Refusal | None:
    """Tell why a visitor may do nothing to a run; None where it may."""
    if not visitor.may_answer:
        return NOBODY
    return None if visitor.owns(run.principal) else NOT_YOURS


async def answer(engine: Engine, visitor: Visitor, run: Run, body: JsonObject) -> Refusal | None:
    """Answer a question of a run; return why not where it does not count. The first answer counts, whoever gives it."""
    key, is_yes = body.get("question"), body.get("yes")
    if not isinstance(key, str) or not isinstance(is_yes, bool):
        return WRONG
    question = run.questions.get(key)
    if question is None:
        return MOVED_ON
    if is_yes and not question.is_approval:
        return NO_FORM
    given = approve(ON_PAGE) if is_yes else decline(ON_PAGE)
    await engine.send(run, Settle(key, given, " ".join(filter(None, [SENDER, visitor.name]))))
    return None if run.decisions.get(key, is_yes) is is_yes else MOVED_ON


async def cancel(engine: Engine, run: Run) -> Refusal | None:
    """End a run, whoever drives it."""
    if run.ending:
        return ENDED
    await engine.send(run, Stop())
    return None
