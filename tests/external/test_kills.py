"""Published servers killed in the middle of calls: the short form of `python -m tests.external.kills`."""

import statistics
from collections.abc import Callable
from contextlib import aclosing

import pytest

from tests.external.conftest import Find
from tests.external.kills import Findings, kill_all

pytestmark = [pytest.mark.anyio, pytest.mark.external]

KILLS = 3
BEARABLE = 4
"""How many times as long as in the control the longest call of a neighbour may take, for half of the servers. It is
about 1; where runs waited for servers that are started again, it was 11."""


async def test_a_published_server_killed_in_a_call_costs_that_call_and_no_neighbour_waits_for_it(
    peer: Find, old_python: str, record_testsuite_property: Callable[[str, object], None]
) -> None:
    for name in ("mcp-server-time", "mcp-server-fetch", "mcp-server-memory"):
        assert peer(name)
    assert old_python
    async with aclosing(kill_all(KILLS)) as findings:
        all_found: list[Findings] = [found async for found in findings]
    for found in all_found:
        assert found.failed + found.repeated == KILLS, found.key
    record_testsuite_property("kills: the longest stall of the event loop, s", max(found.stall for found in all_found))
    rows = "\n".join(found.row() for found in all_found)
    assert statistics.median(found.ratio for found in all_found) < BEARABLE, rows
