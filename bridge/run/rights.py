"""What a principal may do: which tools and models it may use, and how far its runs may go."""

import fnmatch
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bridge.config.principals import DEFAULT, PERSON
from bridge.config.settings import Config, PrincipalConfig
from bridge.errors import ArgumentError
from bridge.json_text import Json, JsonObject
from bridge.run.engine import NAMED

OF_A_TOKEN = "token "
"""How a principal begins that has no name: while others have names, that is whoever sends `serve.token`."""

_OF_RELAYS = ("plugins", "web_search_options")
"""Parameters by which some upstreams search the web and more."""


@dataclass(frozen=True)
class Rights:
    """What the config says of one principal."""

    name: str
    said: PrincipalConfig
    entry: str
    """The name of the entry that says it: its own or, of somebody whom an issuer names, one for all such."""

    @property
    def place(self) -> str:
        """Where the config says it."""
        return f"serve.principals.{self.entry}"

    @property
    def has_day(self) -> bool:
        """True where it has a budget for a day."""
        return self.said.tokens_per_day is not None or self.said.cost_per_day is not None

    def apply(self, config: Config) -> Config:
        """Return the config with the limits of this principal's runs in place of the others'."""
        own = self.said.limits.model_dump(exclude_none=True)
        return config.model_copy(update={"limits": config.limits.model_copy(update=own)}) if own else config

    def narrow(self, defaults: Mapping[str, Json]) -> Mapping[str, Json]:
        """Return the config's parameters for every request without what this principal may not use."""
        tools, models = defaults.get("tools"), defaults.get("models")
        own = dict(defaults)
        if isinstance(tools, list) and self.said.tools.is_set:
            own["tools"] = [tool for tool in tools if all(map(self.said.tools.allows, _list_hosted([tool])))]
        if isinstance(models, list):
            own["models"] = [model for model in models if self.allows_model(model)] or None
        return own

    def check(self, arguments: JsonObject, model: str, config: Config) -> None:
        """Raise ArgumentError where arguments of `respond` ask for what this principal may not use."""
        extra = arguments.get("extra")
        more = extra if isinstance(extra, dict) else {}
        for named in (model, *_as_list(more.get("models")), *_as_list(more.get("fallbacks"))):
            self._check_model(named)
        if self.said.cost_per_day is not None and model not in config.prices:
            raise ArgumentError(f"model: {self.place}.cost_per_day is set, and `prices` has no price for {model!r}")
        if self.said.tools.is_set:
            self._check_tools(arguments, more)

    def allows_model(self, model: Json) -> bool:
        """Tell whether it may ask this model."""
        allowed = self.said.models
        return allowed is None or any(fnmatch.fnmatchcase(str(model), glob) for glob in allowed)

    def _check_model(self, model: Json) -> None:
        if not self.allows_model(model):
            allowed = ", ".join(self.said.models or ()) or "none"
            raise ArgumentError(f"model: {model!r} is none that you may ask; you may ask: {allowed}")

    def _check_tools(self, arguments: JsonObject, extra: JsonObject) -> None:
        """Check the tools that the upstream runs by itself; the others are missing from the catalogue."""
        if "prompt" in extra:
            raise ArgumentError(
                "extra.prompt: a stored prompt may bring tools of its own, and you may not use all tools"
            )
        for name in _OF_RELAYS:
            if name in extra:
                raise ArgumentError(f"extra.{name}: it brings tools of the upstream's, and you may not use all tools")
        for kind in _list_hosted(arguments.get("tools"), extra.get("tools")):
            if not self.said.tools.allows(kind):
                raise ArgumentError(f"tools: {kind!r} is none that you may use ({self.place}.tools)")


def _list_hosted(*lists: Json) -> Iterator[str]:
    entries = (entry for entries in lists if isinstance(entries, list) for entry in entries)
    for entry in entries:
        if isinstance(entry, dict) and entry.get("type") not in ("function", "custom"):
            yield str(entry.get("type"))


def _as_list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else [] if value is None else [value]


def find_rights(config: Config, principal: str | None) -> Rights | None:
    """Find what the config says of whom a run belongs to; None where it says nothing."""
    name = _read_name(principal or "")
    issuer = config.serve.oauth
    entry = (issuer.others or "") if issuer and name.startswith(PERSON) else name
    said = config.serve.principals.get(entry)
    return Rights(name, said, entry) if said else None


def _read_name(principal: str) -> str:
    if principal.startswith(OF_A_TOKEN):
        return DEFAULT
    return principal.removeprefix(NAMED) if principal.startswith(NAMED) else ""
