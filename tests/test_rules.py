"""docs/rules.md and the tests that hold its rules say the same."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

RULE = re.compile(r"^- \*\*((?:R|S|REL|B|L)\d+b?)\*\* ")
TEST = re.compile(r"^  - \[.+\]\(\.\./(tests/.+\.py)\) `(test_\w+)`$")

Held = tuple[str, str, str]
"""A rule's id, and the file and name of a test that holds it."""


def read_page(page: str) -> Iterator[Held]:
    """What the page says: a rule, and below it one line for each of its tests."""
    rule = ""
    for line in page.splitlines():
        if begun := RULE.match(line):
            rule = begun[1]
        elif test := TEST.match(line):
            yield rule, test[1], test[2]


def read_marks(repository: Path) -> Iterator[Held]:
    """What the tests say of themselves: `@pytest.mark.rule("R1")`."""
    for file in repository.glob("tests/**/test_*.py"):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                for rule in marks_of(node):
                    yield rule, file.relative_to(repository).as_posix(), node.name


def marks_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    for mark in node.decorator_list:
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.rule":
            yield from (str(ast.literal_eval(argument)) for argument in mark.args)


def test_every_rule_of_the_page_is_held_by_the_tests_it_names_and_by_no_others(repository: Path) -> None:
    page = (repository / "docs" / "rules.md").read_text(encoding="utf-8")
    assert sorted(read_page(page)) == sorted(read_marks(repository))


LISTS = {"R": 40, "S": 36, "REL": 32, "B": 10, "L": 15}
ADDED = ["S1b", "S10b", "S28b", "L4b"]
NOT_HELD = ["S22", "REL30", "REL31"]
"""What stands there with the reason why no test holds it."""


def test_every_rule_has_one_id_and_a_test_or_a_reason(repository: Path) -> None:
    page = (repository / "docs" / "rules.md").read_text(encoding="utf-8")
    ids = Counter(begun[1] for line in page.splitlines() if (begun := RULE.match(line)))
    numbered = [f"{letters}{number}" for letters, count in LISTS.items() for number in range(1, count + 1)]
    assert ids == Counter([*numbered, *ADDED])
    assert set(ids) - {rule for rule, _, _ in read_page(page)} == set(NOT_HELD)
