"""A published server that is started again between two calls: the next call is answered, in a new session."""

from pathlib import Path

import anyio
import pytest

from bridge.hub.member import Member
from tests.external.conftest import Find
from tests.external.kills import PAUSE_S
from tests.external.victims import START_S, list_victims
from tests.fakes.bridges import open_bridge
from tests.fakes.upstream import call

pytestmark = [pytest.mark.anyio, pytest.mark.external]

KEY, RESTARTS = "everything_http", 3
HELLO = call(f"{KEY}__echo", {"message": "hello"})


async def test_the_first_call_after_a_restart_is_answered(peer: Find, tmp_path: Path) -> None:
    """It answers 400 "No valid session ID" to the session of before (anthropics/claude-code#27425)."""
    assert peer("mcp-server-everything")
    victim = next(victim for victim in list_victims(tmp_path, "") if victim.key == KEY)
    await victim.revive()
    outputs = list[str]()
    try:
        async with open_bridge({KEY: {**victim.entry, "protocol": "legacy"}}) as bridge:
            for _ in range(RESTARTS):
                await bridge.use(HELLO)
                await victim.stop()
                await victim.revive()
                await _settle(bridge.member(KEY))
                outputs += (await bridge.use(HELLO)).outputs
    finally:
        await victim.stop()
    assert outputs == ["Echo: hello"] * RESTARTS


async def _settle(member: Member) -> None:
    """Until the bridge holds it for ready, if it has seen that it was away: one that starts slowly is left alone."""
    with anyio.fail_after(START_S):
        while member.state != "ready":  # noqa: ASYNC110
            await anyio.sleep(PAUSE_S)
