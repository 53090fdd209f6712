"""Which arguments of `respond` a run can be made of here: the model and the earlier results that they name."""

from collections.abc import Callable
from dataclasses import dataclass

from bridge.config.settings import NO_MODEL, Config, UpstreamConfig
from bridge.errors import ArgumentError
from bridge.json_text import JsonObject
from bridge.run.continuation import OF_ONE_CALL, UNKNOWN_RESPONSE, find_earlier, find_history
from bridge.run.engine import Engine


@dataclass(frozen=True)
class Admission:
    """Judges arguments that fit the schema by what is known of the upstream and of earlier runs."""

    config: Config
    asked: UpstreamConfig
    """Which model is asked by default, and with which parameters."""
    engine: Engine
    is_stateless: Callable[[str], bool]
    """Whether the upstream remembers no response of this model."""

    async def admit(self, arguments: JsonObject, *, principal: str | None) -> JsonObject:
        """Complete the arguments: with `run_id`, those of the earlier run hold too. Raises ArgumentError where no run
        can be made of them."""
        if "run_id" in arguments and "previous_response_id" in arguments:
            raise ArgumentError("previous_response_id: give either it or run_id")
        earlier = await find_earlier(self.engine, arguments, principal=principal)
        if earlier:
            history = await find_history(self.engine, arguments, principal=principal)
            history.require_answers(arguments["input"])
        else:
            self._check_previous(arguments)
        if earlier and "run_id" in arguments:
            held = {name: value for name, value in earlier.arguments.items() if name not in OF_ONE_CALL}
            arguments = held | arguments
        self._check_model(arguments)
        return arguments

    def _check_model(self, arguments: JsonObject) -> None:
        model = arguments.get("model", self.asked.model)
        if model is None:
            raise ArgumentError(NO_MODEL)
        if self.config.limits.cost is not None and model not in self.config.prices:
            raise ArgumentError(f"model: limits.cost is set, and `prices` in the config has no price of {model!r}")

    def _check_previous(self, arguments: JsonObject) -> None:
        """A response that is not known here must be known to the upstream."""
        model = str(arguments.get("model", self.asked.model))
        if "previous_response_id" in arguments and self.is_stateless(model):
            raise ArgumentError(UNKNOWN_RESPONSE)
