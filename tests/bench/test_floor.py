"""The floor does what a bridge does: otherwise the ratios would compare two different things."""

import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters
from mcp.types import TextContent

from bridge.items import OWN_NAMES
from tests.bench.arms import FEW, Arm, far_end, open_direct, start_module, write_config
from tests.bench.floor import open_floor
from tests.bench.sizes import record
from tests.bench.upstream import open_upstream
from tests.bench.workloads import BY_KEY, PROMPT, Json

pytestmark = [pytest.mark.anyio, pytest.mark.external]


class Witness:
    """What an arm did: the calls that its far end executed, and the requests that it sent."""

    def __init__(self, base_url: str, arm: Arm, journal: Path) -> None:
        self._base_url, self._arm, self._journal = base_url, arm, journal

    async def run(self, key: str) -> tuple[list[Json], list[Json]]:
        """The calls and the requests of one run."""
        self._journal.write_text("", encoding="utf-8")
        requests = await record(self._base_url, self._arm, key)
        lines = self._journal.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines], requests


@pytest.fixture
async def witnesses(tmp_path: Path) -> AsyncIterator[list[Witness]]:
    """Of the floor and of a bridge."""
    floors, bridges = tmp_path / "floor", tmp_path / "bridge"
    server = StdioServerParameters(command=sys.executable, args=far_end(FEW, floors), env=dict(os.environ))
    async with open_upstream() as base_url:
        config = write_config(tmp_path, base_url, {"bench": far_end(FEW, bridges)})
        async with open_direct(config) as direct, open_floor(base_url, server) as floor:
            yield [Witness(base_url, floor.run, floors), Witness(base_url, direct, bridges)]


async def test_floor_and_bridge_send_equal_calls_and_as_many_items(witnesses: list[Witness]) -> None:
    # One test, since each worker that gets a part of it would start all the processes.
    for workload in (BY_KEY[key] for key in ("text", "one", "ten")):
        (floor_calls, floor_requests), (calls, requests) = [await each.run(workload.key) for each in witnesses]
        assert floor_calls == calls == [list(call) for call in workload.calls] * workload.turns
        assert [len(sent["input"]) for sent in floor_requests] == [len(sent["input"]) for sent in requests]
        offered = [[tool for tool in sent["tools"] if tool["name"] not in OWN_NAMES] for sent in requests]
        assert [sent["tools"] for sent in floor_requests] == offered
        types = [item.get("type", "message") for item in requests[-1]["input"]]
        assert types == ["message", *["function_call", "function_call_output"] * workload.turns]


async def test_the_hop_is_one_call_of_respond_that_is_answered_at_once() -> None:
    async with Client(start_module("tests.bench.bare_server", "stdio")) as client:
        result = await client.call_tool("respond", BY_KEY["text"].arguments)
        assert (result.is_error, result.content) == (False, [TextContent(type="text", text=PROMPT)])
