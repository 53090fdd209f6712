"""`runs show ID --html FILE`: one run as a file, for a report."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_runs import SECRET, ask_offline, complaint, list_ids, write_config
from tests.fakes.commands import run
from tests.fakes.upstream import ScriptedUpstream, message, responds

pytestmark = pytest.mark.anyio

HOSTILE = "</script><script>alert(1)</script><!-- \x1b[2J \u202e"


def read_data(html: str) -> Any:
    """The run in the file."""
    [found] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    return json.loads(found)


async def test_a_run_is_written_as_a_file_that_asks_for_nothing_and_never_over_another(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    await ask_offline(capfd, "What time is it?")
    [run_id] = await list_ids(capfd)
    file = tmp_path / "run.html"
    done = await run(capfd, "runs", "show", run_id, "--html", str(file))
    assert (done.code, done.stdout) == (0, "")
    html = file.read_text(encoding="utf-8")
    data = read_data(html)
    assert data["run"]["run_id"] == run_id
    assert data["run"]["input"]["text"] == "What time is it?"
    assert {part.rpartition("/")[2] for part in data["texts"]} == {"arguments", "output"}
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    assert policy.startswith("default-src 'none'")
    assert "connect-src" not in policy
    if os.name == "posix":
        assert file.stat().st_mode & 0o777 == 0o600
    assert "is there already" in complaint(await run(capfd, "runs", "show", run_id, "--html", str(file)))
    assert file.read_text(encoding="utf-8") == html
    missing = str(tmp_path / "none" / "run.html")
    assert "cannot be written" in complaint(await run(capfd, "runs", "show", run_id, "--html", missing))
    assert read_data((await run(capfd, "runs", "show", run_id, "--html", "-")).stdout)["run"]["run_id"] == run_id
    assert "--html belongs to show" in complaint(await run(capfd, "runs", "cancel", run_id, "--html", "-"))


async def test_the_file_has_no_secret_and_nothing_in_it_runs(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_KEY", SECRET)
    entry = {"url": "http://127.0.0.1:9/mcp", "headers": {"Authorization": "Bearer ${env:SHOP_KEY}"}}
    async with ScriptedUpstream([responds(message(f"it is {SECRET} {HOSTILE}"))]) as model:
        config = write_config(tmp_path, model, mcpServers={"shop": entry})
        await run(capfd, "ask", "--config", config, f"is it {SECRET}? {HOSTILE}")
        [run_id] = await list_ids(capfd, "--config", config)
        html = (await run(capfd, "runs", "show", run_id, "--html", "-", "--config", config)).stdout
    assert "canary" not in html
    assert "<script>alert" not in html
    assert "\x1b" not in html
    assert "\u202e" not in html
    assert read_data(html)["run"]["answer"]["text"].startswith("it is *** </script>")
