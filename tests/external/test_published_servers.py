"""Published MCP servers, over every transport they have, used by a run."""

import json
import os
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client

from bridge.app import Bridge
from bridge.config.settings import Config, ServerConfig, ToolRules, UpstreamConfig
from tests.data.dump import list_tools, write
from tests.external.conftest import Find
from tests.fakes.upstream import Reply, ScriptedUpstream, call, message, responds

pytestmark = [pytest.mark.anyio, pytest.mark.external]

START_S = 30.0


async def run_calls(server: ServerConfig, *calls: dict[str, Any]) -> tuple[list[Any], dict[str, Any], list[str]]:
    """The outputs that the model gets for `calls`, the first request's tools by name, and the codes of notices."""
    script: list[Reply] = [responds(*calls), responds(message("done"))]
    async with ScriptedUpstream(script) as upstream:
        config = Config(upstream=UpstreamConfig(base_url=upstream.base_url, model="m"), servers=(server,))
        async with Bridge(config, environ=os.environ) as bridge, Client(bridge.server) as client:
            result = await client.call_tool("respond", {"input": "go"})
        assert result.structured_content
        assert result.structured_content["status"] == "completed", result.structured_content
        upstream.assert_complete()
    outputs = [item["output"] for item in upstream.requests[1].json["input"] if "output" in item]
    tools = {tool["name"]: tool for tool in upstream.requests[0].json["tools"]}
    return outputs, tools, [notice["code"] for notice in result.structured_content["notices"]]


async def test_mcp_server_time_converts_a_time(peer: Find) -> None:
    server = ServerConfig(
        key="time",
        command=peer("mcp-server-time"),
        require_approval="never",
        connect_timeout_s=START_S,
    )
    arguments = {"source_timezone": "Europe/Lisbon", "time": "12:00", "target_timezone": "Asia/Tokyo"}
    outputs, tools, notices = await run_calls(
        server, call("time__convert_time", arguments), call("time__get_current_time", {})
    )
    assert "Asia/Tokyo" in outputs[0]
    assert "timezone" in outputs[1]
    assert "required" in outputs[1]
    assert tools["time__convert_time"]["strict"] is False
    assert notices == []


def make_repository(folder: Path) -> None:
    subprocess.run(["git", "init", "-q", folder], check=True)
    author = ["-c", "user.name=A", "-c", "user.email=a@example.com"]
    subprocess.run(["git", "-C", folder, *author, "commit", "-q", "--allow-empty", "-m", "a first step"], check=True)


async def test_mcp_server_git_shows_the_log_of_a_repository(peer: Find, tmp_path: Path) -> None:
    make_repository(tmp_path)
    server = ServerConfig(
        key="git",
        command=peer("mcp-server-git"),
        args=("--repository", str(tmp_path)),
        tools=ToolRules(deny=("git_reset",)),
        connect_timeout_s=START_S,
    )
    outputs, tools, notices = await run_calls(
        server,
        call("git__git_log", {"repo_path": str(tmp_path)}),
        call("git__git_commit", {"repo_path": str(tmp_path), "message": "not asked for"}),
    )
    assert "a first step" in outputs[0]
    assert "approval_required" in outputs[1]
    assert "git__git_reset" not in tools
    assert notices == ["approval_required"]


@pytest.mark.parametrize("transport", ["stdio", "sse", "streamableHttp"])
async def test_server_everything_is_used_over_each_of_its_transports(peer: Find, transport: str) -> None:
    async with start_everything(peer("mcp-server-everything"), transport) as server:
        outputs, tools, notices = await run_calls(
            server,
            call("everything__echo", {"message": "hello"}),
            call("everything__get-sum", {"a": 2, "b": 3}),
            call("everything__get-tiny-image", {}),
            call("everything__get-sum", {"a": "two", "b": 3}),
        )
    assert "hello" in outputs[0]
    assert "5" in outputs[1]
    assert any(part["type"] == "input_image" for part in outputs[2])
    assert "invalid_arguments" in outputs[3]
    assert len(tools) > 8
    assert notices == []


@asynccontextmanager
async def start_everything(command: str, transport: str) -> AsyncIterator[ServerConfig]:
    """Its config entry; over HTTP the server is a process of its own on a free port."""
    common = {"key": "everything", "require_approval": "never", "connect_timeout_s": START_S}
    if transport == "stdio":
        yield ServerConfig.model_validate({**common, "command": command, "args": ["stdio"]})
        return
    async with await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0) as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
    env = os.environ | {"PORT": str(port)}
    async with await anyio.open_process([command, transport], env=env, stdin=None) as process:
        try:
            assert process.stderr
            with anyio.fail_after(START_S):
                said = ""
                while not re.search(r"port \d+|listening", said, re.IGNORECASE):
                    said += (await process.stderr.receive()).decode()
            path, kind = ("sse", "sse") if transport == "sse" else ("mcp", "http")
            yield ServerConfig.model_validate({**common, "url": f"http://127.0.0.1:{port}/{path}", "transport": kind})
        finally:
            process.terminate()


@pytest.mark.parametrize(
    ("program", "name", "arguments"),
    [
        ("mcp-server-fetch", "mcp-server-fetch", []),
        ("mcp-server-memory", "server-memory", []),
        ("mcp-server-filesystem", "server-filesystem", ["/"]),
    ],
)
async def test_a_stored_list_of_tools_is_what_the_server_lists(
    peer: Find, repository: Path, program: str, name: str, arguments: list[str]
) -> None:
    stored = (repository / "tests" / "data" / "published" / f"{name}.json").read_text(encoding="utf-8")
    known = json.loads(stored)
    assert write(known["origin"], known["version"], await list_tools(peer(program), arguments)) == stored
