"""A session that the server has lost: however it says so, it is opened anew once, and what was refused is repeated."""

import math
from collections.abc import Callable
from typing import Any, Literal

import anyio
import httpx2
import pytest
from typing_extensions import override

from bridge.hub.transports.sessions import RENEWAL_S, speaks_of_session
from tests.fakes.bridges import open_bridge
from tests.fakes.clock import VirtualClock, until
from tests.fakes.http import HttpServer
from tests.fakes.peers import Peer
from tests.fakes.rogue import Rogue
from tests.fakes.sessions import LEGACY, MODERN, Far, Visit, build_app, visit
from tests.fakes.simulation import call, open_hub
from tests.fakes.upstream import call as tool_call
from tests.hub.transports.test_guard import Body

pytestmark = pytest.mark.anyio

Json = dict[str, Any]
Lost = Callable[[Json], httpx2.Response]
EVENTS = {"content-type": "text/event-stream"}


def error(status: int, message: str, code: int = -32000, id: object = None) -> Lost:
    return lambda _: httpx2.Response(
        status, json={"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}}
    )


def its_own(status: int, message: str, code: int = -32000) -> Lost:
    """With the id of the request."""
    return lambda asked: error(status, message, code, asked["id"])(asked)


def text(status: int, words: str, kind: str = "text/plain") -> Lost:
    return lambda _: httpx2.Response(status, content=words.encode(), headers={"content-type": kind})


def framed(body: str) -> Lost:
    return lambda _: httpx2.Response(200, content=f"event: message\ndata: {body}\n\n".encode(), headers=EVENTS)


TOLD: dict[str, Lost] = {
    "404 alone": text(404, ""),
    "404, a page": text(404, "<h1>Not Found</h1>", "text/html"),
    "modelcontextprotocol/python-sdk#1676": error(404, "Session not found", -32600),
    "anthropics/claude-code#59442": error(404, "Session not found", -32600, "server-error"),
    "punkpeye/mcp-remote#106": error(404, "Session not found", -32001),
    "anthropics/claude-code#27425": error(400, "Bad Request: No valid session ID provided"),
    "DAWNCR0W/affine-mcp-server#301": error(400, "Bad Request: No valid session ID or not an initialize request"),
    "mcp-use/mcp-use#1133": error(400, "Bad Request: Server not initialized"),
    "anthropics/claude-code#55970": framed(
        '{"jsonrpc": "2.0", "id": null, "error": {"code": -32000, "message": "Bad Request: Server not initialized"}}'
    ),
    "diegosouzapw/OmniRoute#5191": error(400, "Bad Request: Unknown Mcp-Session-Id header"),
    "modelcontextprotocol/typescript-sdk#1402": text(410, "Session expired"),
    "markmhendrickson/neotoma#1923": error(503, "Unknown session id, the server may have been restarted"),
    "actionhero/keryx#503": framed('{"error": "Session not found"}'),
    "400, plain text": text(400, "Invalid session ID"),
    "400, JSON": lambda _: httpx2.Response(400, json={"error": "invalid_session", "message": "Session expired"}),
    "400, problem": lambda _: httpx2.Response(
        400,
        json={"title": "Bad Request", "detail": "No active session"},
        headers={"content-type": "application/problem+json"},
    ),
    "400, no Content-Type": lambda _: httpx2.Response(400, content=b'{"error": "missing session id"}'),
    "400, Chinese": text(400, "会话不存在或已过期"),
    "a framed refusal": lambda _: httpx2.Response(
        503,
        content=b'event: message\ndata: {"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"no session"}}',
        headers=EVENTS,
    ),
    "422": text(422, "Unexpected message, expect initialize request"),
    "an error in a reply": its_own(200, "Session not found", -32600),
    "an error in a stream": lambda asked: framed(
        f'{{"jsonrpc": "2.0", "id": {asked["id"]}, "error": {{"code": -32001, "message": "session has expired"}}}}'
    )(asked),
}


@pytest.mark.parametrize("told", TOLD)
async def test_a_lost_session_is_opened_anew_and_the_call_repeated(told: str) -> None:
    far = Far(lost=TOLD[told])
    async with visit(far) as it:
        assert await it.call("before") == "before"
        far.forget()
        assert await it.call_all("after") == ["after"]
    assert far.opened == 2
    assert far.executed == {"before": 1, "after": 1}


@pytest.mark.parametrize("told", ["404 alone", "anthropics/claude-code#27425", "400, plain text"])
async def test_a_lost_session_of_the_older_transport_too(told: str) -> None:
    far = Far(lost=TOLD[told])
    async with visit(far, "sse") as it:
        assert await it.call("before") == "before"
        far.forget()
        assert await it.call_all("after") == ["after"]
    assert far.opened == 2
    assert far.executed == {"before": 1, "after": 1}


async def test_calls_that_are_refused_at_once_share_one_new_session() -> None:
    far, texts = Far(lost=TOLD["anthropics/claude-code#27425"]), [f"call {number}" for number in range(8)]
    async with visit(far) as it:
        far.forget()
        assert await it.call_all(*texts) == texts
    assert far.opened == 2
    assert far.executed == dict.fromkeys(texts, 1)


@pytest.mark.external
@pytest.mark.parametrize(
    "told", ["404 alone", "anthropics/claude-code#27425", "modelcontextprotocol/typescript-sdk#1402"]
)
@pytest.mark.parametrize("wire", ["http", "sse"])
async def test_calls_over_a_real_port_are_refused_together_and_answered_in_one_new_session(
    told: str, wire: Literal["http", "sse"]
) -> None:
    """Each is refused only when all have come; the SDK sends them one after the other over the older transport."""
    texts, met = [f"call {number}" for number in range(3)], set[str]()
    together = anyio.Event()

    async def refuse(message: Json) -> httpx2.Response:
        met.add(message["params"]["arguments"]["text"])
        if len(met) == len(texts) or wire == "sse":
            together.set()
        await together.wait()
        return TOLD[told](message)

    far = Far(lost=refuse)
    entry = {"type": wire, "protocol": "legacy", "require_approval": "never"}
    async with (
        HttpServer(lambda: build_app(far), wire) as served,
        open_bridge({"far": {**entry, "url": served.url}}) as bridge,
    ):
        assert (await bridge.use(tool_call("far__echo", {"text": "before"}))).outputs == ["before"]
        far.forget()
        outcome = await bridge.use(*(tool_call("far__echo", {"text": text}) for text in texts))
    assert outcome.outputs == texts
    assert far.opened == 2
    assert far.executed == {"before": 1, **dict.fromkeys(texts, 1)}


async def test_a_call_that_was_accepted_before_has_its_result_after() -> None:
    far, outputs = Far(), list[Any]()
    async with visit(far) as it, anyio.create_task_group() as tasks:

        async def use() -> None:
            outputs.append(await it.call("slow"))

        tasks.start_soon(use)
        await it.spend(lambda: far.executed["slow"] == 1)
        far.forget()
        assert await it.call_all("another") == ["another"]
        assert await it.call("and another") == "and another"
        assert not outputs
        far.slow.set()
        await it.spend(lambda: bool(outputs))
    assert outputs == ["slow"]
    assert far.opened == 2
    assert far.executed["slow"] == 1


async def test_the_end_does_not_wait_for_calls_that_run_on_a_lost_connection() -> None:
    far, outputs = Far(), list[Any]()

    async def use(it: Visit) -> None:
        outputs.append(await it.call("slow"))

    async with anyio.create_task_group() as tasks:
        async with visit(far) as it:
            tasks.start_soon(use, it)
            await it.spend(lambda: far.executed["slow"] == 1)
            far.forget()
            assert await it.call_all("another") == ["another"]
        await until(lambda: bool(outputs))
    assert outputs[0]["message"].endswith("it may have been executed, check before repeating it")
    assert far.opened == 2


@pytest.mark.parametrize(
    ("told", "wire"),
    [
        ("404 alone", "http"),
        ("404 alone", "sse"),
        ("anthropics/claude-code#27425", "http"),
        ("anthropics/claude-code#27425", "sse"),
        ("actionhero/keryx#503", "http"),  # a reply to a POST over SSE says nothing there
    ],
)
async def test_a_session_that_is_lost_again_at_once_is_not_opened_in_a_circle(told: str, wire: str) -> None:
    far = Far()
    far.refuse = lambda message: TOLD[told](message) if message["method"] == "tools/call" else None
    async with visit(far, wire) as it:
        [output] = await it.call_all("hello")
        assert far.opened == 2
        again = await it.call("hello")
        assert far.opened == 2
        assert "executed" in output["message"] or "not a JSON-RPC" in output["message"]
        assert again["error"] == output["error"]
        await it.clock.advance(RENEWAL_S)
        far.refuse = lambda _: None
        assert await it.call("hello") == "hello"
    assert far.executed == {"hello": 1}


async def test_a_session_that_is_lost_again_and_again_costs_no_call_as_long_as_calls_are_answered() -> None:
    far = Far(lost=TOLD["mcp-use/mcp-use#1133"])
    async with visit(far) as it:
        for number in range(8):
            assert await it.call_all(f"call {number}") == [f"call {number}"]
            far.forget()
        assert it.state == "ready"
    assert far.opened == 8


NOT_TOLD: dict[str, Lost] = {
    "modelcontextprotocol/rust-sdk#559": text(401, "Unauthorized: Session not found"),
    "LanternOps/breeze#3744": error(403, "Mcp-Session-Id principal mismatch", -32001),
    "429": text(429, "too many requests in this session"),
    "400 about something else": text(400, "the argument must be a number"),
    "a 500": text(500, "it broke"),
    "a tool that has sessions of its own": its_own(200, "Browser session not found"),
    "arguments that name a session": its_own(400, "unknown session", -32602),
    "a tool that does not exist": its_own(404, "Unknown tool: echo", -32602),
    "a method that does not exist": its_own(404, "Method not found", -32601),
    "an error inside the tool": its_own(200, "the login session has expired", -32603),
    "an error without words": its_own(200, ""),
}


@pytest.mark.parametrize(
    ("told", "wire"),
    [
        (told, wire)
        for told, refuse in NOT_TOLD.items()
        for wire in ("http", "sse")
        if wire == "http" or refuse({"id": 1}).status_code != 200  # a reply to a POST over SSE says nothing there
    ],
)
async def test_nothing_else_costs_the_session(told: str, wire: str) -> None:
    far = Far()
    far.refuse = lambda message: NOT_TOLD[told](message) if message["method"] == "tools/call" else None
    async with visit(far, wire) as it:
        assert "error" in await it.call()
        far.refuse = lambda _: None
        assert await it.call() == "hello"
        assert it.state == "ready"
    assert far.opened == 1


async def test_a_session_that_may_be_lost_is_opened_anew_for_the_next_call() -> None:
    """Gone, and no word of a session: what was refused is not repeated, for it may have been executed."""
    far = Far(lost=text(410, ""))
    async with visit(far) as it:
        far.forget()
        [output] = await it.call_all("hello")
        assert "it may have been executed" in output["message"]
        assert await it.call_all("again") == ["again"]
    assert far.opened == 2


async def test_in_the_era_without_sessions_the_words_are_the_servers() -> None:
    far = Far(era=MODERN)
    far.refuse = lambda message: (
        its_own(200, "Session not found")(message) if message["method"] == "tools/call" else None
    )
    async with visit(far, protocol=MODERN) as it:
        output = await it.call()
    assert output["message"] == "far answered with error -32000: Session not found"


async def test_a_server_without_session_ids_has_sessions_all_the_same() -> None:
    far = Far(lost=TOLD["mcp-use/mcp-use#1133"], names_sessions=False)
    async with visit(far) as it:
        assert await it.call("before") == "before"
        far.forget()
        assert await it.call_all("after") == ["after"]
    assert far.opened == 2


async def test_a_server_that_goes_back_to_an_older_era_is_used_in_that() -> None:
    far = Far(era=MODERN, lost=TOLD["anthropics/claude-code#27425"])
    async with visit(far, protocol="auto") as it:
        assert await it.call("before") == "before"
        far.age()
        assert await it.call_all("after") == ["after"]
        assert it.hub.members[0].era == LEGACY
    assert far.executed == {"before": 1, "after": 1}


@pytest.mark.parametrize("wire", ["http", "sse"])
async def test_a_servers_own_error_32000_is_not_the_end_of_the_connection(wire: str) -> None:
    far = Far()
    far.refuse = lambda message: its_own(400, "overloaded")(message) if message["method"] == "tools/call" else None
    async with visit(far, wire) as it:
        output = await it.call()
    assert output["message"] == "far answered with error -32000: overloaded"
    assert output["error"] == "protocol_error"


@pytest.mark.parametrize("status", [200, 204, 301, 400, 401, 403, 404, 405, 406, 410, 500, 502])
@pytest.mark.parametrize("kind", ["text/html", "application/json", "text/plain", ""])
async def test_a_get_that_opens_no_stream_says_nothing_of_the_session(status: int, kind: str) -> None:
    """modelcontextprotocol/typescript-sdk#1635, QwenLM/qwen-code#8785, Zoo-Code-Org/Zoo-Code#1080."""
    far = Far()
    far.get = lambda _: httpx2.Response(status, content=b"{}", headers={"content-type": kind} if kind else {})
    async with visit(far) as it:
        await it.spend(lambda: "GET /mcp" in far.asked)
        assert [await it.call(text) for text in ("a", "b", "c")] == ["a", "b", "c"]
        assert it.state == "ready"
    assert far.opened == 1
    assert far.executed == {"a": 1, "b": 1, "c": 1}


async def test_calls_in_flight_while_a_get_is_refused_have_their_results() -> None:
    """modelcontextprotocol/typescript-sdk#1969: what was executed is not reported as lost."""
    far, answered = Far(), anyio.Event()

    async def refuse_late(_: httpx2.Request) -> httpx2.Response:
        await answered.wait()
        return httpx2.Response(404)

    far.get = refuse_late
    texts = ["slow 1", "slow 2", "slow 3"]
    async with visit(far) as it:

        def refuse_and_let_go() -> None:
            answered.set()
            far.slow.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(it.spend, lambda: len(far.executed) == len(texts) and not refuse_and_let_go())
            assert await it.call_all(*texts) == texts
        assert it.state == "ready"
    assert far.opened == 1
    assert far.executed == dict.fromkeys(texts, 1)


@pytest.mark.parametrize("body", [b"", b": bye\n\n", b"data: {not json\n\n", b"event: x\nretry: 0\ndata: 1\n\n"])
@pytest.mark.parametrize("end", ["end", "cut", "silence"])
async def test_a_stream_that_ends_or_says_nothing_costs_nothing(body: bytes, end: str) -> None:
    far = Far()
    far.get = lambda _: httpx2.Response(200, headers=EVENTS, stream=Body(body, end=end))
    async with visit(far) as it:
        await it.spend(lambda: "GET /mcp" in far.asked)
        assert await it.call_all("a", "b") == ["a", "b"]
        assert it.state == "ready"
    assert far.opened == 1


async def test_a_get_that_is_never_answered_holds_nothing_up() -> None:
    far = Far()

    async def hang(_: httpx2.Request) -> httpx2.Response:
        await anyio.sleep_forever()
        raise AssertionError

    far.get = hang
    async with visit(far) as it:
        await it.spend(lambda: "GET /mcp" in far.asked)
        assert await it.call_all("a", "b") == ["a", "b"]
        far.forget()
        assert await it.call_all("c") == ["c"]
    assert far.opened == 2


async def test_a_subscription_that_is_refused_costs_no_session() -> None:
    far = Far(era=MODERN)
    refused = list[str]()

    def refuse(message: Json) -> httpx2.Response | None:
        if message["method"] != "subscriptions/listen":
            return None
        refused.append(message["method"])
        return TOLD["anthropics/claude-code#27425"](message)

    far.refuse = refuse
    async with visit(far, protocol=MODERN) as it:
        await it.spend(lambda: len(refused) > 3, 2)
        assert await it.call() == "hello"
        assert it.state == "ready"
    assert far.asked.count("POST /mcp tools/list") <= 2 + len(refused)


@pytest.mark.parametrize("code", range(-32020, -31999))
async def test_a_servers_own_error_is_never_taken_for_one_of_ours(code: int) -> None:
    far = Far()
    far.refuse = lambda asked: its_own(200, "no", code)(asked) if asked["method"] == "tools/call" else None
    async with visit(far) as it:
        output = await it.call()
        assert it.state == "ready"
    assert output == {"error": "protocol_error", "message": f"far answered with error {code}: no"}


class Busy(Peer):
    """A server on stdio whose calls come to an error -32000."""

    @override
    def answer(self, rogue: Rogue, message: Json) -> Json | None:
        if message["method"] != "tools/call":
            return super().answer(rogue, message)
        return {"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32000, "message": "overloaded"}}


async def test_a_childs_own_error_32000_is_not_its_end() -> None:
    clock = VirtualClock()
    async with open_hub({"far": "stdio"}, {"far": Busy("far", clock, {"legacy": ""})}, clock) as hub:
        await hub.catalogue()
        output = await call(hub, "far__echo", "hello", math.inf)
    assert "far answered with error -32000: overloaded" in str(output["output"])


@pytest.mark.parametrize(
    "words",
    [
        "Session with ID 1234 was not found",
        "Session ID 'abc' does not exist",
        "no session ID or not initialization request",
        "Invalid or expired session",
        "Could not find session",
        "No transport found for sessionId",
        "Session has been terminated",
        "There is no session with that id",
        "Missing Mcp-Session-Id header",
        "session_not_found",
        'method "tools/call" is invalid during session initialization',
        "Received request before initialization was complete",
        "Client must be initialized first",
        "未初始化",
        "无效的会话",
    ],
)
def test_words_that_speak_of_a_session(words: str) -> None:
    assert speaks_of_session(words)


@pytest.mark.parametrize(
    "words",
    [
        "overloaded",
        "Browser session not found",
        "Your login session has expired",
        "too many requests in this session",
        "the initialization vector is wrong",
        "an obsession is invalid",
        "the file was not found",
        "浏览器会话已打开",
    ],
)
def test_words_that_speak_of_something_else(words: str) -> None:
    assert not speaks_of_session(words)
