"""Events as they are sent: their order, that they really stream, and that nothing leaks when nobody reads on."""

import asyncio
import json
from typing import Any

import anyio
import httpx2
import pytest
from starlette.types import ASGIApp, Message, Receive, Send

from bridge.offline.app import build_app
from tests.offline.judged import Misshapen, connect, create, judge_event, judge_response, read_frame, stream

pytestmark = pytest.mark.anyio

Json = dict[str, Any]

CLOCK = {"type": "function", "name": "tick", "description": "Current time", "parameters": {"type": "object"}}
HEAD: Message = {"type": "http.response.start", "status": 200, "headers": []}


def chunk(body: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}


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


async def test_the_first_delta_arrives_before_the_app_has_finished() -> None:
    finished = anyio.Event()
    inner = build_app()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await inner(scope, receive, send)
        finished.set()

    async with (
        connect(app) as client,
        client.stream("POST", "/responses", json={"input": "Hi", "stream": True}) as reply,
    ):
        seen: list[str] = []
        async for frame in reply.aiter_raw():
            if frame and not frame.startswith(b"data: [DONE]"):
                seen.append(read_frame(frame.decode())["type"])
                if seen[-1].endswith("output_text.delta"):
                    assert not finished.is_set()
        assert "response.output_text.delta" in seen
        assert finished.is_set()


async def test_a_chunk_is_handed_on_while_the_app_waits_for_its_reader() -> None:
    read = anyio.Event()

    async def app(_scope: Message, _receive: Receive, send: Send) -> None:
        await send(HEAD)
        await send(chunk(b"one", more=True))
        await read.wait()
        await send(chunk(b"two", more=False))

    with anyio.fail_after(5):
        async with connect(app) as client, client.stream("GET", "/") as reply:
            chunks = reply.aiter_raw()
            assert await anext(chunks) == b"one"
            read.set()
            assert await anext(chunks) == b"two"


async def test_closing_early_cancels_the_app_and_leaves_no_task() -> None:
    cancelled = anyio.Event()
    before = asyncio.all_tasks()

    async def app(_scope: Message, _receive: Receive, send: Send) -> None:
        await send(HEAD)
        try:
            while True:
                await send(chunk(b"more", more=True))
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with anyio.fail_after(5):
        async with connect(app) as client, client.stream("GET", "/") as reply:
            assert await anext(reply.aiter_raw()) == b"more"
            assert asyncio.all_tasks() > before
        assert cancelled.is_set()
    assert asyncio.all_tasks() == before


async def test_a_reader_who_is_cancelled_before_the_head_leaves_no_task() -> None:
    before = asyncio.all_tasks()

    async def app(_scope: Message, _receive: Receive, _send: Send) -> None:
        started.set()
        await anyio.sleep_forever()

    started = anyio.Event()
    async with connect(app) as client:
        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                group.start_soon(client.get, "/")
                await started.wait()
                group.cancel_scope.cancel()
    assert asyncio.all_tasks() == before


async def test_leaving_the_embedded_upstream_in_the_middle_does_it_no_harm() -> None:
    before = asyncio.all_tasks()
    async with connect() as client:
        async with client.stream("POST", "/responses", json={"input": "Hi", "stream": True}) as reply:
            await anext(reply.aiter_raw())
        assert asyncio.all_tasks() == before
        assert (await create(client, {"input": "Hi"}))["status"] == "completed"


async def test_an_app_that_waits_for_the_disconnect_hears_of_it_when_all_is_read() -> None:
    heard: list[str] = []

    async def app(_scope: Message, receive: Receive, send: Send) -> None:
        request = await receive()
        await send(HEAD)
        await send(chunk(request["body"], more=False))
        heard.append((await receive())["type"])

    with anyio.fail_after(5):
        async with connect(app) as client:
            assert (await client.post("/", content=b"same")).content == b"same"
    assert heard == ["http.disconnect"]


@pytest.mark.parametrize("begun", [False, True])
async def test_what_the_app_raises_reaches_the_reader(begun: bool) -> None:
    async def app(_scope: Message, _receive: Receive, send: Send) -> None:
        if begun:
            await send(HEAD)
        raise LookupError("broken")

    async with connect(app) as client:
        with pytest.raises(LookupError, match="broken"):
            await client.get("/")


async def test_an_app_that_sends_nothing_is_a_protocol_error() -> None:
    async def app(_scope: Message, _receive: Receive, _send: Send) -> None:
        return

    silent: ASGIApp = app
    async with connect(silent) as client:
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.get("/")


async def test_many_readers_at_once_get_their_own_streams() -> None:
    ids: set[str] = set()

    async def read(client: httpx2.AsyncClient) -> None:
        ids.add(json.dumps((await stream(client, {"input": "Hi"}))[-1]["response"]["id"]))

    async with connect() as client, anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(read, client)
    assert len(ids) == 20
