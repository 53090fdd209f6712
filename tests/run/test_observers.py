"""Those who hear of every run, beside its callers. Bodies of the test's own tell, ask and end."""

from dataclasses import dataclass, field

import pytest

from bridge.events import Event, Notified, TextArrived
from bridge.json_text import JsonObject
from bridge.questions import Answer, Question, approve, ask_approval
from bridge.run.engine import Context, Settle
from bridge.run.limits import COMPLETED, Ending
from bridge.run.memory import MemoryEngine
from bridge.run.run import Run
from tests.fakes.clock import VirtualClock

pytestmark = pytest.mark.anyio


@dataclass
class Listing:
    """Lists what it hears. `breaks`: it fails each time, as a fault of its own would make it."""

    breaks: bool = False
    heard: list[str] = field(default_factory=list[str])

    def begin(self, run: Run) -> None:
        self._note(f"{run.run_id} begins")

    def hear(self, run: Run, event: Event) -> None:
        self._note(f"{run.run_id} {event.type}")

    def settle(self, run: Run, question: str, answer: Answer | None, sender: str) -> None:
        self._note(f"{run.run_id} {question} {answer and answer['action']} {sender}")

    def _note(self, what: str) -> None:
        self.heard.append(what)
        if self.breaks:
            raise OSError("the disk is full")


class Host:
    """A host that shows questions."""

    def find_obstacle(self, question: Question) -> str | None:  # noqa: ARG002
        return None

    def note_silence(self, question: Question) -> bool:  # noqa: ARG002
        return False


async def execute(ctx: Context, _arguments: JsonObject) -> Ending:
    ctx.emit(Notified(code="begun", message="It begins."))
    ctx.emit(TextArrived(delta="Now"))
    await ctx.ask(ask_approval("library", "burn", {}))
    return COMPLETED


async def follow(*observers: Listing) -> Run:
    """A run that asks, and is answered, before these observers."""
    async with MemoryEngine(execute, VirtualClock(), orphan_s=60, observers=observers) as engine:
        run = await engine.start("run_1", {"input": "hi"}, principal=None)
        with engine.attend(run, audience=Host()):
            run = await engine.wait(run, news=0, until=1000)
            await engine.send(run, Settle(next(iter(run.questions)), approve(), "somebody"))
            return await engine.wait(run, news=99, until=1000)


async def test_an_observer_hears_of_a_run_from_its_beginning_to_its_end() -> None:
    observer = Listing()
    assert (await follow(observer)).ending == COMPLETED
    assert observer.heard == [
        "run_1 begins",
        "run_1 notice",
        "run_1 text",
        "run_1 question",
        "run_1 question-1 accept somebody",
        "run_1 cut_off",
        "run_1 run.ended",
    ]


async def test_an_observer_that_breaks_ends_no_run_and_keeps_nothing_from_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken, well = Listing(breaks=True), Listing()
    assert (await follow(broken, well)).ending == COMPLETED
    assert broken.heard == well.heard
    assert caplog.text.count("run run_1: an observer broke") == len(broken.heard)
