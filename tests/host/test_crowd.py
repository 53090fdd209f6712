"""Very many clients at one time: each gets an answer, and its own."""

from typing import Any

import anyio
import pytest
from mcp.client.client import ConnectMode

from tests.fakes.bridges import respond
from tests.fakes.service import connect, start_service

pytestmark = [pytest.mark.anyio, pytest.mark.external]

CLIENTS = 200
WAYS: tuple[tuple[str, ConnectMode], ...] = (("/mcp", "auto"), ("/mcp", "legacy"), ("/mcp", "auto"), ("/sse", "legacy"))


async def ask_all(port: int) -> dict[int, str]:
    """The answer of each client that got one; all are connected before the first asks."""
    answers: dict[int, str] = {}
    connected, everybody = 0, anyio.Event()

    async def live(number: int) -> None:
        nonlocal connected
        path, mode = WAYS[number % len(WAYS)]
        async with connect(port, path, mode) as client:
            connected += 1
            if connected == CLIENTS:
                everybody.set()
            await everybody.wait()
            receipt = await respond(client, f"What is {number} + 100000?")
            answers[number] = receipt["output_text"]

    async with anyio.create_task_group() as tasks:
        for number in range(CLIENTS):
            tasks.start_soon(live, number)
    return answers


@pytest.mark.rule("REL22")
async def test_of_two_hundred_runs_at_once_none_is_lost_and_none_crosses(record_testsuite_property: Any) -> None:
    async with start_service("--offline") as (_, port):
        answers = await ask_all(port)
    lost = CLIENTS - len(answers)
    crossed = sum(f"math_calculator: {number + 100_000}" not in answer for number, answer in answers.items())
    record_testsuite_property(f"of {CLIENTS} runs at once over HTTP", f"{lost} lost, {crossed} crossed")
    assert (lost, crossed) == (0, 0)
