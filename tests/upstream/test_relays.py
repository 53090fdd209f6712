"""The same conversation gives the same answer on every upstream, known beforehand or not."""

import sys
from pathlib import Path
from typing import Any

import pytest

from bridge.upstream.profile import PRESETS
from tests.fakes.bridges import ask, open_bridge
from tests.fakes.clock import VirtualClock
from tests.fakes.relays import ANSWER, GO_ON, LAST_ANSWER, RELAYS, Relay
from tests.fakes.servers import adding_server, image_server

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


def told(receipt: dict[str, Any]) -> str:
    return " ".join(notice["message"] for notice in receipt["notices"])


@pytest.mark.external
@pytest.mark.parametrize("known", [True, False], ids=["named", "found out"])
@pytest.mark.parametrize("relay", RELAYS.values(), ids=RELAYS)
async def test_the_same_conversation_gives_the_same_answer_on_every_upstream(relay: Relay, known: bool) -> None:
    adding, executed = adding_server()
    settings: dict[str, Any] = {"profile": relay.preset if known else "auto", "api_key": "sk-1"}
    if "api-key" in relay.headers and not known:
        settings["auth"] = "api-key"  # a refused key says nothing about its header
    servers = {"c": adding, "image": image_server()}
    clock = VirtualClock(autojump=True)
    async with open_bridge(servers, script=relay.answer, clock=clock, upstream=settings) as bridge:
        receipt = await bridge.respond(**ASKED)
        requests = list(bridge.requests)
        assert (receipt["status"], receipt["output_text"]) == ("completed", ANSWER), receipt
        assert [*map(sum, executed)] == [3, 7]
        assert len(requests) == relay.requests[0 if known else 1], [request.json for request in requests]
        changed = requests[0].json.keys() - requests[-1].json.keys()
        assert all(name in told(receipt) for name in changed), "nothing is left out in silence"

        receipt = await bridge.respond(GO_ON, previous_response_id=receipt["response_id"])
        assert (receipt["status"], receipt["output_text"]) == ("completed", LAST_ANSWER), receipt
        assert [*map(sum, executed)] == [3, 7, 11]
        assert len(bridge.requests) - len(requests) == 2, "what was learned is kept"


@pytest.mark.parametrize("relay", RELAYS.values(), ids=RELAYS)
async def test_a_request_with_nothing_but_input_passes_on_every_preset(relay: Relay) -> None:
    settings = {"profile": relay.preset, "api_key": "sk-1"}
    receipt, _ = await ask([relay.greet], None, {"input": "Hello"}, upstream=settings)
    assert (receipt["status"], receipt["output_text"]) == ("completed", ANSWER), receipt


async def test_a_demand_for_instructions_is_learned_and_the_callers_own_come_first() -> None:
    relay = RELAYS["Codex backend"]
    script = [relay.greet, relay.greet, relay.greet, relay.greet]
    async with open_bridge(script=script, upstream={"stream": "always", "store": False}) as bridge:
        receipt = await bridge.respond("Hello")
        await bridge.respond("Hello", instructions="Be brief")
        await bridge.respond([{"role": "user", "content": "Hello"}, {"role": "developer", "content": "Be brief"}])
    sent = [request.json.get("instructions") for request in bridge.requests]
    assert sent == [None, "You are a helpful assistant.", "Be brief", "You are a helpful assistant."]
    assert "Instructions are required" in told(receipt)


@pytest.mark.parametrize("known", [True, False], ids=["named", "found out"])
async def test_a_system_message_that_is_not_allowed_becomes_instructions(known: bool) -> None:
    relay = RELAYS["Codex backend"]
    asked = [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Hello"}]
    settings = {"profile": "codex"} if known else {"stream": "always", "store": False}
    receipt, requests = await ask(relay.greet, None, {"input": asked}, upstream=settings)
    assert receipt["output_text"] == ANSWER, receipt
    assert requests[-1].json["instructions"].endswith("Be brief")


def test_every_preset_has_a_stand_in_and_says_what_it_rests_on(repository: Path) -> None:
    assert PRESETS.keys() <= {relay.preset for relay in RELAYS.values()}
    page = (repository / "docs" / "upstreams.md").read_text(encoding="utf-8")
    code = (repository / "bridge" / "upstream" / "profile.py").read_text(encoding="utf-8")
    rows = {row.split("`")[1]: row.split("|")[3].strip() for row in page.splitlines() if row.startswith("| `")}
    assert rows.keys() == PRESETS.keys()
    assert [source for row in rows.values() for source in row.split("; ") if source.split(",")[0] not in code] == []


def test_the_page_shows_the_table(repository: Path) -> None:
    page = (repository / "docs" / "track-record.md").read_text(encoding="utf-8")
    assert page.partition(BEGIN)[2].partition(END)[0] == render()


if __name__ == "__main__":
    sys.stdout.write(render() + "\n")
