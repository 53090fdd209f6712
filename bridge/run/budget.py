"""What a run may still do, counted turn by turn, and the limit that it has met."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from bridge.config.settings import Limits, Price
from bridge.items import Call, CallOutput, Response, Turn
from bridge.json_text import JsonObject
from bridge.run.limits import Reason
from bridge.run.repeats import Repeats
from bridge.run.spending import Spending


@dataclass
class Budget:
    """The account of one run."""

    limits: Limits
    price: Price | None
    """Of its model, None where the config names none."""
    polling: Collection[str]
    """Tools that may be called again and again with the same result."""
    _calls: int = 0
    _bytes: int = 0
    _repeats: Repeats = field(default_factory=Repeats)
    _spending: Spending = field(default_factory=Spending)

    def count(self, turn: Turn, response: Response) -> JsonObject:
        """Take in what a turn has cost: `{tokens, cost, is_estimated}`, `cost` in the unit of the prices."""
        return self._spending.count(turn, response, self.price)

    @property
    def context(self) -> int:
        """Tokens that the next request begins with: all of the last turn."""
        return self._spending.context

    def allow(self, calls: Sequence[Call]) -> int:
        """How many of a turn's calls may be run: the first ones."""
        return min(len(calls), self.limits.max_turn_calls, self.limits.max_tool_calls - self._calls)

    def share(self, calls: Sequence[Call]) -> int:
        """How many bytes of its output the model gets from each call of a turn."""
        return min(self.limits.output_bytes, self.limits.turn_bytes // max(1, len(calls)))

    def refuse(self, call: Call) -> CallOutput | None:
        """The output of a call that goes round in circles, or None."""
        return None if call.name in self.polling else self._repeats.refuse(call)

    def note(self, call: Call, output: CallOutput) -> None:
        """A call has been run and has come to this."""
        if call.name in self.polling:
            self._repeats.note_news()
        else:
            self._repeats.note(call, output)

    def end_turn(self, calls: Sequence[Call], outputs: Sequence[str]) -> None:
        """Count a turn's calls, whether they were run or not, and the items that answer them."""
        self._calls += len(calls)
        self._bytes += sum(len(output.encode()) for output in outputs)
        self._repeats.end_turn()

    def find_limit(self, n: int) -> Reason | None:
        """The limit that the run has met with its n-th turn: what follows is its last answer."""
        if self._calls > self.limits.max_tool_calls:
            return "max_tool_calls"
        if n >= self.limits.max_turns:
            return "max_turns"
        if self._bytes > self.limits.run_bytes:
            return "output_bytes"
        if self._repeats.is_circling:
            return "repeated_call"
        return None if self._spending.can_afford(self.limits, self.price) else "budget"
