"""Random numbers: where they lie, how evenly, and whose they are."""

import itertools
import random
import secrets
from collections import Counter

import pytest
from mcp.server.mcpserver.exceptions import ToolError

from builtin_tools.randomness import SYSTEM_RANDOM, draw_numbers

DRAWS = 100_000


def chi_square(width: int, source: random.Random) -> float:
    drawn = Counter(draw_numbers(1, width, DRAWS, source=source).numbers)
    assert set(drawn) == set(range(1, width + 1)), "both ends and nothing beyond them"
    fair = DRAWS / width
    return sum((count - fair) ** 2 / fair for count in drawn.values())


@pytest.mark.parametrize(
    ("width", "least", "most"),
    # For width - 1 degrees of freedom: p = 0.999 and p = 0.001.
    [(100, 60.2, 148.3), (3, 0.002, 13.9)],
)
def test_a_seeded_source_is_spread_evenly(width: int, least: float, most: float) -> None:
    assert least < chi_square(width, random.Random("spread")) < most


@pytest.mark.rule("B7")
def test_the_systems_source_is_spread_evenly() -> None:
    # Six standard deviations either way: a fair source fails once in a billion runs.
    assert 35.9 < chi_square(100, SYSTEM_RANDOM) < 208.6


@pytest.mark.rule("B7")
def test_the_source_is_the_operating_systems() -> None:
    assert isinstance(SYSTEM_RANDOM, secrets.SystemRandom)


def test_the_same_source_draws_the_same_numbers() -> None:
    first, second = (draw_numbers(1, 100, 10, source=random.Random(7)) for _ in range(2))
    assert first == second
    assert str(first) == ", ".join(str(number) for number in first.numbers)


@pytest.mark.rule("B6")
@pytest.mark.parametrize(("low", "high"), [(5, 5), (-3, 3), (0, 1), (-(2**53) + 1, 2**53 - 1)])
def test_numbers_lie_between_the_two_ends(low: int, high: int) -> None:
    for count in range(1, 11):
        numbers = draw_numbers(low, high, count).numbers
        assert len(numbers) == count
        assert all(low <= number <= high for number in numbers)


def test_two_draws_of_a_wide_range_differ() -> None:
    draws = [tuple(draw_numbers(0, 2**52, 10).numbers) for _ in range(5)]
    assert all(a != b for a, b in itertools.combinations(draws, 2))


@pytest.mark.rule("B6")
def test_ends_in_the_wrong_order_are_refused_and_not_swapped() -> None:
    with pytest.raises(ToolError, match="min is 100 and max is 1"):
        draw_numbers(100, 1, 1)
