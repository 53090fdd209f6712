"""The entry for hosts that take no address: mcp-remote between a host on stdio and the service."""

import json
import os
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from tests.external.conftest import Find
from tests.fakes.bridges import open_without_host, text_of
from tests.fakes.service import TOKEN, serving
from tests.fakes.upstream import ScriptedUpstream, message, responds
from tests.test_documents import find_section, list_blocks, read

pytestmark = [pytest.mark.anyio, pytest.mark.external]


async def test_a_host_on_stdio_reaches_the_service_through_mcp_remote(
    repository: Path, peer: Find, tmp_path: Path
) -> None:
    [block] = list_blocks(find_section(read(repository, "docs/team.md"), "Claude Desktop"), "json")
    entry = json.loads(block)["mcpServers"]["responses"]
    assert entry["args"][:2] == ["-y", "mcp-remote"]
    async with (
        ScriptedUpstream([responds(message("It is noon."))]) as upstream,
        open_without_host(upstream) as bridge,
        serving(bridge) as served,
    ):
        url = f"http://127.0.0.1:{served.port}/mcp"
        args = [url if argument.startswith("https://") else argument for argument in entry["args"][2:]]
        authorization = entry["env"]["AUTHORIZATION"].replace("YOUR_TOKEN", TOKEN)
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "AUTHORIZATION": authorization}
        with (tmp_path / "log").open("w") as log:
            host = stdio_client(StdioServerParameters(command=peer("mcp-remote"), args=args, env=env), errlog=log)
            async with Client(host, mode="legacy") as client:
                assert [tool.name for tool in (await client.list_tools()).tools][:1] == ["respond"]
                assert text_of(await client.call_tool("respond", {"input": "What time is it?"})) == "It is noon."
