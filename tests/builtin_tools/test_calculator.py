"""The calculator against independent arithmetic, and at every edge where there is no answer."""

import contextlib
import decimal
import json
import math
import random
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

import pytest
from mcp.server.mcpserver.exceptions import ToolError

from builtin_tools.calculator import MAX_BITS, Operation, calculate

Number = int | float
PAIRS = 10_000
WIDE = decimal.Context(prec=700, Emax=10_000, Emin=-10_000)
NARROW = decimal.Context(prec=40, Emax=10_000, Emin=-10_000)


def any_number(source: random.Random) -> Number:
    """Integers of up to 30 digits, decimals as people write them, and doubles with all 53 bits."""
    kind = source.randrange(4)
    if kind == 0:
        return source.randint(-100, 100) or 1
    if kind == 1:
        return source.randint(-(10**30), 10**30) or 1
    if kind == 2:
        return source.randint(-(10**9), 10**9) / 1000 or 0.5
    return math.ldexp(source.uniform(-1, 1), source.randint(-200, 200)) or 0.5


def decimals(function: Callable[[Decimal, Decimal], Decimal], a: Number, b: Number) -> Number:
    exact = function(Decimal(repr(a)), Decimal(repr(b)))
    whole = isinstance(a, int) and isinstance(b, int) and exact == exact.to_integral_value(context=WIDE)
    return int(exact) if whole else float(exact)


def expected(operation: Operation, a: Number, b: Number) -> Number:
    match operation:
        case "add":
            return decimals(WIDE.add, a, b)
        case "subtract":
            return decimals(WIDE.subtract, a, b)
        case "multiply":
            return decimals(WIDE.multiply, a, b)
        case "divide":
            return decimals(WIDE.divide, a, b)
        case "power":
            return expected_power(a, b)


def expected_power(a: Number, b: Number) -> Number:
    if isinstance(b, int):
        exact = Fraction(repr(a)) ** b
        return int(exact) if isinstance(a, int) and exact.denominator == 1 else float(exact)
    return float(NARROW.exp(NARROW.multiply(Decimal(repr(b)), NARROW.ln(Decimal(repr(a))))))


def power_pair(source: random.Random) -> tuple[Number, Number]:
    if source.randrange(8):
        base = source.choice([source.randint(-1000, 1000) or 2, source.randint(-9999, 9999) / 100 or 0.5])
        return base, source.randint(-15, 15)
    return source.randint(1, 99_999) / 100, source.randint(-400, 400) / 16 + 1 / 32


@pytest.mark.rule("B1")
@pytest.mark.external
@pytest.mark.parametrize("operation", ["add", "subtract", "multiply", "divide", "power"])
def test_ten_thousand_results_equal_the_exactly_computed_ones(operation: Operation) -> None:
    source = random.Random(f"pairs for {operation}")
    wrong: list[tuple[Number, Number]] = []
    for _ in range(PAIRS):
        a, b = power_pair(source) if operation == "power" else (any_number(source), any_number(source))
        result, wanted = calculate(operation, a, b).result, expected(operation, a, b)
        if (result, type(result)) != (wanted, type(wanted)):
            wrong.append((a, b))
    assert not wrong, f"exact: {PAIRS - len(wrong)}/{PAIRS}"


@pytest.mark.parametrize(
    ("operation", "a", "b", "text"),
    [
        ("add", 123.5, 456.7, "580.2"),
        ("add", 0.1, 0.2, "0.3"),
        ("add", 2, 3, "5"),
        ("add", 2.0, 3, "5.0"),
        ("add", 2**53 + 1, 0, "9007199254740993"),
        ("add", 10**30, 1, "1000000000000000000000000000001"),
        ("add", 2**53 + 1, 0.5, "9007199254740994.0"),
        ("subtract", 0.3, 0.1, "0.2"),
        ("subtract", 1e15, 1, "999999999999999.0"),
        ("multiply", 1.1, 1.1, "1.21"),
        ("multiply", -3, 10**20, "-300000000000000000000"),
        ("multiply", 1e-200, 1e-200, "0.0"),
        ("divide", 6, 3, "2"),
        ("divide", 1, 3, "0.3333333333333333"),
        ("divide", 10**40, 10**20, "100000000000000000000"),
        ("divide", 0, 5, "0"),
        ("divide", 0.3, 0.1, "3.0"),
        ("power", 2, 10, "1024"),
        ("power", 2, -1, "0.5"),
        ("power", 2, 0.5, "1.4142135623730951"),
        ("power", 1.1, 2, "1.21"),
        ("power", 0, 0, "1"),
        ("power", 0.0, 0, "1.0"),
        ("power", 0, 10**9, "0"),
        ("power", 1, 10**30, "1"),
        ("power", -1, 10**30 + 1, "-1"),
        ("power", -2, 3, "-8"),
        ("power", -2.5, 2, "6.25"),
        ("power", 4, 0.5, "2.0"),
        ("power", 10, -400, "0.0"),
        ("power", 10, -(10**30), "0.0"),
        ("power", 0.5, 10**18, "0.0"),
        ("power", 1.0000000001, 10**9, "1.1051709180701217"),
        ("power", 10**1000, 0.1, "1e+100"),
    ],
)
def test_a_result_is_what_was_asked_for_with_every_digit(operation: Operation, a: Number, b: Number, text: str) -> None:
    assert str(calculate(operation, a, b)) == text


@pytest.mark.rule("B2", "B3")
@pytest.mark.parametrize(
    ("operation", "a", "b", "reason"),
    [
        ("divide", 1, 0, "Division by zero"),
        ("divide", 0, 0, "Division by zero"),
        ("divide", 1.5, 0.0, "Division by zero"),
        ("divide", 1, -0.0, "Division by zero"),
        ("divide", 1e300, 1e-300, "too large"),
        ("divide", 10**1000, 3, "too large"),
        ("add", 1.7e308, 1.7e308, "too large"),
        ("add", 10**400, 0.5, "too large"),
        ("multiply", 1e308, 10, "too large"),
        ("multiply", 10**700, 10**700, "too large"),
        ("add", 10**2000, 1, "too large"),
        ("power", 10, 10**9, "too large"),
        ("power", 10, 10**6, "too large"),
        ("power", 2, 2**63, "too large"),
        ("power", 2, MAX_BITS, "too large"),
        ("power", -3, 2**63 + 1, "too large"),
        ("power", 9.9, 400, "too large"),
        ("power", 9.9, 1e300, "too large"),
        ("power", 0.5, -(10**18), "too large"),
        ("power", 10**1000, 0.9, "too large"),
        ("power", 10**1000, 5.5, "too large"),
        ("power", -8, 1 / 3, "not a real number"),
        ("power", -0.5, 0.5, "not a real number"),
        ("power", 0, -1, "divide by zero"),
        ("power", 0.0, -0.5, "divide by zero"),
        ("power", 0, -(10**30), "divide by zero"),
    ],
)
def test_what_has_no_answer_is_refused_with_the_reason(operation: Operation, a: Number, b: Number, reason: str) -> None:
    with pytest.raises(ToolError, match=reason):
        calculate(operation, a, b)


@pytest.mark.rule("B2")
def test_the_longest_integer_is_returned_and_one_bit_more_is_not() -> None:
    longest = 2 ** (MAX_BITS - 1)
    assert calculate("power", 2, MAX_BITS - 1).result == longest
    assert calculate("add", longest, longest - 1).result == 2**MAX_BITS - 1
    with pytest.raises(ToolError, match="too large"):
        calculate("add", longest, longest)


@pytest.mark.rule("B5")
@pytest.mark.parametrize("integer", [2**53, -(2**53), 2**53 + 1, 10**30, -(10**30)])
def test_an_integer_that_doubles_cannot_be_trusted_with_is_also_given_as_text(integer: int) -> None:
    written = json.loads(calculate("add", integer, 0).model_dump_json(), parse_int=float)
    assert int(written["exact"]) == integer


@pytest.mark.rule("B5")
@pytest.mark.parametrize("number", [0, 2**53 - 1, -(2**53) + 1, 1e300])
def test_a_number_that_every_json_reader_keeps_needs_no_text(number: Number) -> None:
    assert calculate("add", number, 0).exact is None


@pytest.mark.rule("B3")
def test_any_pair_of_numbers_ends_in_a_number_or_a_reason() -> None:
    edges: list[Number] = [0, 1, -1, 2, -7, 10**18, -(10**18), 10**1200, -(10**1200)]
    edges += [0.5, -0.5, 1e308, -1e308, 5e-324, 1.0000000000000002, 0.9999999999999999, -0.0, 1 / 3]
    operations: list[Operation] = ["add", "subtract", "multiply", "divide", "power"]
    for operation in operations:
        for a in edges:
            for b in edges:
                with contextlib.suppress(ToolError):
                    assert json.dumps(calculate(operation, a, b).model_dump(), allow_nan=False)
