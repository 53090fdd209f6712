"""The service to its clients: both protocol eras over both transports, and nothing of one client reaches another."""

import gc
import json
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx2
import pytest
from anyio.abc import ByteReceiveStream
from mcp import Client, types
from mcp.client.client import ConnectMode

from bridge.app import Bridge
from bridge.config.settings import ServeConfig
from bridge.errors import ConfigError
from bridge.host.http import _name_loopback, listen
from tests.fakes.bridges import ERAS, open_without_host, respond, text_of
from tests.fakes.clock import PATIENCE_S, until
from tests.fakes.ports import find_port
from tests.fakes.servers import ROGUE, OrderedServer, survivors
from tests.fakes.service import TOKEN, Served, connect, serving
from tests.fakes.upstream import HEAD, Reply, Request, ScriptedUpstream, call, hang, message, responds

pytestmark = [pytest.mark.anyio, pytest.mark.external]

PATHS = ("/mcp", "/sse")
EVERYWHERE = [(path, mode) for path in PATHS for mode in ERAS]
everywhere = pytest.mark.parametrize(("path", "mode"), EVERYWHERE)


class Scene:
    """One service for all tests of this module: a model that does what the prompt says, in front of one server.

    `use KEY`: call `answer(KEY)` and repeat its output; `hang`: be silent; `write N`: answer with N characters;
    anything else is repeated.
    """

    def __init__(self) -> None:
        self.owner = OrderedServer()
        self.upstream = ScriptedUpstream(self._answer)
        self.served: Served
        self.bridge: Bridge

    def _answer(self, request: Request) -> Reply:
        items = request.json["input"]
        words = str(items if isinstance(items, str) else items[0]["content"])
        verb, _, rest = words.partition(" ")
        match verb:
            case "use" if not outputs_in(request):
                return responds(call("o__answer", {"key": rest}))
            case "use":
                return responds(message(f"it says {outputs_in(request)[0]}"))
            case "hang":
                return hang(HEAD)
            case "write":
                return responds(message("x" * int(rest)), as_json=True)
            case _:
                return responds(message(words))


def outputs_in(request: Request) -> list[Any]:
    items = request.json["input"]
    return [item["output"] for item in items if "output" in item] if isinstance(items, list) else []


@pytest.fixture(scope="module")
async def scene() -> AsyncIterator[Scene]:
    scene = Scene()
    async with (
        scene.upstream as upstream,
        open_without_host(upstream, {"o": scene.owner.server}, limits={"result_chars": 5_000_000}) as scene.bridge,
        serving(scene.bridge) as scene.served,
    ):
        yield scene


@everywhere
async def test_a_client_lists_and_calls_and_hears_progress(scene: Scene, path: str, mode: ConnectMode) -> None:
    key, heard = f"progress {path} {mode}", list[str]()
    scene.owner.release(key)

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        assert (progress, total) == (len(heard) + 1, None)
        heard.append(message or "")

    async with scene.served.client(path, mode) as client:
        assert client.protocol_version == ("2026-07-28" if mode == "auto" else "2025-11-25")
        tool, *_ = (await client.list_tools()).tools
        result = await client.call_tool("respond", {"input": f"use {key}"}, progress_callback=hear)
    assert tool.name == "respond"
    assert text_of(result) == f"it says {key}"
    assert [line.split()[0] for line in heard] == ["turn", "→", "✓", "turn"]


@pytest.mark.parametrize(("path", "mode"), [case for case in EVERYWHERE if case != ("/mcp", "auto")])
async def test_a_call_that_is_given_up_ends_its_upstream_request(scene: Scene, path: str, mode: ConnectMode) -> None:
    """Over modern HTTP it is given up by closing its request, which says nothing of why: its run goes on by itself."""
    before = scene.upstream.disconnects.count
    async with scene.served.client(path, mode) as client:
        async with anyio.create_task_group() as tasks:
            arrivals = scene.upstream.arrivals.count
            tasks.start_soon(respond, client, "hang")
            await scene.upstream.arrivals.wait(arrivals + 1)
            tasks.cancel_scope.cancel()
        await scene.upstream.disconnects.wait(before + 1)
        assert (await respond(client, "again"))["output_text"] == "again"


async def test_a_change_of_the_tools_is_told_to_every_client(scene: Scene) -> None:
    told: dict[tuple[str, ConnectMode], anyio.Event] = {}

    async def live(path: str, mode: ConnectMode) -> None:
        change = anyio.Event()

        async def hear(message: object) -> None:
            if isinstance(message, types.ToolListChangedNotification):
                change.set()

        async with scene.served.client(path, mode, message_handler=hear) as client:
            assert client.server_capabilities.tools
            assert client.server_capabilities.tools.list_changed
            told[path, mode] = change
            if mode == "legacy":
                await change.wait()
            else:
                async with client.listen(tools_list_changed=True) as changes:
                    await anext(aiter(changes))
                    change.set()

    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            for path, mode in EVERYWHERE:
                tasks.start_soon(live, path, mode)
            while len(told) < len(EVERYWHERE) or not all(change.is_set() for change in told.values()):
                scene.bridge.server.note_change()  # again: a handshake-era client opens its standing stream late
                await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("mode", ERAS)
async def test_a_result_over_the_sdks_cap_for_events_arrives(scene: Scene, mode: ConnectMode) -> None:
    """1 MiB; a client of mcp 2.3 over SSE cannot raise it."""
    async with scene.served.client("/mcp", mode) as client:
        receipt = await respond(client, "write 1200000", detail="full")
    assert len(receipt["output_text"]) == 1_200_000


@pytest.mark.rule("S5")
async def test_equal_request_ids_of_two_clients_are_two_requests(scene: Scene) -> None:
    """The SDK's clients count from the same number, so every id exists twice at one time."""
    async with scene.served.client() as one, scene.served.client("/sse", "legacy") as two:
        answers: dict[str, str] = {}

        async def use(client: Client, key: str) -> None:
            answers[key] = (await respond(client, f"use {key}"))["output_text"]

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(use, one, "canary of one")
            tasks.start_soon(use, two, "canary of two")
            await scene.owner.reached("canary of one", "canary of two")
            scene.owner.release("canary of two", "canary of one")
    assert answers == {key: f"it says {key}" for key in ("canary of one", "canary of two")}


async def count_crossings(scene: Scene, clients: int) -> tuple[int, int]:
    """How many answers were somebody else's, and how many came, when every other client goes away in mid-run."""
    names = [f"canary {number} of {clients}" for number in range(clients)]
    answers: dict[str, str] = {}

    async def live(number: int, name: str) -> None:
        path, mode = PATHS[number // 2 % 2], ERAS[number // 4 % 2]
        with anyio.CancelScope() as life:
            lives[name] = life
            async with scene.served.client(path, mode) as client:
                answers[name] = (await respond(client, f"use {name}"))["output_text"]

    lives: dict[str, anyio.CancelScope] = {}
    async with anyio.create_task_group() as tasks:
        for number, name in enumerate(names):
            tasks.start_soon(live, number, name)
        for name in names:
            await scene.owner.reached(name)
        for name in names[1::2]:
            lives[name].cancel()
        scene.owner.release(*names[::2])
    scene.owner.release(*names)
    return sum(answer != f"it says {name}" for name, answer in answers.items()), len(answers)


@pytest.mark.rule("REL23")
async def test_a_client_gone_in_mid_run_harms_no_other(scene: Scene) -> None:
    assert await count_crossings(scene, 8) == (0, 4)


@pytest.mark.rule("S5")
@pytest.mark.external
async def test_of_fifty_clients_half_go_away_and_nothing_crosses(scene: Scene, record_testsuite_property: Any) -> None:
    crossings, answers = await count_crossings(scene, 50)
    record_testsuite_property("crossings among 50 clients, 25 gone in mid-run", f"{crossings} in {answers} answers")
    assert (crossings, answers) == (0, 25)


@pytest.mark.rule("S11")
async def test_what_a_client_authenticates_with_goes_no_further(scene: Scene) -> None:
    async with scene.served.client() as client:
        await respond(client, "say something")
    sent = scene.upstream.requests[-1]
    assert TOKEN not in json.dumps(sent.headers) + sent.body.decode()


@pytest.mark.rule("S4")
async def test_a_guessed_session_is_unknown(scene: Scene) -> None:
    headers = [
        *scene.served.right,
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
    ]
    body = b'{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}'
    guesses = ["0" * 32, "1" * 32, "a" * 32, "../../etc", "guess"]
    for guess in guesses:
        reply = await scene.served.send("POST", "/mcp", [*headers, ("Mcp-Session-Id", guess)], body)
        assert reply.status == 404, guess
        reply = await scene.served.send("POST", f"/messages/?session_id={guess}", headers, body)
        assert reply.status in (400, 404), guess
        assert guess not in reply.body


@pytest.mark.rule("S3")
@pytest.mark.parametrize(
    "settings",
    [
        {"host": "0.0.0.0"},
        {"host": "0.0.0.0", "token": TOKEN},
        {"host": "0.0.0.0", "allowed_hosts": ("bridge.example.com",)},
        {"host": "::", "token": TOKEN},
        {"allowed_hosts": ("http://bridge.example.com",)},
        {"allowed_hosts": ("*",)},
        {"allowed_origins": ("app.example.com",)},
        {"allowed_origins": ("*",)},
        {"host": "no such", "token": TOKEN, "allowed_hosts": ("x",)},
    ],
    ids=str,
)
async def test_a_service_that_would_not_be_safe_does_not_begin_to_listen(settings: dict[str, Any]) -> None:
    port = find_port()
    with pytest.raises(ConfigError, match=r"serve\.|no such"):
        listen(ServeConfig(port=port, **settings), no_auth=False)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


@pytest.mark.rule("S1")
async def test_no_authentication_is_for_loopback_alone() -> None:
    with pytest.raises(ConfigError, match="only on a loopback address"):
        listen(ServeConfig(host="0.0.0.0", token=TOKEN, allowed_hosts=("x",)), no_auth=True)
    async with open_without_host(None) as bridge, serving(bridge, no_auth=True) as served:
        assert (await served.send("GET", "/nothing", served.right[:1])).status == 404
        assert (await served.send("GET", "/nothing", [("Host", "evil.com")])).status == 421


@pytest.mark.rule("S1")
async def test_a_made_token_is_told_once_and_is_the_right_one(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_without_host(None) as bridge, serving(bridge, token=None) as served:
        told = re.findall(r"Bearer (\S+)", capsys.readouterr().err)
        [host, _] = served.right
        statuses = [
            (await served.send("GET", "/nothing", [host, ("Authorization", f"Bearer {token}")])).status
            for token in (*told, "x" * 43)
        ]
    assert statuses == [404, 401]
    assert len(told[0]) >= 32
    assert told[0] not in capsys.readouterr().err


@pytest.mark.parametrize("host", ["127.0.0.2", "::1", "localhost"])
async def test_every_loopback_address_is_known_by_its_own_name(host: str) -> None:
    listening = listen(ServeConfig(host=host, port=0), no_auth=True)
    url = httpx2.URL(listening.url)
    listening.socket.close()
    assert url.netloc.decode() in {f"{name}:{port}" for name, port in listening.access.hosts}


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_reply_is_sent_at_once(host: str) -> None:
    """Without TCP_NODELAY, the body of every reply waits 40 ms for the client to acknowledge its head."""
    listening = listen(ServeConfig(host=host, port=0), no_auth=True).socket
    with listening, socket.create_connection(listening.getsockname()[:2]), listening.accept()[0] as accepted:
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_clients_leave_out_port_80() -> None:
    assert {("127.0.0.1", None), ("127.0.0.1", 80)} <= set(_name_loopback("127.0.0.1", 80))
    assert ("127.0.0.1", None) not in _name_loopback("127.0.0.1", 8787)


@pytest.mark.filterwarnings("ignore:Exception ignored in.*MemoryObject:pytest.PytestUnraisableExceptionWarning")
async def test_a_stream_that_is_open_when_the_service_stops_ends_as_streams_do(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_without_host(None) as bridge, anyio.create_task_group() as tasks:
        received = []
        async with serving(bridge) as served:
            opened = anyio.Event()

            async def listen_to_stream() -> None:
                headers = "".join(f"{name}: {value!s}\r\n" for name, value in served.right)
                request = f"GET /sse HTTP/1.1\r\n{headers}\r\n".encode()
                received.append(await served.exchange(request, opened))

            tasks.start_soon(listen_to_stream)
            await opened.wait()
    gc.collect()  # the SDK does not close the channels of a stream that is cancelled
    assert received[0].endswith(b"\r\n0\r\n\r\n")
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.rule("REL19")
@pytest.mark.external
@pytest.mark.parametrize("source", ["config", "environment"])
async def test_sigterm_ends_the_service_with_open_streams_and_a_run_in_flight(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 0 within three seconds, with an SSE stream, a run that may not go on, and a child that ignores the end
    of its stdin."""
    pids, config = tmp_path / "pids", tmp_path / "config.json"
    pids.mkdir()
    monkeypatch.setenv("ROGUE_PIDS", str(pids))
    async with ScriptedUpstream([hang(HEAD)]) as upstream:
        entry = {"command": sys.executable, "args": [str(ROGUE), "ignores_eof"], "env": {"ROGUE_PIDS": str(pids)}}
        settings: dict[str, Any] = {
            "upstream": {"base_url": upstream.base_url, "model": "m"},
            "mcpServers": {"r": entry},
            "serve": {"port": 0, "drain_s": 0},
        }
        if source == "config":
            settings["serve"]["token"] = TOKEN
        else:
            monkeypatch.setenv("MCP_RESPONSES_BRIDGE_TOKEN", TOKEN)
        config.write_text(json.dumps(settings), encoding="utf-8")
        config.chmod(0o600)
        command = [sys.executable, "-m", "bridge", "serve", "--transport", "http", "--config", str(config)]
        async with await anyio.open_process(command, stdin=None, stdout=None) as process:
            assert process.stderr
            said = await read_until(process.stderr, b"/mcp")
            port = int(re.findall(rb":(\d+)/mcp", said)[0])
            async with anyio.create_task_group() as tasks:
                for path, mode in (("/mcp", "auto"), ("/sse", "legacy")):
                    tasks.start_soon(stay, port, path, mode)
                await upstream.arrivals.wait()
                process.send_signal(signal.SIGTERM)
                with anyio.fail_after(18):  # ten times what it may take on a machine that is not busy
                    await process.wait()
                tasks.cancel_scope.cancel()
            said += await read_until(process.stderr, None)
    assert process.returncode == 0
    await until(lambda: not survivors(pids))
    assert b"Traceback" not in said, said.decode()
    assert TOKEN.encode() not in said


@pytest.mark.external
async def test_a_service_without_an_upstream_says_so_once_at_the_start() -> None:
    command = [sys.executable, "-m", "bridge", "serve", "--transport", "http", "--port", "0"]
    async with await anyio.open_process(command, stdin=None, stdout=None) as process:
        assert process.stderr
        said = await read_until(process.stderr, b"/mcp")
        process.terminate()
        said += await read_until(process.stderr, None)
    assert said.count(b"WARNING bridge.cli.serve: No upstream is configured: ") == 1
    assert said.count(b", or start with --offline.") == 1


async def stay(port: int, path: str, mode: ConnectMode) -> None:
    """A client that asks over one transport, and only listens over the other, until the service goes away."""
    with suppress(Exception):
        async with connect(port, path, mode) as client:
            if path == "/mcp":
                await respond(client, "hang")
            await anyio.Event().wait()


async def read_until(stream: ByteReceiveStream, words: bytes | None) -> bytes:
    """What a process says up to these words, or to its end."""
    said = b""
    with suppress(anyio.EndOfStream), anyio.fail_after(20):
        while words is None or words not in said:
            said += await stream.receive()
    return said
