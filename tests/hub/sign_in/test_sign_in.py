"""A server that wants a sign-in: how somebody signs in, and what that is kept as."""

from pathlib import Path

import pytest

from bridge.clock import Clock
from bridge.config.settings import ServerConfig
from bridge.hub.sign_in.person import sign_in
from bridge.hub.sign_in.provider import describe
from bridge.hub.transports.need import FOLDER
from bridge.state import StateFolder
from bridge.telemetry import Redactor
from tests.fakes.authority import Authority, browse
from tests.fakes.bridges import open_bridge
from tests.fakes.items import call

pytestmark = pytest.mark.anyio


async def agree(url: str) -> None:
    assert (await browse(url)).status_code == 200


async def test_a_person_signs_in_with_nothing_configured(tmp_path: Path) -> None:
    async with Authority() as authority:
        server, folder = ServerConfig(key="s", url=authority.url), StateFolder(tmp_path, FOLDER)
        signed_in = await sign_in(server, folder, agree, clock=Clock(), redact=Redactor())
        assert describe(server, folder) == signed_in
        assert (signed_in.authority, signed_in.scopes, signed_in.is_renewed) == (authority.issuer, "read", True)


async def test_after_it_the_tools_of_the_server_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_RESPONSES_BRIDGE_STATE", str(tmp_path))
    async with Authority() as authority:
        server, folder = ServerConfig(key="s", url=authority.url), StateFolder(tmp_path, FOLDER)
        await sign_in(server, folder, agree, clock=Clock(), redact=Redactor())
        async with open_bridge({"s": {"url": authority.url, "type": "http", "require_approval": "never"}}) as bridge:
            outcome = await bridge.use(call("s__echo", {"text": "hello"}))
            assert outcome.outputs == ["hello"]
            authority.expire()
            outcome = await bridge.use(call("s__echo", {"text": "again"}))
            assert outcome.outputs == ["again"]
    assert authority.counts["refresh_token"] == 1
