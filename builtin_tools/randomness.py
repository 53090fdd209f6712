"""Random integers from the operating system's own source."""

import random
import secrets

from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel, ConfigDict
from typing_extensions import override

SYSTEM_RANDOM = secrets.SystemRandom()
"""A source that cannot be seeded or predicted and has no modulo bias. Fit for draws and dice, but not for keys and
passwords: a model reads what a tool returns, and its history keeps it."""


class RandomNumbers(BaseModel):
    """The numbers in the order in which they were drawn."""

    model_config = ConfigDict(extra="forbid")

    numbers: list[int]

    @override
    def __str__(self) -> str:
        return ", ".join(map(str, self.numbers))


def draw_numbers(low: int, high: int, count: int, *, source: random.Random = SYSTEM_RANDOM) -> RandomNumbers:
    """Draw `count` independent integers from low..high, both ends included.

    Raises ToolError if low is greater than high: swapping them would be a guess.
    """
    if low > high:
        raise ToolError(f"min should not be greater than max: min is {low} and max is {high}.")
    return RandomNumbers(numbers=[source.randint(low, high) for _ in range(count)])
