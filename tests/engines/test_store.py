"""Runs that are kept in a file: what is written, what a later process finds, and what costs no run."""

import sqlite3
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.server.mcpserver import MCPServer

from bridge.app import Bridge
from bridge.errors import ConfigError
from bridge.run.run import Run
from tests.fakes.bridges import open_without_host, outputs_of, respond, text_of
from tests.fakes.clock import VirtualClock, until
from tests.fakes.items import Json
from tests.fakes.upstream import (
    HEAD,
    Answer,
    Reply,
    Request,
    ScriptedUpstream,
    api_error,
    call,
    hang,
    message,
    responds,
)

pytestmark = pytest.mark.anyio

HELLO = responds(message("Hello."), id="resp_1")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "runs.sqlite"


class Kept:
    """A bridge whose runs are in a file, and its host."""

    def __init__(self, bridge: Bridge, client: Client, upstream: ScriptedUpstream) -> None:
        self.bridge = bridge
        self.client = client
        self.upstream = upstream

    async def wait(self, run_id: str | None = None, **arguments: Any) -> Json:
        named = {"run_id": run_id} if run_id else {}
        result = await self.client.call_tool("respond_wait", {**named, **arguments})
        assert isinstance(result.structured_content, dict)
        return result.structured_content

    async def newest(self) -> Run:
        [newest, *_] = await self.bridge.engine.list(principal="host")
        return newest


@asynccontextmanager
async def open_kept(
    file: Path, script: list[Answer] | Callable[[Request], Reply], servers: Json | None = None, **options: Any
) -> AsyncIterator[Kept]:
    runs = {"store": f"sqlite:///{file}", **options.pop("runs", {})}
    limits = {"on_cancel": "detach", **options.pop("limits", {})}
    async with (
        ScriptedUpstream(script) as upstream,
        open_without_host(upstream, servers, runs=runs, limits=limits, **options) as bridge,
        Client(bridge.server) as client,
    ):
        yield Kept(bridge, client, upstream)


async def leave_behind(file: Path, script: list[Answer], servers: Json | None = None, **options: Any) -> str:
    """A run whose last turn of the script is under way when the bridge ends: its id."""
    async with open_kept(file, [*script, hang(HEAD)], servers, **options) as kept:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(kept.client.call_tool, "respond", {"input": "Hello"})
                await kept.upstream.arrivals.wait(len(script) + 1)
                run_id = (await kept.newest()).run_id
                scope.cancel()
    return run_id


def read(file: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute(query).fetchall()


def read_all(file: Path) -> bytes:
    """All that is on the disk beside the file, and in it."""
    return b"".join(path.read_bytes() for path in file.parent.iterdir())


def read_if_any(file: Path) -> bytes | None:
    return file.read_bytes() if file.is_file() else None


def desk() -> tuple[MCPServer, list[str]]:
    server, written = MCPServer("desk", log_level="ERROR"), list[str]()

    @server.tool()
    async def write(text: str) -> str:
        written.append(text)
        return f"wrote {text}"

    return server, written


WRITES = responds(call("desk__write", {"text": "a"}, call_id="c1"), id="resp_0")


async def test_a_run_that_was_under_way_when_the_bridge_ended_goes_on_when_it_is_asked_for(file: Path) -> None:
    server, written = desk()
    run_id = await leave_behind(file, [WRITES], {"desk": server})
    async with open_kept(file, [HELLO], {"desk": server}) as kept:
        receipt = await kept.wait(run_id)
        assert (receipt["status"], receipt["output_text"]) == ("completed", "Hello.")
        assert outputs_of(kept.upstream.requests[0]) == ["wrote a"], "what was finished is not done again"
        assert [made["name"] for made in receipt["tool_calls"]] == ["desk__write"], "and told once"
        assert [notice["code"] for notice in receipt["notices"]] == ["resumed"]
    assert written == ["a"]


async def test_nothing_is_paid_for_before_somebody_asks(file: Path) -> None:
    run_id = await leave_behind(file, [])
    async with open_kept(file, [HELLO, HELLO]) as kept:
        assert (await respond(kept.client, "Something else"))["status"] == "completed"
        assert len(kept.upstream.requests) == 1
        assert (await kept.wait(run_id))["status"] == "completed"


async def test_a_service_takes_up_by_itself_what_was_left(file: Path) -> None:
    run_id = await leave_behind(file, [])
    async with open_kept(file, [HELLO], is_service=True) as kept:
        await kept.upstream.arrivals.wait()
        await until(lambda: bool(read(file, "SELECT 1 FROM runs WHERE ended IS NOT NULL")))
        assert (await kept.wait(run_id))["output_text"] == "Hello."


async def test_a_result_is_found_and_gone_on_from_in_the_next_process(file: Path) -> None:
    async with open_kept(file, [HELLO]) as kept:
        first = await respond(kept.client)
    async with open_kept(file, [responds(message("Again."), id="resp_2"), responds(message("Once more."))]) as kept:
        assert await kept.wait(first["run_id"]) == first
        assert (await respond(kept.client, "And?", run_id=first["run_id"]))["output_text"] == "Again."
        said = [item.get("role") for item in kept.upstream.requests[0].json["input"]]
        assert said == ["user", "assistant", "user"]
        third = await respond(kept.client, "And?", previous_response_id="resp_1")
        assert third["output_text"] == "Once more."


async def test_a_run_that_must_not_be_stored_is_not(file: Path) -> None:
    async with open_kept(file, [HELLO]) as kept:
        receipt = await respond(kept.client, "secret plans", store=False)
        assert await kept.wait(receipt["run_id"]) == receipt
    assert b"secret plans" not in read_all(file)
    async with open_kept(file, []) as kept:
        assert "there is no such run" in (await kept.wait(receipt["run_id"]))["error"]["message"]


@asynccontextmanager
async def reopen(file: Path, model: ScriptedUpstream, **options: Any) -> AsyncIterator[Kept]:
    """A bridge like the last one, before the same upstream."""
    sections: Json = {"runs": {"store": f"sqlite:///{file}"}, "limits": {"on_cancel": "detach"}, **options}
    async with open_without_host(model, **sections) as bridge, Client(bridge.server) as client:
        yield Kept(bridge, client, model)


@pytest.mark.parametrize(
    ("options", "is_found"),
    [({}, True), ({"limits": {"on_cancel": "detach", "max_turns": 5}}, False), ({"builtin_tools": True}, False)],
    ids=["the same", "other limits", "other tools"],
)
async def test_an_equal_call_finds_the_run_that_the_last_process_began(
    options: Json, is_found: bool, file: Path
) -> None:
    async with ScriptedUpstream([hang(HEAD), HELLO]) as upstream:
        async with reopen(file, upstream) as kept, anyio.create_task_group() as tasks:
            tasks.start_soon(kept.client.call_tool, "respond", {"input": "Hello"})
            await upstream.arrivals.wait()
            run_id = (await kept.newest()).run_id
            tasks.cancel_scope.cancel()
        async with reopen(file, upstream, **options) as kept:
            receipt = await respond(kept.client)
    assert (receipt["run_id"] == run_id) == is_found
    assert {notice["code"] for notice in receipt["notices"]} == ({"resumed", "rejoined"} if is_found else set())


async def test_an_answer_that_somebody_got_is_not_given_for_an_equal_call(file: Path) -> None:
    async with open_kept(file, [HELLO]) as kept:
        first = await respond(kept.client)
    async with open_kept(file, [HELLO]) as kept:
        assert (await respond(kept.client))["run_id"] != first["run_id"]


async def test_two_processes_that_ask_at_once_drive_a_run_once(file: Path) -> None:
    run_id = await leave_behind(file, [])
    receipts = []

    async def ask(kept: Kept) -> None:
        receipts.append(await kept.wait(run_id))

    async with open_kept(file, lambda _: HELLO) as one, open_kept(file, lambda _: HELLO) as other:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, one)
            tasks.start_soon(ask, other)
        assert len(one.upstream.requests) + len(other.upstream.requests) == 1
    assert [receipt["output_text"] for receipt in receipts] == ["Hello."] * 2


async def test_a_run_is_stopped_by_another_process(file: Path) -> None:
    async with (
        open_kept(file, [hang(HEAD)]) as one,
        open_kept(file, []) as other,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(one.client.call_tool, "respond", {"input": "Hello"})
        await one.upstream.arrivals.wait()
        run_id = (await one.newest()).run_id
        result = await other.client.call_tool("respond_cancel", {"run_id": run_id})
        assert (result.structured_content or {})["status"] == "cancelled"


async def test_a_run_that_nobody_drives_is_stopped_without_another_request(file: Path) -> None:
    run_id = await leave_behind(file, [])
    async with open_kept(file, []) as kept:
        result = await kept.client.call_tool("respond_cancel", {"run_id": run_id})
        assert (result.structured_content or {})["status"] == "cancelled"
        assert kept.upstream.requests == []
    async with open_kept(file, []) as kept:
        assert (await kept.wait(run_id))["status"] == "cancelled"


async def test_time_in_which_nobody_drives_a_run_does_not_count(file: Path) -> None:
    clock = VirtualClock()
    async with open_kept(file, [hang(HEAD)], clock=clock, limits={"timeout_s": 100}) as kept:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(kept.client.call_tool, "respond", {"input": "Hello"})
                await kept.upstream.arrivals.wait()
                await clock.advance(40)
                run_id = (await kept.newest()).run_id
                scope.cancel()
    clock = VirtualClock()
    await clock.advance(86_000)
    limits = {"timeout_s": 100, "soft_deadline_s": 1000}
    async with open_kept(file, [hang(HEAD)], clock=clock, limits=limits) as kept, anyio.create_task_group() as tasks:
        tasks.start_soon(kept.wait, run_id)
        await kept.upstream.arrivals.wait()
        await clock.advance(59)
        assert (await kept.newest()).ending is None
        await clock.advance(2)
        assert ((await kept.newest()).ending or {}).get("reason") == "timeout"


IN_BACKGROUND: Json = {"extra": {"background": True}}
QUEUED = responds(id="resp_b", status="queued", as_json=True)
ENDED = responds(message("At last."), id="resp_b", as_json=True)


@pytest.mark.parametrize("form", ["polled", "streamed"])
async def test_a_response_that_is_made_in_the_background_is_waited_for_and_not_asked_for_again(
    form: str, file: Path
) -> None:
    begun = QUEUED if form == "polled" else hang("response.created", responds(message("At"), id="resp_b"))
    upstream = {"stream": "never"} if form == "polled" else {}
    async with ScriptedUpstream([begun, ENDED]) as model:
        clock = VirtualClock()
        async with reopen(file, model, clock=clock, upstream=upstream) as kept, anyio.create_task_group() as tasks:
            tasks.start_soon(kept.client.call_tool, "respond", {"input": "Hello", **IN_BACKGROUND})
            await until(lambda: bool(file.exists() and read(file, "SELECT 1 FROM events WHERE event LIKE '%resp_b%'")))
            run_id = (await kept.newest()).run_id
            tasks.cancel_scope.cancel()
        assert len(model.requests) == 1, "it is not cancelled either"
        async with reopen(file, model, clock=VirtualClock(autojump=True), upstream=upstream) as kept:
            receipt = await kept.wait(run_id)
    assert (receipt["status"], receipt["output_text"]) == ("completed", "At last.")
    assert [request.method for request in model.requests] == ["POST", "GET"]


async def test_one_that_the_upstream_has_lost_is_asked_for_again(file: Path) -> None:
    gone = api_error(404, "No response found with id resp_b.")
    async with ScriptedUpstream([QUEUED, gone, HELLO]) as model:
        async with reopen(file, model, upstream={"stream": "never"}) as kept, anyio.create_task_group() as tasks:
            tasks.start_soon(kept.client.call_tool, "respond", {"input": "Hello", **IN_BACKGROUND})
            await until(lambda: bool(file.exists() and read(file, "SELECT 1 FROM events WHERE event LIKE '%resp_b%'")))
            run_id = (await kept.newest()).run_id
            tasks.cancel_scope.cancel()
        async with reopen(file, model, clock=VirtualClock(autojump=True), upstream={"stream": "never"}) as kept:
            assert (await kept.wait(run_id))["output_text"] == "Hello."


SECRET = "sk-Tg4!f/9x\"Q'hJ2"


async def test_configured_secrets_are_not_in_the_file_and_put_back(file: Path) -> None:
    server = MCPServer("desk", log_level="ERROR")

    @server.tool()
    async def tell() -> str:
        return f"the key is {SECRET}"

    key = {"upstream": {"api_key": SECRET}}
    run_id = await leave_behind(file, [responds(call("desk__tell", {}))], {"desk": server}, **key)
    assert b"Tg4!f" not in read_all(file)
    async with open_kept(file, [HELLO], {"desk": server}, **key) as kept:
        assert (await kept.wait(run_id))["status"] == "completed"
        assert outputs_of(kept.upstream.requests[0]) == [f"the key is {SECRET}"]


async def test_a_run_whose_secret_is_not_configured_any_more_ends_in_words(file: Path) -> None:
    server = MCPServer("desk", log_level="ERROR")

    @server.tool()
    async def tell() -> str:
        return f"the key is {SECRET}"

    tells = responds(call("desk__tell", {}))
    run_id = await leave_behind(file, [tells], {"desk": server}, upstream={"api_key": SECRET})
    async with open_kept(file, [], {"desk": server}, upstream={"api_key": "sk-another-one-1234"}) as kept:
        receipt = await kept.wait(run_id)
        assert receipt["status"] == "failed"
        assert "a secret that is not in the configuration any more" in receipt["error"]["message"]
        assert kept.upstream.requests == []


@pytest.mark.parametrize("change", ["outcome = '{'", "outcome = '[7]'", "outcome = NULL"])
async def test_a_damaged_record_ends_its_run_in_words_and_no_other(file: Path, change: str) -> None:
    server, written = desk()
    run_id = await leave_behind(file, [WRITES], {"desk": server})
    other = await leave_behind(file, [WRITES], {"desk": server})
    assert run_id != other
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(f"UPDATE steps SET {change} WHERE run_id = ? AND key = 'turn:1'", [run_id])
        connection.commit()
    async with open_kept(file, [HELLO, HELLO], {"desk": server}) as kept:
        receipt = await kept.wait(run_id)
        assert receipt["status"] == ("completed" if "NULL" in change else "failed")
        assert (await kept.wait(other))["status"] == "completed"
    assert written == ["a", "a"]


async def test_recent_runs_are_listed_for_who_has_lost_an_id(file: Path) -> None:
    async with open_kept(file, [HELLO]) as kept:
        first = await respond(kept.client, "Which way?")
    left = await leave_behind(file, [])
    async with open_kept(file, []) as kept:
        result = await kept.client.call_tool("respond_wait", {})
        newest, oldest = text_of(result).splitlines()[:2]
    assert left in newest
    assert "interrupted; respond_wait takes it up" in newest
    assert first["run_id"] in oldest
    assert "Which way?" in oldest
    assert [run["run_id"] for run in (result.structured_content or {})["runs"]] == [left, first["run_id"]]


async def test_runs_are_kept_as_long_and_as_many_as_the_config_says(file: Path) -> None:
    long = "x" * 10_000
    async with open_kept(file, lambda _: HELLO, runs={"keep_bytes": 25_000}) as kept:
        receipts = [await respond(kept.client, f"{number} {long}") for number in range(5)]
    async with open_kept(file, [], runs={"keep_bytes": 25_000}) as kept:
        assert "no such run" in (await kept.wait(receipts[0]["run_id"]))["error"]["message"]
        assert (await kept.wait(receipts[-1]["run_id"]))["status"] == "completed"


async def test_the_file_is_for_its_owner_alone(file: Path) -> None:
    async with open_kept(file, [HELLO]) as kept:
        await respond(kept.client)
        assert {path.stat().st_mode & 0o777 for path in file.parent.iterdir()} == {0o600}


def spoil_version(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE other (a)")
        connection.execute("PRAGMA user_version = 7")


def spoil_bytes(file: Path) -> None:
    file.write_bytes(b"\0not a database, but as long as one" * 500)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_version, "is of another release of the bridge (its version is 7, not 1)"),
        (spoil_bytes, "file is not a database"),
        (Path.mkdir, "is not a file"),
    ],
    ids=["another version", "no database", "a folder"],
)
async def test_a_file_that_cannot_be_used_is_refused_in_a_sentence_and_left_alone(
    spoil: Callable[[Path], object], words: str, file: Path
) -> None:
    spoil(file)
    before = read_if_any(file)
    with pytest.raises(ConfigError, match=r"runs\.store") as refused:
        async with open_kept(file, []):
            pass
    assert words in str(refused.value)
    assert read_if_any(file) == before


async def test_a_file_that_breaks_costs_no_run_and_is_told_once(file: Path) -> None:
    server, written = desk()

    def break_file(_: Request) -> Reply:
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("DROP TABLE steps")
        return WRITES

    async with open_kept(file, [break_file, HELLO, HELLO], {"desk": server}) as kept:
        first, second = await respond(kept.client), await respond(kept.client, "And?")
        assert (first["status"], second["status"]) == ("completed", "completed")
        assert [notice["code"] for notice in first["notices"]] == ["not_kept"]
        assert "kept in memory only, and ends with the bridge: no such table" in first["notices"][0]["message"]
        assert second["notices"] == []
        assert await kept.wait(first["run_id"]) == first
    assert written == ["a"]


async def test_a_run_is_not_taken_up_whose_record_is_not_complete(file: Path) -> None:
    """Calls may have been made that nobody could write down."""

    def break_file(_: Request) -> Reply:
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("ALTER TABLE steps RENAME TO gone")
        return WRITES

    server, written = desk()
    run_id = await leave_behind(file, [break_file], {"desk": server})
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("ALTER TABLE gone RENAME TO steps")
    async with open_kept(file, [], {"desk": server}) as kept:
        receipt = await kept.wait(run_id)
    assert (receipt["status"], receipt["error"]["code"]) == ("failed", "not_resumable")
    assert written == ["a"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", disk]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a disk")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.external
async def test_a_full_disk_costs_no_run(small_disk: Path) -> None:
    async with open_kept(small_disk / "runs.sqlite", lambda _: HELLO) as kept:
        receipts = [await respond(kept.client, f"{number} {'x' * 50_000}") for number in range(6)]
    assert {receipt["status"] for receipt in receipts} == {"completed"}
    notices = [notice["message"] for receipt in receipts for notice in receipt["notices"]]
    assert len(notices) == 1
    assert "disk is full" in notices[0]


async def test_a_process_that_is_refused_the_lock_leaves_the_run_alone(file: Path) -> None:
    """The one that drives it is stopped for a while, or slow: it lives."""
    async with open_kept(file, [hang(HEAD)]) as one, anyio.create_task_group() as tasks:
        tasks.start_soon(one.client.call_tool, "respond", {"input": "Hello"})
        await one.upstream.arrivals.wait()
        run_id = (await one.newest()).run_id
        async with open_kept(file, []) as other:
            assert (await other.wait(run_id, wait_s=0))["status"] == "in_progress"
            assert other.upstream.requests == []
        tasks.cancel_scope.cancel()
