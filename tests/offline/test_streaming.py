"""Events as they are sent: their order, that they really stream, and that nothing leaks when nobody reads on."""

import asyncio
import json
from typing import Any

import anyio
import httpx2
import pytest
from starlette.types import Message

from bridge.offline.app import build_app
from tests.fakes.clock import PATIENCE_S
from tests.offline.judged import Misshapen, connect, create, judge_event, judge_response, read_frame, stream

pytestmark = pytest.mark.anyio

Json = dict[str, Any]

CLOCK = {"type": "function", "name": "tick", "description": "Current time", "parameters": {"type": "object"}}
SCOPE: Message = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.4"},
    "method": "POST",
    "path": "/v1/responses",
    "query_string": b"",
    "headers": [(b"content-type", b"application/json")],
}


async def test_a_broken_event_or_response_is_told_from_a_good_one() -> None:
    async with connect() as client:
        events = await stream(client, {"input": "Hello"})
        response = await create(client, {"input": "Hello"})
    delta = next(event for event in events if event["type"] == "response.output_text.delta")
    broken: list[Json] = [
        {key: value for key, value in delta.items() if key != "item_id"},
        delta | {"sequence_number": "4"},
        delta | {"type": "response.output_text.delte"},
        delta | {"surplus": 1},
        events[-1] | {"response": {**events[-1]["response"], "output": [{"type": "unheard_of"}]}},
    ]
    for event in broken:
        with pytest.raises(Misshapen):
            judge_event(event)
    with pytest.raises(Misshapen):
        judge_response({**response, "status": "finished"})


async def test_a_message_goes_through_its_whole_life() -> None:
    async with connect() as client:
        events = await stream(client, {"input": "Hello"})
    kinds = [event["type"].removeprefix("response.") for event in events]
    deltas = [event["delta"] for event in events if event["type"].endswith(".delta")]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert kinds == [
        *("created", "in_progress", "output_item.added", "content_part.added"),
        *["output_text.delta"] * len(deltas),
        *("output_text.done", "content_part.done", "output_item.done", "completed"),
    ]
    done = events[-1]["response"]
    assert len(deltas) > 1
    assert "".join(deltas) == events[-4]["text"] == done["output"][0]["content"][0]["text"]
    assert (events[0]["response"]["status"], events[0]["response"]["output"]) == ("in_progress", [])
    assert {events[0]["response"]["id"], events[1]["response"]["id"]} == {done["id"]}
    assert events[-2]["item"] == done["output"][0]


async def test_calls_go_through_their_whole_life_one_after_the_other() -> None:
    twin = {**CLOCK, "name": "look", "description": "Weather forecast"}
    async with connect() as client:
        body = {"input": "Give me the current time and the weather forecast", "tools": [CLOCK, twin]}
        events = await stream(client, body)
    kinds = [event["type"].removeprefix("response.") for event in events]
    arguments = ["function_call_arguments.delta", "function_call_arguments.done"]
    life = ["output_item.added", *arguments, "output_item.done"]
    assert kinds == ["created", "in_progress", *life, *life, "completed"]
    assert [event["output_index"] for event in events[2:-1]] == [0] * 4 + [1] * 4
    added, *_, done = events[2:6]
    assert (added["item"]["arguments"], done["item"]["arguments"], added["item"]["name"]) == ("", "{}", "tick")


async def test_the_application_sends_the_first_delta_before_it_has_made_the_last_event() -> None:
    body = json.dumps({"input": "Hi", "stream": True}).encode()
    release, reached = anyio.Event(), anyio.Event()
    sent: list[str] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message.get("body", b"").decode())
        if "output_text.delta" in sent[-1] and not reached.is_set():
            reached.set()
            await release.wait()

    async with anyio.create_task_group() as group:
        with anyio.fail_after(PATIENCE_S):
            group.start_soon(build_app(), SCOPE, receive, send)
            await reached.wait()
            assert not any("response.completed" in chunk for chunk in sent)
            release.set()
    assert [chunk.count("\n\n") for chunk in sent if chunk] == [1] * (len(sent) - 2)
    assert "response.completed" in sent[-3]


async def test_inside_the_process_each_event_is_handed_on_by_itself() -> None:
    async with connect() as client, client.stream("POST", "/responses", json={"input": "Hi", "stream": True}) as reply:
        chunks = reply.aiter_raw()
        first = await anext(chunks)
        rest = [chunk async for chunk in chunks]
    assert read_frame(first.decode())["type"] == "response.created"
    assert len(rest) > 8
    assert all(chunk.count(b"\n\n") == 1 for chunk in rest)


async def test_leaving_the_embedded_upstream_in_the_middle_does_it_no_harm() -> None:
    before = asyncio.all_tasks()
    async with connect() as client:
        async with client.stream("POST", "/responses", json={"input": "Hi", "stream": True}) as reply:
            await anext(reply.aiter_raw())
        assert asyncio.all_tasks() == before
        assert (await create(client, {"input": "Hi"}))["status"] == "completed"


async def test_many_readers_at_once_get_their_own_streams() -> None:
    ids: set[str] = set()

    async def read(client: httpx2.AsyncClient) -> None:
        ids.add(json.dumps((await stream(client, {"input": "Hi"}))[-1]["response"]["id"]))

    async with connect() as client, anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(read, client)
    assert len(ids) == 20
