"""The audit: what its line says of each call, who decided, what came of it, and what a disk that is full costs."""

import json
import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.client import ClientRequestContext
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ElicitRequestParams, ElicitResult, ToolAnnotations

from bridge.app import Bridge
from bridge.questions import AT_TERMINAL, ON_PAGE, Ask, approve, ask_nobody, decline, say_yes
from bridge.run.engine import Settle, Stop
from bridge.run.run import Run
from bridge.telemetry import Redactor
from tests.fakes.audited import read_audit
from tests.fakes.bridges import OpenBridge, open_bridge, open_without_host
from tests.fakes.clock import until
from tests.fakes.items import Json, call
from tests.fakes.servers import rogue
from tests.fakes.upstream import ScriptedUpstream, message, responds

pytestmark = pytest.mark.anyio

READS = ToolAnnotations(read_only_hint=True)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


class Desk:
    """A server whose tools need a yes, but for `look`; `done` is what was run."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.began, self.gate = anyio.Event(), anyio.Event()
        self.server = MCPServer("desk")
        self.server.tool()(self.write)
        self.server.tool()(self.fail)
        self.server.tool()(self.linger)
        self.server.tool(annotations=READS)(self.look)

    async def write(self, text: str) -> str:
        self.done.append(text)
        return f"wrote {text}"

    async def look(self) -> str:
        return "日"

    async def fail(self) -> str:
        raise ToolError(json.dumps({"error": "timeout", "message": "it only says so"}))

    async def linger(self) -> str:
        self.began.set()
        await self.gate.wait()
        return "late"


@pytest.fixture
def desk() -> Desk:
    return Desk()


@asynccontextmanager
async def opened(file: Path, servers: Json, *, ask: Ask | None = say_yes, **options: Any) -> AsyncIterator[OpenBridge]:
    serve = {"audit": str(file), **options.pop("serve", {})}
    async with open_bridge(servers, ask=ask, serve=serve, **options) as bridge:
        yield bridge


def read(file: Path) -> bytes:
    return file.read_bytes()


def permissions(file: Path) -> int:
    return file.stat().st_mode & 0o777


def decided(line: Json) -> tuple[str, str, str, str]:
    return line["decision"], line["by"], line["rule"], line["outcome"]


def entry(desk: Desk, **settings: Any) -> Json:
    return {"command": desk.server, **settings}


@pytest.mark.rule("S29")
async def test_a_line_has_all_that_tells_who_ran_what_and_nothing_of_its_content(file: Path, desk: Desk) -> None:
    arguments = '{"text": "a canary of the model"}'
    async with opened(file, {"desk": entry(desk)}) as bridge:
        receipt = (await bridge.use(call("desk__write", arguments, call_id="c1"))).receipt
    [line] = read_audit(file)
    made = receipt["tool_calls"][0]
    assert line.pop("ts").endswith("Z")
    assert line.pop("ms") == made["duration_ms"]
    assert len(line.pop("definition")) == 64
    assert line == {
        "kind": "call",
        "run": receipt["run_id"],
        "principal": "host",
        "turn": 1,
        "index": 0,
        "server": "desk",
        "tool": "write",
        "name": "desk__write",
        "call_id": "c1",
        "decision": "allowed",
        "by": "advance",
        "rule": "asked",
        "outcome": "ok",
        "arguments": sha256(arguments.encode()).hexdigest(),
        "bytes": len("wrote a canary of the model"),
    }
    assert "canary" not in read(file).decode()
    assert permissions(file) == 0o600


CONFIGS: dict[str, tuple[Json, str]] = {
    "read-only": ({"require_approval": "writes"}, "readOnlyHint"),
    "never": ({"require_approval": "never"}, "require_approval never"),
    "allowed by name": ({"tools": {"allow": ["l*"]}}, "tools.allow"),
}


@pytest.mark.parametrize(("settings", "rule"), CONFIGS.values(), ids=CONFIGS)
async def test_what_the_config_lets_run_is_told_by_its_rule(file: Path, desk: Desk, settings: Json, rule: str) -> None:
    async with opened(file, {"desk": entry(desk, **settings)}, ask=ask_nobody) as bridge:
        await bridge.use(call("desk__look"))
    [line] = read_audit(file)
    assert decided(line) == ("allowed", "config", rule, "ok")
    assert line["bytes"] == 3


async def be_silent(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
    await anyio.sleep_forever()
    raise AssertionError(context, params)


@asynccontextmanager
async def hosted(turns: list[Any], servers: Json, **sections: Any) -> AsyncIterator[tuple[Bridge, Run]]:
    """A run whose host shows questions to a person who answers none of them there."""
    async with (
        ScriptedUpstream(turns) as upstream,
        open_without_host(upstream, servers, **sections) as bridge,
        Client(bridge.server, mode="legacy", elicitation_callback=be_silent) as client,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(client.call_tool, "respond", {"input": "Hello"})
        await upstream.arrivals.wait()
        [run] = await bridge.engine.list(principal="host")
        yield bridge, run
        tasks.cancel_scope.cancel()


ANSWERS = {
    "a yes at the host": (approve(), ("allowed", "host", "asked", "ok")),
    "a no at the host": (decline(), ("refused", "host", "declined", "not_sent")),
    "a yes at a terminal": (approve(AT_TERMINAL), ("allowed", "terminal", "asked", "ok")),
    "a no at a terminal": (decline(AT_TERMINAL), ("refused", "terminal", "declined", "not_sent")),
    "a yes at the page": (approve(ON_PAGE), ("allowed", "page", "asked", "ok")),
}


@pytest.mark.parametrize(("answer", "expected"), ANSWERS.values(), ids=ANSWERS)
async def test_who_said_yes_or_no_is_told(file: Path, desk: Desk, answer: Any, expected: tuple[str, ...]) -> None:
    """backblaze-labs/b2-mcp#318: a yes of a person could not be told from one that the model supplied."""
    turns = [responds(call("desk__write", {"text": "x"})), responds(message("done"))]
    async with hosted(turns, {"desk": entry(desk)}, serve={"audit": str(file)}) as (bridge, run):
        await until(lambda: bool(run.questions))
        await bridge.engine.send(run, Settle(next(iter(run.questions)), answer, "somebody"))
        await until(lambda: run.ending is not None)
    assert [decided(line) for line in read_audit(file)] == [expected]


async def test_where_nobody_can_be_asked_nobody_is_who_refused(file: Path, desk: Desk) -> None:
    async with opened(file, {"desk": entry(desk)}, ask=ask_nobody) as bridge:
        await bridge.use(call("desk__write", {"text": "x"}))
    assert [decided(line) for line in read_audit(file)] == [("refused", "nobody", "approval_required", "not_sent")]
    assert desk.done == []


@pytest.mark.rule("S29")
async def test_what_was_never_sent_has_a_line_too_with_the_reason(file: Path, desk: Desk) -> None:
    """obot-platform/obot#6223: calls of some kinds were in no audit."""
    calls = [
        call("nobody__has_this", {}),
        call("desk__write", {"wrong": 1}),
        call("desk__write", "[1]"),
        call("gone__echo", {}),
        call("desk__fail"),
        call("desk__look"),
        call("desk__look"),
    ]
    servers = {"desk": entry(desk, require_approval="never"), "gone": {"command": "no-such-program"}}
    async with opened(file, servers, limits={"max_turn_calls": 6}) as bridge:
        await bridge.use(*calls)
    lines = sorted(read_audit(file), key=lambda line: line["index"])
    assert [decided(line) for line in lines] == [
        ("refused", "bridge", "unknown_tool", "not_sent"),
        ("refused", "bridge", "invalid_arguments", "not_sent"),
        ("refused", "bridge", "invalid_arguments", "not_sent"),
        ("refused", "bridge", "unknown_tool", "not_sent"),
        ("allowed", "config", "require_approval never", "error"),
        ("allowed", "config", "require_approval never", "ok"),
        ("refused", "limits", "limit_reached", "not_sent"),
    ]
    assert [line["tool"] for line in lines] == [None, "write", "write", None, "fail", "look", "look"]


async def test_tools_of_the_runs_own_have_lines_and_need_nobodys_yes(file: Path, desk: Desk) -> None:
    text = {"text": "x" * 10_000}
    turns = [
        [call("desk__write", text)],
        [call("read_output", {"id": 1})],
        [call("read_output", {"id": 99})],
    ]
    async with opened(file, {"desk": entry(desk)}, limits={"output_bytes": 2000}) as bridge:
        await bridge.run(turns)
    _, read, failed = read_audit(file)
    assert (decided(read), read["server"]) == (("allowed", "bridge", "own tool", "ok"), "bridge")
    assert decided(failed) == ("allowed", "bridge", "own tool", "error")


async def test_a_server_that_dies_in_a_call_leaves_it_unknown(file: Path) -> None:
    async with opened(file, {"s": rogue("crash_mid_call") | {"require_approval": "never"}}) as bridge:
        await bridge.use(call("s__crash"))
    assert [line["outcome"] for line in read_audit(file)] == ["unknown"]


async def test_a_run_that_is_stopped_tells_which_calls_may_have_been_executed(file: Path, desk: Desk) -> None:
    turn = responds(call("desk__linger"), call("desk__write", {"text": "x"}))
    never = {"tools": {"allow": ["linger"]}}
    async with hosted([turn], {"desk": entry(desk, **never)}, serve={"audit": str(file)}) as (bridge, run):
        await desk.began.wait()
        await until(lambda: bool(run.questions))
        await bridge.engine.send(run, Stop())
        await until(lambda: run.ending is not None)
    lines = {line["tool"]: decided(line) for line in read_audit(file)}
    assert lines == {
        "linger": ("allowed", "config", "tools.allow", "unknown"),
        "write": ("refused", "run", "stopped", "not_sent"),
    }


@pytest.mark.rule("S30")
async def test_a_name_that_is_made_to_look_like_a_line_is_part_of_one(file: Path, desk: Desk) -> None:
    forged = 'x"}\n{"kind":"call","decision":"allowed"}\r\x1b[2J\u2028\u202e'
    async with opened(file, {"desk": entry(desk)}) as bridge:
        await bridge.use(call(forged, {}, call_id=forged), call("y" * 10_000, {}))
    data = read(file)
    assert (data.count(b"\n"), data.isascii()) == (2, True)
    first, second = sorted(read_audit(file), key=lambda line: line["index"])
    assert first["name"].startswith(forged[:3])
    assert len(second["name"]) < 300


@pytest.mark.rule("S13")
async def test_a_secret_of_ours_that_a_model_writes_as_a_name_is_blanked(file: Path, desk: Desk) -> None:
    async with opened(file, {"desk": entry(desk)}, redact=Redactor(["a-secret-value"])) as bridge:
        await bridge.use(call("a-secret-value", {}, call_id="a-secret-value"))
    [line] = read_audit(file)
    assert (line["name"], line["call_id"]) == ("***", "***")


# A disk that is full


@contextmanager
def full_at(size: int) -> Iterator[None]:
    """The system lets no file of this process grow over so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def audit_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "bridge.run.audit"]


@pytest.mark.rule("S29", "REL29")
async def test_calls_go_on_on_a_full_disk_which_is_told_once_and_their_lines_come_later(
    file: Path, desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    """morrow-project/morrow#92: an audit that was full was full in silence."""
    turns = [[call("desk__write", {"text": text})] for text in "abc"]
    async with opened(file, {"desk": entry(desk)}) as bridge:
        with full_at(100):
            outcome = await bridge.run(turns)
            [told] = [notice for notice in outcome.receipt["notices"] if notice["code"] == "audit_unwritten"]
            assert desk.done == ["a", "b", "c"]
        await bridge.use(call("desk__look"))
    assert told["message"] == f"the audit of this run's calls is late: {file} cannot be written: File too large"
    assert audit_lines(caplog) == [
        f"serve.audit: {file} cannot be written: File too large; calls go on, and are noted when it can be",
        "serve.audit: the file can be written again",
    ]
    torn, *lines = read(file).decode().splitlines()
    assert len(torn) == 100
    assert [json.loads(line)["tool"] for line in lines] == ["write", "write", "write", "look"]


@pytest.mark.rule("S29", "REL29")
async def test_where_it_is_required_no_tool_runs_on_a_full_disk_and_all_do_afterwards(
    file: Path, desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    """linux-audit/audit-userspace#222: it stayed suspended when there was room again."""
    async with opened(file, {"desk": entry(desk)}, serve={"audit_required": True}) as bridge:
        with full_at(100):
            outcome = await bridge.use(call("desk__write", {"text": "a"}), call("desk__look"))
        assert [json.loads(output)["error"] for output in outcome.outputs] == ["unrecorded", "unrecorded"]
        assert "serve.audit_required: no tool is run" in " ".join(outcome.notices)
        assert desk.done == []
        assert (await bridge.use(call("desk__write", {"text": "b"}))).output == "wrote b"
    _torn, *lines = read(file).decode().splitlines()
    told = [json.loads(line) for line in lines]
    refused = ("refused", "bridge", "unrecorded", "not_sent")
    assert [decided(line) for line in told if line["kind"] == "call"][:2] == [refused, refused]
    assert [(line["kind"], line["tool"]) for line in told[2:]] == [("intent", "write"), ("call", "write")]
    assert audit_lines(caplog)[0].endswith("no tool is run until it can be")


async def test_an_intent_is_there_before_its_call_is_sent(file: Path, desk: Desk) -> None:
    @desk.server.tool(annotations=READS)
    def peek() -> str:
        return str([line["kind"] for line in read_audit(file)])

    async with opened(file, {"desk": entry(desk)}, serve={"audit_required": True}) as bridge:
        assert (await bridge.use(call("desk__peek"))).outputs == ["['intent']"]


# Runs that another process goes on with


async def test_a_call_that_the_next_process_finishes_has_one_line_of_that_process(file: Path, tmp_path: Path) -> None:
    desk, sections = Desk(), {"runs": {"store": f"sqlite:///{tmp_path / 'runs'}"}, "serve": {"audit": str(file)}}
    sections["limits"] = {"on_cancel": "detach"}
    servers = {"desk": entry(desk, require_approval="never", pin=False)}
    turns = [responds(call("desk__look"), id="r1"), responds(call("desk__linger"), id="r2")]
    async with hosted(turns, servers, **sections) as (_, run):
        await desk.began.wait()
    assert [line["tool"] for line in read_audit(file)] == ["look"], "what is not over has no line yet"
    async with (
        ScriptedUpstream([responds(message("done"))]) as upstream,
        open_without_host(upstream, servers, **sections) as bridge,
        Client(bridge.server) as client,
    ):
        await client.call_tool("respond_wait", {"run_id": run.run_id})
    look, linger = read_audit(file)
    assert decided(look) == ("allowed", "config", "require_approval never", "ok")
    assert decided(linger) == ("allowed", "before", "resumed", "unknown")
    assert look["run"] == linger["run"] == run.run_id


def test_without_an_audit_and_without_a_service_nothing_of_it_is_imported() -> None:
    modules = {"verdicts", "audit_file", "run.audit", "run.run_log", "host.request_log", "host.refused"}
    names = {f"bridge.{module}" for module in modules}
    program = f"import sys, bridge.app, bridge.cli.serve, bridge.run.body; print(*{names} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
