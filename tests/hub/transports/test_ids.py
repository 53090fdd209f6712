"""A reply finds its call, whatever has become of its id, and never another's."""

import base64
import json
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCRequest, JSONRPCResponse

from bridge.hub.transports.traffic import Incoming
from bridge.jsonrpc.requests import OpenRequests
from tests.fakes.bridges import open_bridge
from tests.fakes.clock import PATIENCE_S
from tests.fakes.http import WIRES, serve_rogue
from tests.fakes.servers import rogue
from tests.fakes.upstream import call

pytestmark = pytest.mark.anyio

ERAS = ("legacy", "modern")
REPORTS = {
    "float": "yurineko73/Godot-MCP-Native#16",
    "text": "modelcontextprotocol/python-sdk#1720",
    "zero": "radareorg/radare2-mcp#68",
    "null": "helidon-io/helidon-mcp#65",
    "same": "",
    "spelled": "",
    "less": "",
    "more": "",
    "none": "",
    "foreign": "",
    "list": "",
}


def echoes(*texts: str) -> list[Any]:
    return [call("odd__echo", {"text": text}) for text in texts]


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("kind", REPORTS, ids=[f"{kind} {report}".strip() for kind, report in REPORTS.items()])
async def test_a_reply_whose_id_is_odd_finds_its_call(kind: str, wire: str, era: str) -> None:
    async with serve_rogue(wire, era, f"ids={kind}") as entry, open_bridge({"odd": entry}) as bridge:
        outcome = await bridge.run(
            [echoes("one"), echoes("two"), [call("odd__add", {"a": 1, "b": 2})], echoes("three")]
        )
    assert outcome.outputs == ["one", "two", "3", "three"]


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("kind", REPORTS)
async def test_so_it_does_if_only_calls_are_answered_so(kind: str, era: str) -> None:
    async with open_bridge({"odd": rogue(era, f"call_ids={kind}")}) as bridge:
        outcome = await bridge.run([echoes("one"), echoes("two"), echoes("three")])
    assert outcome.outputs == ["one", "two", "three"]


@pytest.mark.parametrize("wire", ["stdio", "sse"])
@pytest.mark.parametrize("kind", ["float", "text", "spelled"])
async def test_ids_in_another_form_find_their_calls_among_others(kind: str, wire: str) -> None:
    async with serve_rogue(wire, f"ids={kind}", "holds=3") as entry, open_bridge({"odd": entry}) as bridge:
        outcome = await bridge.use(*echoes("one", "two", "three"))
    assert outcome.outputs == ["one", "two", "three"]


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("kind", ["zero", "null", "none", "foreign"])
async def test_a_server_that_mixes_up_its_ids_from_the_start_gets_one_call_at_a_time(kind: str, wire: str) -> None:
    async with serve_rogue(wire, "legacy", f"ids={kind}") as entry, open_bridge({"odd": entry}) as bridge:
        outcome = await bridge.use(*echoes("one", "two", "three"))
    assert outcome.outputs == ["one", "two", "three"]


@pytest.mark.rule("S25")
@pytest.mark.parametrize("wire", ["stdio", "sse"])
@pytest.mark.parametrize("kind", ["zero", "null", "none", "foreign", "same"])
async def test_replies_that_cannot_be_told_apart_are_given_to_no_call_and_said_at_once(kind: str, wire: str) -> None:
    async with serve_rogue(wire, f"call_ids={kind}", "holds=2") as entry, open_bridge({"odd": entry}) as bridge:
        first = await bridge.use(*echoes("one", "two"))
        later = await bridge.use(*echoes("three", "four"))
    for output in map(json.loads, first.outputs):
        assert output["error"] == "unreadable_result"
        assert "2 replies came with" in output["message"]
        assert "nobody can tell which belongs to which call" in output["message"]
        assert "it may have been executed" in output["message"]
    assert later.outputs == ["three", "four"]


@pytest.mark.rule("S25")
@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("wire", WIRES)
async def test_a_reply_that_comes_twice_is_taken_once(wire: str, era: str) -> None:
    holds = ["holds=2"] if wire in ("stdio", "sse") else []
    async with serve_rogue(wire, era, "twice", *holds) as entry, open_bridge({"odd": entry}) as bridge:
        outcome = await bridge.run([echoes("one", "two"), echoes("three"), echoes("four", "five")])
    assert outcome.outputs == ["one", "two", "three", "four", "five"]


async def test_an_id_of_five_thousand_digits_is_that_of_no_request_and_ends_nothing(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    pids.mkdir()
    said = '{"jsonrpc": "2.0", "id": %s, "result": {"content": [{"type": "text", "text": "found"}]}}' % ("9" * 5000)
    (tmp_path / "lines").write_bytes(base64.b64encode(said.encode()))
    entry = rogue("legacy", f"spoils={tmp_path / 'lines'}", pids=pids) | {"require_approval": "never"}
    async with open_bridge({"odd": entry}) as bridge:
        outcome = await bridge.run([[call("odd__spoil", {"line": 0})], [call("odd__echo", {"text": "one"})]])
        assert len([*pids.iterdir()]) == 1
    assert outcome.outputs == ["found", "one"]
    assert "9" * 100 not in json.dumps(outcome.receipt)


@pytest.mark.parametrize("kind", ["null", "zero"], ids=["null yjacquin/fast-mcp#39", "zero oisee/odata_mcp_go#33"])
@pytest.mark.parametrize("ids", ["right", "zero", "none"])
async def test_an_answer_to_a_notification_is_no_requests_reply(kind: str, ids: str) -> None:
    async with open_bridge({"odd": rogue("legacy", f"chatty={kind}", f"ids={ids}")}) as bridge:
        outcome = await bridge.run([echoes("one"), echoes("two")])
    assert outcome.outputs == ["one", "two"]


async def test_a_subscription_that_stays_open_is_not_taken_for_a_call() -> None:
    async with open_bridge({"odd": rogue("list_changed", "call_ids=null")}) as bridge:
        outcome = await bridge.run([echoes("one"), echoes("two")])
    assert outcome.outputs == ["one", "two"]


@pytest.mark.rule("REL6")
async def test_a_late_reply_to_a_call_that_was_given_up_is_not_the_next_ones() -> None:
    entry = rogue("call_ids=same", "holds=2") | {"call_timeout_s": 0.3}
    async with open_bridge({"odd": entry}) as bridge:
        outcome = await bridge.run([echoes("one"), echoes("two"), echoes("three")])
    first, second, third = outcome.outputs
    assert "no result in time; it may have been executed" in first
    assert "two" not in second
    assert "nobody can tell which belongs to which call" in second
    assert third == "three"


async def test_a_call_that_gets_none_of_the_replies_is_told_what_came() -> None:
    entry = rogue("call_ids=third") | {"call_timeout_s": 0.3}
    idle = rogue("call_ids=third") | {"idle_timeout_s": 0.3}
    async with open_bridge({"odd": entry, "idle": idle}) as bridge:
        outcome = await bridge.run([[call(f"{key}__echo", {"text": "x"}) for key in ("odd", "idle")]] * 2)
    assert outcome.outputs[:2] == ["x", "x"]
    for output in outcome.outputs[2:]:
        assert ", but a reply came with the id 3, which belongs to an earlier request; it may have been" in output


async def test_a_reply_that_could_be_two_calls_is_given_to_the_one_that_is_left() -> None:
    """`sleep_forever` is never answered, `echo` by an id of nobody's; then the other one is given up."""
    entry = rogue("call_ids=foreign") | {"call_timeout_s": 0.3}
    async with open_bridge({"odd": entry}) as bridge:
        outcome = await bridge.use(call("odd__sleep_forever"), *echoes("one"))
    for output in outcome.outputs:
        assert "no result in time, but a reply came with the id" in output


@pytest.mark.external
async def test_a_call_that_is_never_answered_costs_no_later_one() -> None:
    """Later replies that all have one id could be its reply: the connection is given up with it, and the next call has
    its own time to wait for the new process."""
    entry = rogue("ids=zero") | {"call_timeout_s": 5}
    async with open_bridge({"odd": entry}) as bridge:
        outcome = await bridge.run([[call("odd__sleep_forever")], echoes("one"), echoes("two")])
    assert "no result in time" in outcome.outputs[0]
    assert outcome.outputs[1:] == ["one", "two"]


LOGS = (
    '{"level": "error", "error": "no disk", "id": $ID}',
    '{"level": "error", "error": "no disk", "id": "a"}',
    '{"event": "done", "result": {"content": []}, "id": 77}',
    '{"error": "no disk", "level": 3}',
    '{"result": "done", "ms": 3}',
)


@pytest.mark.rule("S25")
@pytest.mark.parametrize("log", LOGS)
async def test_a_line_of_a_log_is_no_reply(log: str, tmp_path: Path) -> None:
    result = '{"jsonrpc": "2.0", "id": $ID, "result": {"content": [{"type": "text", "text": "hello"}]}}'
    (tmp_path / "replies").write_text(f"{log}$NEXT{result}", encoding="utf-8")
    async with open_bridge({"odd": rogue(f"answers={tmp_path / 'replies'}")}) as bridge:
        outcome = await bridge.use(call("odd__answer", {"line": 0}))
    assert outcome.outputs == ["hello"]


@pytest.mark.parametrize("odd", [10**5000, 0, 11], ids=["foreign", "zero", "that of the next"])
async def test_the_own_reply_of_a_request_that_was_given_another_is_no_later_requests(odd: int) -> None:
    first, second = [JSONRPCRequest(jsonrpc="2.0", id=number, method="tools/call") for number in (10, 11)]
    requests = OpenRequests()
    requests.note_sent(first)
    stray = JSONRPCResponse(jsonrpc="2.0", id=odd, result={"content": []})
    assert [reply.id for _, reply in requests.take(stray)] == [10]
    requests.note_sent(second)
    assert requests.take(JSONRPCResponse(jsonrpc="2.0", id=10, result={"content": []})) == []
    own = JSONRPCResponse(jsonrpc="2.0", id=11, result={"content": []})
    assert [reply.id for _, reply in requests.take(own)] == [11]


async def test_a_reply_behind_one_that_cannot_be_read_is_no_later_requests() -> None:
    """Also of a server that has mixed up ids before."""
    requests = OpenRequests()
    content: dict[str, Any] = {"content": []}
    for number, answered in ((10, None), (11, 11)):
        requests.note_sent(JSONRPCRequest(jsonrpc="2.0", id=number, method="tools/call"))
        reply = JSONRPCResponse.model_construct(jsonrpc="2.0", id=answered, result=content)
        assert [reply.id for _, reply in requests.take(reply)] == [number]
    requests.note_sent(JSONRPCRequest(jsonrpc="2.0", id=12, method="tools/call"))
    assert requests.take(JSONRPCResponse(jsonrpc="2.0", id=11, result=content)) == []
    own = JSONRPCResponse(jsonrpc="2.0", id=12, result=content)
    assert [reply.id for _, reply in requests.take(own)] == [12]


async def test_a_flood_lets_go_whoever_waits_for_a_turn() -> None:
    first, second, third = [JSONRPCRequest(jsonrpc="2.0", id=number, method="tools/call") for number in (1, 2, 3)]
    requests = OpenRequests()
    requests.note_sent(first)
    assert requests.take(JSONRPCResponse(jsonrpc="2.0", id=0, result={"content": []}))  # it mixes up its ids
    requests.note_sent(second)
    to_session, inner = anyio.create_memory_object_stream[SessionMessage | Exception](1)
    incoming = Incoming(
        inner, requests, lambda _method, _result: None, anyio.Event(), anyio.Event(), accept=lambda _: False
    )
    with to_session, inner, anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(requests.wait_turn, third)
            await to_session.send(SessionMessage(JSONRPCRequest(jsonrpc="2.0", id=7, method="ping")))
            await incoming.receive()
            with pytest.raises(anyio.EndOfStream):
                await incoming.receive()
