"""What traces and metrics cost where nobody has asked for them: nothing."""

import os
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from tests.fakes.bridges import open_bridge
from tests.fakes.service import TOKEN, start_service
from tests.fakes.telling import build_server
from tests.fakes.upstream import call

OURS = str(Path(__file__).parents[2] / "bridge")
THEIRS = os.sep + "opentelemetry" + os.sep


@pytest.mark.anyio
async def test_a_run_makes_no_call_into_opentelemetry_of_ours() -> None:
    calls: list[str] = []

    def note(frame, event: str, _argument: object) -> None:  # type: ignore[no-untyped-def]
        caller = frame.f_back
        if event == "call" and THEIRS in frame.f_code.co_filename and caller and OURS in caller.f_code.co_filename:
            calls.append(f"{caller.f_code.co_filename} {frame.f_code.co_qualname}")

    async with open_bridge({"telling": build_server()}) as bridge:
        await bridge.use(call("telling__tell"))  # what is imported late is there
        sys.setprofile(note)
        try:
            await bridge.use(call("telling__tell"), call("telling__tell"))
        finally:
            sys.setprofile(None)
    assert calls == []


IMPORTS = """
import sys
import bridge.cli.main, bridge.cli.serve, bridge.cli.ask, bridge.app
import bridge.host.http, bridge.host.stdio, bridge.run.body
names = ("prometheus_client", "opentelemetry.sdk", "opentelemetry.exporter", "google.protobuf")
print(*[name for name in sys.modules if name.startswith(("bridge.signals", *names))])
from bridge.config.settings import Config
from bridge.signals.choice import choose_signals
from bridge.telemetry import Redactor
signals = choose_signals(Config(), {}, Redactor(), is_service=True)
signals.observers, signals.routes, signals.layers
print(*[name for name in sys.modules if name.startswith(names)])
"""


@pytest.mark.external
def test_nothing_is_imported_for_them_and_for_a_service_that_nobody_asks_nothing_of_others() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == ["", "", ""]


@pytest.mark.external
@pytest.mark.anyio
async def test_a_service_tells_its_metrics(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text("{}", encoding="utf-8")
    async with (
        start_service("--offline", "--config", str(config), "--log-level", "error") as (_, port),
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}) as http,
    ):
        reply = await http.get(f"http://127.0.0.1:{port}/metrics")
    assert reply.status_code == 200
    assert "mcp_responses_bridge_runs_places" in reply.text
