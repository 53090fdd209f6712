"""JSON texts: what is written can be read again, by anybody."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.json_text import decode, encode

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10)


@settings(max_examples=80, derandomize=True)
@given(VALUES)
def test_a_value_is_the_same_when_it_is_read_again(value: Any) -> None:
    text = encode(value)
    assert decode(text) == json.loads(text) == decode(text.encode()) == value


@pytest.mark.parametrize("value", ["NaN", "Infinity", {"Infinity": ["-Infinity", "no NaN"]}, "\x00\u2028\ufeff 你好"])
def test_words_are_no_numbers(value: Any) -> None:
    assert decode(encode(value)) == value


@pytest.mark.rule("REL1")
@pytest.mark.parametrize("text", ["half \ud83d of an emoji", "\udc00", "😀 and \ud800"])
def test_half_an_emoji_is_replaced_wherever_it_stands(text: str) -> None:
    mended = text.encode("utf-8", "replace").decode().replace("?", "\ufffd")
    assert decode(encode({text: [text]})) == {mended: [mended]}


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode({"deep": [number, "NaN"]})


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", "-1e999", "[" * 100_000 + "]" * 100_000])
def test_what_could_not_be_written_again_is_not_read(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a JSON number|nested too deeply"):
        decode(text)


def test_what_is_nested_as_deep_as_a_server_may_is_written() -> None:
    value: Any = []
    for _ in range(400):
        value = [value]
    assert json.loads(encode(value)) == value
