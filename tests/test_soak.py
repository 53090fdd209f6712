"""Whatever is done a thousand times leaves nothing behind: the short form of `make soak`."""

import pytest

from tests.soak import soak

pytestmark = [pytest.mark.anyio, pytest.mark.external]


@pytest.mark.rule("REL21")
async def test_calls_restarts_and_disconnects_leave_nothing_behind() -> None:
    found = await soak(calls=200, restarts=10, disconnects=10)
    assert found.after == found.before
