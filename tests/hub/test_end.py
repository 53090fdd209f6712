"""However servers take the end, the bridge is gone in time, alone, and what was answered before was whole."""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import anyio
import pytest
from mcp import MCPError

from tests.fakes.bridges import open_bridge
from tests.fakes.clock import until
from tests.fakes.servers import rogue, survivors
from tests.fakes.upstream import call

pytestmark = [pytest.mark.anyio, pytest.mark.external]

ENDS: dict[str, tuple[str, ...]] = {
    "good": ("good",),
    "fails": ("fails_at_end",),
    "garbage": ("garbage_at_end",),
    "flood": ("flood_at_end",),
    "deaf_flood": ("flood_at_end", "ignores_eof"),
    "slow": ("slow_end",),
    "outlives": ("outlives_eof",),
    "ignores": ("ignores_eof",),
    "parent": ("grandchild",),
    "deaf": ("stops_reading",),
    "deaf_and_stubborn": ("stops_reading", "ignores_eof"),
}
LONG = "a text of some length " * 4_000
"""More than a pipe holds."""
FAR_TOO_LONG_S = 20
"""What hangs lives for two minutes."""


@pytest.mark.rule("REL18")
async def test_no_way_in_which_servers_end_holds_up_the_bridge_or_spoils_an_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """All at once; those that read no more are in the middle of a call."""
    pids, counts = tmp_path / "pids", tmp_path / "counts"
    pids.mkdir()
    ends = {**ENDS, "counting": (f"counts={counts}",)}
    entries = {key: {**rogue(*modes, pids=pids), "require_approval": "never"} for key, modes in ends.items()}
    async with anyio.create_task_group() as tasks, open_bridge(entries) as bridge:
        outcome = await bridge.use(*(call(f"{key}__echo", {"text": f"I am {key}"}) for key in ends))

        async def be_stuck() -> None:
            with suppress(MCPError):  # the bridge has gone
                stuck = (call(f"{key}__echo", {"text": LONG}) for key in ENDS if key.startswith("deaf"))
                await bridge.use(*stuck, call("counting__echo", {"text": "the others have begun"}))

        tasks.start_soon(be_stuck)
        await until(lambda: counts.read_text(encoding="utf-8").split() == ["echo"] * 2)
        await anyio.wait_all_tasks_blocked()  # as much is written as fits
        caplog.clear()
        began = time.monotonic()
    took = time.monotonic() - began
    record_testsuite_property(f"{len(ends)} ways to end at once, s", round(took, 2))
    assert outcome.outputs == [f"I am {key}" for key in ends]
    assert took < FAR_TOO_LONG_S
    await until(lambda: not survivors(pids))
    assert [record.getMessage() for record in caplog.records if record.levelno > logging.WARNING] == []
