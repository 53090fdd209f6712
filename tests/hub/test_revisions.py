"""A server that refuses our revision is asked again with one that it speaks; else the setting is named."""

import json
import sys
from collections.abc import Callable, Iterable

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.fakes.bridges import open_bridge
from tests.fakes.http import HttpServer, build_judging
from tests.fakes.items import Json
from tests.fakes.servers import ROGUE
from tests.fakes.upstream import call

pytestmark = pytest.mark.anyio

NEWEST, OLD = "2025-11-25", ("2025-03-26", "2024-11-05")
Refusal = Callable[[object, str, tuple[str, ...]], Response]
"""What is answered to a request with this id that asks for this revision, by a server that speaks those."""


def error(message: str, data: object = None, code: int = -32602, status: int = 200) -> Refusal:
    """A JSON-RPC error; in its texts, ASKED and SPOKEN are the revisions, and in `data`, a list [SPOKEN] is theirs."""

    def refuse(id: object, asked: str, spoken: tuple[str, ...]) -> Response:
        told = {"code": code, "message": message, **({"data": data} if data is not None else {})}
        text = json.dumps({"jsonrpc": "2.0", "id": id, "error": told}).replace('["SPOKEN"]', json.dumps(spoken))
        return Response(put(text, asked, spoken), status, media_type="application/json")

    return refuse


def plain(words: str, kind: str = "text/plain", status: int = 400) -> Refusal:
    return lambda _, asked, spoken: Response(put(words, asked, spoken), status, media_type=kind)


def put(words: str, asked: str, spoken: Iterable[str]) -> str:
    return words.replace("ASKED", asked).replace("SPOKEN", ", ".join(spoken))


UNSUPPORTED = "Unsupported protocol version"
SAID = f"Bad Request: {UNSUPPORTED} (supported versions: SPOKEN)"
NAMING: dict[str, Refusal] = {
    "data.supported, of the spec": error(UNSUPPORTED, {"supported": ["SPOKEN"], "requested": "ASKED"}),
    "data.supported and -32022": error("No", {"supported": ["SPOKEN"], "requested": "ASKED"}, -32022, 400),
    "data.supportedVersions": error("Unsupported version", {"supportedVersions": ["SPOKEN"]}, -32000),
    "data, nested": error("Bad version", {"error": {"supported_protocol_versions": ["SPOKEN"]}}),
    "data by revision": error("Bad version", {"supported": [{"2024-11-05": True}, {"2025-03-26": True}]}),
    "data is the list": error(UNSUPPORTED, ["SPOKEN"]),
    "data is a text": error("Invalid params", "protocolVersion must be one of SPOKEN"),
    "data.expected, one": error("protocolVersion mismatch", {"expected": "2025-03-26", "received": "ASKED"}, -32600),
    "the issue of a schema": error('[{"received":"ASKED","options":["SPOKEN"],"path":["params","protocolVersion"]}]'),
    "a list in the text": error(f"{UNSUPPORTED}: ASKED. Supported versions: SPOKEN", code=-32000),
    "the oldest first in the text": error("Expected one of 2024-11-05 | 2025-03-26 as protocol version, got ASKED"),
    "quoted in the text": error("unsupported protocol version \"ASKED\", want '2025-03-26'", code=-32603),
    # xpzouying/xiaohongshu-mcp#697
    "HTTP 400 in plain text": plain(SAID),
    "HTTP 400 in JSON that is no error": plain(f'{{"error": "{SAID}"}}', "application/json"),
    "HTTP 400 without a type": plain("protocol version ASKED is not supported, use SPOKEN", ""),
    "HTTP 400 with an error": error(SAID, code=-32000, status=400),
    "HTTP 400 with an error without id": lambda _, asked, spoken: error(SAID, status=400)(None, asked, spoken),
    "HTTP 422": plain('{"detail": "protocolVersion: expected SPOKEN"}', "application/problem+json", 422),
    # what is refused is told, and nothing else (cloudwego/eino-ext#622, hkr04/cpp-mcp#10)
    "a result that says it": lambda id, *_: JSONResponse(
        {"jsonrpc": "2.0", "id": id, "result": {"error": UNSUPPORTED}}
    ),
    "no list": error('unsupported protocol version: "ASKED"'),
    "no list, and no words of a protocol": error("Unsupported version", code=-32000),
}
UNNAMED = [kind for kind in NAMING if kind.startswith(("no list", "a result"))]


def initialized(id: object, revision: object) -> Json:
    result: Json = {"protocolVersion": revision, "capabilities": {}, "serverInfo": {"name": "old", "version": "1"}}
    return {"jsonrpc": "2.0", "id": id, "result": result}


def serve(refuse: Refusal, spoken: tuple[str, ...], asked: list[str]) -> HttpServer:
    """A server that knows these revisions only, and refuses any other in this way."""

    def judge(_: Request, message: Json) -> Response | None:
        if message["method"] != "initialize":
            return None
        asked.append(message["params"]["protocolVersion"])
        return None if asked[-1] in spoken else refuse(message["id"], asked[-1], spoken)

    return HttpServer(lambda: build_judging(judge, "legacy"))


@pytest.mark.parametrize("kind", NAMING)
async def test_a_refused_revision_is_asked_again_as_one_that_the_server_speaks(kind: str) -> None:
    asked: list[str] = []
    async with (
        serve(NAMING[kind], OLD, asked) as served,
        open_bridge({"s": {"type": "http", "url": served.url}}) as bridge,
    ):
        outcome = await bridge.use(call("s__read"))
        assert bridge.member("s").era == "2025-03-26"
    assert outcome.outputs == ["nothing has changed"]
    assert not outcome.notices
    assert asked == [NEWEST, *(["2025-06-18"] if kind in UNNAMED else []), "2025-03-26"]


def alternate(id: object, asked: str, _: tuple[str, ...]) -> Response:
    return error(f"use protocol version {'2024-11-05' if asked > '2025' else '2025-06-18'}")(id, asked, ())


def answer_unknown(id: object, *_: object) -> Response:
    return JSONResponse(initialized(id, "2024-10-07"))


NONE, ALL = ("2019-01-01",), "2024-11-05, 2025-03-26, 2025-06-18, 2025-11-25 or 2026-07-28"
HOPELESS: dict[str, tuple[Refusal, tuple[str, ...], Json, str]] = {
    "none of ours": (
        error(UNSUPPORTED, {"supported": ["SPOKEN"]}),
        NONE,
        {},
        f'{UNSUPPORTED}; it names 2019-01-01; its setting "protocol" can be {ALL}',
    ),
    "none of ours, in words": (plain(SAID), NONE, {}, f'versions: 2019-01-01); its setting "protocol" can be {ALL}'),
    "it alternates": (alternate, NONE, {}, 'its setting "protocol" can be 20'),
    "the config says another": (
        error("no protocol version but SPOKEN"),
        OLD,
        {"protocol": "2025-06-18"},
        'no protocol version but 2025-03-26, 2024-11-05; its setting "protocol" can be 2024-11-05 or 2025-03-26',
    ),
}


@pytest.mark.parametrize("kind", HOPELESS)
async def test_where_no_revision_is_left_the_reason_names_the_setting(kind: str) -> None:
    refuse, spoken, entry, words = HOPELESS[kind]
    asked: list[str] = []
    async with (
        serve(refuse, spoken, asked) as served,
        open_bridge({"s": {"type": "http", "url": served.url, **entry}}) as bridge,
    ):
        [notice] = (await bridge.use()).notices
        asked_first = [*asked]
    assert words in notice
    assert len(asked_first) == len(set(asked_first)) <= 4


async def test_a_handshake_that_is_wrong_in_another_way_is_not_taken_for_a_refused_revision() -> None:
    asked: list[str] = []
    broken: Json = {"protocolVersion": NEWEST, "capabilities": {}, "serverInfo": 5}
    async with (
        serve(lambda id, *_: JSONResponse({"jsonrpc": "2.0", "id": id, "result": broken}), (), asked) as served,
        open_bridge({"s": {"type": "http", "url": served.url}}) as bridge,
    ):
        notices = (await bridge.use()).notices
    assert "protocol" not in "".join(notices)
    assert set(asked) == {NEWEST}


@pytest.mark.parametrize("answered", ["2099-01-01", "2024-10-07", None])
async def test_an_answer_of_no_known_revision_is_taken_for_the_one_that_was_asked_for(answered: str | None) -> None:
    asked: list[str] = []
    async with (
        serve(lambda id, *_: JSONResponse(initialized(id, answered)), (), asked) as served,
        open_bridge({"s": {"type": "http", "url": served.url}}) as bridge,
    ):
        assert (await bridge.use(call("s__read"))).outputs == ["nothing has changed"]
        assert bridge.member("s").era == NEWEST
    assert asked == [NEWEST]


async def test_a_configured_revision_is_spoken_with_a_server_that_answers_one_nobody_knows() -> None:
    """strowk/mcp-k8s-go#40."""
    async with (
        serve(answer_unknown, (), []) as served,
        open_bridge({"s": {"type": "http", "url": served.url, "protocol": "2024-11-05"}}) as bridge,
    ):
        assert (await bridge.use(call("s__read"))).outputs == ["nothing has changed"]
        assert bridge.member("s").era == "2024-11-05"


@pytest.mark.parametrize("where", ["in the handshake", "after it"])
async def test_a_modern_server_whose_revision_is_refused_speaks_the_one_it_names(where: str) -> None:
    """A handshake that goes well says nothing of the next request (microsoft/vscode#308766)."""
    asked: list[str] = []

    def judge(request: Request, message: Json) -> Response | None:
        asked.append(message["method"])
        version = request.headers.get("mcp-protocol-version")
        if version != "2026-07-28" or (where == "after it" and message["method"] == "server/discover"):
            return None
        return error("Unsupported", {"supported": [NEWEST], "requested": "ASKED"}, -32022, 400)(
            message["id"], version, ()
        )

    async with HttpServer(lambda: build_judging(judge)) as served, open_bridge({"s": {"url": served.url}}) as bridge:
        assert (await bridge.use(call("s__read"))).outputs == ["nothing has changed"]
        assert bridge.member("s").era == NEWEST
    assert asked.count("initialize") == 1


async def test_a_server_of_the_modern_era_that_knows_no_discover_is_spoken_to_in_it() -> None:
    unknown = error("Method not found", code=-32601)

    def judge(_: Request, message: Json) -> Response | None:
        return unknown(message["id"], "", ()) if message["method"] == "server/discover" else None

    async with (
        HttpServer(lambda: build_judging(judge, "modern")) as served,
        open_bridge({"s": {"type": "http", "url": served.url}}) as bridge,
    ):
        assert (await bridge.use(call("s__read"))).outputs == ["nothing has changed"]
        assert bridge.member("s").era == "2026-07-28"


JUDGE = """
import json, runpy, sys
space = runpy.run_path({path!r})
rogue, first = space["Rogue"]({{"legacy": ""}}), True
for line in sys.stdin:
    message = json.loads(line)
    asked = (message.get("params") or {{}}).get("protocolVersion")
    if message["method"] == "initialize" and asked != "2025-03-26":
        {refuse}
    else:
        rogue.receive(message)
"""
SAY = """rogue.send({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32602, "message": words}})"""
STDIO = {
    "an error": f'words = "unsupported protocol version (supported: 2025-03-26)"; {SAY}',
    "its last words": 'sys.exit("unsupported protocol version " + asked + ", supported: 2025-03-26")',
}


@pytest.mark.parametrize("kind", STDIO)
async def test_over_pipes_too(kind: str) -> None:
    program = JUDGE.format(path=str(ROGUE), refuse=STDIO[kind])
    async with open_bridge({"s": {"command": sys.executable, "args": ["-S", "-E", "-c", program]}}) as bridge:
        assert (await bridge.use(call("s__read"))).outputs == ["nothing has changed"]
        assert bridge.member("s").era == "2025-03-26"
