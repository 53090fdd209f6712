"""What a row compares with its goal, and what the benchmark says at its end."""

import pytest

from tests.bench.table import HEAD, Row, render, render_missed
from tests.bench.workloads import BY_KEY, Goal, past_hop


def find_cells(row: Row) -> dict[str, str]:
    """The cells of a row by their column; of the ratios, the last one."""
    return dict(zip(HEAD, row.cells(), strict=True))


def test_respond_is_compared_with_a_run_directly_and_the_hop_together() -> None:
    row = Row("text only", floor=1, direct=1, respond=2.3, goal=past_hop(1.1), hop=1)
    assert row.cells()[6:] == ["2.00", "1.15", "≤ 1.1 / 1.15 of direct + hop", "yes / yes"]
    slower = Row("text only", floor=1, direct=1, respond=2.32, goal=past_hop(1.1), hop=1)
    assert find_cells(slower)["reached"] == "yes / no"


@pytest.mark.parametrize("floor", [0.5, 4])
def test_a_faster_floor_changes_what_is_said_of_a_run_directly_and_not_of_respond(floor: float) -> None:
    row = Row("text only", floor, direct=1, respond=2.1, goal=past_hop(1.1), hop=1)
    assert find_cells(row)["reached"] == ("yes / yes" if floor == 4 else "no / yes")


def test_a_goal_without_the_hop_is_a_ratio_to_the_floor_and_one_in_units_the_figure() -> None:
    rows = [
        Row("ten turns", 10, 9, 9.4, Goal(0.9, 0.95)),
        Row("runs/s", 10, 14, 13, Goal(1.5, 1.2, at_least=True)),
        Row("three servers", 2000, 900, 1100, Goal(1000, 1000, in_units=True)),
        Row("memory", 70, None, 80, Goal(None, 1.04)),
        Row("tokens", 10, 11, None),
    ]
    assert [find_cells(row)["reached"] for row in rows] == ["yes / yes", "no / yes", "yes / no", "- / no", ""]
    assert [find_cells(row)["direct + hop"] for row in rows] == ["-"] * 5


@pytest.mark.parametrize("key", ["text", "one", "example", "many"])
def test_text_one_tool_the_example_and_200_tools_are_held_to_15_percent_past_the_hop(key: str) -> None:
    goal = BY_KEY[key].goal
    assert goal
    assert (goal.respond, goal.past_hop) == (1.15, True)


def test_the_end_names_each_bound_that_was_missed_with_its_figure() -> None:
    rows = [
        Row("text only", 1, 1.2, 3, past_hop(1.1), hop=1),
        Row("ten turns", 10, 9, 9.4, Goal(0.9, 0.95)),
        Row("runs/s", 10, 14, 13, Goal(1.5, 1.2, at_least=True)),
        Row("the hop", None, None, 1),
    ]
    assert render_missed(rows).splitlines() == [
        "goals that were missed:",
        "text only, directly: 1.2, goal ≤ 1.1",
        "text only, through `respond`: 1.364, goal ≤ 1.15",
        "runs/s, directly: 1.4, goal ≥ 1.5",
    ]


def test_the_end_says_so_when_every_goal_is_reached() -> None:
    assert render_missed([Row("ten turns", 10, 9, 9.4, Goal(0.9, 0.95))]) == "every goal is reached"


def test_the_hop_stands_in_a_row_of_its_own_without_floor_or_goal() -> None:
    lines = render([Row("the hop", None, None, 1.3)]).splitlines()
    assert [cell.strip() for cell in lines[2].strip("|").split("|")] == ["the hop", *"--", "-", "1.30", *"---", "", ""]
