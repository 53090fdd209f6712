"""The official TypeScript client cuts calls over HTTP and repeats them: no tool is executed twice for that."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.server.mcpserver import MCPServer

from tests.external.conftest import RunNode
from tests.fakes.bridges import open_without_host, outputs_of
from tests.fakes.service import TOKEN, serving
from tests.fakes.upstream import Request, ScriptedUpstream, call, message, responds

pytestmark = [pytest.mark.anyio, pytest.mark.external]

TRIES = 100
TIMEOUT_MS, WORK_S = 500, 1.5


def use(request: Request) -> Any:
    prompt, *_ = request.json["input"]
    outputs = outputs_of(request)
    return responds(message(outputs[0]) if outputs else call("o__answer", {"key": prompt["content"]}))


@pytest.mark.parametrize("pauses_ms", [(0, 10), (50, 500)], ids=str)
@pytest.mark.parametrize(("path", "mode"), [("mcp", "auto"), ("mcp", "legacy"), ("sse", "legacy")])
async def test_a_call_that_timed_out_and_is_repeated_is_executed_once(
    path: str, mode: str, pauses_ms: tuple[int, ...], run_node: RunNode, record_testsuite_property: Any
) -> None:
    executed: list[str] = []
    server = MCPServer("o")

    @server.tool()
    async def answer(key: str) -> str:
        executed.append(key)
        await anyio.sleep(WORK_S)
        return key

    script = Path(__file__).with_name("repeats.mjs").read_text(encoding="utf-8")
    async with (
        ScriptedUpstream(use) as upstream,
        open_without_host(upstream, {"o": server}) as bridge,
        serving(bridge) as served,
    ):
        target = [f"http://127.0.0.1:{served.port}/{path}", TOKEN]
        figures = map(str, (TRIES, TIMEOUT_MS, *pauses_ms))
        done = await run_node("node", "--input-type=module", "--eval", script, "--", mode, *target, *figures)
    assert done.returncode == 0, done.stderr.decode()
    answers = json.loads(done.stdout)
    counted = Counter(executed)
    for pause in pauses_ms:
        keys = [f"{pause} ms, {number}" for number in range(TRIES)]
        doubles = sum(counted[key] - 1 for key in keys)
        name = f"of {TRIES} calls of the TypeScript client repeated after {pause} ms, {mode}, /{path}"
        record_testsuite_property(name, f"{doubles} executed twice")
        assert (answers[str(pause)], doubles) == (keys, 0)
