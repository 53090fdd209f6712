"""The MCP Inspector's command line lists and calls `respond`, over each transport and in both eras."""

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from bridge.app import Bridge
from bridge.config.settings import EMBEDDED, Config
from tests.external.conftest import RunNode
from tests.fakes.service import TOKEN, serving

pytestmark = [pytest.mark.anyio, pytest.mark.external]


@asynccontextmanager
async def open_target(transport: str) -> AsyncIterator[list[str]]:
    """What to tell the Inspector, so that it connects to a bridge without a network."""
    if transport == "stdio":
        yield [sys.executable, "--", "-m", "bridge", "serve", "--offline"]
        return
    async with Bridge(Config(upstream=EMBEDDED), environ=os.environ) as bridge, serving(bridge) as served:
        header = ["--header", f"Authorization: Bearer {TOKEN}"]
        yield [f"http://127.0.0.1:{served.port}/{transport}", *header]


async def inspect(run_node: RunNode, *arguments: str) -> tuple[dict[str, Any], str]:
    """The result that it shows, and what else it has to say."""
    done = await run_node("mcp-inspector", "--cli", *arguments, "--quiet", "--format", "json")
    said = done.stderr.decode()
    assert done.returncode == 0, said
    return json.loads(done.stdout)["result"], said


@pytest.mark.parametrize(("transport", "era"), [("stdio", "legacy"), ("sse", "legacy"), ("mcp", "modern")])
async def test_the_inspector_lists_and_calls_respond(transport: str, era: str, run_node: RunNode) -> None:
    async with open_target(transport) as target:
        common = [*target, "--protocol-era", era, "--method"]
        listed, complaints = await inspect(run_node, *common, "tools/list", "--strict")
        arguments = ["--tool-name", "respond", "--tool-arg", "input=What is 123.5 + 456.7?"]
        called, _ = await inspect(run_node, *common, "tools/call", *arguments)
    assert [tool["name"] for tool in listed["tools"]] == ["respond", "respond_wait", "respond_cancel"]
    assert "Warning" not in complaints, "its schemas are found to be portable"
    assert "580.2" in called["structuredContent"]["output_text"]
    assert "580.2" in called["content"][0]["text"]


async def test_without_the_token_the_inspector_is_told_that_it_is_missing(run_node: RunNode) -> None:
    async with open_target("mcp") as [url, *_]:
        done = await run_node("mcp-inspector", "--cli", url, "--stored-auth-only", "--method", "tools/list")
    assert done.returncode != 0
    assert b"401" in done.stderr or b"auth" in done.stderr.lower(), done.stderr
