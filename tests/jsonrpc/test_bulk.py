"""How much a JSON text would be as objects is counted in its bytes, however these arrive."""

import json
import random
from typing import Any

import pytest

from bridge.jsonrpc.bulk import MAX_LEVELS, MAX_VALUES, SLICE_BYTES, Bulk, TooMuch, check_bulk

TRICKS = ['"', '\\"', "\\", "\\\\", "[", "]", "{", "}", ",", ":", "é", "🙂", "\n", "[]", '\\\\"']


def count(value: Any) -> tuple[int, int]:
    """The values of a JSON value, each container one more, and its levels."""
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    below = [count(each) for each in inner]
    commas = max(0, len(inner) - 1)
    is_open = isinstance(value, (list, dict))
    return sum(values for values, _ in below) + commas + is_open, max([0, *(levels for _, levels in below)]) + is_open


def build(rng: random.Random, levels: int) -> Any:
    """Any JSON value, of texts that look like structure."""
    kind = rng.randrange(6) if levels else 0
    if kind < 3:
        return rng.choice([1, None, "".join(rng.choices(TRICKS, k=rng.randrange(20)))])
    if kind == 3:
        return {"".join(rng.choices(TRICKS, k=3)): build(rng, levels - 1) for _ in range(rng.randrange(5))}
    return [build(rng, levels - 1) for _ in range(rng.randrange(6))]


def feed(text: bytes, size: int, **bounds: int) -> bool:
    """Whether a text that arrives in pieces of this size passes."""
    bulk = Bulk(**bounds)
    try:
        for start in range(0, len(text), size):
            bulk.feed(text[start : start + size])
    except TooMuch:
        return False
    return True


def test_values_and_levels_are_those_of_the_text_wherever_it_is_cut() -> None:
    rng = random.Random(7)
    for _ in range(400):
        value = build(rng, 6)
        text = json.dumps(value, ensure_ascii=rng.random() < 0.5).encode()
        values, levels = count(value)
        for size in (1, 2, 3, 7, len(text)):
            assert feed(text, size, max_values=values + 1, max_levels=levels), text
            assert not feed(text, size, max_values=values, max_levels=levels), text
            if levels > 3:
                assert not feed(text, size, max_values=values + 1, max_levels=levels - 3), text


def test_a_long_text_is_one_value_whatever_it_says() -> None:
    for said in TRICKS:
        text = json.dumps([said * (2 * SLICE_BYTES)], ensure_ascii=False).encode()
        check_bulk(text)
        assert feed(text, 1000)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"[" + b"[]," * MAX_VALUES, "over 200,000 JSON values"),
        (b"[" + b"1," * MAX_VALUES, "over 200,000 JSON values"),
        (b'[{"text": ""}' + b',{"a":"b"}' * MAX_VALUES, "over 200,000 JSON values"),
        (b"[" * (MAX_LEVELS + 1), "over 200 levels"),
        (b'{"a":[' * MAX_LEVELS, "over 200 levels"),
        (b'{"a":[1,2,{}],"b":' * (MAX_LEVELS + 1), "over 200 levels"),
        (("[" + "\u2222," * 9 + "[]," * MAX_VALUES).encode("utf-16"), "over 200,000 JSON values"),
        (("[" + '"\u2222",' * 9 + "[]," * MAX_VALUES).encode("utf-16-le"), "over 200,000 JSON values"),
    ],
)
def test_what_is_too_much_is_said(text: bytes, said: str) -> None:
    with pytest.raises(TooMuch, match=said):
        check_bulk(text)
    assert not feed(text, 5000)


def test_as_much_as_may_be_passes() -> None:
    check_bulk(b"[" + b"1," * (MAX_VALUES - 2) + b"1]")
    check_bulk(b"[" * MAX_LEVELS + b"]" * MAX_LEVELS)
    check_bulk(b"[" + b"[[]]," * 1000 + b"1]")
