"""The doors through which others reach a bridge, each tried with bad inputs: nothing dies, nothing tells of our inside,
and behind every lot an honest one is served as ever."""

import asyncio
import base64
import json
import logging
import random
import re
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import anyio

from bridge.config.load import load
from bridge.errors import ConfigError
from bridge.run.task import INTERNAL_ERROR
from bridge.telemetry import Redactor, configure_logging
from tests.bad_inputs.samples import BODIES, CONFIGS, EVENTS, ID, INITIALIZE, REFUSALS, REPLIES, REQUESTS
from tests.bad_inputs.spoil import change_bytes, spoil
from tests.fakes.bridges import OpenBridge, open_bridge, open_without_host
from tests.fakes.clock import PATIENCE_S, VirtualClock
from tests.fakes.items import call, message
from tests.fakes.servers import rogue
from tests.fakes.service import Served, serving
from tests.fakes.upstream import Reply, Request, ScriptedUpstream, raw, responds
from tests.fakes.wire import http

INSIDE = re.compile(
    r"Traceback|site-packages|pydantic|starlette|uvicorn|anyio|asyncio|httpx2?\b|jsonschema|0x7f[0-9a-f]{6}"
    r"|JSONRPC[A-Z]\w|input_value|\bFile \"|\.py\b|<class |\b(?!isError)[A-Za-z_]+(?:Error|Exception|Group)\b"
)
"""What would tell others how the bridge is made."""
LOT = 250
"""Inputs between two looks at whether an honest one is still served."""
AT_ONCE = 16
CALLS = 25
"""Calls of one run."""
LONG_PATIENCE_S = 4 * PATIENCE_S
"""For a process that starts on a busy machine, and answers a whole lot. That it is fast is not meant."""
GLANCE_S = 0.25
"""How long a request is looked after that may be one half of a request: then its client goes away."""


@dataclass
class Tried:
    """How many inputs went through a door, and what each fault was."""

    inputs: int = 0
    faults: list[str] = field(default_factory=list[str])

    def check(self, what: object, text: str) -> None:
        """Note a fault where `text` tells of our inside."""
        if found := INSIDE.search(text):
            around = text[max(0, found.start() - 200) : found.end() + 4000]
            self.faults.append(f"{what}: tells of our inside: {around!r}")


def chance_of(door: str, number: int) -> random.Random:
    """What decides over one input: so a fault is found again by its door and number alone."""
    return random.Random(f"{door} {number}")


@contextmanager
def watched_log(tried: Tried) -> Iterator[None]:
    """A log as the program writes it, which must tell of no exception."""
    root = logging.getLogger()
    before = root.handlers[:]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "log")
        configure_logging("info", file, Redactor())
        try:
            yield
        finally:
            for handler in set(root.handlers) - set(before):
                handler.close()
            root.handlers[:] = before
        for line in file.read_text(encoding="utf-8").splitlines():
            if "Traceback" in line:
                tried.faults.append(f"the log: {line[:200]} … {line[-1500:]}")


def lots(numbers: Sequence[int]) -> list[Sequence[int]]:
    """The numbers of one bridge after the other."""
    return [numbers[start : start + LOT] for start in range(0, len(numbers), LOT)]


# -- stdin of `serve` --------------------------------------------------------------------------------------------------

BEGIN = [
    {"jsonrpc": "2.0", "id": "begin", "method": "initialize", "params": INITIALIZE},
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
]


async def try_stdin(numbers: Sequence[int]) -> Tried:
    """Lines to `serve`, a process of its own: it answers in JSON-RPC alone, and ends with 0 as its stdin does."""
    tried = Tried()
    async with open_stdin(tried) as say:
        for lot in lots(numbers):
            await say(f"{lot[0]}..{lot[-1]}", [spoil(chance_of("stdin", number), REQUESTS) for number in lot])
            tried.inputs += len(lot)
    return tried


Say: TypeAlias = Callable[[str, Sequence[bytes]], Awaitable[list[Any]]]


@asynccontextmanager
async def open_stdin(tried: Tried) -> AsyncIterator[Say]:
    """`serve` on pipes. What is yielded writes lines and an honest request, and returns all that came up to its answer.

    `tried` gets the faults, among them each answer that tells of our inside, and an end that is none of ours.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bridge", "serve", "--offline"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=1 << 27,
    )
    assert process.stdin
    assert process.stdout
    assert process.stderr
    stdin, stdout = process.stdin, process.stdout
    said = asyncio.ensure_future(process.stderr.read())

    async def say(what: str, lines: Sequence[bytes]) -> list[Any]:
        alive = {"jsonrpc": "2.0", "id": f"alive {what}", "method": "tools/list"}
        stdin.write(b"\n".join([*lines, b"", json.dumps(alive).encode(), b""]))
        with anyio.fail_after(LONG_PATIENCE_S):
            return await _read_until(stdout, alive["id"], tried)

    try:
        stdin.write(b"".join(json.dumps(line).encode() + b"\n" for line in BEGIN))
        yield say
    except (TimeoutError, OSError, EOFError) as error:
        tried.faults.append(f"stdin: behind {tried.inputs} lines no answer any more: {error!r}")
    finally:
        stdin.close()
        with anyio.move_on_after(PATIENCE_S):
            await stdout.read()
            await process.wait()
        if process.returncode is None:
            process.kill()
    if process.returncode != 0:
        tried.faults.append(f"stdin: it ended with {process.returncode}")
    tried.check("stderr", (await said).decode("utf-8", "replace"))


async def _read_until(stdout: asyncio.StreamReader, id: str, tried: Tried) -> list[Any]:
    answers: list[Any] = []
    while not answers or answers[-1].get("id") != id:
        line = await stdout.readline()
        if not line:
            raise EOFError
        tried.check(f"stdin, before {id}", line.decode("utf-8"))
        answers.append(json.loads(line))
        if answers[-1].get("jsonrpc") != "2.0":
            tried.faults.append(f"stdin, before {id}: no message on stdout: {line[:200]!r}")
    if "result" not in answers[-1]:
        tried.faults.append(f"stdin: an honest request got {answers[-1]}")
    return answers


# -- HTTP --------------------------------------------------------------------------------------------------------------

ROUTES = ("/mcp", "/mcp", "/mcp", "/messages/", "/messages/?session_id=%s", "/healthz", "/mcp/", "/", "/sse/x", "//mcp")
VERSIONS = ("2025-11-25", "2026-07-28", "2024-11-05", "1", "", "2026-07-28, 2025-11-25", "\xff")
NAMES = ("Accept", "Content-Type", "Mcp-Session-Id", "MCP-Protocol-Version", "Mcp-Method", "Last-Event-Id", "Expect")
VALUES = ("", "*/*", "application/json", "text/event-stream", "text/plain", "0", "\xff\xfe", "a" * 3000, "100-continue")


async def try_http(numbers: Sequence[int]) -> Tried:
    """Requests to the service over a socket each: none is answered with a 5xx."""
    tried = Tried()
    for lot in lots(numbers):
        with watched_log(tried):
            await _try_lot_of_requests(lot, tried)
    return tried


async def _try_lot_of_requests(lot: Sequence[int], tried: Tried) -> None:
    async with (
        open_without_host(None, upstream=None, builtin_tools=True, limits={"max_turns": 2}) as bridge,
        serving(bridge, head_timeout_s=PATIENCE_S) as served,
    ):
        session = await _begin(served)
        limiter = anyio.CapacityLimiter(AT_ONCE)
        async with anyio.create_task_group() as tasks:
            for number in lot:
                tasks.start_soon(_try_request, served, session, number, limiter, tried)
        async with served.client() as client:
            assert (await client.list_tools()).tools


async def _begin(served: Served) -> str:
    body = json.dumps(BEGIN[0]).encode()
    reply = await served.send("POST", "/mcp", [*served.right, *JSON], body)
    return reply.headers["mcp-session-id"]


JSON = [("Content-Type", "application/json"), ("Accept", "application/json, text/event-stream")]


async def _try_request(served: Served, session: str, number: int, limiter: anyio.CapacityLimiter, tried: Tried) -> None:
    async with limiter:
        data, is_whole = _make_request(chance_of("http", number), served, session)
        reply = await _exchange(served.port, data, PATIENCE_S if is_whole else GLANCE_S)
        tried.inputs += 1
        head, _, body = reply.partition(b"\r\n\r\n")
        if re.match(rb"HTTP/1\.1 5\d\d", head) or (head and not head.startswith(b"HTTP/1.1 ")):
            tried.faults.append(f"http {number}: {data[:400]!r} got {reply[:400]!r}")
        tried.check(f"http {number}", body.decode("utf-8", "replace"))


def _make_request(chance: random.Random, served: Served, session: str) -> tuple[bytes, bool]:
    """A request with the right token, and whether its framing is whole."""
    body = spoil(chance, REQUESTS)
    headers: list[tuple[str, Any]] = [*served.right, *JSON, ("Connection", "close")]
    if chance.random() < 0.5:
        headers.append(("Mcp-Session-Id", session))
    if chance.random() < 0.5:
        headers.append(("MCP-Protocol-Version", chance.choice(VERSIONS)))
    if chance.random() < 0.3:
        headers.append((chance.choice(NAMES), chance.choice(VALUES)))
    method = chance.choice(("POST",) * 12 + ("DELETE", "PUT", "OPTIONS", "HEAD", "BREW"))
    path = chance.choice(ROUTES).replace("%s", session)
    head = f"{method} {path} HTTP/1.1\r\n".encode()
    for name, value in [*headers, ("Content-Length", str(len(body)))]:
        head += f"{name}: {value}\r\n".encode("latin-1", "replace")
    if chance.random() < 0.15:
        return change_bytes(chance, head + b"\r\n") + body, False
    return head + b"\r\n" + body, True


async def _exchange(port: int, data: bytes, patience_s: float) -> bytes:
    found = b""
    with anyio.move_on_after(patience_s), suppress(ConnectionError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(data)
            while part := await reader.read(65536):
                found += part
        finally:
            writer.close()
    return found


# -- the config file ---------------------------------------------------------------------------------------------------


async def try_config(numbers: Sequence[int]) -> Tried:
    """Files: each loads, or is one line that says what is wrong."""
    tried = Tried()
    with tempfile.TemporaryDirectory() as folder:
        for number in numbers:
            _try_file(Path(folder, "config.json"), number, tried)
            if number % LOT == 0:
                await anyio.lowlevel.checkpoint()
    return tried


def _try_file(file: Path, number: int, tried: Tried) -> None:
    file.write_bytes(spoil(chance_of("config", number), CONFIGS))
    tried.inputs += 1
    try:
        load(file, environ={"HOME": str(file.parent)})
    except ConfigError as error:
        tried.check(f"config {number}", str(error))
        if len(str(error).splitlines()) != 1:
            tried.faults.append(f"config {number}: several lines: {str(error)[:300]!r}")
    except Exception as error:  # noqa: BLE001  whatever it was, the number is what counts
        tried.faults.append(f"config {number}: {error!r}")


# -- replies of the upstream -------------------------------------------------------------------------------------------


async def try_upstream(numbers: Sequence[int]) -> Tried:
    """Replies to the first request of a run: it ends with a result all the same."""
    tried = Tried()
    for lot in lots(numbers):
        with watched_log(tried):
            await _try_lot_of_runs(lot, tried)
    return tried


async def _try_lot_of_runs(lot: Sequence[int], tried: Tried) -> None:
    asked = set[str]()

    def answer(request: Request) -> Reply:
        prompt = _prompt_of(request)
        if prompt in asked or not prompt.isdecimal():
            return responds(message("fine"))
        asked.add(prompt)
        return _make_reply(chance_of("upstream", int(prompt)))

    async with open_bridge(script=answer, clock=VirtualClock(autojump=True), builtin_tools=True) as bridge:
        for number in lot:
            await _try_run(bridge, number, tried)
        if (await bridge.respond("Hello"))["output_text"] != "fine":
            tried.faults.append(f"upstream {lot[0]}..{lot[-1]}: an honest run did not get its answer")


def _prompt_of(request: Request) -> str:
    asked = request.json.get("input", "")
    return asked if isinstance(asked, str) else str(asked[0].get("content"))


async def _try_run(bridge: OpenBridge, number: int, tried: Tried) -> None:
    tried.inputs += 1
    try:
        with anyio.fail_after(PATIENCE_S):
            result = await bridge.client.call_tool("respond", {"input": str(number), "detail": "full"})
    except Exception as error:  # noqa: BLE001  whatever it was, the number is what counts
        tried.faults.append(f"upstream {number}: {error!r}")
        return
    receipt = result.structured_content or {}
    tried.check(f"upstream {number}", json.dumps(receipt, ensure_ascii=False))
    if (receipt.get("error") or {}).get("code") == INTERNAL_ERROR["code"]:
        tried.faults.append(f"upstream {number}: the run broke")


def _make_reply(chance: random.Random) -> Reply:
    match chance.randrange(8):
        case 0 | 1 | 2:
            data = http(200, spoil(chance, BODIES), {})
        case 3:
            status = chance.choice((400, 400, 401, 403, 404, 409, 413, 422, 429, 500, 503, 302, 204, 299))
            data = http(status, spoil(chance, REFUSALS), {})
        case 4:
            data = change_bytes(chance, http(200, json.dumps(BODIES[0]).encode(), {}))
        case _:
            data = http(200, _spoil_stream(chance), {"content-type": "text/event-stream"})
    return raw(data)


def _spoil_stream(chance: random.Random) -> bytes:
    spoilt = {chance.randrange(len(EVENTS)) for _ in range(chance.choice((1, 1, 2, 5)))}
    frames = [
        b"event: %s\ndata: %s\n\n"
        % (event["type"].encode(), spoil(chance, [event]) if place in spoilt else json.dumps(event).encode())
        for place, event in enumerate(EVENTS)
    ]
    stream = b"".join(frames) + chance.choice((b"", b"data: [DONE]\n\n"))
    return change_bytes(chance, stream) if chance.random() < 0.3 else stream


# -- lines of connected servers ----------------------------------------------------------------------------------------


async def try_server(numbers: Sequence[int]) -> Tried:
    """Lines before the replies to calls: each call has an output, and the server stays of use."""
    tried = Tried()
    for lot in lots(numbers):
        with tempfile.TemporaryDirectory() as folder, watched_log(tried):
            await _try_lot_of_lines(lot, _write_lines(Path(folder, "lines"), lot), tried)
    return tried


def _write_lines(file: Path, lot: Sequence[int]) -> Path:
    spoilt = (spoil(chance_of("server", number), REPLIES).replace(str(ID).encode(), b"$ID") for number in lot)
    file.write_bytes(b"".join(base64.b64encode(line) + b"\n" for line in spoilt))
    return file


async def _try_lot_of_lines(lot: Sequence[int], lines: Path, tried: Tried) -> None:
    entry = rogue(f"spoils={lines}") | {"require_approval": "never", "serial": True}
    async with open_bridge({"s": entry}, limits={"output_bytes": 2000}) as bridge:
        for start in range(0, len(lot), CALLS):
            numbers = lot[start : start + CALLS]
            outcome = await bridge.use(*(call("s__spoil", {"line": start + line}) for line in range(len(numbers))))
            tried.inputs += len(numbers)
            if len(outcome.outputs) != len(numbers):
                tried.faults.append(f"server {numbers[0]}..{numbers[-1]}: {outcome.receipt['error']}")
            for number, output in zip(numbers, outcome.outputs, strict=False):
                tried.check(f"server {number}", str(output))
        if (honest := (await bridge.use(call("s__echo", {"text": "hi"}))).outputs) != ["hi"]:
            tried.faults.append(f"server {lot[0]}..{lot[-1]}: an honest call got {honest}")


# -- replies of connected servers over HTTP ----------------------------------------------------------------------------


async def try_web(numbers: Sequence[int]) -> Tried:
    """Replies to calls of a server over Streamable HTTP: each call has an output, and the server stays of use."""
    tried = Tried()
    for lot in lots(numbers):
        with watched_log(tried):
            async with ScriptedUpstream(_answer_as_server) as served:
                await _try_lot_of_replies(lot, served.base_url, tried)
    return tried


async def _try_lot_of_replies(lot: Sequence[int], url: str, tried: Tried) -> None:
    entry = {"type": "http", "url": url, "protocol": "2025-11-25", "require_approval": "never"}
    limits = {"output_bytes": 2000, "call_timeout_s": PATIENCE_S}
    async with open_bridge({"s": entry}, limits=limits, builtin_tools=False) as bridge:
        for start in range(0, len(lot), CALLS):
            numbers = lot[start : start + CALLS]
            outcome = await bridge.use(*(call("s__spoil", {"line": number}) for number in numbers))
            tried.inputs += len(numbers)
            if len(outcome.outputs) != len(numbers):
                tried.faults.append(f"web {numbers[0]}..{numbers[-1]}: {outcome.receipt['error']}")
            for number, output in zip(numbers, outcome.outputs, strict=False):
                tried.check(f"web {number}", str(output))
        if (honest := (await bridge.use(call("s__spoil", {"line": -1}))).outputs) != ["hi"]:
            tried.faults.append(f"web {lot[0]}..{lot[-1]}: an honest call got {honest}")


SPOIL = {"name": "spoil", "inputSchema": {"type": "object", "properties": {"line": {"type": "integer"}}}}
ANSWERS: dict[str, Any] = {
    "initialize": {
        "protocolVersion": "2025-11-25",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "s", "version": "1"},
    },
    "tools/list": {"tools": [SPOIL]},
    "ping": {},
}


def _answer_as_server(request: Request) -> Reply:
    if request.method != "POST":
        return raw(http(405, b"", {}), close=False)
    asked = request.json
    if "id" not in asked:
        return raw(http(202, b"", {}), close=False)
    if asked["method"] != "tools/call":
        return _reply_in_json({"jsonrpc": "2.0", "id": asked["id"], "result": ANSWERS.get(asked["method"], {})})
    line = asked["params"]["arguments"]["line"]
    if line < 0:
        content = [{"type": "text", "text": "hi"}]
        return _reply_in_json({"jsonrpc": "2.0", "id": asked["id"], "result": {"content": content}})
    chance = chance_of("web", line)
    data = spoil(chance, REPLIES).replace(str(ID).encode(), str(asked["id"]).encode())
    match chance.randrange(8):
        case 0 | 1 | 2:
            return raw(http(200, data, {"content-type": "application/json"}))
        case 3:
            return raw(http(chance.choice((400, 401, 403, 404, 409, 500, 503, 302, 299)), data, {}))
        case 4:
            kinds = ("text/html", "text/plain", "application/octet-stream", "", "text/event-stream;charset=\xff")
            return raw(http(200, data, {"content-type": chance.choice(kinds)}))
        case 5:
            return raw(change_bytes(chance, http(200, data, {"content-type": "text/event-stream"})))
        case _:
            events = b"".join(b"data: " + each + b"\n\n" for each in (data, spoil(chance, REPLIES)))
            return raw(http(200, b"event: message\n" + events, {"content-type": "text/event-stream"}))


def _reply_in_json(value: Any) -> Reply:
    return raw(http(200, json.dumps(value).encode(), {"content-type": "application/json"}), close=False)


DOORS: dict[str, Callable[[Sequence[int]], Awaitable[Tried]]] = {
    "stdin": try_stdin,
    "http": try_http,
    "config": try_config,
    "upstream": try_upstream,
    "server": try_server,
    "web": try_web,
}
