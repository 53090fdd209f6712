"""Which questions lead to which calls: the example, and a corpus over tools the rules have never seen."""

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.offline.judged import connect, create

pytestmark = pytest.mark.anyio

Json = dict[str, Any]

DATA = Path(__file__).parent.parent / "data"
CORPUS: Json = json.loads((DATA / "questions.json").read_text(encoding="utf-8"))
EXAMPLE: Json = json.loads((DATA.parent.parent / "bridge" / "example.json").read_text(encoding="utf-8"))

FLOORS = {"tuned": (26, 8), "held-out": (16, 9)}
"""What is reached: questions that want calls, of 26 and 29, and questions that no tool fits, of 8 and 9. The held-out
questions are measured and never tuned on: what is missed there stays missed until other questions ask for it too."""

ENGLISH = """Please do these things for me at the same time:
1. Get the current system time
2. Look at the system information (operating system, memory and so on)
3. Compute 87.25 - 12.5 for me
4. Generate 5 random numbers between 10 and 60

This is a test of parallel tool calls, please run these tasks at once."""


async def test_the_example_request_leads_to_its_four_calls() -> None:
    async with connect() as client:
        response = await create(client, EXAMPLE)
    assert calls_of(response) == [
        ("current_time", {}),
        ("system_info", {}),
        ("math_calculator", {"operation": "add", "a": 123.5, "b": 456.7}),
        ("random_generator", {"min": 1, "max": 100, "count": 3}),
    ]


async def test_the_example_in_english_with_other_numbers_leads_to_the_same_four_tools() -> None:
    async with connect() as client:
        response = await create(client, {**EXAMPLE, "input": ENGLISH})
    assert calls_of(response) == [
        ("current_time", {}),
        ("system_info", {}),
        ("math_calculator", {"operation": "subtract", "a": 87.25, "b": 12.5}),
        ("random_generator", {"min": 10, "max": 60, "count": 5}),
    ]


@pytest.mark.parametrize("part", FLOORS)
async def test_the_corpus_is_answered_at_least_as_well_as_it_was(part: str, capsys: pytest.CaptureFixture[str]) -> None:
    questions = [question for question in CORPUS["questions"] if question["set"] == part]
    async with connect() as client:
        right = [question for question in questions if await is_right(client, question)]
    asking, idle = (sum(bool(one["calls"]) is wants for one in right) for wants in (True, False))
    with capsys.disabled():
        print(f"\n{part}: {len(right)}/{len(questions)} ({idle} of them rightly call nothing)")  # noqa: T201
    assert (asking >= FLOORS[part][0], idle >= FLOORS[part][1]) == (True, True), missed(questions, right)


def test_no_tool_of_the_corpus_is_known_to_the_rules() -> None:
    source = "\n".join(
        file.read_text(encoding="utf-8") for file in (DATA.parent.parent / "bridge" / "offline").glob("*.[pt][yx]*")
    )
    names = {tool["name"] for catalogue in DATA.glob("catalogues/*.json") for tool in load(catalogue.stem)}
    names |= {tool["name"] for tool in EXAMPLE["tools"]}
    assert len(source) > 10_000
    assert len(names) > 50
    assert [name for name in names if name in source] == []


async def is_right(client: httpx2.AsyncClient, question: Json) -> bool:
    """Whether exactly the wanted calls come, in any order, and words alone where none is wanted."""
    tools = [tool for catalogue in question["catalogues"] for tool in load(catalogue)]
    functions = [
        {
            "type": "function",
            "name": tool["name"],
            "description": tool["description"],
            "parameters": tool["inputSchema"],
        }
        for tool in tools
    ]
    response = await create(client, {"model": "m", "input": question["question"], "tools": functions})
    wanted = [(call["name"], call["arguments"]) for call in question["calls"]]
    return sorted(calls_of(response), key=repr_sorted) == sorted(wanted, key=repr_sorted)


def load(catalogue: str) -> list[Json]:
    """The tools of a tools/list result."""
    listed: Json = json.loads((DATA / "catalogues" / f"{catalogue}.json").read_text(encoding="utf-8"))
    return list(listed["tools"])


def calls_of(response: Json) -> list[tuple[str, Json]]:
    """Name and arguments of each call."""
    calls = [item for item in response["output"] if item["type"] == "function_call"]
    return [(call["name"], json.loads(call["arguments"])) for call in calls]


def repr_sorted(call: tuple[str, Json]) -> str:
    return f"{call[0]} {sorted(call[1])} {sorted(map(str, call[1].values()))}"


def missed(questions: list[Json], right: list[Json]) -> str:
    return "missed: " + "; ".join(one["question"] for one in questions if one not in right)
