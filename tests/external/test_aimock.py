"""A run of thirty turns against `@copilotkit/aimock`, an emitter of the Responses API that nobody here wrote, with its
chaos on: dropped and malformed replies, limits of rate, cut connections, streams that end early."""

import json
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.server.mcpserver import MCPServer
from typing_extensions import override

from bridge.app import Bridge
from bridge.config.settings import Config, Limits, ServerConfig, UpstreamConfig
from bridge.upstream.transport import Transport
from tests.external.conftest import Find
from tests.fakes.clock import VirtualClock

pytestmark = [pytest.mark.anyio, pytest.mark.external]

Json = dict[str, Any]
TURNS = 30
CHAOS = {"dropRate": 0.1, "malformedRate": 0.1, "disconnectRate": 0.1, "rateLimitRate": 0.1}
PATIENT = {"max_turns": TURNS, "max_tool_calls": 100, "timeout_s": 1e6, "soft_deadline_s": 1e6}
LIMITS = Limits.model_validate(PATIENT)


def write_fixtures(folder: Path) -> Path:
    """Turn after turn, told apart by the last output: a thought, a comment, two calls at once. Every seventh is first
    cut short, every eleventh first refused."""
    fixtures: list[Json] = []
    for turn in range(1, TURNS + 1):
        match: Json = (
            {"toolCallId": f"call_{turn - 1}_1"} if turn > 1 else {"userMessage": "go", "hasToolResult": False}
        )
        first = {**match, "sequenceIndex": 0}
        if turn % 7 == 0:
            fixtures.append({"match": first, "response": respond(turn), "truncateAfterChunks": 5})
        if turn % 11 == 0:
            refusal = {"message": "overloaded", "type": "server_error"}
            fixtures.append({"match": first, "response": {"error": refusal, "status": 503}})
        fixtures.append({"match": match, "response": respond(turn)})
    (folder / "fixtures.json").write_text(json.dumps({"fixtures": fixtures}), encoding="utf-8")
    config = folder / "aimock.json"
    config.write_text(json.dumps({"llm": {"fixtures": "fixtures.json", "chaos": CHAOS}}), encoding="utf-8")
    return config


def respond(turn: int) -> Json:
    if turn == TURNS:
        return {"content": "The end"}
    calls = [{"id": f"call_{turn}_{n}", "name": "c__add", "arguments": {"a": turn, "b": n}} for n in (0, 1)]
    return {"reasoning": f"thought {turn}", "content": f"步骤 {turn} 😀", "toolCalls": calls}


@asynccontextmanager
async def start_aimock(command: str, config: Path) -> AsyncIterator[str]:
    """Its base URL, on a free port."""
    async with await anyio.open_process([command, "-c", str(config)], cwd=config.parent, stdin=None) as process:
        try:
            assert process.stdout
            with anyio.fail_after(30):
                said = ""
                while not (listening := re.search(r"http://\S+:\d+", said)):
                    said += (await process.stdout.receive()).decode()
            yield f"{listening[0]}/v1"
        finally:
            process.terminate()


class Recorder(httpx2.AsyncBaseTransport):
    """Remembers every request's body, and of every reply what came of it."""

    def __init__(self) -> None:
        self.requests: list[Json] = []
        self.replies: list[bytearray] = []
        self._transport = Transport()

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(json.loads(await request.aread()))
        self.replies.append(received := bytearray())
        reply = await self._transport.handle_async_request(request)
        assert isinstance(reply.stream, httpx2.AsyncByteStream)
        return httpx2.Response(reply.status_code, headers=reply.headers, stream=Tee(reply.stream, received))

    @override
    async def aclose(self) -> None:
        await self._transport.aclose()

    def outputs(self) -> list[list[Json]]:
        """The items of every response that came whole, read as simply as can be."""
        texts = [reply.decode().rpartition("data: ")[2].partition("\n\n")[0] for reply in self.replies]
        ends = [json.loads(text) for text in texts if text.endswith("}")]
        responses = [end.get("response", end) for end in ends if "error" not in end]
        return [response["output"] for response in responses if response["status"] == "completed"]


class Tee(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, received: bytearray) -> None:
        self._stream = stream
        self._received = received

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            self._received += chunk
            yield chunk

    @override
    async def aclose(self) -> None:
        await self._stream.aclose()


@pytest.mark.parametrize("stream", ["auto", "never"])
async def test_thirty_turns_through_chaos_lose_repeat_and_change_nothing(
    peer: Find, tmp_path: Path, stream: Any
) -> None:
    executed: list[tuple[int, int]] = []
    server = MCPServer("c")

    @server.tool()
    async def add(a: int, b: int) -> str:
        executed.append((a, b))
        return f"{a} + {b} = {a + b}"

    recorder = Recorder()
    async with start_aimock(peer("aimock"), write_fixtures(tmp_path)) as base_url:
        upstream = UpstreamConfig(base_url=base_url, model="gpt-5", stream=stream, max_retries=50)
        added = ServerConfig(key="c", command="in this process", require_approval="never")
        config = Config(upstream=upstream, servers=(added,), builtin_tools=False, limits=LIMITS)
        clock = VirtualClock(autojump=True)
        async with (
            Bridge(config, environ=os.environ, clock=clock, transport=recorder, in_process={"c": server}) as bridge,
            Client(bridge.server) as client,
        ):
            result = await client.call_tool("respond", {"input": "go", "store": False})
    receipt = result.structured_content
    assert receipt is not None
    assert (receipt["status"], receipt["output_text"], receipt["turns"]) == ("completed", "The end", TURNS), receipt
    assert sorted(executed) == [(turn, n) for turn in range(1, TURNS) for n in (0, 1)]

    expected: list[Json] = [{"role": "user", "content": "go"}]
    *outputs, last = recorder.outputs()
    for turn, items in enumerate(outputs, 1):
        answers = [f"{turn} + {n} = {turn + n}" for n in (0, 1)]
        expected += items
        expected += [
            {"type": "function_call_output", "call_id": f"call_{turn}_{n}", "output": answer}
            for n, answer in enumerate(answers)
        ]
    assert (len(outputs), last[-1]["type"]) == (TURNS - 1, "message")
    assert len(expected) == 1 + 6 * (TURNS - 1)
    for sent, due in zip(recorder.requests[-1]["input"], expected, strict=True):
        assert sent == due
    failures = len(recorder.requests) - TURNS
    assert failures >= 3, "the chaos was on"
    assert receipt["notices"] == []
