"""Which arguments of `respond` a run can be made of here: the model and the earlier results that they name."""

from collections.abc import Callable
from dataclasses import dataclass

from bridge.config.settings import NO_MODEL, Config, UpstreamConfig
from bridge.errors import ArgumentError
from bridge.json_text import JsonObject
from bridge.run.continuation import complete_input, continue_run
from bridge.run.conversations import Conversations
from bridge.run.engine import Engine
from bridge.run.request import build_request
from bridge.run.run import Run


@dataclass(frozen=True)
class Admission:
    """Judges arguments that fit the schema by what is known of the upstream and of earlier runs."""

    config: Config
    asked: UpstreamConfig
    """Which model is asked by default, and with which parameters."""
    engine: Engine
    conversations: Conversations
    is_stateless: Callable[[str], bool]
    """Whether the upstream remembers no response of this model."""

    def check(self, arguments: JsonObject, *, owner: str | None) -> None:
        """Raises ArgumentError where no run can be made of `arguments`. Of those that go on from a run it is judged
        when they are complete."""
        if "run_id" not in arguments:
            self._check_model(arguments)
            self._check_previous(arguments, owner)

    def complete(self, arguments: JsonObject, *, owner: str | None) -> JsonObject:
        """The arguments with what an earlier run had, where they go on from one. Raises ArgumentError."""
        completed = self._continue(arguments, owner)
        self._check_model(completed)
        return completed

    def _check_model(self, arguments: JsonObject) -> None:
        model = arguments.get("model", self.asked.model)
        if model is None:
            raise ArgumentError(NO_MODEL)
        if self.config.limits.cost is not None and model not in self.config.prices:
            raise ArgumentError(f"model: limits.cost is set, and `prices` in the config has no price of {model!r}")

    def _check_previous(self, arguments: JsonObject, owner: str | None) -> None:
        if isinstance(response_id := arguments.get("previous_response_id"), str):
            is_needed = self.is_stateless(str(arguments.get("model", self.asked.model)))
            self.conversations.check(response_id, owner=owner, is_needed=is_needed)

    def _continue(self, arguments: JsonObject, owner: str | None) -> JsonObject:
        if isinstance(run_id := arguments.get("run_id"), str):
            earlier = find_run(self.engine, run_id, owner=owner)
            request = build_request(earlier.arguments, model="", defaults=self.asked.defaults)
            return continue_run(earlier, arguments, is_kept=request.is_kept)
        if isinstance(response_id := arguments.get("previous_response_id"), str):
            answered = self.engine.find_response(response_id, owner=owner)
            is_kept = self.conversations.knows(response_id, owner=owner)
            return complete_input(answered, arguments, is_kept=is_kept) if answered else arguments
        return arguments


def find_run(engine: Engine, run_id: str, *, owner: str | None) -> Run:
    """A run of this owner. Raises ArgumentError, the same for one that is unknown, expired or somebody else's."""
    run = engine.find(run_id, owner=owner)
    if run is None:
        raise ArgumentError("run_id: there is no such run; it may have expired, and must be that of a result")
    return run
