"""People who use the service under names: who is who, and what each may use, on every path.

As github/gh-aw-mcpg#3332 and BerriAI/litellm#35156 (a tool is hidden and can be called all the same, or on one path of
several), majiayu000/litellm-rs#834 (who names no model gets the default one unchecked), BerriAI/litellm#38572 (so do
fallbacks), TykTechnologies/tyk#2293 and wso2/product-apim#10283 (a removed token goes on working, or works again after
a restart).
"""

import gc
import hashlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.sse import sse_client
from mcp.server.mcpserver import MCPServer

from bridge.config.settings import PrincipalConfig, ServeConfig
from bridge.errors import ConfigError
from bridge.host.kept_tokens import KIND, KeptToken, KeptTokens
from bridge.host.personal_tokens import open_tokens
from bridge.host.principals import UNAUTHORIZED
from bridge.items import OWN_NAMES
from bridge.state import StateFolder
from tests.fakes.bridges import open_without_host
from tests.fakes.httphost import HttpHost, http_host
from tests.fakes.items import Json
from tests.fakes.service import TOKEN, Served, connect, serving
from tests.fakes.upstream import Request, ScriptedUpstream, call, gated, message, responds

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore:Exception ignored in.*MemoryObject:pytest.PytestUnraisableExceptionWarning"),
]

ANN, BOB = "anns-own-token-of-the-tests", "bobs-own-token-of-the-tests"
UNKNOWN = "run_id: there is no such run; it may have expired, and must be that of a result"
PEOPLE: Json = {"ann": {"token": ANN}, "bob": {"token_sha256": hashlib.sha256(BOB.encode()).hexdigest()}}
PATHS = [("/mcp", "auto"), ("/mcp", "legacy"), ("/sse", "legacy"), ("/sse", "auto")]
TRANSPORTS = pytest.mark.parametrize(("path", "mode"), PATHS)


class Place:
    """A service whose model does what `model` says; `ran` are the tools of the desk that ran."""

    def __init__(self, served: Served, upstream: ScriptedUpstream, ran: list[str], state: Path) -> None:
        self.served, self.upstream, self.ran, self.state = served, upstream, ran, state
        self.kept = KeptTokens(StateFolder(state, KIND))

    def host(self, token: str | None, mode: str = "auto", **options: Any) -> Any:
        return http_host(self.served.port, mode, token=token, **options)

    def client(self, token: str, path: str = "/mcp", mode: Any = "auto") -> Any:
        return connect(self.served.port, path, mode, token=token)

    async def status(self, token: str, path: str = "/healthz") -> int:
        headers = [self.served.right[0], ("Authorization", f"Bearer {token}")]
        return (await self.served.send("GET", path, headers)).status

    @property
    def offered(self) -> list[str]:
        """The servers' tools of the last request."""
        names = [tool.get("name", tool["type"]) for tool in self.upstream.requests[-1].json.get("tools", [])]
        return [name for name in names if name not in OWN_NAMES]

    def keep(self, name: str, token: str) -> KeptToken:
        kept = KeptToken(name, hashlib.sha256(token.encode()).hexdigest(), time.time())
        self.kept.add(kept)
        return kept


def say(_: Request) -> Any:
    return responds(message("a secret"))


@asynccontextmanager
async def place(state: Path, people: Json, model: Any = say, **sections: Any) -> AsyncIterator[Place]:
    server, ran = MCPServer("desk"), list[str]()

    @server.tool()
    async def read() -> str:
        ran.append("read")
        return "read"

    @server.tool()
    async def wipe() -> str:
        ran.append("wipe")
        return "wiped"

    environ = {**os.environ, "MCP_RESPONSES_BRIDGE_STATE": str(state)}
    async with (
        ScriptedUpstream(model) as upstream,
        open_without_host(
            upstream, {"desk": server}, environ=environ, serve={"principals": people}, **sections
        ) as bridge,
        serving(bridge, environ=environ, principals=people) as served,
    ):
        yield Place(served, upstream, ran, state)
    gc.collect()  # the SDK does not close the channels of a stream of SSE


async def respond(client: Client, input: str = "hello", **arguments: Any) -> Json:
    result = await client.call_tool("respond", {"input": input, **arguments})
    return result.structured_content or {}


async def receipt_of(host: HttpHost, input: str, **options: Any) -> Json:
    return await (await host.call(input, **options)).receipt()


@pytest.mark.rule("S28")
@pytest.mark.external
@TRANSPORTS
async def test_each_sees_its_own_runs_and_nobody_elses(tmp_path: Path, path: str, mode: str) -> None:
    async with place(tmp_path, PEOPLE) as at:
        for owner, stranger in ((ANN, BOB), (BOB, ANN), (TOKEN, ANN), (ANN, TOKEN)):
            async with at.client(owner, path, mode) as mine, at.client(stranger, path, mode) as theirs:
                receipt = await respond(mine)
                stolen = await theirs.call_tool("respond_wait", {"run_id": receipt["run_id"]})
                assert (stolen.structured_content or {})["error"]["message"] == UNKNOWN
                going_on = await respond(theirs, previous_response_id=receipt["response_id"])
                assert going_on["error"]["message"].startswith("previous_response_id: ")
            async with at.client(owner, path, mode) as again:
                found = await again.call_tool("respond_wait", {"run_id": receipt["run_id"]})
                assert (found.structured_content or {})["output_text"] == "a secret"


async def test_a_name_belongs_to_whoever_has_one_of_its_tokens(tmp_path: Path) -> None:
    async with place(tmp_path, {"ann": {"token": ANN}}) as at:
        at.keep("ann", "another-token-of-anns-own")
        async with at.client(ANN) as desk, at.client("another-token-of-anns-own") as phone:
            receipt = await respond(desk)
            found = await phone.call_tool("respond_wait", {"run_id": receipt["run_id"]})
            assert (found.structured_content or {})["output_text"] == "a secret"


@pytest.mark.rule("S4")
async def test_a_session_is_of_no_use_to_anybody_else(tmp_path: Path) -> None:
    async with place(tmp_path, PEOPLE) as at, at.host(ANN, "legacy") as ann, at.host(BOB, "legacy") as bob:
        session = ann.headers["Mcp-Session-Id"]
        for method in ("GET", "POST", "DELETE"):
            headers = [at.served.right[0], ("Authorization", f"Bearer {BOB}"), ("Mcp-Session-Id", session)]
            headers += [("Accept", "application/json, text/event-stream"), ("Content-Type", "application/json")]
            body = b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}' if method == "POST" else b""
            assert (await at.served.send(method, "/mcp", headers, body)).status == 404
        assert (await receipt_of(bob, "hello"))["output_text"] == "a secret"
        assert (await receipt_of(ann, "hello"))["output_text"] == "a secret", "it has not been ended"


@pytest.mark.rule("S4")
async def test_nor_is_a_connection_of_sse(tmp_path: Path) -> None:
    ids = list[str]()
    async with place(tmp_path, PEOPLE) as at:
        url = f"http://127.0.0.1:{at.served.port}"
        mine = {"Authorization": f"Bearer {ANN}"}
        async with Client(sse_client(f"{url}/sse", headers=mine, on_session_created=ids.append), mode="legacy") as ann:
            async with httpx2.AsyncClient(verify=False) as http:
                ping = {"jsonrpc": "2.0", "id": 7, "method": "ping"}
                to = f"{url}/messages/?session_id={ids[0]}"
                reply = await http.post(to, json=ping, headers={"Authorization": f"Bearer {BOB}"})
                assert reply.status_code == 404
            assert (await respond(ann))["output_text"] == "a secret"


@pytest.mark.parametrize("name", ["bridge.verified", "x-principal", "user", "x-forwarded-user", "principal"])
async def test_no_header_names_a_principal(tmp_path: Path, name: str) -> None:
    async with place(tmp_path, PEOPLE) as at, at.host(ANN) as ann, at.host(BOB) as bob:
        run_id = (await receipt_of(ann, "hello"))["run_id"]
        bob.headers[name] = "ann"
        assert (await receipt_of(bob, run_id, tool="respond_wait"))["error"]["message"] == UNKNOWN


@pytest.mark.rule("S1b")
async def test_a_token_in_a_query_is_not_read(tmp_path: Path) -> None:
    async with place(tmp_path, PEOPLE) as at:
        for target in (f"/mcp?token={ANN}", f"/sse?access_token={ANN}", f"/mcp?authorization=Bearer%20{ANN}"):
            reply = await at.served.send("GET", target, [at.served.right[0]])
            assert (reply.status, reply.body, reply.headers["www-authenticate"]) == (401, UNAUTHORIZED, "Bearer")


@pytest.mark.rule("S1b")
async def test_what_is_no_principals_token_opens_nothing(tmp_path: Path) -> None:
    digest = hashlib.sha256(ANN.encode()).hexdigest()
    async with place(tmp_path, PEOPLE) as at:
        wrong = ("", "ann", ANN[:-1], f"{ANN}x", ANN.upper(), digest, f"{ANN} {BOB}", f" {ANN}", "\u00fc" * 16)
        assert [await at.status(token, path) for token in wrong for path in ("/healthz", "/mcp", "/sse")] == [401] * 27
        assert await at.status(ANN) == await at.status(BOB) == await at.status(TOKEN) == 200


@pytest.mark.parametrize("digest", ["0" * 8 + "\u00e9" * 56, "0" * 8])
async def test_a_damaged_file_of_a_token_costs_nobody_else_theirs(tmp_path: Path, digest: str) -> None:
    async with place(tmp_path, PEOPLE) as at:
        at.kept.add(KeptToken("bob", digest, time.time()))
        assert await at.status(ANN) == 200
        assert await at.status("a-token-of-nobody-here") == 401


@pytest.mark.skipif(sys.platform == "win32", reason="there, rights are not told by a mode")
async def test_a_fault_that_is_over_costs_nobody_their_token(tmp_path: Path) -> None:
    """Also where the folder has not changed since."""
    async with place(tmp_path, {"ann": {}}) as at:
        file = tmp_path / KIND / at.keep("ann", ANN).file
        long_ago = time.time() - 3600
        os.utime(tmp_path / KIND, (long_ago, long_ago))
        file.chmod(0o644)
        assert await at.status(ANN) == 401, "others can read it"
        file.chmod(0o600)
        assert await at.status(ANN) == 200


@pytest.mark.rule("S1b")
@pytest.mark.external
async def test_a_token_that_is_added_or_removed_counts_at_once(tmp_path: Path) -> None:
    """Also a hundred times in a row, within one tick of the file system's clock."""
    async with place(tmp_path, {"ann": {}}) as at:
        for number in range(100):
            token = f"{ANN}-{number}"
            kept = at.keep("ann", token)
            assert await at.status(token) == 200
            at.kept.remove(kept)
            assert await at.status(token) == 401


async def test_an_open_session_ends_with_its_token_and_not_with_a_restart(tmp_path: Path) -> None:
    async with place(tmp_path, {"ann": {}}) as at:
        kept = at.keep("ann", ANN)
        async with at.host(ANN, "legacy") as ann:
            assert (await receipt_of(ann, "hello"))["output_text"] == "a secret"
            at.kept.remove(kept)
            headers = [at.served.right[0], ("Authorization", f"Bearer {ANN}"), *ann.headers.items()]
            assert (await at.served.send("POST", "/mcp", headers, b"{}")).status == 401
            at.keep("ann", ANN)
    async with place(tmp_path, {"ann": {}}) as at:
        assert await at.status(ANN) == 200, "the folder is read at the start"
        [kept], _ = at.kept.read()
        at.kept.remove(kept)
    async with place(tmp_path, {"ann": {}}) as at:
        assert await at.status(ANN) == 401


async def test_a_token_of_who_is_not_in_the_config_opens_nothing(tmp_path: Path) -> None:
    async with place(tmp_path, {"ann": {}}) as at:
        at.keep("carol", BOB)
        assert await at.status(BOB) == 401


async def test_a_token_of_two_opens_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with place(tmp_path, {"ann": {}, "bob": {}}) as at:
        at.keep("ann", ANN)
        at.keep("bob", ANN)
        assert await at.status(ANN) == 401
    assert "ann and bob have the same token in the state folder; remove one of them" in caplog.messages


@pytest.mark.skipif(os.name != "posix", reason="modes of files")
async def test_a_file_of_a_token_that_others_can_read_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with place(tmp_path, {"ann": {}}) as at:
        file = tmp_path / "tokens" / at.keep("ann", ANN).file
        assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
        assert ANN not in file.read_text("utf-8")
        assert await at.status(ANN) == 200
        file.chmod(0o640)
        os.utime(file.parent)
        assert await at.status(ANN) == 401
    words = f"{file}: it can be read by others; remove that file, and give a new token with `tokens add`"
    assert words in caplog.messages
    with pytest.raises(ConfigError) as raised:
        open_tokens(ServeConfig(principals={"ann": PrincipalConfig()}), {"MCP_RESPONSES_BRIDGE_STATE": str(tmp_path)})
    assert raised.value.message == f"tokens: {words}"


ONLY_READ: Json = {"ann": {"token": ANN, "tools": {"only": ["desk__r*"]}}, "bob": {"token": BOB}}
NOT_WIPE: Json = {"ann": {"token": ANN, "tools": {"deny": ["*wipe"]}}, "bob": {"token": BOB}}


def wipe_first(request: Request) -> Any:
    is_done = any("output" in item for item in request.json["input"])
    return responds(message("done")) if is_done else responds(call("desk__wipe", {}))


@pytest.mark.rule("S28b")
@pytest.mark.parametrize("people", [ONLY_READ, NOT_WIPE], ids=["only", "deny"])
@TRANSPORTS
async def test_a_denied_tool_is_neither_shown_nor_run(tmp_path: Path, people: Json, path: str, mode: str) -> None:
    async with place(tmp_path, people, wipe_first) as at, at.client(ANN, path, mode) as ann:
        receipt = await respond(ann)
        assert (at.ran, at.offered) == ([], ["desk__read"])
        assert "wipe" not in json.dumps(at.upstream.requests[0].json["tools"])
        output = json.loads(at.upstream.requests[1].json["input"][-1]["output"])
        assert (output["error"], receipt["status"]) == ("unknown_tool", "completed")
        async with at.client(BOB, path, mode) as bob:
            await respond(bob)
        assert at.ran == ["wipe"], "for others it is there"


@pytest.mark.rule("S28b")
@pytest.mark.parametrize("found", [{"query": "wipe the desk"}, {"names": ["desk__wipe", "wipe"]}])
async def test_nor_is_it_found(tmp_path: Path, found: Json) -> None:
    """Where not all tools are in the first request."""

    def find(request: Request) -> Any:
        outputs = sum("output" in item for item in request.json["input"])
        calls = [call("find_tools", found), call("desk__wipe", {})]
        return responds(calls[outputs]) if outputs < 2 else responds(message("done"))

    people = {"ann": {"token": ANN, "tools": {"deny": ["*wipe"]}, "limits": {"tool_tokens": 1}}}
    async with place(tmp_path, people, find, builtin_tools=True) as at, at.client(ANN) as ann:
        receipt = await respond(ann)
        assert (receipt["status"], at.ran) == ("completed", [])
        listed, refused = (item["output"] for item in at.upstream.requests[-1].json["input"] if "output" in item)
        assert "desk__wipe(" not in listed
        assert json.loads(refused)["error"] == "unknown_tool"


async def test_nor_by_what_the_caller_names_itself(tmp_path: Path) -> None:
    """A glob, a function of its own by that name, and a choice that forces it."""
    own: Json = {"type": "function", "name": "desk__wipe", "parameters": {"type": "object", "properties": {}}}
    async with place(tmp_path, ONLY_READ, wipe_first) as at, at.client(ANN) as ann:
        named = await respond(ann, tools=["desk__wipe"])
        assert named["error"]["message"].startswith(
            "tools: no tool's name matches 'desk__wipe'; near names: desk__read"
        )
        mine = await respond(ann, tools=[own])
        assert (mine["status"], at.ran) == ("needs_input", []), "its own is its to run"
        await respond(ann, tool_choice={"type": "function", "name": "desk__wipe"})
        assert at.ran == []


@pytest.mark.rule("S28b")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"tools": [{"type": "web_search"}]},
            "tools: 'web_search' is none that you may use (serve.principals.ann.tools)",
        ),
        (
            {"extra": {"tools": [{"type": "mcp", "server_label": "x", "server_url": "https://x.example"}]}},
            "tools: 'mcp' is none that you may use (serve.principals.ann.tools)",
        ),
        (
            {"extra": {"prompt": {"id": "pmpt_1"}}},
            "extra.prompt: a stored prompt may bring tools of its own, and you may not use all tools",
        ),
        (
            {"extra": {"plugins": [{"id": "web"}]}},
            "extra.plugins: it brings tools of the upstream's, and you may not use all tools",
        ),
        (
            {"extra": {"web_search_options": {}}},
            "extra.web_search_options: it brings tools of the upstream's, and you may not use all tools",
        ),
    ],
)
async def test_nor_is_one_that_the_upstream_would_run(tmp_path: Path, arguments: Json, words: str) -> None:
    async with place(tmp_path, ONLY_READ) as at, at.client(ANN) as ann:
        assert (await respond(ann, **arguments))["error"]["message"] == words
        assert at.upstream.requests == []


@pytest.mark.rule("S28b")
async def test_nor_does_it_come_with_the_parameters_of_every_request(tmp_path: Path) -> None:
    defaults: Json = {"tools": [{"type": "web_search"}, {"type": "image_generation"}], "models": ["gpt-5", "other"]}
    rights: Json = {"tools": {"deny": ["web_*"]}, "models": ["gpt-*"]}
    people: Json = {"ann": {"token": ANN, **rights}, "bob": {"token": BOB}}
    async with place(tmp_path, people, upstream={"defaults": defaults}) as at:
        for token, hosted, models in (
            (ANN, ["image_generation"], ["gpt-5"]),
            (BOB, ["web_search", "image_generation"], ["gpt-5", "other"]),
        ):
            async with at.client(token) as client:
                assert (await respond(client))["status"] == "completed"
            assert [name for name in at.offered if not name.startswith("desk__")] == hosted
            assert at.upstream.requests[-1].json["models"] == models


@TRANSPORTS
async def test_the_description_tells_each_of_its_own_tools(tmp_path: Path, path: str, mode: str) -> None:
    people: Json = {
        "ann": {"token": ANN, "tools": {"only": ["desk__read", "current_time"]}},
        "bob": {"token": BOB},
        "eve": {"token": "eves-own-token-of-the-tests", "tools": {"only": []}},
    }
    async with place(tmp_path, people, builtin_tools=True) as at:
        shown = {}
        for token in (ANN, BOB, "eves-own-token-of-the-tests"):
            async with at.client(token, path, mode) as client:
                await respond(client)  # until then a server may still be starting
                tools = (await client.list_tools()).tools
                shown[token] = next(tool.description or "" for tool in tools if tool.name == "respond")
    ann, bob, eve = (text.partition("these tools: ")[2].partition(". It knows")[0] for text in shown.values())
    assert (ann, eve) == ("current_time, desk (1 tools)", "none")
    assert bob == "random_generator, system_info, math_calculator, current_time, desk (2 tools)"


MODELS: Json = {"ann": {"token": ANN, "models": ["small-*"]}, "bob": {"token": BOB}}


@pytest.mark.rule("S28b")
@TRANSPORTS
async def test_a_model_that_is_not_allowed_is_refused_by_whatever_it_is_named(
    tmp_path: Path, path: str, mode: str
) -> None:
    """By the argument, by none where it is the default, as a fallback, or by the run that is gone on from."""
    upstream = {"model": "large-1"}
    async with place(tmp_path, MODELS, upstream=upstream) as at, at.client(ANN, path, mode) as ann:
        words = "model: 'large-1' is none that you may ask; you may ask: small-*"
        fallback: Json = {"model": "small-1", "extra": {"models": ["small-2", "large-1"]}}
        others: list[Json] = [{"models": "large-1"}, {"fallbacks": ["large-1"]}]
        asked: list[Json] = [{}, {"model": "large-1"}, fallback]
        asked += [{"model": "small-1", "extra": extra} for extra in others]
        for arguments in asked:
            assert (await respond(ann, **arguments))["error"]["message"] == words
        assert at.upstream.requests == []
        allowed = await respond(ann, model="small-1")
        assert allowed["status"] == "completed"
        told = await respond(ann, run_id=allowed["run_id"], model="large-1")
        assert told["error"]["message"] == words
        assert (await respond(ann, run_id=allowed["run_id"]))["status"] == "completed"
        [tool] = [tool for tool in (await ann.list_tools()).tools if tool.name == "respond"]
        assert (tool.description or "").startswith("Ask a model (name it in `model`: small-*) ")
        async with at.client(BOB, path, mode) as bob:
            assert (await respond(bob))["status"] == "completed"


async def test_limits_are_those_of_the_principal_and_a_caller_may_lower_them(tmp_path: Path) -> None:
    def go_on(request: Request) -> Any:
        is_last, items = request.json.get("tool_choice") == "none", len(request.json["input"])
        return responds(message("done") if is_last else call("math_calculator", {"expression": f"{items}+1"}))

    people = {
        "ann": {"token": ANN, "limits": {"max_turns": 2}},
        "bob": {"token": BOB},
        "eve": {"token": "eves-own-token-of-the-tests", "limits": {"max_turns": 6}},
    }
    turns = {}
    async with place(tmp_path, people, go_on, limits={"max_turns": 4}, builtin_tools=True) as at:
        for token, wanted in ((ANN, None), (ANN, 1), (ANN, 9), (BOB, None), ("eves-own-token-of-the-tests", None)):
            before = len(at.upstream.requests)
            async with at.client(token) as client:
                receipt = await respond(client, f"{token} {wanted}", **({"max_turns": wanted} if wanted else {}))
            assert receipt["incomplete_details"] == {"reason": "max_turns"}
            turns[token, wanted] = len(at.upstream.requests) - before
            if wanted == 9:
                assert "max_turns 9 is over the configured limit of 2, which holds" in json.dumps(receipt["notices"])
    last = 1
    assert turns[ANN, None] == turns[ANN, 9] == 2 + last
    assert (turns[ANN, 1], turns[BOB, None]) == (1 + last, 4 + last)


async def test_who_has_as_many_runs_as_it_may_waits_for_its_own_and_for_nobody_else(tmp_path: Path) -> None:
    gate = anyio.Event()
    people = {"ann": {"token": ANN, "max_runs": 1}, "bob": {"token": BOB}}

    def hold(request: Request) -> Any:
        return gated(say(request), gate) if "held" in str(request.json["input"]) else say(request)

    async with (
        place(tmp_path, people, hold) as at,
        at.host(ANN) as ann,
        at.host(BOB) as bob,
    ):
        first = await ann.call("held")
        await at.upstream.arrivals.wait(1)
        second = await ann.call("another")
        assert (await receipt_of(bob, "mine"))["status"] == "completed"
        assert (len(at.upstream.requests), second.is_answered) == (2, False)
        gate.set()
        assert (await first.receipt())["status"] == (await second.receipt())["status"] == "completed"


async def test_a_run_that_its_caller_has_left_yields_to_the_next_of_the_same_principal(tmp_path: Path) -> None:
    gate = anyio.Event()
    people = {"ann": {"token": ANN, "max_runs": 1}}

    def hold(request: Request) -> Any:
        return gated(say(request), gate) if "held" in str(request.json["input"]) else say(request)

    async with place(tmp_path, people, hold) as at, at.host(ANN) as ann:
        first = await ann.call("held")
        await at.upstream.arrivals.wait(1)
        first.hang_up()
        assert (await receipt_of(ann, "another"))["status"] == "completed"


@TRANSPORTS
async def test_a_new_run_is_refused_in_words_once_the_day_is_used_up(tmp_path: Path, path: str, mode: str) -> None:
    people = {"ann": {"token": ANN, "tokens_per_day": 15}, "bob": {"token": BOB, "tokens_per_day": 15}}
    async with place(tmp_path, people) as at, at.client(ANN, path, mode) as ann:
        run_id = (await respond(ann))["run_id"]
        error = (await respond(ann, "more"))["error"]
        assert (error["code"], error["who"]) == ("day_budget", "caller")
        assert 0 < error["retry_after_s"] <= 86_400
        words = (
            "Today's tokens are used up: 15 of 15 (serve.principals.ann.tokens_per_day); the next day begins at 00:00 "
        )
        assert error["message"].startswith(words)
        found = await ann.call_tool("respond_wait", {"run_id": run_id})
        assert (found.structured_content or {})["output_text"] == "a secret", "what there is can be read"
        async with at.client(BOB, path, mode) as bob:
            assert (await respond(bob))["status"] == "completed"


def read_files(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


@pytest.mark.rule("S1b")
@pytest.mark.external
async def test_no_token_is_in_anything_that_is_told_or_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    kept = "kept-token-of-the-tests-canary"
    people: Json = {**PEOPLE, "eve": {"tokens_per_day": 100}}
    async with place(tmp_path, people, runs={"store": f"sqlite://{tmp_path / 'runs.sqlite'}"}) as at:
        at.keep("eve", kept)
        told = []
        for token in (ANN, BOB, TOKEN, kept):
            for path, mode in PATHS:
                async with at.client(token, path, mode) as client:
                    told.append(json.dumps(await respond(client)))
            told.append((await at.served.send("GET", "/healthz", at.served.right)).body)
            told.append((await at.served.send("GET", "/mcp", [at.served.right[0], ("Authorization", token)])).body)
        sent = json.dumps([request.json for request in at.upstream.requests])
        heads = str([request.headers for request in at.upstream.requests])
    files = read_files(tmp_path)
    logged = caplog.text
    for canary in (ANN, BOB, TOKEN, kept):
        assert not any(canary in sink for sink in (*told, sent, heads, logged))
        assert canary.encode() not in files
