"""Metrics of runs: an observer that adds up what their events tell."""

from collections.abc import Callable
from dataclasses import dataclass

from bridge.config.settings import Config
from bridge.events import (
    CallEnded,
    Event,
    QuestionAsked,
    Retrying,
    RunEnded,
    TextArrived,
    TurnEnded,
    TurnStarted,
)
from bridge.items import read_usage
from bridge.questions import Answer
from bridge.run.run import Run
from bridge.signals import names
from bridge.signals.counts import Counts
from bridge.signals.labels import Models, choose_naming, name_error, name_failure


@dataclass
class _Going:
    """A run that goes on, as far as its durations need it."""

    principal: str
    began: float | None
    """None for one that another process has begun."""
    model: str = ""
    asked: float | None = None
    """Beginning of the request that has no answer yet."""
    is_silent: bool = False
    """True until the first text of its answer."""


class Figures:
    """Adds up what all runs of a bridge do."""

    def __init__(self, find_config: Callable[[], Config], counts: Counts) -> None:
        self.counts = counts
        self._models = Models(find_config())
        self._name_principal = choose_naming(find_config)
        self._going: dict[str, _Going] = {}

    def begin(self, run: Run) -> None:
        """Note a run."""
        began = None if run.events else run.created
        self._going[run.run_id] = _Going(self._name_principal(run.principal), began)

    def hear(self, run: Run, event: Event) -> None:
        """Add up one event."""
        going = self._going.get(run.run_id)
        if going is None:
            return
        match event:
            case TextArrived():
                if going.is_silent:
                    self._note_text(going, event.at)
            case TurnStarted():
                self._fail_turn(going, event.at)
                going.model, going.asked, going.is_silent = event.model, event.at, True
            case TurnEnded():
                self._end_turn(going, event)
            case CallEnded():
                self._end_call(event)
            case Retrying():
                self.counts.add(names.RETRIES, 1)
            case QuestionAsked():
                self.counts.add(names.QUESTIONS, 1, event.server)
            case RunEnded():
                self._end(self._going.pop(run.run_id), event)
            case _:
                pass

    def settle(self, run: Run, question: str, answer: Answer | None, sender: str) -> None:
        """Take no note of answers."""

    def _note_text(self, going: _Going, at: float) -> None:
        going.is_silent = False
        if going.asked is not None:
            model = self._models.name(going.model)
            self.counts.add(names.FIRST_TEXT, at - going.asked, names.CHAT, names.OPENAI, model)

    def _end_turn(self, going: _Going, event: TurnEnded) -> None:
        model, add = self._models.learn(going.model), self.counts.add
        if going.asked is not None:
            add(names.TURN_DURATION, event.at - going.asked, names.CHAT, names.OPENAI, model, "")
        going.asked, going.is_silent = None, False
        if event.cost:
            add(names.SPENT, event.cost, model, going.principal)
        if event.usage and not event.is_estimated:
            spent = read_usage(event.usage)
            add(names.TOKEN_USAGE, spent["input_tokens"], names.CHAT, names.OPENAI, model, names.INPUT)
            add(names.TOKEN_USAGE, spent["output_tokens"], names.CHAT, names.OPENAI, model, names.OUTPUT)

    def _fail_turn(self, going: _Going, at: float, error: str = names.OTHER) -> None:
        """Count a request that got no answer, if there is one."""
        if going.asked is not None:
            model = self._models.name(going.model)
            self.counts.add(names.TURN_DURATION, at - going.asked, names.CHAT, names.OPENAI, model, error)
        going.asked = None

    def _end_call(self, event: CallEnded) -> None:
        tool = event.tool or names.OTHER
        labels = (names.EXECUTE_TOOL, tool, event.server or "", name_failure(event))
        self.counts.add(names.CALL_DURATION, event.duration_ms / 1000, *labels)

    def _end(self, going: _Going, event: RunEnded) -> None:
        error = name_error(event.error)
        self._fail_turn(going, event.at, error or event.reason or event.status)
        self.counts.add(names.RUNS, 1, event.status, event.reason or "", going.principal)
        if going.began is not None:
            self.counts.add(names.RUN_DURATION, event.at - going.began, names.INVOKE_AGENT, names.SCOPE, error)
