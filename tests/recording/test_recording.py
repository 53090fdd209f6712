"""A run is written down, and run again from the file alone: the same requests byte for byte, the same result."""

import gzip
import json
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.server.mcpserver import MCPServer

from bridge.app import Bridge
from bridge.cli.ask import run_once
from bridge.cli.replay import play
from bridge.clock import Clock
from bridge.config.settings import Config, Limits, ServerConfig, ToolSearch, UpstreamConfig
from bridge.errors import ConfigError, ReplayError
from bridge.events import RunEnded, read_event
from bridge.json_text import JsonObject
from bridge.questions import ask_nobody, is_yes, say_yes
from bridge.recording.record import RecordingTransport
from bridge.recording.replay import Replay
from bridge.recording.runs import record_runs
from bridge.recording.tape import Tape, read_tape
from bridge.run.memory import MemoryEngine
from bridge.telemetry import Redactor
from bridge.upstream.transport import open_transport
from tests.fakes.clock import VirtualClock, until
from tests.fakes.items import Json
from tests.fakes.upstream import (
    Answer,
    ScriptedUpstream,
    api_error,
    call,
    cut,
    gated,
    hang,
    http_error,
    message,
    raw,
    responds,
)
from tests.fakes.wire import http

pytestmark = pytest.mark.anyio

SECRET = 'sk-canary "kumquat" \\ é'
"""With what JSON escapes: in a body it is written in other characters, in a text in a body in others again."""


def build_server() -> MCPServer:
    server = MCPServer("s")

    @server.tool()
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    @server.tool()
    def tell(length: int) -> str:
        """Tell a long story."""
        return "".join(f"{number} sheep; " for number in range(length))

    @server.tool()
    def reveal() -> str:
        """Reveal what nobody may know."""
        return json.dumps({"key": SECRET})

    @server.tool()
    async def hold() -> str:
        """Never end."""
        await anyio.sleep_forever()
        return ""

    return server


def adding(a: int, b: int, call_id: str) -> Json:
    return call("s__add", {"a": a, "b": b}, call_id=call_id)


class Case:
    """One run; `options` are settings of the config."""

    def __init__(self, *script: Answer, status: str = "completed", **options: Any) -> None:
        self.script = script
        self.status = status
        self.options = options


STREAM = {"content-type": "text/event-stream"}
SAID = b'[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"done"}]}]'
DONE = b'data: {"type":"response.completed","response":{"id":"r","status":"completed","output":' + SAID + b"}}\n\n"
ANSWER = responds(message("5 and 9, 完 😀"))
BOTH = [adding(2, 3, "call_1"), adding(4, 5, "call_2")]
CASES = {
    "streamed, with two calls at once": Case(responds(*BOTH), ANSWER),
    "as JSON": Case(responds(*BOTH, as_json=True), responds(message("9"), as_json=True)),
    "after a refusal that passes": Case(http_error(503, "busy", {"retry-after-ms": "1"}), responds(*BOTH), ANSWER),
    "after a cut": Case(cut("response.created", ANSWER), ANSWER, clock=VirtualClock(autojump=True)),
    "after a reset": Case(cut(0, ANSWER, reset=True), ANSWER, clock=VirtualClock(autojump=True)),
    "after a lesson": Case(api_error(400, "Unsupported parameter: top_p"), ANSWER, upstream={"defaults": {"top_p": 1}}),
    "with calls that are not run": Case(
        responds(adding(1, 1, "a"), call("s__ad", {}, call_id="b"), call("s__add", "{", call_id="c")), ANSWER
    ),
    "with equal calls, run one after another": Case(
        responds(*(adding(1, 1, "same") for _ in range(4))), ANSWER, limits={"max_parallel": 2}
    ),
    "with calls that somebody has approved": Case(responds(*BOTH), ANSWER, ask=say_yes, approval="always"),
    "with calls that nobody has approved": Case(responds(*BOTH), ANSWER, approval="always"),
    "with an output that is read on": Case(
        responds(call("s__tell", {"length": 500}, call_id="a")),
        responds(call("read_output", {"id": 1, "offset": 3000}, call_id="b")),
        responds(message("many")),
        limits={"output_bytes": 1000},
    ),
    "with tools that are looked for": Case(
        responds(call("find_tools", {"query": "add two numbers"}, call_id="a")),
        responds(adding(1, 2, "b")),
        responds(message("3")),
        limits={"max_tools": 3},
        tool_search={"first": 1},
        prompt="tell a long story",
    ),
    "in the background": Case(
        responds(status="queued", as_json=True),
        responds(status="in_progress"),
        http_error(503, "busy"),
        ANSWER,
        upstream={"defaults": {"background": True}},
        clock=VirtualClock(autojump=True),
    ),
    "at a limit": Case(responds(*BOTH), responds(message("so far")), status="incomplete", limits={"max_turns": 1}),
    "without an answer": Case(api_error(401, "no such key"), status="failed"),
    "of an upstream that is silent until the end": Case(hang(), status="incomplete", limits={"timeout_s": 1}),
    "of a stream that stops until the end": Case(
        hang("response.created", ANSWER), status="incomplete", limits={"timeout_s": 1}
    ),
    "of tools that are silent until the end": Case(
        responds(call("s__hold", {}, call_id="a"), adding(1, 2, "b"), call("s__hold", {}, call_id="c")),
        status="incomplete",
        limits={"timeout_s": 1},
    ),
    "of bytes that are no UTF-8": Case(raw(http(200, b": \xff\n\n" + DONE, STREAM), close=False)),
    "of compressed bytes": Case(raw(http(200, gzip.compress(DONE), STREAM | {"content-encoding": "gzip"}))),
}


def build_config(base_url: str, options: Mapping[str, Any]) -> Config:
    return Config(
        upstream=UpstreamConfig(
            base_url=base_url, model="m", api_key="sk-key-0123456789", **options.get("upstream", {})
        ),
        servers=(ServerConfig(key="s", command="in this process", require_approval=options.get("approval", "never")),),
        limits=Limits(**options.get("limits", {})),
        tool_search=ToolSearch(**options.get("tool_search", {})),
        builtin_tools=False,
    )


async def record(file: Path, script: Sequence[Answer], redact: Redactor, **options: Any) -> tuple[Json, list[str]]:
    """The result of the run, and the bodies that the upstream got."""
    arguments: JsonObject = {"input": options.pop("prompt", "add them")}
    clock = options.pop("clock", None) or Clock()
    async with ScriptedUpstream(script) as upstream:
        config = build_config(upstream.base_url, options)
        with Tape(file, redact, clock) as tape:
            bridge = Bridge(
                config,
                environ=os.environ,
                clock=clock,
                ask=options.get("ask", ask_nobody),
                in_process={"s": build_server()},
                transport=RecordingTransport(open_transport(upstream.base_url)),
                build_engine=partial(
                    MemoryEngine, build_task=record_runs(lambda _: nullcontext(tape), config)["build_task"]
                ),
            )
            receipt = await run_once(bridge, arguments, run_id="run_1")
    return receipt, [request.body.decode() for request in upstream.requests]


async def play_file(file: Path) -> Json:
    """The result of the recorded run; nothing is there but the file."""
    with anyio.fail_after(20):
        return await play(Replay(read_tape(file)))


@pytest.mark.parametrize("name", CASES)
async def test_a_recorded_run_is_run_again_with_the_same_requests_and_the_same_result(
    name: str, tmp_path: Path
) -> None:
    case, file = CASES[name], tmp_path / "run.jsonl"
    receipt, bodies = await record(file, case.script, Redactor(), **case.options)
    assert receipt["status"] == case.status
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert [line["body"] for line in lines if line["kind"] == "request"] == bodies
    assert await play_file(file) == receipt


@pytest.mark.rule("S29", "S33")
async def test_the_recording_is_private_and_its_lines_are_whole_while_the_run_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    held = anyio.Event()
    async with anyio.create_task_group() as tasks:
        script = [responds(*BOTH), gated(ANSWER, held)]
        tasks.start_soon(record, file, script, Redactor())
        await until(lambda: file.exists() and file.read_bytes().count(b'"kind":"request"') == 2)
        kinds = [json.loads(line)["kind"] for line in file.read_text(encoding="utf-8").splitlines()]
        held.set()
    assert kinds[:6] == ["recording", "step", "step", "event", "request", "reply"]
    assert sorted(kinds[6:]) == [*["event"] * 6, "request", "step", "step"]
    assert kinds[-1] == "request"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.rule("S29")
async def test_the_recording_has_every_event_and_what_the_person_has_answered(tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    await record(file, [responds(*BOTH), ANSWER], Redactor(), ask=say_yes, approval="always")
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    events = [line["event"] for line in lines if line["kind"] == "event"]
    assert [event["seq"] for event in events] == list(range(len(events)))
    assert isinstance(read_event(events[-1]), RunEnded)
    steps = {line["key"]: line["outcome"] for line in lines if line["kind"] == "step"}
    assert steps.keys() == {
        "input",
        "begin",
        *(f"{step}:1:{index}" for step in ("question", "call") for index in (0, 1)),
    }
    assert is_yes(steps["question:1:0"])


async def test_no_secret_is_in_the_file_and_it_is_run_again_all_the_same(tmp_path: Path) -> None:
    """In the prompt, in what a tool says, in what the model makes of it, whole and piece by piece, in a header."""
    said = message(f"It is {SECRET}.")
    pieces = [delta(piece) for piece in ("It is ", SECRET[:6], SECRET[6:20], SECRET[20:], ".")]
    script = [
        responds(call("s__reveal", {}, call_id="a"), call("s__add", {"a": 1, "b": SECRET}, call_id="b")),
        responds(said, events=lambda events: [*pieces, events[-1]], headers={"set-cookie": "session=canary-9"}),
    ]
    file = tmp_path / "run.jsonl"
    receipt, _ = await record(file, script, Redactor([SECRET, "sk-key-0123456789"]), prompt=f"Use {SECRET}!")
    text = file.read_text(encoding="utf-8")
    assert SECRET in receipt["output_text"]
    assert "sk-key" not in text
    assert "canary" not in text
    assert "kumquat" not in text
    assert (await play_file(file))["output_text"] == "It is ***."


def delta(text: str) -> Json:
    return {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": text}


@pytest.fixture
async def lines(tmp_path: Path) -> list[Json]:
    """Those of a run with a turn of two calls and an answer."""
    await record(tmp_path / "whole.jsonl", [responds(*BOTH), ANSWER], Redactor())
    return [json.loads(line) for line in (tmp_path / "whole.jsonl").read_text(encoding="utf-8").splitlines()]


def find(lines: list[Json], kind: str, n: int = 1) -> Json:
    return next(line for line in lines if line["kind"] == kind and line.get("n", n) == n)


def write(file: Path, lines: list[Json]) -> Path:
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return file


def find_step(lines: list[Json], key: str) -> Json:
    return next(line for line in lines if line["kind"] == "step" and line["key"] == key)


def find_event(lines: list[Json], **fields: Any) -> Json:
    events = [line["event"] for line in lines if line["kind"] == "event"]
    return next(event for event in events if event.items() >= fields.items())


CHANGES: dict[str, tuple[Callable[[list[Json]], object], str]] = {
    "another prompt": (
        lambda lines: find_step(lines, "input")["outcome"]["transcript"].update(items=["{}"]),
        r"request 1 differs from the recorded one at byte [\d,]+: recorded .*add them.*, now ",
    ),
    "another parameter": (
        lambda lines: lines[0]["arguments"].update(temperature=1),
        r"request 1 differs from the recorded one at byte [\d,]+: recorded .*, now .*temperature",
    ),
    "another output": (
        lambda lines: find_step(lines, "call:1:1")["outcome"].update(output="10"),
        r"request 2 differs from the recorded one at byte [\d,]+: recorded '.*9.*', now '.*10",
    ),
    "other arguments of a call": (
        lambda lines: find_event(lines, type="call.started", index=1).update(arguments='{"a":4,"b":6}'),
        r"call 2 of turn 1 differs from the recorded one at byte \d+: recorded '.*6.*\[call_2]', now '.*5.*\[call_2]'",
    ),
    "a call that was not made": (
        lambda lines: find_event(lines, type="call.started", index=1).update(index=2),
        r"call 2 of turn 1 differs from the recorded one at byte 0: recorded nothing, now 's__add\(.*",
    ),
    "another address": (
        lambda lines: find(lines, "request", 2).update(path="/v2/responses"),
        "request 2 differs from the recorded one at byte [\\d,]+: recorded '.*/v2/responses', now '.*/v1/responses'",
    ),
    "another answer": (
        lambda lines: lines[-1]["receipt"].update(output_text="5 and 8"),
        "output_text of the result differs from the recorded one at byte 7: recorded .*8.*, now .*9",
    ),
    "a call less": (lambda lines: lines.remove(find_step(lines, "call:1:1")), "step call:1:1 is not in the recording"),
    "a request less": (
        lambda lines: lines.remove(find(lines, "request", 2)),
        "request 2 is sent, and only 1 are recorded",
    ),
    "a reply less": (lambda lines: lines.remove(find(lines, "reply", 2)), "request 2 has no reply in the recording"),
    "a request more": (
        lambda lines: lines.insert(-1, find(lines, "request", 2) | {"n": 3}),
        "2 requests were sent, and 3 are recorded",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_what_comes_out_otherwise_is_an_error_that_shows_where(
    change: str, lines: list[Json], tmp_path: Path
) -> None:
    make, words = CHANGES[change]
    make(lines)
    with pytest.raises(ReplayError, match=words):
        await play_file(write(tmp_path / "changed.jsonl", lines))


FAULTS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut in a line": (lambda data: data[:-200], "it breaks off at line 19, before its run had ended"),
    "cut between lines": (lambda data: data[: data[:-1].rindex(b"\n") + 1], "it breaks off at line 18, before"),
    "of another version": (
        lambda data: data.replace(b'"version":3', b'"version":1', 1),
        "it is a recording of version 1, and only version 3 can be read",
    ),
    "something else": (lambda _: b"hello", "it is not a recording of `ask`"),
    "empty": (lambda _: b"", "it is not a recording of `ask`"),
    "with a broken line": (lambda data: data.replace(b'"outcome"', b'outcome"', 1), "line 2 is not one of a recording"),
    "with a line of another kind": (
        lambda data: data.replace(b'"status":200', b'"status":"fine"', 1),
        "line 6 is not one of a recording: status: Input should be a valid integer",
    ),
    "with a wrong setting": (lambda data: data.replace(b'"max_turns":10', b'"max_turns":0', 1), "limits.max_turns"),
}


@pytest.mark.usefixtures("lines")
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_file_that_cannot_be_played_is_one_sentence_about_it(fault: str, tmp_path: Path) -> None:
    make, words = FAULTS[fault]
    broken = tmp_path / "broken.jsonl"
    broken.write_bytes(make((tmp_path / "whole.jsonl").read_bytes()))
    with pytest.raises(ConfigError) as raised:
        await play_file(broken)
    assert raised.value.message.startswith(f"--replay {broken}: ")
    assert words in raised.value.message
    assert len(raised.value.message.splitlines()) == 1
