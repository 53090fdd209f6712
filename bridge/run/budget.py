"""The budget of a run: what it has used up, turn by turn, and the limit that it has reached."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from bridge.config.settings import Limits, Price
from bridge.items import Call, CallOutput, Response, Turn, read_usage
from bridge.json_text import JsonObject, encode
from bridge.run.agreement import Allowance
from bridge.run.limits import Reason
from bridge.run.repeats import Repeats
from bridge.texts import estimate_tokens


class TurnUsage(NamedTuple):
    """The tokens of one turn."""

    input: int
    output: int = 0
    cached: int = 0
    """Those of the input that the upstream took from its cache."""
    is_estimated: bool = True

    @property
    def tokens(self) -> int:
        return self.input + self.output

    def compute_cost(self, price: Price | None) -> float | None:
        """Compute what they cost; None without a price."""
        if price is None:
            return None
        cached = min(self.cached, self.input)
        cached_price = price.input if price.cached_input is None else price.cached_input
        input_cost = (self.input - cached) * price.input + cached * cached_price
        return (input_cost + self.output * price.output) / 1e6


def read_turn_usage(turn: Turn, response: Response) -> TurnUsage:
    """Read what a turn has used up, by the upstream's own count where there is one."""
    usage = read_usage(response["usage"])
    if usage["total_tokens"]:
        cached = _read_cached(response["usage"])
        return TurnUsage(usage["input_tokens"], usage["output_tokens"], cached, is_estimated=False)
    output = sum(estimate_tokens(encode(item)) for item in response["output"])
    return TurnUsage(estimate_input(turn), output, _read_cached(response["usage"]))


def estimate_input(turn: Turn) -> int:
    """Estimate the tokens that a turn sends."""
    return sum(map(estimate_tokens, (*turn.items, *turn.tools)))


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

    agreed: Allowance
    here: Allowance
    """What it may do by what holds in this process, which is asked inside steps alone."""
    polling: Collection[str]
    """Tools that may be called again and again with the same result."""
    context: int = 0
    """Tokens that the next request begins with: the input and output of the last turn."""
    _tokens: int = 0
    _cost: float = 0.0
    _cost_here: float = 0.0
    _calls: int = 0
    _bytes: int = 0
    _repeats: Repeats = field(default_factory=Repeats)

    def count(self, turn: Turn, response: Response) -> Spent:
        """Count what a turn has cost, and return it."""
        usage = read_turn_usage(turn, response)
        self.context = usage.tokens
        cost, cost_here = (usage.compute_cost(allowance.price) for allowance in (self.agreed, self.here))
        self._tokens += self.context
        self._cost += cost or 0.0
        self._cost_here += cost_here or 0.0
        return Spent(self.context, cost, usage.is_estimated)

    def allow(self, calls: Sequence[Call]) -> int:
        """Return how many of a turn's calls may be run: the first ones."""
        return self._allow(calls, self.agreed.limits)

    def allow_here(self, calls: Sequence[Call]) -> int:
        """Return how many of them this process allows."""
        return self._allow(calls, self.here.limits)

    def _allow(self, calls: Sequence[Call], limits: Limits) -> int:
        return min(len(calls), limits.max_turn_calls, limits.max_tool_calls - self._calls)

    def share(self, calls: Sequence[Call]) -> int:
        """Return how many bytes of output the model gets from each of a turn's calls."""
        both = self.agreed.limits, self.here.limits
        return min(min(limits.output_bytes, limits.turn_bytes // max(1, len(calls))) for limits in both)

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
        return self._find_limit(n, self.agreed, self._cost)

    def find_limit_here(self, n: int) -> Reason | None:
        """Return the limit of this process that it has reached beside those that were agreed."""
        return None if self.here is self.agreed else self._find_limit(n, self.here, self._cost_here)

    def _find_limit(self, n: int, allowance: Allowance, cost: float) -> Reason | None:
        if self._calls > allowance.limits.max_tool_calls:
            return "max_tool_calls"
        if n >= allowance.limits.max_turns:
            return "max_turns"
        if self._bytes > allowance.limits.run_bytes:
            return "output_bytes"
        if self._repeats.is_circling:
            return "repeated_call"
        return None if self._can_afford_more(allowance, cost) else "budget"

    def _can_afford_more(self, allowance: Allowance, cost: float) -> bool:
        """Tell whether another turn as long as the last one would leave enough for a last answer."""
        if self._tokens + 2 * self.context > allowance.limits.tokens:
            return False
        if allowance.limits.cost is None or allowance.price is None:
            return True
        return cost + 2 * self.context * allowance.price.input / 1e6 <= allowance.limits.cost


def _read_cached(usage: JsonObject | None) -> int:
    """Read how many of the input tokens the upstream took from its cache."""
    details = (usage or {}).get("input_tokens_details") or (usage or {}).get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    return int(cached) if isinstance(cached, (int, float)) and not isinstance(cached, bool) else 0
