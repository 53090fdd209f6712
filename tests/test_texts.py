"""Texts: about how many tokens they are."""

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest

from bridge.json_text import Json, encode
from bridge.texts import FILE_TOKENS, estimate_tokens

COUNTED: list[dict[str, Any]] = json.loads((Path(__file__).parent / "data" / "tokens.json").read_text(encoding="utf-8"))
"""Texts of many kinds, and how many tokens OpenAI's o200k makes of each (`bpe-openai` has counted)."""
LONG = "\n".join(entry["text"] for entry in COUNTED) * 100
PICTURE = f"data:image/png;base64,{base64.b64encode(bytes(range(256)) * 1000).decode()}"


@pytest.mark.parametrize("entry", COUNTED, ids=lambda entry: entry["what"])
def test_an_estimate_is_near_what_a_model_counts(entry: dict[str, Any]) -> None:
    assert 0.75 <= estimate_tokens(entry["text"]) / entry["tokens"] <= 1.35


def test_over_many_texts_the_errors_level_out() -> None:
    assert sum(estimate_tokens(entry["text"]) for entry in COUNTED) / sum(entry["tokens"] for entry in COUNTED) == (
        pytest.approx(1, abs=0.1)
    )


def test_a_long_text_is_estimated_as_its_parts_are() -> None:
    whole = 100 * sum(estimate_tokens(entry["text"]) for entry in COUNTED)
    assert estimate_tokens(LONG) == pytest.approx(whole, rel=0.2)


def test_to_estimate_a_long_item_takes_much_less_than_to_write_it() -> None:
    item: Json = {"type": "function_call_output", "call_id": "call_1", "output": "All is well, as ever. " * 200_000}
    text = encode(item)
    assert measure(lambda: estimate_tokens(text)) < measure(lambda: encode(item)) / 2


def measure(work: Any) -> float:
    """Seconds of the quickest of five times."""
    times = list[float]()
    for _ in range(5):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def test_a_picture_costs_the_same_whatever_its_size() -> None:
    parts: list[Json] = [{"type": "input_image", "image_url": PICTURE}, {"type": "input_text", "text": "A cat."}] * 2
    tokens = estimate_tokens(encode({"type": "function_call_output", "call_id": "call_1", "output": parts}))
    assert 2 * FILE_TOKENS < tokens < 2 * FILE_TOKENS + 200


def test_a_picture_that_is_only_quoted_is_text_to_the_model() -> None:
    page = encode({"type": "function_call_output", "call_id": "call_1", "output": encode({"image_url": PICTURE})})
    assert estimate_tokens(page) > len(PICTURE) / 3


@pytest.mark.parametrize("text", ["", "a", "计", "\ud800", "7"])
def test_the_shortest_texts_are_a_token_or_two(text: str) -> None:
    assert len(text) <= estimate_tokens(text) <= 2 * len(text)
