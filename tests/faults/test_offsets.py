"""The canonical reply cut after each of its bytes: the call fails at once or has its result, and the next one works."""

import json
from collections.abc import Callable

import anyio
import pytest

from tests.fakes.canonical import find_modes
from tests.fakes.clock import PATIENCE_S, VirtualClock
from tests.fakes.peers import Peer, Trouble
from tests.fakes.rogue import Rogue
from tests.fakes.simulation import WIRES, call, open_hub

pytestmark = pytest.mark.anyio

CALL_S = 60.0
SAMPLE = 17


async def survive(transport: str, offsets: range) -> list[int]:
    """The offsets at which something went wrong."""
    clock, cut = VirtualClock(), list[int]()
    peer = Peer("far", clock, find_modes(transport))
    peer.plan = lambda _, step: Trouble("cut at", cut.pop()) if cut and step == "tools/call" else None
    lost: list[int] = []
    async with open_hub({"far": transport}, {"far": peer}, clock) as hub:
        with anyio.fail_after(PATIENCE_S):
            await hub.catalogue()
        for offset in offsets:
            before = len(peer.executed)
            cut.append(offset)
            outputs: list[str] = []

            async def use(outputs: list[str] = outputs) -> None:
                outputs.append(str((await call(hub, "far__echo", "cut", clock.now() + CALL_S))["output"]))
                outputs.append(str((await call(hub, "far__echo", "whole", clock.now() + CALL_S))["output"]))

            began = clock.now()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(use)
                await clock.drive(lambda outputs=outputs: len(outputs) == 2, began + 2 * CALL_S)
            is_told = outputs[0] == "cut" or json.loads(outputs[0])["error"] in ("connection_lost", "unreadable_result")
            is_once = peer.executed[before:] == ["cut", "whole"]
            if not (is_told and is_once and outputs[1] == "whole"):
                lost.append(offset)
    return lost


def count_bytes(transport: str) -> int:
    """The length of the canonical reply with its longest id, and some more: beyond the end nothing is cut."""
    rogue = Rogue(find_modes(transport))
    rogue.legacy = "legacy" in rogue.modes
    found = rogue.answer("tools/call", {"name": "echo", "arguments": {"text": "cut"}}, {"id": 100})
    return len(json.dumps({"jsonrpc": "2.0", "id": 100, **(found or {})})) + 8


@pytest.mark.rule("REL12")
@pytest.mark.parametrize("transport", WIRES)
async def test_a_reply_cut_anywhere_costs_its_call_alone(transport: str) -> None:
    assert await survive(transport, range(0, count_bytes(transport), SAMPLE)) == []


@pytest.mark.external
@pytest.mark.parametrize("transport", WIRES)
async def test_a_reply_cut_after_every_byte_costs_its_call_alone(
    transport: str, record_testsuite_property: Callable[[str, object], None]
) -> None:
    offsets = range(count_bytes(transport))
    lost = await survive(transport, offsets)
    record_testsuite_property(f"offsets survived, {transport}", f"{len(offsets) - len(lost)}/{len(offsets)}")
    assert lost == []
