"""JSON Schema's official test suite: the owner's schema, and its repaired form, judge arguments as it says."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema_rs
import pytest

from bridge.schemas.repair import repair_schema
from bridge.schemas.validate import ArgumentValidator

pytestmark = pytest.mark.external

Json = Any
DRAFTS = {
    "draft4": "http://json-schema.org/draft-04/schema#",
    "draft6": "http://json-schema.org/draft-06/schema#",
    "draft7": "http://json-schema.org/draft-07/schema#",
    "draft2019-09": "https://json-schema.org/draft/2019-09/schema",
    "draft2020-12": "https://json-schema.org/draft/2020-12/schema",
}
ABOUT_PLACES = ("$ref", "$id", "id", "$anchor", "$dynamicRef", "$recursiveRef", "$dynamicAnchor")
"""Keywords that mean something else where the schema around them is another."""
DYNAMIC = ("dynamicRef", "recursiveRef", "unevaluatedProperties", "vocabulary")
"""Files of which some tests need a reference that leads elsewhere with each use, or a dialect of its own."""


class Case(NamedTuple):
    file: str
    schema: Json
    arguments: Json
    is_valid: bool


def read_cases(folder: Path) -> Iterator[Case | None]:
    """The tests of the suite as arguments of a tool; None for one that cannot be one."""
    for draft, uri in DRAFTS.items():
        for file in sorted((folder / draft).glob("*.json")):
            for group in json.loads(file.read_text(encoding="utf-8")):
                for test in group["tests"]:
                    yield make_case(file.stem, uri, group["schema"], test)


def make_case(file: str, uri: str, schema: Json, test: Json) -> Case | None:
    """What is no object is tested as the value of an argument, if its schema may stand there."""
    if isinstance(schema, dict) and isinstance(test["data"], dict):
        return Case(file, {"$schema": uri, **schema}, test["data"], test["valid"])
    if any(f'"{keyword}":' in json.dumps(schema) for keyword in ABOUT_PLACES):
        return None
    inner = schema
    if isinstance(schema, dict):
        inner = {keyword: value for keyword, value in schema.items() if keyword != "$schema"}
    around = {"$schema": uri, "type": "object", "properties": {"value": inner}, "required": ["value"]}
    return Case(file, around, {"value": test["data"]}, test["valid"])


def judge_repaired(case: Case) -> bool | None:
    """None for a tool that is left out."""

    def refuse(uri: str) -> Json:
        raise ValueError(uri)

    try:
        repaired = repair_schema(case.schema, lambda _: None)
    except ValueError:
        return None
    return jsonschema_rs.validator_for(repaired, retriever=refuse, validate_formats=False).is_valid(case.arguments)


@pytest.mark.rule("L8")
def test_arguments_are_judged_as_the_suite_says(
    schema_suite: Path, record_testsuite_property: Callable[[str, object], None]
) -> None:
    counts = Counter[str]()
    for case in read_cases(schema_suite):
        if case is None:
            counts["not about arguments"] += 1
            continue
        validator = ArgumentValidator(case.schema)
        is_taken = validator.find_error(case.arguments) is None
        counts["validated by nobody here" if validator.note else "validated"] += 1
        assert validator.note or is_taken == case.is_valid, case
        verdict = judge_repaired(case)
        if verdict is None:
            counts["left out"] += 1
            assert not case.is_valid, case
        elif verdict == case.is_valid:
            counts["repaired"] += 1
        else:
            counts["repaired into something else"] += 1
            assert case.file in DYNAMIC or "http" in json.dumps({**case.schema, "$schema": ""}), case
    for name, count in counts.items():
        record_testsuite_property(f"JSON Schema test suite: {name}", count)
    assert counts["validated"] >= 4400
    assert counts["repaired into something else"] <= 51
