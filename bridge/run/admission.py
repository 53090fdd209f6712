"""Admission: checks the model and the earlier result that the arguments of `respond` name, before a run begins."""

from collections.abc import Callable
from dataclasses import dataclass

from bridge.config.settings import NO_MODEL, Config
from bridge.errors import ArgumentError
from bridge.json_text import JsonObject
from bridge.run.continuation import OF_ONE_CALL, UNKNOWN_RESPONSE, find_earlier, find_history
from bridge.run.engine import Engine
from bridge.run.rights import find_rights


@dataclass(frozen=True)
class Admission:
    """The check of schema-valid arguments against what is known of the upstream and of earlier runs."""

    config: Config
    engine: Engine
    is_stateless: Callable[[str], bool]
    """Tells whether the upstream stores no responses of this model."""

    async def admit(self, arguments: JsonObject, *, principal: str | None) -> JsonObject:
        """Return the arguments, completed by those of the run that `run_id` names. Raises ArgumentError where no run
        can be made of them."""
        if "run_id" in arguments and "previous_response_id" in arguments:
            raise ArgumentError("previous_response_id: give either this or run_id")
        earlier = await find_earlier(self.engine, arguments, principal=principal)
        if earlier:
            history = await find_history(self.engine, arguments, earlier, principal=principal)
            history.require_answers(arguments["input"])
        else:
            self._check_previous(arguments)
        if earlier and "run_id" in arguments:
            inherited = {name: value for name, value in earlier.arguments.items() if name not in OF_ONE_CALL}
            arguments = inherited | arguments
        self._check_model(arguments, principal)
        return arguments

    @property
    def _default_model(self) -> str | None:
        return self.config.upstream.model if self.config.upstream else None

    def _check_model(self, arguments: JsonObject, principal: str | None) -> None:
        model = arguments.get("model", self._default_model)
        if model is None:
            raise ArgumentError(NO_MODEL)
        rights = find_rights(self.config, principal)
        if rights:
            rights.check(arguments, str(model), self.config)
        config = rights.apply(self.config) if rights else self.config
        if config.limits.cost is not None and model not in self.config.prices:
            raise ArgumentError(f"model: limits.cost is set, and `prices` in the config has no price for {model!r}")

    def _check_previous(self, arguments: JsonObject) -> None:
        """Raise ArgumentError for an earlier response that is not known here and that the upstream does not store."""
        model = str(arguments.get("model", self._default_model))
        if "previous_response_id" in arguments and self.is_stateless(model):
            raise ArgumentError(UNKNOWN_RESPONSE)
