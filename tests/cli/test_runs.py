"""`runs`, `ask --continue` and `ask --run`, as a person types them."""

import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from bridge.cli.screen.columns import count_columns
from bridge.cli.screen.run_list import list_runs
from bridge.cli.screen.timeline import draw_bars, show_seconds
from bridge.run.summary import Summary
from bridge.run.timeline import Axis, Span
from tests.fakes.clock import PATIENCE_S
from tests.fakes.commands import Done, run
from tests.fakes.screen import AtTerminal
from tests.fakes.upstream import Reply, Request, ScriptedUpstream, api_error, call, hang, message, responds
from tests.fakes.wire import Wait

pytestmark = pytest.mark.anyio

ADD = {"operation": "add", "a": 1, "b": 2}
CALLS = [call("math_calculator", ADD, call_id=f"call_{place}") for place in (1, 2)]
SECRET = "canary-of-the-shop"
BRIDGE = [sys.executable, "-m", "bridge"]


def write_config(folder: Path, upstream: ScriptedUpstream, **sections: Any) -> str:
    """The config of a bridge with this model; where its file is."""
    file = folder / "config.json"
    unit = {"base_url": upstream.base_url, "model": "m"}
    file.write_text(json.dumps({"upstream": unit, **sections}), encoding="utf-8")
    file.chmod(0o600)
    return str(file)


def find_files() -> list[Path]:
    """The files in the state folder."""
    return [file for file in Path(os.environ["XDG_STATE_HOME"]).rglob("*") if file.is_file()]


async def ask_offline(capfd: pytest.CaptureFixture[str], *words: str) -> None:
    done = await run(capfd, "ask", "--offline", *words)
    assert done.code == 0, done.stderr


async def list_ids(capfd: pytest.CaptureFixture[str], *options: str) -> list[str]:
    """The ids of the runs that are kept, the newest first."""
    return [each["run_id"] for each in json.loads((await run(capfd, "runs", "--json", *options)).stdout)]


def complaint(done: Done) -> str:
    """The one sentence of a command that could not be done."""
    assert done.code in (1, 2)
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert "Traceback" not in line
    return line


async def test_what_was_asked_is_listed_the_newest_first(capfd: pytest.CaptureFixture[str]) -> None:
    await ask_offline(capfd, "Compute 2 + 3")
    await ask_offline(capfd, "Compute 4 * 5")
    done = await run(capfd, "runs")
    head, newest, oldest = done.stdout.splitlines()
    assert (done.code, done.stderr) == (0, "")
    assert head.split() == ["id", "when", "status", "turns", "calls", "tokens", "money", "who:", "asked"]
    assert re.fullmatch(r"[0-9a-f]{8}  \d\d \w{3} \d\d:\d\d  completed +2 +1 +[\d,]+ +terminal: Compute 4 \* 5", newest)
    assert oldest.endswith("terminal: Compute 2 + 3")
    told = json.loads((await run(capfd, "runs", "--json")).stdout)
    assert [each["prompt"] for each in told] == ["Compute 4 * 5", "Compute 2 + 3"]
    assert told[0]["run_id"].startswith(f"run_{newest[:8]}")
    assert told[0] | {"status": "completed", "who": "terminal", "turns": 2, "calls": 1, "cost": None} == told[0]
    assert told[1]["ended"] < told[0]["created"]
    [shown] = (await run(capfd, "runs", "--limit", "1", "--json")).stdout.splitlines()
    assert len(json.loads(shown)) == 1


async def test_looking_makes_no_file(capfd: pytest.CaptureFixture[str]) -> None:
    done = await run(capfd, "runs")
    assert (done.code, done.stdout) == (0, "")
    assert done.stderr.startswith("No runs are kept yet (")
    assert (await run(capfd, "runs", "--json")).stdout == "[]\n"
    assert "no runs are kept yet" in complaint(await run(capfd, "runs", "show", "1"))
    assert (await run(capfd, "runs", "forget", "--all")).code == 0
    assert "leave it out" in complaint(await run(capfd, "ask", "--offline", "-c", "and then?"))
    assert find_files() == []


async def test_a_run_is_shown_by_any_beginning_of_its_id(capfd: pytest.CaptureFixture[str]) -> None:
    await ask_offline(capfd, "Compute 2 + 3")
    [run_id] = await list_ids(capfd)
    shown = {(await run(capfd, "runs", "show", run_id[start:end])).stdout for start, end in ((0, 36), (4, 8), (0, 9))}
    assert len(shown) == 1
    lines = shown.pop().splitlines()
    assert lines[0] == run_id
    assert lines[1].startswith("completed, ")
    assert lines[3] == "terminal asked: Compute 2 + 3"
    assert [line.split()[0] for line in lines[6:9]] == ["turn", "math_calculator", "turn"]
    assert lines[-1] == "- math_calculator: 5"
    assert max(map(count_columns, lines)) <= 80
    told = json.loads((await run(capfd, "runs", "show", run_id, "--json")).stdout)
    assert [(span["kind"], span["turn"]) for span in told["timeline"]] == [("turn", 1), ("call", 1), ("turn", 2)]
    assert all(told["created"] <= span["began"] <= span["ended"] <= told["ended"] for span in told["timeline"])
    assert told["result"]["run_id"] == run_id


async def test_a_run_is_exported_with_its_events_and_items(capfd: pytest.CaptureFixture[str]) -> None:
    await ask_offline(capfd, "Compute 2 + 3")
    [run_id] = await list_ids(capfd)
    told = json.loads((await run(capfd, "runs", "export", run_id)).stdout)
    assert told["arguments"] == {"input": "Compute 2 + 3"}
    assert [event["seq"] for event in told["events"]] == list(range(len(told["events"])))
    kinds = [item.get("type", "message") for item in told["items"]]
    assert kinds == ["message", "function_call", "function_call_output", "message"]


async def test_an_id_that_is_unknown_or_begins_several_is_one_sentence(capfd: pytest.CaptureFixture[str]) -> None:
    await ask_offline(capfd, "Compute 2 + 3")
    await ask_offline(capfd, "Compute 4 * 5")
    assert "there is no run '0x'" in complaint(await run(capfd, "runs", "show", "0x"))
    several = complaint(await run(capfd, "runs", "show", "run_"))
    assert "several runs begin with 'run_'" in several
    assert all(run_id.removeprefix("run_") in several for run_id in await list_ids(capfd))
    assert "takes the ID of one run" in complaint(await run(capfd, "runs", "show"))
    assert "takes the ID of one run" in complaint(await run(capfd, "runs", "follow", "1", "2"))
    assert "name the runs by their ids, or say --all" in complaint(await run(capfd, "runs", "forget"))


async def test_ask_goes_on_from_the_last_answer_or_from_a_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with ScriptedUpstream(lambda _: responds(message("fine"))) as model:
        config = write_config(tmp_path, model)
        for words in (["one"], ["two"], ["-c", "three"], ["--run", "?", "four"]):
            if "?" in words:
                words[1] = (await list_ids(capfd, "--config", config))[-1].removeprefix("run_")[:12]
            done = await run(capfd, "ask", "--config", config, *words)
            assert done.code == 0, done.stderr
        shown = await run(capfd, "ask", "--config", config, "--dry-run", "-c", "five")
    asked = [list_prompts(request.json) for request in model.requests]
    assert asked == [["one"], ["two"], ["two", "three"], ["one", "four"]]
    assert list_prompts(json.loads(shown.stdout)) == ["one", "four", "five"]
    assert len(await list_ids(capfd, "--config", config)) == 4


def list_prompts(body: dict[str, Any]) -> list[str]:
    """What the person has said, of the items of a request."""
    return [item["content"] for item in body["input"] if item.get("role") == "user"]


async def test_an_answer_that_failed_is_not_gone_on_from(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async with ScriptedUpstream(
        [responds(message("fine")), api_error(401, "no such key"), responds(message("ok"))]
    ) as model:
        config = write_config(tmp_path, model)
        codes = [(await run(capfd, "ask", "--config", config, *words)).code for words in (["a"], ["b"], ["-c", "c"])]
    assert codes == [0, 1, 0]
    assert list_prompts(model.requests[-1].json) == ["a", "c"]


@pytest.mark.parametrize("options", [["--run", "1", "-c"], ["--previous", "r", "-c"]])
async def test_only_one_of_the_ways_to_go_on_is_taken(options: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    done = await run(capfd, "ask", "--offline", *options, "hello")
    assert (done.code, "not allowed with argument" in done.stderr) == (2, True)


async def test_runs_are_forgotten_one_by_one_and_all(capfd: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        await ask_offline(capfd, f"Compute {number} + 3")
    newest, second, oldest = await list_ids(capfd)
    assert "--yes forgets" in complaint(await run(capfd, "runs", "forget", newest))
    done = await run(capfd, "runs", "forget", newest, "--yes")
    assert (done.code, done.stderr) == (0, "Forgotten: 1 run.\n")
    assert await list_ids(capfd) == [second, oldest]
    assert (await run(capfd, "runs", "forget", "--all", "--yes")).stderr == "Forgotten: 2 runs.\n"
    assert (await run(capfd, "runs")).stderr == "No runs are kept.\n"
    assert not any(b"+ 3" in file.read_bytes() for file in find_files())


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("corrupt", "file is not a database"),
        ("version", "is of another release of the bridge (its version is 99, not "),
        ("folder", "is not a file"),
    ],
)
async def test_a_file_that_cannot_be_used_is_one_sentence(
    damage: str, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    await ask_offline(capfd, "Compute 2 + 3")
    spoil(next(file for file in find_files() if file.name == "runs.sqlite"), damage)
    for command in (["runs"], ["runs", "show", "1"], ["runs", "forget", "--all", "--yes"], ["runs", "cancel", "1"]):
        said = complaint(await run(capfd, *command))
        assert words in said
        assert "runs.store names another file" in said


def spoil(file: Path, damage: str) -> None:
    match damage:
        case "corrupt":
            file.write_bytes(b"not a database at all" * 100)
        case "version":
            with sqlite3.connect(file) as connection:
                connection.execute("PRAGMA user_version = 99")
        case _:
            file.unlink()
            file.mkdir()


@pytest.mark.parametrize(
    ("store", "words"),
    [("memory", '"sqlite" keeps them in a file'), ("postgresql://db.example/runs", "only a file of SQLite")],
)
async def test_a_store_that_is_no_file_is_one_sentence(
    store: str, words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with ScriptedUpstream([]) as model:
        config = write_config(tmp_path, model, runs={"store": store})
        for command in (["runs"], ["runs", "show", "1"], ["runs", "resume", "1"], ["runs", "forget", "--all"]):
            assert words in complaint(await run(capfd, *command, "--config", config))


async def test_secrets_and_what_acts_on_a_terminal_are_not_shown(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_KEY", SECRET)
    entry = {"url": "http://127.0.0.1:9/mcp", "headers": {"Authorization": "Bearer ${env:SHOP_KEY}"}}
    async with ScriptedUpstream([responds(message(f"it is {SECRET} \x1b[2J"))]) as model:
        config = write_config(tmp_path, model, mcpServers={"shop": entry})
        await run(capfd, "ask", "--config", config, f"is it {SECRET}? \x1b]0;owned\x07\r")
    [run_id] = await list_ids(capfd, "--config", config)
    for command in (["runs"], ["runs", "--json"], *(["runs", verb, run_id] for verb in ("show", "follow", "export"))):
        done = await run(capfd, *command, "--config", config)
        assert "***" in done.stdout
        assert "canary" not in done.stdout + done.stderr
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", done.stdout + done.stderr)


def summarise(prompt: str, **fields: Any) -> Summary:
    whole: dict[str, Any] = {
        "run_id": "run_0123456789abcdef",
        "principal": "session 0123456789",
        "created": 1.8e9,
        "ended": 1.8e9 + 9,
        "status": "incomplete",
        "reason": "max_turns",
        "is_driven": False,
        "prompt": prompt,
        "model": None,
        "turns": 100,
        "calls": 12_345,
        "tokens": 123_456_789,
        "cost": 12.3456,
    }
    return Summary(**whole | fields)


def test_a_list_fits_a_terminal_of_any_width_whatever_was_asked() -> None:
    prompts = ["查看今天的天气" * 9, "e\u0301" * 60, "👩\u200d👩\u200d👧" * 30, "a\tb\x1b[31m", "", "short"]
    runs = [summarise(prompt, principal=None if place else "token abcdef") for place, prompt in enumerate(prompts)]
    for columns in (80, 100, 120, 200):
        lines = list(list_runs(runs, columns, str))
        assert max(map(count_columns, lines)) <= columns
        assert len(lines) == (1 if columns > 110 else 2) * (len(runs) + 1)
        assert not any("\x1b" in line or "\t" in line for line in lines)
    whole = list(list_runs(runs, None, str))
    assert len(whole) == len(runs) + 1
    assert whole[1].endswith(f"token abcd: {prompts[0]}")
    assert {line.index("terminal:") for line in whole[2:]} == {whole[0].index("who: asked")}


def test_calls_that_went_on_at_once_are_bars_beside_one_another() -> None:
    spans = [
        Span("turn", 1, "m", 0.0, 2.0),
        Span("call", 1, "shop__list", 2.0, 6.0),
        Span("call", 1, "天气__今天", 2.0, 4.0, is_error=True),
        Span("turn", 2, "m", 106.0, None),
    ]
    axis = Axis(0.0, 108.0, [(6.0, 106.0)])  # nobody drove it for a hundred seconds
    lines = list(draw_bars(spans, axis, 80, str, goes_on=True))
    bars = [re.search(r"[#=x?>]+$", line) for line in lines[1:]]
    starts = [count_columns(line[: bar.start()]) for line, bar in zip(lines[1:], bars, strict=True) if bar]
    widths = [len(bar[0]) for bar in bars if bar]
    assert starts[1] == starts[2] == starts[0] + widths[0]
    assert widths[1] == pytest.approx(2 * widths[2], abs=1)
    assert lines[4].endswith(">")
    assert list(draw_bars(spans, axis, 80, str, goes_on=False))[4].endswith("?")
    assert all(count_columns(line) <= 80 for line in lines)
    assert all(count_columns(line) <= 40 for line in draw_bars(spans, axis, 40, str, goes_on=True))


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.0, "0 ms"), (0.25, "250 ms"), (61, "61.0 s"), (150, "2.5 min"), (9000, "2.5 h")]
)
def test_a_time_is_shown_in_the_unit_that_fits(seconds: float, words: str) -> None:
    assert show_seconds(seconds) == words


async def test_who_has_seen_enough_of_a_list_may_go(capfd: pytest.CaptureFixture[str]) -> None:
    await ask_offline(capfd, "Compute 2 + 3")
    done = await anyio.run_process(["sh", "-c", f"{shlex.join([*BRIDGE, 'runs'])} | head -0"], env=os.environ)
    assert (done.stdout, done.stderr) == (b"", b"")


@pytest.mark.external
async def test_a_person_is_asked_before_runs_are_forgotten_and_sees_no_colour_that_is_not_wanted(
    capfd: pytest.CaptureFixture[str],
) -> None:
    await ask_offline(capfd, "Compute 2 + 3")
    [run_id] = await list_ids(capfd)

    def look() -> None:
        for command in (["runs"], ["runs", "show", run_id], ["runs", "follow", run_id]):
            with AtTerminal([*BRIDGE, *command], {"NO_COLOR": "1"}) as terminal:
                assert terminal.wait() == 0
            assert "\x1b[3" not in terminal.seen
            assert any(run_id[4:12] in row or "math_calculator: 5" in row for row in terminal.rows)
            assert max(map(count_columns, terminal.rows)) <= 80
        for answer, words, code in (("n", "Nothing was forgotten.", 1), ("y", "Forgotten: 1 run.", 0)):
            with AtTerminal([*BRIDGE, "runs", "forget", "--all"]) as terminal:
                terminal.wait_for("Forget 1 run, with all that is written of it? [y/N]")
                terminal.type(f"{answer}\n")
                assert terminal.wait() == code
                assert words in terminal.seen

    await anyio.to_thread.run_sync(look)
    assert await list_ids(capfd) == []


@asynccontextmanager
async def started(*command: str, stdin: bytes = b"", environ: Mapping[str, str] | None = None) -> AsyncIterator[Any]:
    """A command in a process of its own; killed at the end if it still goes on."""
    process = await anyio.open_process([*BRIDGE, *command], env={**os.environ, **(environ or {})})
    try:
        assert process.stdin
        if stdin:
            await process.stdin.send(stdin)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.aclose()


def call_respond(*prompts: str) -> bytes:
    """What a host sends that calls `respond` with these prompts, all at once."""
    client: dict[str, Any] = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "host", "version": "1"},
    }
    lines: list[dict[str, Any]] = [
        {"id": 0, "method": "initialize", "params": client},
        {"method": "notifications/initialized"},
    ]
    for number, prompt in enumerate(prompts, 1):
        params = {"name": "respond", "arguments": {"input": prompt}}
        lines.append({"id": number, "method": "tools/call", "params": params})
    return b"".join(json.dumps({"jsonrpc": "2.0"} | line).encode() + b"\n" for line in lines)


@pytest.mark.external
async def test_a_run_whose_process_was_killed_is_interrupted_and_can_be_taken_up(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Reported elsewhere: such a run is shown as running for ever, and nothing stops or resumes it."""
    script = [responds(*CALLS), hang(), responds(message("both are 3"))]
    async with ScriptedUpstream(script) as model:
        config = ["--config", write_config(tmp_path, model)]
        async with started("serve", *config, stdin=call_respond("add them")) as host:
            await model.arrivals.wait(2)
            [driven] = json.loads((await run(capfd, "runs", "--json", *config)).stdout)
            assert (driven["status"], driven["is_driven"], driven["who"]) == ("in_progress", True, "host")
            host.kill()
            await host.wait()
        [left] = json.loads((await run(capfd, "runs", "--json", *config)).stdout)
        assert (left["status"], left["is_driven"]) == ("interrupted", False)
        run_id = left["run_id"]
        shown = (await run(capfd, "runs", "show", run_id, *config)).stdout
        assert "interrupted, " in shown
        assert f"It was interrupted: runs resume {run_id[4:12]} takes it up." in shown
        followed = await run(capfd, "runs", "follow", run_id, *config)
        assert followed.code == 3
        assert f"to take it up: runs resume {run_id[4:12]}" in followed.stderr
        first = complaint(await run(capfd, "ask", "--run", run_id, "and then?", *config))
        assert f"first: runs resume {run_id[4:12]}" in first

        done = await run(capfd, "runs", "resume", run_id[4:12], *config)
        assert (done.code, done.stdout) == (0, "both are 3\n")
        assert done.stderr.count("✓ math_calculator") == 2
        again = complaint(await run(capfd, "runs", "resume", run_id, *config))
        assert "it has ended (completed)" in again
    model.assert_complete()
    assert model.requests[2].json["input"] == model.requests[1].json["input"]


@pytest.mark.external
async def test_a_run_that_goes_on_is_followed_left_alone_and_stopped_from_elsewhere(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with ScriptedUpstream([responds(*CALLS), hang()]) as model:
        config = ["--config", write_config(tmp_path, model)]
        async with started("ask", "add them", *config) as asking:
            await model.arrivals.wait(2)
            [run_id] = await list_ids(capfd, *config)
            name = run_id[4:12]
            shown = (await run(capfd, "runs", "show", name, *config)).stdout
            assert f"It goes on: runs follow {name} shows how." in shown
            assert any(line.endswith(">") for line in shown.splitlines())
            resumed = complaint(await run(capfd, "runs", "resume", name, *config))
            assert f"another process drives it; to see how it goes: runs follow {name}" in resumed
            for words in (["--all"], [name]):
                forgotten = await run(capfd, "runs", "forget", *words, "--yes", *config)
                assert f"to end it first: runs cancel {name}" in forgotten.stderr
            assert await list_ids(capfd, *config) == [run_id]

            async with started("runs", "follow", name, "--json", *config) as following:
                assert following.stdout
                seen = b""
                with anyio.fail_after(PATIENCE_S):
                    while seen.count(b"turn.started") < 2:
                        seen += await following.stdout.receive()
                    stopped = await run(capfd, "runs", "cancel", name, *config)
                    assert (stopped.code, stopped.stderr) == (0, f"{name}: cancelled\n")
                    async for more in following.stdout:
                        seen += more
                    assert await following.wait() == 3
            assert json.loads(seen.splitlines()[-1])["type"] == "run.ended"
            with anyio.fail_after(PATIENCE_S):
                assert await asking.wait() == 3
        assert "it has ended already (cancelled)" in complaint(await run(capfd, "runs", "cancel", name, *config))


@pytest.mark.external
async def test_a_run_that_nobody_drives_is_stopped_in_the_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with ScriptedUpstream([hang()]) as model:
        config = ["--config", write_config(tmp_path, model)]
        async with started("ask", "hello", *config) as asking:
            await model.arrivals.wait(1)
            asking.kill()
            await asking.wait()
        [run_id] = await list_ids(capfd, *config)
        done = await run(capfd, "runs", "cancel", run_id, *config)
        assert (done.code, done.stderr) == (0, f"{run_id[4:12]}: cancelled\n")
        [left] = json.loads((await run(capfd, "runs", "--json", *config)).stdout)
    assert left["status"] == "cancelled"


@pytest.mark.external
async def test_a_service_records_each_run_in_a_file_of_its_own_that_can_be_replayed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Two runs go on at once: no request is answered before those of both are there."""
    gates = [anyio.Event(), anyio.Event()]

    def answer(request: Request) -> Reply:
        turn = 1 if any(item.get("type") == "function_call_output" for item in request.json["input"]) else 0
        counts[turn] += 1
        if counts[turn] == 2:
            gates[turn].set()
        said = list_prompts(request.json)[-1]
        items = [message(f"done with {said}")] if turn else CALLS
        return held(responds(*items), gates[turn])

    counts = [0, 0]
    folder = tmp_path / "recordings"
    async with ScriptedUpstream(answer) as model:
        config = write_config(tmp_path, model)
        async with started(
            "serve", "--config", config, "--record", str(folder), stdin=call_respond("one", "two")
        ) as host:
            assert host.stdout
            replies = b""
            with anyio.fail_after(PATIENCE_S):
                while replies.count(b'"output_text"') < 2 and replies.count(b"done with") < 2:
                    replies += await host.stdout.receive()
                await host.stdin.aclose()
                await host.wait()
        assert len(await list_ids(capfd, "--config", config)) == 2
    files = sorted(folder.iterdir())
    assert [bool(re.fullmatch(r"\d{8}T\d{6}Z-run_[0-9a-f]{32}\.jsonl", file.name)) for file in files] == [True, True]
    assert [file.stat().st_mode & 0o077 for file in files] == [0, 0]
    replayed = [await run(capfd, "ask", "--replay", str(file)) for file in files]
    assert {(done.code, done.stdout) for done in replayed} == {(0, "done with one\n"), (0, "done with two\n")}


def held(reply: Reply, gate: anyio.Event) -> Reply:
    """The reply, not before the gate is open."""
    return Reply(lambda request: [Wait(gate), *reply.steps(request)])


async def test_a_run_that_goes_on_from_another_is_recorded_and_replayed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "run.jsonl")
    await ask_offline(capfd, "Compute 2 + 3")
    await ask_offline(capfd, "-c", "Compute 4 * 5", "--record", file)
    assert len(await list_ids(capfd)) == 2
    done = await run(capfd, "ask", "--replay", file)
    assert (done.code, done.stdout.splitlines()[-1]) == (0, "- math_calculator: 20")


@pytest.mark.parametrize("place", ["file", "file/deeper", "none/deeper"])
async def test_a_folder_that_nothing_can_be_recorded_in_is_one_sentence(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = await anyio.run_process(
        [*BRIDGE, "serve", "--record", str(tmp_path / place)], input=b"", check=False, env=os.environ
    )
    [line] = done.stderr.decode().splitlines()
    assert (done.returncode, done.stdout) == (2, b"")
    assert f"--record {tmp_path / place}: is no folder to write to: " in line


def test_who_does_not_look_back_does_not_wait_for_what_does() -> None:
    modules = {f"bridge.{name}" for name in ("cli.kept", "cli.runs", "cli.show", "run.timeline", "recording.runs")}
    program = f"import sys, bridge.cli.main, bridge.cli.serve, bridge.cli.ask; print(*{modules} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


async def test_options_may_stand_before_the_words_they_do_not_belong_to(capfd: pytest.CaptureFixture[str]) -> None:
    await run(capfd, "ask", "What", "--offline", "is", "2 + 3?")
    [run_id] = await list_ids(capfd)
    shown = await run(capfd, "runs", "show", "--json", run_id)
    assert json.loads(shown.stdout)["prompt"] == "What is 2 + 3?"
    done = await run(capfd, "runs", "forget", "--yes", run_id)
    assert (done.code, await list_ids(capfd)) == (0, [])


async def test_all_belongs_to_forget_alone(capfd: pytest.CaptureFixture[str]) -> None:
    assert "--all belongs to forget" in complaint(await run(capfd, "runs", "--all"))


async def test_without_a_state_folder_it_is_said(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MCP_RESPONSES_BRIDGE_STATE", "relative")
    assert "is not an absolute path" in complaint(await run(capfd, "runs"))
