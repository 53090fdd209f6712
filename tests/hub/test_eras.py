"""Which revision of the protocol a server is spoken to in, and that this is found out once."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.bridges import OpenBridge, open_bridge
from tests.fakes.clock import VirtualClock, until
from tests.fakes.servers import ROGUE, rogue
from tests.fakes.upstream import call

pytestmark = pytest.mark.anyio

HANDSHAKES = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"]


def first_messages(log: Path) -> list[Any]:
    """The methods that each process was sent first, and the revisions asked for: what came before its tools."""
    received = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    asked = [message for message in received if message["method"] in ("server/discover", "initialize")]
    return [message["params"].get("protocolVersion", message["method"]) for message in asked]


async def crash(bridge: OpenBridge, clock: VirtualClock) -> None:
    """Make the server die in a call, and wait until it is back."""
    assert "connection_lost" in (await bridge.use(call("s__crash"))).outputs[0]
    await bridge.reached("s", "backing off")
    await clock.advance(5)
    await bridge.reached("s", "ready")


@pytest.mark.parametrize(
    ("mode", "messages"),
    [
        ("exits_on_discover", ["server/discover", "2025-11-25", "2025-11-25", "2025-11-25"]),
        ("legacy", ["server/discover", "2025-11-25", "2025-11-25", "2025-11-25"]),
        ("modern", ["server/discover", "server/discover", "server/discover"]),
    ],
)
async def test_the_era_is_found_out_once_and_no_restart_asks_again(
    mode: str, messages: list[str], tmp_path: Path
) -> None:
    log, clock = tmp_path / "log", VirtualClock()
    async with open_bridge({"s": rogue("crash_mid_call", mode, f"log={log}")}, clock=clock) as bridge:
        await crash(bridge, clock)
        await crash(bridge, clock)
    assert first_messages(log) == messages


@pytest.mark.external
async def test_a_server_that_comes_back_in_another_era_is_found_there(tmp_path: Path) -> None:
    modes = tmp_path / "modes"
    program = f"import runpy, sys; sys.argv[1:] = open({str(modes)!r}).read().split(); runpy.run_path({str(ROGUE)!r}, "
    changing = {"command": sys.executable, "args": ["-S", "-E", "-c", program + "run_name='__main__')"]}
    eras: list[str | None] = []
    clock = VirtualClock()
    modes.write_text("crash_mid_call legacy", encoding="utf-8")
    async with open_bridge({"s": changing}, clock=clock) as bridge:
        for mode in ("modern", "legacy", "modern"):
            await bridge.hub.catalogue()
            eras.append(bridge.member("s").era)
            modes.write_text(f"crash_mid_call {mode}", encoding="utf-8")
            await crash(bridge, clock)
    assert eras == ["2025-11-25", "2026-07-28", "2025-11-25"]


@pytest.mark.parametrize("revision", HANDSHAKES)
async def test_a_configured_revision_is_the_one_asked_for(revision: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with open_bridge({"s": {**rogue("good", f"log={log}"), "protocol": revision}}) as bridge:
        assert (await bridge.use(call("s__read"))).outputs == ["nothing has changed"]
        assert bridge.member("s").era == revision
    assert first_messages(log) == [revision]


async def test_a_configured_modern_revision_is_spoken_at_once_and_changes_are_heard(tmp_path: Path) -> None:
    log, clock = tmp_path / "log", VirtualClock()
    server = {**rogue("modern", "list_changed", f"log={log}"), "protocol": "2026-07-28"}
    async with open_bridge({"s": server}, clock=clock) as bridge:
        assert (await bridge.use(call("s__grow"))).outputs == ["there are 1 more tools now"]
        await clock.advance(1)
        await until(lambda: "grown_1" in [tool.name for tool in bridge.member("s").tools])
    assert first_messages(log) == []
