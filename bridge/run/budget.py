"""The budget of a run: what it has used up, turn by turn, and the limit that it has reached."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from bridge.config.settings import Limits, Price
from bridge.items import Call, CallOutput, Response, Turn, read_usage
from bridge.json_text import JsonObject, encode
from bridge.run.limits import Reason
from bridge.run.repeats import Repeats
from bridge.texts import estimate_tokens


class Spent(NamedTuple):
    """The cost of one turn."""

    tokens: int
    cost: float | None
    """In the unit of the prices; None without a price."""
    is_estimated: bool
    """True where the upstream reported no token counts."""


@dataclass
class Budget:
    """The limits of one run, and how much of them it has used up."""

    limits: Limits
    price: Price | None
    """The price of the run's model; None where the config names none."""
    polling: Collection[str]
    """Tools that may be called again and again with the same result."""
    context: int = 0
    """Tokens that the next request begins with: the input and output of the last turn."""
    _tokens: int = 0
    _cost: float = 0.0
    _calls: int = 0
    _bytes: int = 0
    _repeats: Repeats = field(default_factory=Repeats)

    def count(self, turn: Turn, response: Response) -> Spent:
        """Count what a turn has cost, and return it."""
        usage = read_usage(response["usage"])
        is_estimated = not usage["total_tokens"]
        if is_estimated:
            usage = {
                "input_tokens": sum(map(estimate_tokens, (*turn.items, *turn.tools))),
                "output_tokens": sum(estimate_tokens(encode(item)) for item in response["output"]),
            }
        self.context = usage["input_tokens"] + usage["output_tokens"]
        cost = None if self.price is None else _compute_cost(self.price, usage, _read_cached(response["usage"]))
        self._tokens += self.context
        self._cost += cost or 0.0
        return Spent(self.context, cost, is_estimated)

    def allow(self, calls: Sequence[Call]) -> int:
        """Return how many of a turn's calls may be run: the first ones."""
        return min(len(calls), self.limits.max_turn_calls, self.limits.max_tool_calls - self._calls)

    def share(self, calls: Sequence[Call]) -> int:
        """Return how many bytes of output the model gets from each of a turn's calls."""
        return min(self.limits.output_bytes, self.limits.turn_bytes // max(1, len(calls)))

    def refuse(self, call: Call) -> CallOutput | None:
        """Return the output of a call that has been repeated too often, or None where it may be run."""
        return None if call.name in self.polling else self._repeats.refuse(call)

    def note(self, call: Call, output: CallOutput) -> None:
        """Note the output of a call that was run."""
        if call.name in self.polling:
            self._repeats.note_news()
        else:
            self._repeats.note(call, output)

    def note_message(self) -> None:
        """Note that somebody has spoken to the run. No limit is moved by that."""
        self._repeats.note_message()

    def end_turn(self, calls: Sequence[Call], outputs: Sequence[str]) -> None:
        """Count a turn's calls, whether they were run or not, and the items that answer them."""
        self._calls += len(calls)
        self._bytes += sum(len(output.encode()) for output in outputs)
        self._repeats.end_turn()

    def find_limit(self, n: int) -> Reason | None:
        """Return the limit that the run has reached with its n-th turn, or None. After it comes the last answer."""
        if self._calls > self.limits.max_tool_calls:
            return "max_tool_calls"
        if n >= self.limits.max_turns:
            return "max_turns"
        if self._bytes > self.limits.run_bytes:
            return "output_bytes"
        if self._repeats.is_circling:
            return "repeated_call"
        return None if self._can_afford_more() else "budget"

    def _can_afford_more(self) -> bool:
        """Tell whether another turn as long as the last one would leave enough for a last answer."""
        if self._tokens + 2 * self.context > self.limits.tokens:
            return False
        if self.limits.cost is None or self.price is None:
            return True
        return self._cost + 2 * self.context * self.price.input / 1e6 <= self.limits.cost


def _compute_cost(price: Price, usage: dict[str, int], cached: int) -> float:
    cached = min(cached, usage["input_tokens"])
    cached_price = price.input if price.cached_input is None else price.cached_input
    input_cost = (usage["input_tokens"] - cached) * price.input + cached * cached_price
    return (input_cost + usage["output_tokens"] * price.output) / 1e6


def _read_cached(usage: JsonObject | None) -> int:
    """Read how many of the input tokens the upstream took from its cache."""
    details = (usage or {}).get("input_tokens_details") or (usage or {}).get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    return int(cached) if isinstance(cached, (int, float)) and not isinstance(cached, bool) else 0
