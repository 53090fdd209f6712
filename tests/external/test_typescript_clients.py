"""The official TypeScript clients, of both major versions, use the bridge over every transport they have."""

import json
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.abc import TaskGroup

from bridge.app import Bridge
from bridge.config.load import load
from tests.external.conftest import RunNode
from tests.fakes.servers import rogue
from tests.fakes.service import TOKEN, serving
from tests.fakes.upstream import Reply, Request, ScriptedUpstream, call, gated, hang, message, responds

pytestmark = [pytest.mark.anyio, pytest.mark.external]


class Model:
    """An upstream whose model does what the prompt says. After "hang" it stops in the middle of its answer, and it
    calls for growth only when it has seen that nobody waits for that answer any more."""

    def __init__(self, tasks: TaskGroup) -> None:
        self.upstream = ScriptedUpstream(self._answer)
        self._tasks = tasks
        self._given_up = anyio.Event()

    def _answer(self, request: Request) -> Reply:
        prompt, *done = request.json["input"]
        match str(prompt["content"]).split():
            case ["grow"] if not done:
                self._tasks.start_soon(self._notice)
                return gated(responds(call("r__grow", {})), self._given_up)
            case ["use", *_] if not done:
                return responds(call("r__echo", {"text": "hello"}))
            case [*_, "hang"]:
                return hang("response.output_text.delta", responds(message("waiting! and more")))
            case _:
                return responds(message("done"))

    async def _notice(self) -> None:
        await self.upstream.disconnects.wait()
        self._given_up.set()


def write_config(folder: Path, upstream: ScriptedUpstream, **limits: str) -> Path:
    file = folder / "config.json"
    config = {
        "upstream": {"base_url": upstream.base_url, "model": "m"},
        "mcpServers": {"r": rogue("list_changed") | {"require_approval": "never"}},
        "builtin_tools": False,
        "limits": limits,
    }
    file.write_text(json.dumps(config), encoding="utf-8")
    file.chmod(0o600)
    return file


@asynccontextmanager
async def open_target(transport: str, config: Path) -> AsyncIterator[list[str]]:
    """What the client connects to: the command of a bridge, or a service's URL and token."""
    if transport == "stdio":
        yield [sys.executable, "-m", "bridge", "serve", "--config", str(config)]
        return
    async with Bridge(load(config), environ=os.environ) as bridge, serving(bridge) as served:
        yield [f"http://127.0.0.1:{served.port}/{transport}", TOKEN]


@pytest.mark.parametrize(
    ("major", "mode", "transport"),
    [
        *(("1", "legacy", transport) for transport in ("stdio", "sse", "mcp")),
        *(("2", "auto", transport) for transport in ("stdio", "sse", "mcp")),
        ("2", "legacy", "mcp"),
    ],
)
async def test_a_client_lists_calls_gives_up_and_hears_of_changes(
    major: str, mode: str, transport: str, run_node: RunNode, tmp_path: Path
) -> None:
    script = Path(__file__).with_name("client.mjs").read_text(encoding="utf-8")
    # Over HTTP a client of the modern era gives a call up by closing its request, which may as well be a timeout.
    on_cancel = "stop" if (mode, transport) == ("auto", "mcp") else "auto"
    async with (
        anyio.create_task_group() as tasks,
        Model(tasks).upstream as upstream,
        open_target(transport, write_config(tmp_path, upstream, on_cancel=on_cancel)) as target,
    ):
        done = await run_node("node", "--input-type=module", "--eval", script, "--", major, mode, *target)
    assert done.returncode == 0, done.stderr.decode()
    seen = json.loads(done.stdout)
    assert seen["version"] in (None, "2026-07-28" if mode == "auto" else "2025-11-25")
    assert (seen["server"], seen["listChanged"]) == ("mcp-responses-bridge", True)
    assert seen["tools"] == ["respond", "respond_wait", "respond_cancel"]
    assert seen["answer"] == ["done", "done"]
    assert [progress for progress, _ in seen["heard"]] == [1, 2, 3, 4, 5]
    assert [line.split()[0] for _, line in seen["heard"]] == ["turn", "→", "✓", "turn", "waiting!"]
    assert "the user pressed stop" in seen["givenUp"]
    assert len(upstream.requests) == 5, "what was given up asked no more"
    before, after = (int(re.findall(r"r \((\d+) tools\)", seen[when])[0]) for when in ("before", "after"))
    assert after == before + 1
