"""Arithmetic on decimal numbers as the caller wrote them, rounded once at the end.

The result is computed exactly and then rounded once. Two integers with an integer result give every digit of it;
everything else gives the double nearest to the exact result. So 0.1 + 0.2 is 0.3, not the 0.30000000000000004 that
adding two doubles would give.

The exception is a power that is irrational or too long to write out: it is computed to 60 digits and then rounded.
"""

import decimal
import operator
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Literal

from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from typing_extensions import override

Operation = Literal["add", "subtract", "multiply", "divide", "power"]

MAX_BITS = 4096
"""Bits of the largest integer accepted or returned, about 1,233 digits; Python itself prints at most 4,300 digits."""

SAFE_INTEGER = 2**53 - 1
"""The largest integer that a reader with only doubles, such as JavaScript, reads unchanged."""

_DIGITS = decimal.Context(prec=60, Emax=5000, Emin=-5000)


class Calculation(BaseModel):
    """A result that survives any JSON reader."""

    model_config = ConfigDict(extra="forbid")

    result: Annotated[int | float, WithJsonSchema({"type": "number"})] = Field(description="The number.")
    exact: str | None = Field(
        description="Every digit of an integer beyond 2**53, which some JSON readers would round; otherwise null."
    )

    @override
    def __str__(self) -> str:
        return str(self.result)


def calculate(operation: Operation, a: int | float, b: int | float) -> Calculation:
    """Calculate with finite `a` and `b`. Raises ToolError if the result is undefined or too large."""
    _refuse_too_long(a)
    _refuse_too_long(b)
    try:
        value = _OPERATIONS[operation](_as_written(a), _as_written(b))
        is_whole = isinstance(a, int) and isinstance(b, int) and isinstance(value, Fraction) and value.denominator == 1
        result = int(value) if is_whole else float(value)
    except (OverflowError, decimal.Overflow):
        raise ToolError("The result is too large.") from None
    _refuse_too_long(result)
    beyond = isinstance(result, int) and abs(result) > SAFE_INTEGER
    return Calculation(result=result, exact=str(result) if beyond else None)


def _refuse_too_long(number: int | float) -> None:
    if isinstance(number, int) and number.bit_length() > MAX_BITS:
        raise ToolError(f"Integers of more than {MAX_BITS} bits are too large for this calculator.")


def _as_written(number: int | float) -> Decimal:
    """Return the decimal that the caller wrote: Python prints a float with the fewest digits that identify it, which
    are the caller's digits unless there were more than 15."""
    return Decimal(str(number))


def _exactly(function: Callable[[Fraction, Fraction], Fraction]) -> Callable[[Decimal, Decimal], Fraction]:
    return lambda a, b: function(Fraction(a), Fraction(b))


def _divide(a: Fraction, b: Fraction) -> Fraction:
    if b == 0:
        raise ToolError("Division by zero: b should not be 0.")
    return a / b


def _power(a: Decimal, b: Decimal) -> Fraction | float:
    base, exponent = Fraction(a), Fraction(b)
    if base == 0 and exponent < 0:
        raise ToolError("0 cannot be raised to a negative power: that would divide by zero.")
    if exponent.denominator != 1:
        if base < 0:
            raise ToolError("A negative number raised to a fraction is not a real number.")
        return _approximate_power(a, b)
    # A bound that needs no power: its numerator or its denominator has more bits than this, at most twice as many.
    bits = (max(abs(base.numerator), base.denominator).bit_length() - 1) * abs(exponent)
    if bits < MAX_BITS:
        return base**exponent.numerator
    if base.denominator == 1 and exponent > 0:
        raise OverflowError
    return _approximate_power(a, b)


def _approximate_power(a: Decimal, b: Decimal) -> float:
    # By way of Fraction, because float() of a Decimal that is too large is infinity instead of an OverflowError.
    return float(Fraction(_DIGITS.power(_DIGITS.plus(a), b)))


_OPERATIONS: dict[Operation, Callable[[Decimal, Decimal], Fraction | float]] = {
    "add": _exactly(operator.add),
    "subtract": _exactly(operator.sub),
    "multiply": _exactly(operator.mul),
    "divide": _exactly(_divide),
    "power": _power,
}
