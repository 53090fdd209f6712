"""What of a conversation is sent: from the last compaction on that the upstream takes, with long outputs moved out."""

from typing import Any

import pytest
from mcp.server.mcpserver import MCPServer

from tests.fakes.bridges import open_bridge, outputs_of
from tests.fakes.items import Json
from tests.fakes.upstream import Request, api_error, call, message, responds, tokens

pytestmark = pytest.mark.anyio

DONE = responds(message("done"))
REFUSED = api_error(400, "The encrypted content of the compaction could not be verified.")
RESULTS = {"run_id": "run_id", "previous_response_id": "response_id"}
"""Arguments by which a run goes on from a result, and the fields of the result that they name."""


def compaction(number: int) -> Json:
    return {"type": "compaction", "id": f"cmp_{number}", "encrypted_content": "gAAAA"}


def reciter() -> MCPServer:
    server = MCPServer("r")

    @server.tool(name="recite")
    def say(chars: int) -> str:
        return "x" * chars

    return server


def recite(chars: int, **fields: Any) -> Json:
    return call("r__recite", {"chars": chars}, **fields)


def marks(request: Request) -> list[str]:
    """Each item of a request's input in a word: its id, what was said, or what came of a call."""
    items: list[Json] = request.json["input"]
    return [str(item.get("id") or item.get("content") or item.get("output")) for item in items]


async def test_compactions_that_are_refused_are_left_out_and_what_they_stand_for_is_sent() -> None:
    script = [
        responds(message("one", id="msg_1"), compaction(1), recite(3, id="fc_1")),
        responds(compaction(2), message("two", id="msg_2")),
        *(REFUSED, REFUSED),
        responds(recite(3, id="fc_2")),
        *(DONE, DONE),
    ]
    async with open_bridge({"r": reciter()}, script=script) as bridge:
        first = await bridge.respond()
        second = await bridge.respond("Go on.", run_id=first["run_id"])
        await bridge.respond("And on.", run_id=second["run_id"])
        bridge.upstream.assert_complete()
    latest, earlier, whole, following, last = map(marks, bridge.requests[2:])
    assert latest == ["cmp_2", "msg_2", "Go on."]
    assert earlier == ["cmp_1", "fc_1", "xxx", "msg_2", "Go on."]
    assert whole == ["Hello", "msg_1", "fc_1", "xxx", "msg_2", "Go on."]
    assert following == [*whole, "fc_2", "xxx"]
    assert last[:-2] == following, "what was refused once is not tried in the next run"


async def test_behind_a_refused_compaction_an_upstream_that_keeps_responses_gets_what_is_new_and_all_of_it() -> None:
    script = [
        responds(compaction(1), recite(3, id="fc_1"), id="resp_1"),
        REFUSED,
        responds(recite(3, id="fc_2"), id="resp_2"),
        DONE,
    ]
    upstream = {"state": "previous_response_id"}
    async with open_bridge({"r": reciter()}, script=script, upstream=upstream) as bridge:
        await bridge.respond()
    assert [*map(marks, bridge.requests)] == [["Hello"], ["xxx"], ["Hello", "fc_1", "xxx"], ["xxx"]]
    named = [request.json.get("previous_response_id") for request in bridge.requests]
    assert named == [None, "resp_1", None, "resp_2"]


async def test_a_compaction_behind_a_call_of_its_own_response_is_not_sent_as_it_has_not_its_output() -> None:
    script = [responds(recite(3, id="fc_1"), compaction(1)), DONE]
    async with open_bridge({"r": reciter()}, script=script) as bridge:
        await bridge.respond()
    assert marks(bridge.requests[1]) == ["Hello", "fc_1", "xxx"]


@pytest.mark.parametrize("way", RESULTS)
async def test_outputs_that_were_moved_out_are_whole_again_when_gone_on_from(way: str) -> None:
    script = [
        responds(recite(4000, id="fc_1"), usage=tokens(1000, 100)),
        responds(recite(600, id="fc_2"), usage=tokens(3900, 100)),
        responds(message("done", id="msg_1"), id="resp_3"),
        responds(message("done", id="msg_2"), id="resp_4"),
        DONE,
    ]
    upstream = {"context_window": 4000, "state": "previous_response_id"}
    async with open_bridge({"r": reciter()}, script=script, upstream=upstream) as bridge:
        first = await bridge.respond()
        second = await bridge.respond("Go on.", **{way: first[RESULTS[way]]})
        await bridge.respond("And on.", **{way: second[RESULTS[way]]})
    moved, whole, rest = bridge.requests[2:]
    assert "moved out" in outputs_of(moved)[0]
    assert outputs_of(whole) == ["x" * 4000, "x" * 600]
    assert "previous_response_id" not in whole.json
    assert (marks(rest), rest.json["previous_response_id"]) == (["And on."], "resp_4")


async def test_the_ids_of_long_outputs_are_not_given_twice_in_a_conversation_that_the_upstream_keeps() -> None:
    script = [
        responds(recite(4000), usage=tokens(3900, 100)),
        DONE,
        responds(recite(4000), usage=tokens(3900, 100)),
        DONE,
    ]
    async with open_bridge({"r": reciter()}, script=script, upstream={"context_window": 4000}) as bridge:
        first = await bridge.respond(extra={"conversation": "conv_1"})
        await bridge.respond("Go on.", run_id=first["run_id"])
    pointers = [outputs_of(bridge.requests[number])[0] for number in (1, 3)]
    assert ["with id 1 has" in pointers[0], "with id 2 has" in pointers[1]] == [True, True]


async def test_a_compaction_of_the_caller_is_left_out_too_once_that_of_the_upstream_was_refused() -> None:
    script = [responds(compaction(2), recite(3, id="fc_1")), REFUSED, REFUSED, DONE]
    async with open_bridge({"r": reciter()}, script=script) as bridge:
        receipt = await bridge.respond([compaction(1), {"role": "user", "content": "Hello"}])
    assert receipt["status"] == "completed"
    latest, earlier, whole = map(marks, bridge.requests[1:])
    assert latest == ["cmp_2", "fc_1", "xxx"]
    assert earlier == ["cmp_1", "Hello", "fc_1", "xxx"]
    assert whole == ["Hello", "fc_1", "xxx"]
