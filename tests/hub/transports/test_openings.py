"""Replies are read by what they are: whatever type they have, alone or several at once, as JSON or as a stream."""

import gzip
import json
import sys
from collections.abc import AsyncIterator, Callable

import anyio
import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from tests.fakes.bridges import Outcome, open_bridge
from tests.fakes.http import HttpServer, answer_with, build_judging
from tests.fakes.items import Json
from tests.fakes.rogue import Rogue
from tests.fakes.servers import ROGUE
from tests.fakes.upstream import call

pytestmark = pytest.mark.anyio

FINE = ["nothing has changed"]
Framing = Callable[[Json], Response]
LOG: Json = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "hello"}}
FOREIGN: Json = {"jsonrpc": "2.0", "id": 4711, "result": {}}


def typed(kind: str | None, body: Callable[[Json], bytes], status: int = 200) -> Framing:
    headers = {"content-type": kind} if kind is not None else {}
    return lambda reply: Response(body(reply), status, headers)


def held(kind: str, body: Callable[[Json], bytes]) -> Framing:
    """A body that goes on for ever after the reply."""

    async def parts(reply: Json) -> AsyncIterator[bytes]:
        data = body(reply)
        yield data[:3]
        yield data[3:]
        await anyio.sleep_forever()

    return lambda reply: StreamingResponse(parts(reply), media_type=kind)


def written(*values: object, between: str = "") -> bytes:
    return between.join(map(json.dumps, values)).encode()


def framed(*values: object) -> bytes:
    return b"".join(b"data: " + written(value) + b"\n\n" for value in values)


TYPES: dict[str, Framing] = {
    # JSON under another type, or none
    "application/octet-stream": typed("application/octet-stream", written),
    "text/plain": typed("text/plain; charset=utf-8", written),
    "text/html": typed("text/html; charset=utf-8", written),
    "application/json-rpc": typed("application/json-rpc", written),
    "application/vnd.api+json": typed("application/vnd.api+json", written),
    "application/problem+json": typed("application/problem+json", written),
    "text/json": typed("text/json", written),
    "application/json with a charset": typed("application/json; charset=utf-8; boundary=x", written),
    "Application/JSON": typed("Application/JSON", written),
    "no type": typed(None, written),
    "an empty type": typed("", written),
    "the status 201": typed("application/json", written, 201),
    "the status 202": typed("application/json", written, 202),
    "white space and a byte order mark": typed("text/plain", lambda reply: b"\xef\xbb\xbf \r\n\t" + written(reply)),
    "warnings before it": typed("text/html", lambda reply: b"<br />\n<b>Warning</b>: x in y<br />\n" + written(reply)),
    "a guard before it": typed("application/json", lambda reply: b")]}',\n" + written(reply)),
    "JSON in JSON": typed("application/json", lambda reply: json.dumps(json.dumps(reply)).encode()),
    "indented": typed("text/plain", lambda reply: json.dumps(reply, indent=2).encode() + b"\n"),
    "UTF-16": typed("application/json; charset=utf-16", lambda reply: json.dumps(reply).encode("utf-16")),
    "UTF-16 without a type": typed(None, lambda reply: json.dumps(reply).encode("utf-16-be")),
    "UTF-16 without a word of it": typed("application/json", lambda reply: json.dumps(reply).encode("utf-16-le")),
    "a charset that nobody knows": typed("application/json; charset=klingon", written),
    # JSON that says to be a stream
    "JSON as text/event-stream": typed("text/event-stream", written),
    "JSON as text/event-stream, held open": held("text/event-stream", written),
    "lines as text/event-stream, held open": held("text/event-stream", lambda reply: written(LOG, reply, between="\n")),
    # a stream that says to be something else
    "Text/Event-Stream": typed("Text/Event-Stream; charset=UTF-8", framed),
    "a stream as application/json": typed("application/json", framed),
    "a stream as application/json, held open": held("application/json", framed),
    "a stream as text/plain, held open": held("text/plain", lambda reply: framed(LOG, reply)),
    "a stream without a type": typed(None, framed),
    "a stream with the status 202": typed("text/event-stream", framed, 202),
    "a stream without a type and with the status 202": typed(None, framed, 202),
    "a stream that begins with a comment": held("application/octet-stream", lambda reply: b": ok\n\n" + framed(reply)),
    "a stream that begins with a pause": typed("text/plain", lambda reply: b"retry: 5\nid: 1\n\n" + framed(reply)),
    "a stream without its last line end": typed("text/event-stream", lambda reply: framed(reply)[:-1]),
    "a stream without a line end": typed("text/event-stream", lambda reply: framed(reply)[:-2]),
    "lines without a blank one": typed("text/event-stream", lambda reply: framed(LOG)[:-1] + framed(reply)[:-1]),
    "an event of another name": typed("text/event-stream", lambda reply: b"event: result\n" + framed(reply)),
    "words before the reply": typed("text/event-stream", lambda reply: b"data: hi\n\n" + framed({}, {"id": 5}, reply)),
    # several at once
    "a batch": typed("application/json", lambda reply: written([reply])),
    "a batch with a notification": typed("application/json", lambda reply: written([LOG, reply, LOG])),
    "a batch with somebody else's reply": typed("application/json", lambda reply: written([FOREIGN, reply, FOREIGN])),
    "a batch with a bad one": typed("application/json", lambda reply: written([{"a": 1}, None, reply])),
    "a batch of another type": typed("text/plain", lambda reply: written([LOG, reply])),
    "a batch in an event": typed("text/event-stream", lambda reply: framed([LOG, reply])),
    "a batch in an event, held open": held("text/event-stream", lambda reply: framed([reply, LOG])),
    "notifications, then a batch": typed("text/event-stream", lambda reply: framed([LOG, LOG], LOG, [reply])),
    "lines": typed("application/x-ndjson", lambda reply: written(LOG, reply, between="\n") + b"\n"),
    "in a row": typed("application/json", lambda reply: written(LOG, reply)),
    "with words behind it": typed("application/json", lambda reply: written(reply) + b"\n<!-- served in 3 ms -->"),
}  # fmt: skip


def serve(frame: Framing, *modes: str) -> HttpServer:
    """A server that frames each reply so."""
    rogue = Rogue(dict.fromkeys(modes, ""))

    def judge(_: Request, message: Json) -> Response | None:
        has_reply = "id" in message and message["method"] != "subscriptions/listen"
        return frame(answer_with(rogue, message)) if has_reply else None

    return HttpServer(lambda: build_judging(judge))


async def use(frame: Framing) -> Outcome:
    """One run that calls `read` in both eras."""
    async with serve(frame, "legacy") as old, serve(frame) as new:
        servers = {
            "old": {"type": "http", "url": old.url, "protocol": "legacy"},
            "new": {"type": "http", "url": new.url},
        }
        async with open_bridge(servers) as bridge:
            return await bridge.use(call("old__read"), call("new__read"))


@pytest.mark.parametrize("kind", TYPES)
async def test_a_reply_is_read_whatever_its_type(kind: str) -> None:
    """modelcontextprotocol/java-sdk#748, junjiem/dify-plugin-agent-mcp_sse#79, ThinkInAIXYZ/go-mcp#200."""
    outcome = await use(TYPES[kind])
    assert outcome.outputs == FINE * 2
    assert not outcome.notices


PAGE = b"\n<!DOCTYPE html>\n<html><head><title>\n Sign in to\n Acme </title></head></html>"
WORDS = 'the reply is a web page ("Sign in to Acme") and no message: its URL is another one, or it wants a sign-in'
SIGN_IN = "/mcp wants a sign-in: it answers with a web page (Sign in to Acme), not with MCP; set"
NO_MESSAGE: dict[str, tuple[Framing, str]] = {
    "a page": (typed("text/html", lambda _: PAGE), SIGN_IN),
    "a page as application/json": (typed("application/json", lambda _: PAGE), SIGN_IN),
    "a page without a type": (typed(None, lambda _: PAGE), SIGN_IN),
    "words": (typed("text/plain", lambda _: b"It works!\n"), "/mcp does not answer in MCP: text: It works!; correct"),
    "nothing": (typed("text/plain", lambda _: b""), "/mcp answers with nothing; correct the path in url"),
    "nothing, accepted": (typed(None, lambda _: b"", 202), "/mcp answers with nothing; correct the path in url"),
}


@pytest.mark.parametrize("kind", NO_MESSAGE)
async def test_what_is_no_message_is_told_in_a_sentence(kind: str) -> None:
    """modelcontextprotocol/python-sdk#1382."""
    frame, words = NO_MESSAGE[kind]
    old, new = (await use(frame)).notices
    assert words in old
    assert words in new


async def test_a_call_that_comes_to_a_page_may_have_been_executed() -> None:
    def judge(_: Request, message: Json) -> Response | None:
        return Response(PAGE, 200, {"content-type": "text/html"}) if message["method"] == "tools/call" else None

    async with HttpServer(lambda: build_judging(judge)) as served, open_bridge({"s": {"url": served.url}}) as bridge:
        [output] = (await bridge.use(call("s__echo", {"text": "hello"}))).outputs
    assert json.loads(output)["message"] == (
        f"s sent a result that cannot be read: {WORDS}; it may have been executed, check before repeating it"
    )


async def test_a_compressed_body_without_a_type_is_read() -> None:
    def zipped(reply: Json) -> Response:
        return Response(gzip.compress(written(reply)), headers={"content-encoding": "gzip"})

    assert (await use(zipped)).outputs == FINE * 2


@pytest.mark.parametrize(("charset", "encoding"), [("iso-8859-1", "latin-1"), ("iso-8859-1", "utf-8"), ("gbk", "gbk")])
async def test_texts_are_read_in_the_encoding_that_they_have(charset: str, encoding: str) -> None:
    """Many servers name ISO-8859-1, by default, for what is UTF-8."""
    word = "读" if encoding == "gbk" else "café"

    def judge(_: Request, message: Json) -> Response | None:
        if message["method"] != "tools/call":
            return None
        result = {"content": [{"type": "text", "text": word}], "resultType": "complete"}
        text = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}, ensure_ascii=False)
        return Response(text.encode(encoding), headers={"content-type": f"application/json;charset={charset}"})

    async with HttpServer(lambda: build_judging(judge)) as served, open_bridge({"s": {"url": served.url}}) as bridge:
        assert (await bridge.use(call("s__read"))).outputs == [word]


LINES: dict[str, str] = {
    "each alone in a batch": "line = json.dumps([message])",
    "with a notification": "line = json.dumps([LOG, message, LOG])",
    "with somebody else's reply": "line = json.dumps([{**message, 'id': 4711}, message])",
    "with a bad one": "line = json.dumps([5, {'a': 1}, message])",
    "two on one line": "line = json.dumps(LOG) + json.dumps(message)",  # FellouAI/eko#276
    "with words behind it": "line = json.dumps(message) + ' done in 3 ms'",
    "several lines, after one another": "line = json.dumps(LOG) + chr(10) * 3 + json.dumps([message]) + chr(13)",
}
PROGRAM = """
import json, runpy, sys
LOG = json.loads({log!r})
space = runpy.run_path({path!r})
class Batching(space["Rogue"]):
    def send(self, message):
        {make}
        self.write(line.encode())
rogue = Batching({{}})
rogue.serve()
"""


@pytest.mark.parametrize("kind", LINES)
async def test_several_messages_on_a_line_are_read(kind: str) -> None:
    program = PROGRAM.format(log=json.dumps(LOG), path=str(ROGUE), make=LINES[kind])
    async with open_bridge({"s": {"command": sys.executable, "args": ["-S", "-E", "-c", program]}}) as bridge:
        outcome = await bridge.use(call("s__read"))
    assert outcome.outputs == FINE
    assert not outcome.notices
