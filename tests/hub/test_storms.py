"""How often a server that cannot be connected is tried: what comes back by itself soon, what must be mended seldom."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp import types
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from bridge.hub.health import BREAKER_FAILURES, LOSSES, PROBE_S, STABLE_S
from bridge.hub.outlook import MENDED_FIRST_S, SOON_S
from tests.fakes.bridges import open_without_host
from tests.fakes.clock import VirtualClock, until
from tests.fakes.http import HttpServer, build_answering
from tests.fakes.items import Json
from tests.fakes.peers import Peer, Trouble
from tests.fakes.rogue import Rogue
from tests.fakes.simulation import open_hub

pytestmark = pytest.mark.anyio

DAY_S = 86_400.0
LISTEN = "subscriptions/listen"
Refuse = Callable[[], Response | None]
_CHANGED = types.ToolListChangedNotification(method="notifications/tools/list_changed")
BODY = {"jsonrpc": "2.0", "id": None, "error": {"code": -32001, "message": "Unauthorized"}}


def build(refuse: Refuse, asked: Counter[str]) -> Starlette:
    """A server that counts what it is asked, and refuses it if `refuse` says so."""
    server = Rogue({})

    async def answer(request: Request) -> Response:
        asked[request.method] += 1
        if (refusal := refuse()) or request.method != "POST":
            return refusal or Response(status_code=405)
        message = await request.json()
        found = server.answer(message["method"], message.get("params") or {}, message) if "id" in message else None
        return JSONResponse({"jsonrpc": "2.0", "id": message["id"], **found}) if found else Response(status_code=202)

    return Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST", "DELETE"])])


REFUSALS: dict[str, tuple[Callable[[], Response], Mapping[str, str], int]] = {
    "401, with no type (smart-mcp-proxy/mcpproxy-go#1013)": (lambda: PlainTextResponse("who?", 401), {}, 150),
    "401, as Streamable HTTP (tinyhumansai/openhuman#6412)": (lambda: PlainTextResponse("", 401), {"type": "http"}, 80),
    "401, as SSE": (lambda: PlainTextResponse("", 401), {"type": "sse"}, 80),
    "401 with a JSON-RPC body": (lambda: JSONResponse(BODY, 401), {}, 150),
    "403 (earendil-works/pi#5857)": (lambda: PlainTextResponse("no", 403), {}, 150),
    "404": (lambda: PlainTextResponse("Not Found", 404), {}, 150),
    "410": (lambda: PlainTextResponse("Gone", 410), {}, 150),
    "a page to sign in": (lambda: HTMLResponse("<h1>Sign in</h1>"), {}, 1000),
    "429": (lambda: PlainTextResponse("slow down", 429), {}, 1000),
    "503": (lambda: PlainTextResponse("maintenance", 503), {}, 1000),
}


@pytest.mark.external
@pytest.mark.parametrize(("refuse", "entry", "at_most"), REFUSALS.values(), ids=REFUSALS)
async def test_a_server_that_refuses_is_asked_seldom(
    refuse: Callable[[], Response],
    entry: Mapping[str, str],
    at_most: int,
    record_testsuite_property: Callable[[str, object], None],
    request: pytest.FixtureRequest,
) -> None:
    clock, asked = VirtualClock(), Counter[str]()
    async with (
        HttpServer(lambda: build(refuse, asked)) as served,
        open_without_host(None, {"shut": {"url": served.url, **entry}}, clock=clock),
    ):
        await until(lambda: asked.total() > 0)
        await clock.advance(DAY_S)
    record_testsuite_property(f"requests a day: {request.node.callspec.id}", asked.total())
    assert 24 <= asked.total() <= at_most


@pytest.mark.external
async def test_one_that_was_ready_and_refuses_now_is_asked_seldom_too() -> None:
    clock, asked, refusals = VirtualClock(), Counter[str](), list[Response]()
    async with (
        HttpServer(lambda: build(lambda: refusals[0] if refusals else None, asked)) as served,
        open_without_host(None, {"shop": {"url": served.url}}, clock=clock) as bridge,
    ):
        [shop] = bridge.hub.members
        await until(lambda: shop.state == "ready")
        refusals.append(PlainTextResponse("the token has expired", 401))
        assert shop._link is not None
        shop._link.lost.set()
        await clock.advance(DAY_S)
        assert asked.total() < 170
        refusals.clear()
        before, limit = asked.total(), clock.now() + MENDED_FIRST_S
        while asked.total() == before and clock.now() < limit:
            await clock.advance(60)
        await until(lambda: shop.state == "ready")


@asynccontextmanager
async def open_peer(plan: Callable[[int, str], Trouble | None], clock: VirtualClock) -> AsyncIterator[tuple[Peer, Any]]:
    peer = Peer("frail", clock, plan=plan)
    async with open_hub({"frail": "stdio modern"}, {"frail": peer}, clock) as hub:
        yield peer, hub.members[0]


@pytest.mark.parametrize("fault", ["eof", "error"], ids=["exits at once", "command not found"])
async def test_a_command_that_does_not_run_is_tried_at_growing_pauses_up_to_an_hour(
    fault: Any, record_testsuite_property: Callable[[str, object], None]
) -> None:
    clock = VirtualClock()
    async with open_peer(lambda _, step: Trouble(fault) if step == "start" else None, clock) as (peer, member):
        await clock.advance(DAY_S)
        assert member.reason.endswith("; it is tried again at growing pauses of up to 60 min")
    pauses = [pause for pause in clock.sleeps if pause in (PROBE_S, MENDED_FIRST_S)]
    assert pauses[:2] == [PROBE_S, PROBE_S]
    assert pauses[-1] == MENDED_FIRST_S
    assert peer.starts < 45
    record_testsuite_property(f"starts a day ({fault})", peer.starts)


@pytest.mark.parametrize(("away_s", "back_s"), [(1, 2), (60, 35), (600, 300), (7200, 300)])
async def test_one_that_has_worked_is_back_soon(away_s: float, back_s: float) -> None:
    """Also one whose command exits meanwhile (NousResearch/hermes-agent#35661: never given up)."""
    clock, away = VirtualClock(), list[str]()

    def plan(_: int, step: str) -> Trouble | None:
        return Trouble("eof") if away and step in (*away, "start") else None

    async with open_peer(plan, clock) as (_, member):
        await clock.advance(20)
        assert member.state == "ready"
        away.append("tools/list")
        await member.listing.handle_notification(_CHANGED)
        await clock.advance(away_s)
        assert member.state != "ready"
        away.clear()
        await clock.advance(back_s)
        assert member.state == "ready"


@pytest.mark.external
async def test_one_that_is_not_there_is_tried_every_half_minute() -> None:
    clock = VirtualClock()
    async with HttpServer(lambda: build(lambda: None, Counter())) as served:
        url = served.url
    async with open_without_host(None, {"away": {"url": url, "type": "http"}}, clock=clock) as bridge:
        await clock.advance(3600)
        [away] = bridge.hub.members
        assert away.reason is not None
        assert away.reason.endswith(f"; it is tried again every {SOON_S:g} s")
        assert max(clock.sleeps) == SOON_S


async def test_one_that_lives_a_little_longer_than_counts_as_stable_is_not_restarted_for_ever() -> None:
    clock = VirtualClock()
    async with open_peer(lambda *_: None, clock) as (peer, member):
        for _ in range(LOSSES + BREAKER_FAILURES + 3):
            await clock.advance(STABLE_S + 1)
            if member._link:
                member._link.lost.set()
        assert member.state == "quarantined"
        starts = peer.starts
        await clock.advance(PROBE_S - STABLE_S - 2)
        assert peer.starts == starts


@pytest.mark.external
async def test_a_subscription_that_ends_at_once_is_renewed_at_growing_pauses(caplog: pytest.LogCaptureFixture) -> None:
    """Each renewal lists the tools, too: changes in between were not announced."""
    clock, asked = VirtualClock(), Counter[str]()
    caplog.set_level("DEBUG", "bridge.hub.listing")

    def answer(message: Json) -> Json | None:
        asked[str(message.get("method"))] += 1
        return {"error": {"code": -32000, "message": "Busy"}} if message.get("method") == LISTEN else None

    def count_ended() -> int:
        return sum("subscription" in record.getMessage() for record in caplog.records)

    async with (
        HttpServer(lambda: build_answering(answer, {"list_changed": ""})) as served,
        open_without_host(None, {"hasty": {"url": served.url}}, clock=clock),
    ):
        for number, pause in enumerate((2, 4, 8, 16, 32, 60, 60), start=1):
            await until(lambda: count_ended() == number)  # noqa: B023 - awaited here
            await clock.advance(pause - 0.1)
            assert asked[LISTEN] == number
            await clock.advance(0.1)
        await until(lambda: asked[LISTEN] == 8)
    assert 1 < asked["tools/list"] <= 8
