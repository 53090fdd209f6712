"""Values of labels: names that the config or the connected servers have, and none that somebody makes up."""

import json
import re
from collections.abc import Callable
from contextlib import suppress

from bridge.config.principals import DEFAULT
from bridge.config.settings import Config
from bridge.events import CallEnded
from bridge.items import ErrorInfo
from bridge.run.rights import OF_A_TOKEN, find_rights
from bridge.signals.names import CALL_ERRORS, OTHER, TOOL_ERROR

MAX_MODELS = 32
"""Models that are told apart beside those of the config: each of them has answered."""
LONGEST_ERROR = 1000
"""Characters of an output that may be one of our own errors."""
_CODE = re.compile(r"[a-z][a-z0-9_]{0,40}")


class Models:
    """The models that are told apart. Callers name any, and some relays answer to all of them."""

    def __init__(self, config: Config) -> None:
        upstream = config.upstream
        named = (upstream.model if upstream else None, *config.prices)
        self._known = {model for model in named if model}
        self._room = MAX_MODELS

    def name(self, model: str) -> str:
        """Return a model that is known, or OTHER."""
        return model if model in self._known else OTHER

    def learn(self, model: str) -> str:
        """Return a model that has answered, or OTHER where too many have."""
        if model not in self._known and self._room:
            self._known.add(model)
            self._room -= 1
        return self.name(model)


def choose_naming(find_config: Callable[[], Config]) -> Callable[[str | None], str]:
    """Choose how whoever a run belongs to is called: by the entry of the config that speaks of them now."""

    def name(principal: str | None) -> str:
        config = find_config()
        if rights := find_rights(config, principal):
            return rights.entry
        if principal in (None, "host"):
            return principal or "terminal"
        return DEFAULT if config.serve.token and principal.startswith(OF_A_TOKEN) else OTHER

    return name


def name_error(error: ErrorInfo | None) -> str:
    """Name the error of a run: the status of the upstream, else the code if it looks like one; "" where there is
    none."""
    if error is None:
        return ""
    return str(error["status"] or (error["code"] if _CODE.fullmatch(error["code"]) else OTHER))


def name_failure(event: CallEnded) -> str:
    """Name the error of a call: one of our codes, or TOOL_ERROR for whatever a server says; "" where there is none."""
    if not event.is_error:
        return ""
    output = event.item.get("output")
    if isinstance(output, str) and len(output) <= LONGEST_ERROR:
        with suppress(ValueError):
            said = json.loads(output)
            if isinstance(said, dict) and said.get("error") in CALL_ERRORS:
                return str(said["error"])
    return TOOL_ERROR
