"""Published servers killed in the middle of calls: the short form of `python -m tests.external.kills`."""

from contextlib import aclosing

import pytest

from tests.external.conftest import Find
from tests.external.kills import kill_all

pytestmark = [pytest.mark.anyio, pytest.mark.external]

KILLS = 2
BEARABLE = 6
"""A start takes a processor for a while, and the other has the rest; a neighbour that waits for it takes far longer."""


async def test_a_published_server_killed_in_a_call_costs_that_call_and_no_neighbour_waits(
    peer: Find, old_python: str
) -> None:
    for name in ("mcp-server-time", "mcp-server-fetch", "mcp-server-memory"):
        assert peer(name)
    assert old_python
    async with aclosing(kill_all(KILLS)) as findings:
        async for found in findings:
            assert found.failed + found.repeated == KILLS, found.key
            assert found.ratio < BEARABLE, found.row()
