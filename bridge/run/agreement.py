"""Terms that a run begins with and keeps wherever it is taken up: limits, a price, how its tools are chosen.

A run obeys the stricter of that and of what holds here. What was agreed decides whatever follows from the outcomes of
steps; what holds here decides inside a step, so that its outcome says what was decided, and who takes the run up after
that decides the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NotRequired, TypedDict, cast

from bridge.config.settings import Config, Limits, Price, ToolSearch
from bridge.items import Notice
from bridge.json_text import Json, JsonObject
from bridge.run.limits import lower_limits

AGREED = (
    "max_turns",
    "max_tool_calls",
    "max_turn_calls",
    "max_tools",
    "tool_tokens",
    "timeout_s",
    "tokens",
    "cost",
    "output_bytes",
    "turn_bytes",
    "run_bytes",
)
"""The limits that bound what a run does. The others bound what this process does."""


class Agreed(TypedDict):
    """Terms of a run, as JSON."""

    limits: JsonObject
    price: JsonObject | None
    search: JsonObject
    notices: NotRequired[list[Notice]]
    """What the caller has to be told of it."""


@dataclass(frozen=True)
class Allowance:
    """Limits, and the price of the run's model."""

    limits: Limits
    price: Price | None
    """None where the config names none."""


@dataclass(frozen=True)
class Agreement:
    """What a run may do."""

    agreed: Allowance
    """By what was agreed; with the bounds of this process."""
    here: Allowance
    """By what a run would agree to that began here; the same object where that is the same."""
    search: ToolSearch

    @property
    def timeout_s(self) -> float:
        return min(self.agreed.limits.timeout_s, self.here.limits.timeout_s)


def agree(config: Config, arguments: JsonObject, model: str) -> Agreed:
    """Agree on the terms of a run that begins. A caller may lower two limits, and raise none."""
    limits, notices = _lower(config.limits, arguments)
    price = config.prices.get(model)
    return {
        "limits": {name: cast("Json", getattr(limits, name)) for name in AGREED},
        "price": price.model_dump(mode="json") if price else None,
        "search": config.tool_search.model_dump(mode="json"),
        "notices": notices,
    }


def read_agreement(agreed: Agreed, config: Config, arguments: JsonObject, model: str) -> Agreement:
    """Read what was agreed when the run began, perhaps in another process."""
    limits, _ = _lower(config.limits, arguments)
    price, written = config.prices.get(model), agreed["price"]
    then = limits.model_copy(update={name: value for name, value in agreed["limits"].items() if name in AGREED})
    first = Allowance(then, Price.model_validate(_select(written, Price.model_fields)) if written else None)
    here = Allowance(limits, price or first.price)
    search = agreed["search"] | {"pinned": tuple(cast("list[str]", agreed["search"]["pinned"]))}
    chosen = ToolSearch.model_validate(_select(search, ToolSearch.model_fields))
    return Agreement(first, first if first == here else here, chosen)


def _select(written: Mapping[str, object], fields: Mapping[str, object]) -> dict[str, object]:
    """Select what this version knows."""
    return {name: value for name, value in written.items() if name in fields}


def _lower(limits: Limits, arguments: JsonObject) -> tuple[Limits, list[Notice]]:
    wish_turns, wish_time = arguments.get("max_turns"), arguments.get("timeout_s")
    return lower_limits(
        limits,
        int(wish_turns) if isinstance(wish_turns, (int, float)) else None,
        wish_time if isinstance(wish_time, (int, float)) else None,
    )
