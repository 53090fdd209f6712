"""What a run has spent in tokens and money, and whether it can afford another turn."""

from dataclasses import dataclass
from typing import NamedTuple

from bridge.config.settings import Limits, Price
from bridge.items import Response, Turn, read_usage
from bridge.json_text import Json, JsonObject, encode

CHARS_PER_TOKEN = 4
"""For what an upstream does not count."""


class Spent(NamedTuple):
    """What one turn has cost."""

    tokens: int
    cost: float | None
    """In the unit of the prices; None without a price."""
    is_estimated: bool
    """True where the upstream counted nothing."""


@dataclass
class Spending:
    """Tokens and money so far, and the tokens that the last turn ended with: the next one begins with them."""

    tokens: int = 0
    cost: float = 0.0
    context: int = 0

    def count(self, turn: Turn, response: Response, price: Price | None) -> Spent:
        """Take in one turn; returns its account."""
        usage = read_usage(response["usage"])
        is_estimated = not usage["total_tokens"]
        if is_estimated:
            usage = {
                "input_tokens": estimate(turn),
                "output_tokens": len(encode(list[Json](response["output"]))) // CHARS_PER_TOKEN,
            }
        self.context = usage["input_tokens"] + usage["output_tokens"]
        cost = None if price is None else _price(price, usage, _read_cached(response["usage"]))
        self.tokens += self.context
        self.cost += cost or 0.0
        return Spent(self.context, cost, is_estimated)

    def can_afford(self, limits: Limits, price: Price | None) -> bool:
        """Whether another turn as long as the last one leaves enough for a last answer."""
        if self.tokens + 2 * self.context > limits.tokens:
            return False
        if limits.cost is None or price is None:
            return True
        return self.cost + 2 * self.context * price.input / 1e6 <= limits.cost


def estimate(turn: Turn) -> int:
    """About how many tokens a request has."""
    return sum(map(len, (*turn.items, *turn.tools))) // CHARS_PER_TOKEN


def _price(price: Price, usage: dict[str, int], cached: int) -> float:
    cached = min(cached, usage["input_tokens"])
    of_cached = price.input if price.cached_input is None else price.cached_input
    input_cost = (usage["input_tokens"] - cached) * price.input + cached * of_cached
    return (input_cost + usage["output_tokens"] * price.output) / 1e6


def _read_cached(usage: JsonObject | None) -> int:
    """Of the input tokens, those that the upstream took from its cache."""
    details = (usage or {}).get("input_tokens_details") or (usage or {}).get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    return int(cached) if isinstance(cached, (int, float)) and not isinstance(cached, bool) else 0
