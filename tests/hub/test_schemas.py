"""A server's definition of a tool as the function tool that the model gets."""

import copy
from typing import Any

import pytest

from bridge.hub.schemas import encode_function, shorten


@pytest.mark.rule("R11")
@pytest.mark.parametrize(
    ("schema", "sent"),
    [
        ({}, {"type": "object", "properties": {}}),
        ({"type": "object"}, {"type": "object", "properties": {}}),
        (
            {"$schema": "x", "properties": {"a": {"type": "string"}}, "x-odd": [None]},
            {"type": "object", "$schema": "x", "properties": {"a": {"type": "string"}}, "x-odd": [None]},
        ),
    ],
)
def test_a_schema_is_completed_and_the_servers_own_is_not_changed(schema: dict[str, Any], sent: dict[str, Any]) -> None:
    before = copy.deepcopy(schema)
    assert encode_function("f", "", schema) == {"type": "function", "name": "f", "parameters": sent, "strict": False}
    assert schema == before


@pytest.mark.rule("R14")
@pytest.mark.parametrize("letter", ["x", "长", "😀"])
def test_a_long_description_is_cut_by_characters_with_a_mark(letter: str) -> None:
    whole = letter * 1024
    assert shorten(whole, 1024) == whole
    assert shorten(whole + letter, 1024) == letter * 1023 + "…"
