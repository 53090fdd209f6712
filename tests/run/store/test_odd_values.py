"""Values that a file of SQLite does not take as they are, and what becomes of the file for others."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from tests.fakes.bridges import open_without_host, respond
from tests.fakes.items import Json
from tests.fakes.upstream import Reply, Request, ScriptedUpstream, message, responds

pytestmark = pytest.mark.anyio

HUGE: Json = {"input_tokens": 10**30, "output_tokens": 1, "total_tokens": 10**30 + 1}


def read(file: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute(query).fetchall()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "runs.sqlite"


async def play(file: Path, answer: Callable[[Request], Reply], prompt: str, **sections: Any) -> None:
    """Two runs, one after the other; the file is looked at while the bridge is still there."""
    sections |= {"runs": {"store": f"sqlite:///{file}"}}
    async with ScriptedUpstream(answer) as upstream, open_without_host(upstream, **sections) as bridge:
        for _ in range(2):
            run = await bridge.run({"input": prompt}, principal=None)
            assert (run.ending or {})["status"] == "completed"
        assert await bridge.engine.list_recent(principal=None, limit=2)
        with closing(sqlite3.connect(file, timeout=0)) as other:
            other.execute("BEGIN IMMEDIATE")


@pytest.mark.parametrize(
    ("reply", "prompt"),
    [
        (responds(message("Hello."), usage=HUGE), "Hello"),
        (responds(message("Hello \ud800"), id="resp_\ud800"), "Hello"),
        (responds(message("Hello.")), "Hello \udcff"),
    ],
    ids=["tokens beyond 64 bits", "half a character in an id", "a byte that is no UTF-8"],
)
async def test_no_value_of_others_ends_the_keeping_of_runs(reply: Reply, prompt: str, file: Path) -> None:
    await play(file, lambda _: reply, prompt)
    assert read(file, "SELECT status FROM runs") == [("completed",)] * 2


async def test_a_file_that_one_process_cannot_use_any_more_is_open_to_others(file: Path) -> None:
    """What it had begun to write would lock the file for as long as it lives."""

    def break_file(_: Request) -> Reply:
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("DROP TABLE IF EXISTS steps")
        return responds(message("Hello."))

    await play(file, break_file, "Hello")


async def test_a_file_that_was_broken_before_it_was_opened_is_open_to_others(file: Path) -> None:
    await play(file, lambda _: responds(message("Hello.")), "Hello")
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("DROP TABLE steps")
    await play(file, lambda _: responds(message("Hello.")), "Hello")


@pytest.mark.parametrize("place", range(170, 202, 4))
async def test_no_part_of_a_secret_is_in_the_file_where_a_prompt_is_cut(place: int, file: Path) -> None:
    secret = "canary-A9b8C7d6-of-the-shop"
    reply = responds(message("Hello."))
    await play(file, lambda _: reply, f"{'x' * place} {secret}", upstream={"api_key": secret})
    [(prompt,), _] = read(file, "SELECT prompt FROM runs")
    assert "canary" not in prompt
    assert prompt.startswith("x" * place)


async def test_a_run_that_cannot_be_looked_up_is_not_said_to_be_gone_and_the_next_run_tells_why(file: Path) -> None:
    """The file is locked, or broken, while nothing goes on that could tell it."""
    sections: Json = {"runs": {"store": f"sqlite:///{file}"}}
    hello = responds(message("Hello."))
    async with ScriptedUpstream(lambda _: hello) as upstream:
        async with open_without_host(upstream, **sections) as bridge, Client(bridge.server) as client:
            earlier = await respond(client)
        async with open_without_host(upstream, **sections) as bridge, Client(bridge.server) as client:
            await bridge.engine.list_recent(principal="host", limit=1)
            with closing(sqlite3.connect(file)) as connection:
                connection.execute("ALTER TABLE runs RENAME TO gone")
            result = await client.call_tool("respond_wait", {"run_id": earlier["run_id"]})
            error = (result.structured_content or {})["error"]
            assert "cannot be read any more: no such table: runs" in error["message"]
            assert (await respond(client, "And?", run_id=earlier["run_id"]))["error"]["message"] == error["message"]
            receipts = [await respond(client, prompt) for prompt in ("One", "Two")]
    assert [[notice["code"] for notice in receipt["notices"]] for receipt in receipts] == [["not_kept"], []]
