"""News of runs: each change once, numbered, none lost over a gap, and nothing of anybody else's.

As King-Capital/multi-agent-engine#264 and anomalyco/opencode#25657 (what happens while a stream is broken is never
seen), athrvk/vayu#21 (a page that comes back gets everything again), zebrunner/reporting#518 and
nextgenhealthcare/connect#2240 (open pages cost the service its processor, and more of it with time).
"""

from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from bridge.app import Bridge
from bridge.config.changes import compare
from bridge.host.page.news import CHECK_S, IDLE_S, MOST_CHANGES, MOST_OF_ONE, PACE_S
from bridge.run.run import Run
from tests.fakes.browser import Stream
from tests.fakes.clock import VirtualClock, until
from tests.fakes.upstream import Request, gated, message, responds
from tests.fakes.watched import ANN, BOB, OLE, PEOPLE, watched

pytestmark = pytest.mark.anyio


def observers_of(bridge: Bridge) -> Sequence[Any]:
    return bridge.engine._observers


async def hear(stream: Stream, count: int) -> list[Any]:
    """The next runs that are told of."""
    heard = [await stream.next() for _ in range(count)]
    return [news.data["prompt"] for news in heard if news and news.name == "run"]


async def test_a_run_is_seen_as_it_happens_and_by_nobody_else() -> None:
    gate = anyio.Event()

    def model(_: Request) -> Any:
        return gated(responds(message("Done.")), gate)

    async with (
        watched(model) as at,
        at.browser(ANN) as ann,
        at.browser(BOB) as bob,
        at.browser(OLE) as ole,
        ann.listening() as to_ann,
        bob.listening() as to_bob,
        ole.listening() as to_ole,
        at.slow_host(ANN) as host,
    ):
        called = await host.call("What now?")
        for stream in (to_ann, to_ole):
            run = await stream.until(status="in_progress", turns=0)
            assert (run["prompt"], run["who"], run["questions"]) == ("What now?", "ann", 0)
        gate.set()
        await called.result()
        for stream in (to_ann, to_ole):
            assert (await stream.until(status="completed"))["turns"] == 1
        await at.ask(BOB, "mine")
        assert (await to_bob.until(status="completed"))["prompt"] == "mine"
        assert {news.data["who"] for news in to_bob.heard} == {"bob"}


async def test_a_page_that_was_away_hears_what_it_has_missed_once_and_nothing_else() -> None:
    async with watched() as at, at.browser(ANN) as ann:
        await at.ask(ANN, "before")
        since = (await ann.see("runs"))["news"]
        async with ann.listening(since) as stream:
            await at.ask(ANN, "heard")
            await stream.until(prompt="heard", status="completed")
            last = stream.heard[-1].id
        for prompt in ("one", "two", "three"):
            await at.ask(ANN, prompt)
            await at.ask(BOB, prompt.upper())
        async with ann.listening(last) as stream:
            await stream.until(prompt="three", status="completed")
            assert {news.data["prompt"] for news in stream.heard} == {"one", "two", "three"}
            statuses = {news.data["prompt"]: news.data["status"] for news in stream.heard}
            assert set(statuses.values()) == {"completed"}
            assert [news.id for news in stream.heard] == sorted({news.id for news in stream.heard}, key=number)
        async with ann.listening(since) as stream:
            await stream.until(prompt="three", status="completed")
            assert {news.data["prompt"] for news in stream.heard} == {"heard", "one", "two", "three"}


def number(id: str) -> int:
    return int(id.rpartition("-")[2])


async def test_news_of_another_process_and_from_too_long_ago_is_fetched_anew() -> None:
    async with watched() as first, first.browser(ANN) as ann:
        old = (await ann.see("runs"))["news"]
    async with watched() as at, at.browser(ANN) as ann:
        nonce = (await ann.see("runs"))["news"].partition("-")[0]
        for id in (old, f"{nonce}-9999", f"{nonce}-", "x", "-1", f"{nonce}-" + "9" * 5000):
            async with ann.listening(id) as stream:
                news = await stream.next()
                assert news
                assert (news.name, news.data) == ("reset", {})
                await at.ask(ANN, id[:20])
                await stream.until(prompt=id[:20].strip(), status="completed")


async def test_only_the_last_changes_are_remembered() -> None:
    """Of runs as the engine tells of them: more than any service drives at once."""
    clock = VirtualClock()
    async with watched(clock=clock) as at, at.browser(ANN) as ann:
        since = (await ann.see("runs"))["news"]
        [news] = observers_of(at.bridge)
        for place in range(10_000):
            run = Run(f"run_{place}", "principal ann", {"input": str(place)}, created=float(place))
            news.begin(run)
            if place % 1000 == 999:
                await clock.advance(PACE_S)
        assert len(news._changes) == MOST_CHANGES
        async with ann.listening(since) as stream:
            told = await stream.next()
            assert told
            assert told.name == "reset"
        async with ann.listening(f"{told.id.rpartition('-')[0]}-{10_000 - 5}") as stream:
            assert await hear(stream, 5) == ["9995", "9996", "9997", "9998", "9999"]


async def test_a_text_that_streams_is_told_of_twice_a_second_at_most() -> None:
    words = [f"word{place} " for place in range(500)]
    clock = VirtualClock()
    gate = anyio.Event()

    def model(_: Request) -> Any:
        return gated(responds(message("".join(words))), gate, after="word499")

    async with watched(model, clock=clock) as at, at.browser(ANN) as ann, ann.listening() as stream:
        async with at.slow_host(ANN) as host:
            called = await host.call("Tell me")
            await stream.until(status="in_progress")
            [run] = await at.bridge.engine.list(principal="principal ann")
            await until(lambda: "word499" in "".join(run.saying))
            await clock.advance(PACE_S)
            saying = (await ann.see(f"runs/{run.run_id}"))["saying"]["text"]
            assert saying.startswith("word0 word1")
            gate.set()
            await called.result()
            await clock.advance(PACE_S)
            await stream.until(status="completed")
        assert len(stream.heard) <= 2 + clock.now() / PACE_S


async def test_while_nobody_looks_nobody_is_told() -> None:
    clock = VirtualClock()
    async with watched(clock=clock) as at, at.browser(ANN) as ann:
        assert list(observers_of(at.bridge)) == []
        await ann.see("session")
        await ann.see("usage")
        assert list(observers_of(at.bridge)) == []
        async with ann.listening() as stream:
            assert len(observers_of(at.bridge)) == 1
            await at.ask(ANN, "heard")
            await clock.advance(1)
            await stream.until(prompt="heard")
            await clock.advance(10 * IDLE_S)
            assert len(observers_of(at.bridge)) == 1
            last = stream.heard[-1].id
        await clock.advance(2 * IDLE_S)
        await until(lambda: not observers_of(at.bridge))
        await at.ask(ANN, "unheard")
        async with ann.listening(last) as stream:
            news = await stream.next()
            assert news
            assert news.name == "reset"


async def test_somebody_with_too_many_pages_keeps_nobody_else_out() -> None:
    async with watched() as at, at.browser(ANN) as ann, at.browser(BOB) as bob, anyio.create_task_group() as tasks:
        opened = list[Stream]()

        async def listen() -> None:
            async with ann.listening() as stream:
                opened.append(stream)
                await anyio.sleep_forever()

        for _ in range(MOST_OF_ONE):
            tasks.start_soon(listen)
        await until(lambda: len(opened) == MOST_OF_ONE)
        refused = await ann.get("news")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "busy")
        assert "retry-after" in refused.headers
        async with bob.listening() as stream:
            await at.ask(BOB, "mine")
            await stream.until(prompt="mine")
        tasks.cancel_scope.cancel()


async def test_pages_that_come_at_once_are_not_more_than_those_that_come_one_by_one() -> None:
    async with watched() as at, at.browser(ANN) as ann:
        [cookie] = [f"{name}={value}" for name, value in ann.http.cookies.items()]
        head = f"GET /page/news HTTP/1.1\r\nHost: 127.0.0.1:{at.served.port}\r\nCookie: {cookie}\r\n\r\n".encode()
        streams = [await anyio.connect_tcp("127.0.0.1", at.served.port) for _ in range(3 * MOST_OF_ONE)]
        async with anyio.create_task_group() as tasks:
            for stream in streams:
                tasks.start_soon(stream.send, head)
        for stream in streams:
            await stream.receive()
        await at.ask(ANN, "one")  # whatever comes of the others has come by then
        [news] = observers_of(at.bridge)
        assert news._listening == {"principal ann": MOST_OF_ONE}
        for stream in streams:
            await stream.aclose()


async def test_a_server_that_is_lost_is_told_to_all() -> None:
    clock = VirtualClock()
    far = {"far": {"url": "http://127.0.0.1:9/mcp"}}
    async with watched(servers=far, clock=clock) as at, at.browser(ANN) as ann, ann.listening() as stream:
        await clock.advance(120)
        while (news := await stream.next()) and news.name != "servers":
            continue
        assert news
        [server] = (await ann.see("servers"))["servers"]
        assert (server["name"], server["tools"], server["tokens"]) == ("far", [], 0)


async def test_an_operator_who_is_none_any_more_hears_of_others_no_longer() -> None:
    clock = VirtualClock()
    people = {**PEOPLE, "ole": {"token": OLE}}
    async with watched(clock=clock) as at, at.browser(OLE) as ole, ole.listening() as stream:
        await at.ask(ANN, "before")
        await clock.advance(PACE_S)
        await stream.until(prompt="before")
        later = at.bridge.config.serve.model_validate({"principals": people})
        at.bridge.reconfigure(compare(at.bridge.config, at.bridge.config.model_copy(update={"serve": later})))
        await clock.advance(CHECK_S + PACE_S)
        await at.ask(ANN, "for nobody else")
        await at.ask(OLE, "mine")
        await clock.advance(PACE_S)
        await stream.until(prompt="mine")
        assert {news.data["prompt"] for news in stream.heard} == {"before", "mine"}
