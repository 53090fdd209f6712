"""What is judged by a JSON Schema: each keyword counts, and the first fault is told by its place, in few words."""

import subprocess
import sys
from typing import Any

import pytest

from bridge.schemas.judge import BoundedJudge, Judge


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "integer"}, 1.5),
        ({"type": "integer"}, True),
        ({"type": "string"}, None),
        ({"enum": ["a"]}, "b"),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, 1),
        ({"minimum": 2}, 1),
        ({"maximum": 2}, 2.5),
        ({"minLength": 2}, "😀"),
        ({"maxLength": 1}, "ab"),
        ({"minItems": 1}, []),
        ({"maxItems": 0}, [1]),
        ({"items": {"type": "null"}}, [None, 1]),
        ({"required": ["a"]}, {}),
        ({"properties": {"a": {"type": "null"}}}, {"a": 1}),
        ({"additionalProperties": False}, {"a": 1}),
        ({"additionalProperties": {"type": "null"}}, {"a": 1}),
    ],
)
def test_each_keyword_is_held_to(schema: Any, value: Any) -> None:
    judges = [Judge(schema), BoundedJudge(schema), BoundedJudge(schema, lenient=True)]
    assert all(judge.find_fault(value) for judge in judges)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], 'it: [] is not of type "object"'),
        ({"rows": [{"n": 1}, {"n": "2"}]}, 'rows[1].n: "2" is not of type "integer"'),
    ],
)
def test_a_fault_is_told_by_its_place(value: Any, words: str) -> None:
    rows: Any = {"items": {"properties": {"n": {"type": "integer"}}}}
    fault = Judge({"type": "object", "properties": {"rows": rows}}).find_fault(value)
    assert fault
    assert fault.describe("it") == words


def test_of_a_long_message_the_end_is_told_which_says_what_is_wrong() -> None:
    fault = Judge({"maxLength": 1}).find_fault("x" * 100_000)
    assert fault
    assert fault.message.startswith("… xxx")
    assert fault.message.endswith('x" is longer than 1 character')
    assert len(fault.message) < 400


def test_what_is_never_judged_costs_no_validator() -> None:
    program = "import sys, bridge.host.schema, bridge.schemas.repair; print('jsonschema_rs' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "False"
