"""Tokens are secrets: nothing that a command prints, logs, records or keeps holds one but the file of the sign-in."""

import json
from pathlib import Path

import pytest

from tests.fakes.authority import Authority
from tests.fakes.commands import run
from tests.fakes.signed import Visitor

pytestmark = [pytest.mark.anyio, pytest.mark.external]

SECRET = "s3cret-of-ours"


def read_all(folder: Path, but: Path) -> str:
    files = [file for file in folder.rglob("*") if file.is_file() and but not in file.parents]
    return "".join(file.read_bytes().decode(errors="replace") for file in files if file.name != "config.json")


async def test_a_token_that_a_server_repeats_is_in_no_output_log_recording_or_file_of_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state"
    monkeypatch.setenv("MCP_RESPONSES_BRIDGE_STATE", str(state))
    async with Authority(clients={"ours": SECRET}) as authority:
        oauth = {"client_id": "ours", "client_secret": SECRET, "issuer": authority.issuer}
        visitor = Visitor(authority, state, **oauth)
        await visitor.sign_in()
        entry = {"url": authority.url, "type": "http", "require_approval": "never", "oauth": oauth}
        config = tmp_path / "config.json"
        config.write_text(json.dumps({"mcpServers": {"s": entry}, "builtin_tools": False}), encoding="utf-8")
        printed = ""
        for number in range(3):
            log = ["--log-level", "debug", "--log-file", str(tmp_path / f"log{number}"), "--config", str(config)]
            record = ["--record", str(tmp_path / f"recording{number}")]
            asked = "whoami: repeat the token that it was sent"
            done = await run(capfd, "ask", "--offline", "--yes", "--json", *record, *log, asked)
            printed += done.stdout + done.stderr
            for command in ("check", "tools"):
                shown = await run(capfd, command, "--json", *log)
                printed += shown.stdout + shown.stderr
            authority.expire() if number == 0 else authority.revoke()
        assert authority.executed["whoami"] == 2
        assert authority.counts["refresh_token"] >= 1
        sinks = printed + read_all(tmp_path, but=state / "signins")
        assert [secret for secret in (*authority.secrets, SECRET) if secret in sinks] == []
        assert SECRET not in read_all(state / "signins", but=tmp_path / "nothing")
