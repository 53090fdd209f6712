"""The same conversation gives the same answer on every upstream, known beforehand or not."""

import sys
from pathlib import Path
from typing import Any

import pytest
from mcp.server.mcpserver import MCPServer

from tests.fakes.bridges import ask
from tests.fakes.clock import VirtualClock
from tests.fakes.relays import ANSWER, RELAYS, Relay
from tests.fakes.servers import image_server

pytestmark = pytest.mark.anyio

BEGIN, END = "<!-- relays -->\n", "\n<!-- end of relays -->"

ASKED: dict[str, Any] = {
    "input": [{"role": "user", "content": "Draw"}, {"role": "developer", "content": "Be brief"}],
    "store": True,
    "max_output_tokens": 500,
    "metadata": {"a": "b"},
    "extra": {"truncation": "auto", "service_tier": "flex"},
}


def render() -> str:
    rows = ["| upstream | requests, where it is named | where it is found out |", "|---|---|---|"]
    rows += [f"| {name} | {relay.requests[0]} | {relay.requests[1]} |" for name, relay in RELAYS.items()]
    return "\n".join(rows)


@pytest.mark.external
@pytest.mark.parametrize("known", [True, False], ids=["named", "found out"])
@pytest.mark.parametrize("relay", RELAYS.values(), ids=RELAYS)
async def test_the_same_conversation_gives_the_same_answer_on_every_upstream(relay: Relay, known: bool) -> None:
    executed: list[int] = []
    server = MCPServer("c")

    @server.tool()
    async def add(a: int, b: int) -> str:
        executed.append(a + b)
        return str(a + b)

    settings: dict[str, Any] = {"profile": relay.preset if known else "auto", "api_key": "sk-1"}
    if "api-key" in relay.headers and not known:
        settings["auth"] = "api-key"  # a refused key says nothing about its header
    servers = {"c": server, "image": image_server()}
    clock = VirtualClock(autojump=True)
    receipt, requests = await ask(relay.answer, servers, ASKED, clock=clock, upstream=settings)
    assert (receipt["status"], receipt["output_text"]) == ("completed", ANSWER), receipt
    assert executed == [3, 7]
    assert len(requests) == relay.requests[0 if known else 1], [request.json for request in requests]
    told = " ".join(notice["message"] for notice in receipt["notices"])
    changed = requests[0].json.keys() - requests[-1].json.keys()
    assert all(name in told for name in changed), "nothing is left out in silence"


def test_the_page_shows_the_table(repository: Path) -> None:
    page = (repository / "docs" / "track-record.md").read_text(encoding="utf-8")
    assert page.partition(BEGIN)[2].partition(END)[0] == render()


if __name__ == "__main__":
    sys.stdout.write(render() + "\n")
