"""Runs that one replica drives, seen from another."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import psutil
import pytest

from bridge.app import Bridge
from bridge.errors import ArgumentError
from bridge.events import Event
from bridge.run.engine import Stop
from bridge.run.run import Run
from tests.engines.cluster.nursery import bear, come_true, open_nursery
from tests.engines.cluster.postgres import Postgres
from tests.engines.cluster.replicas import HELD, LONG_S, ME, World, answer, finish, open_replica, run_id_of
from tests.engines.cluster.test_kills import find_told
from tests.fakes.bridges import outputs_of
from tests.fakes.ports import find_port
from tests.fakes.replies import gated
from tests.fakes.service import TOKEN
from tests.fakes.upstream import Request, ScriptedUpstream

pytestmark = [pytest.mark.anyio, pytest.mark.external]

Shared = tuple[World, Bridge, ScriptedUpstream, psutil.Process, anyio.Event]


@asynccontextmanager
async def open_shared(postgres: Postgres, folder: Path, name: str, *, stateful: bool = False) -> AsyncIterator[Shared]:
    """A run of this name whose first turn is under way at another replica; it is answered when the gate opens."""
    gate = anyio.Event()

    def choose(request: Request) -> object:
        return answer(request) if outputs_of(request) else gated(answer(request), gate)

    async with ScriptedUpstream(choose) as model:  # type: ignore[arg-type]
        world = World(postgres.url, model.base_url, folder / "done")
        async with open_replica(world, stateful=stateful) as bridge:
            with open_nursery() as nursery:
                process = await anyio.to_thread.run_sync(bear, nursery, world, None, [name])
                await model.arrivals.wait()
                yield world, bridge, model, process, gate


async def test_a_run_of_another_replica_is_found_followed_and_gone_on_from(postgres: Postgres, tmp_path: Path) -> None:
    name, heard = "shared", list[Event]()
    async with open_shared(postgres, tmp_path, name) as (_, bridge, model, _, gate):
        run = await bridge.find(run_id_of(name), principal=ME)
        assert run.ending is None
        with pytest.raises(ArgumentError, match="no such run"):
            await bridge.find(run_id_of(name), principal="somebody else")
        with bridge.engine.attend(run, heard.append):
            gate.set()
            with anyio.fail_after(LONG_S):
                while run.ending is None:
                    run = await bridge.engine.wait(run, news=run.news, until=anyio.current_time() + LONG_S)
        kinds = [event.type for event in heard]
        assert (kinds[0], kinds[-1], kinds.count("call.ended")) == ("turn.started", "run.ended", 3)
        assert [event.seq for event in run.events] == list(range(len(run.events)))
        assert [each.run_id for each in await bridge.engine.list_recent(principal=ME, limit=1)] == [run.run_id]
        [listed] = await bridge.engine.list_page(whose=ME, before=None, limit=5)
        assert (listed.run_id, listed.status, listed.calls) == (run.run_id, "completed", 3)
        assert await bridge.engine.list_page(whose=None, before=None, limit=5) == [listed]
        assert await bridge.engine.list_page(whose="somebody else", before=None, limit=5) == []
        assert await bridge.engine.list_page(whose=ME, before=listed.place, limit=5) == []
        seen = await bridge.engine.look_up(run.run_id)
        assert seen
        assert (seen[0].principal, seen[1]) == (ME, listed)
        assert await bridge.engine.look_up(f"run_{'0' * 32}") is None
        for further in ({"previous_response_id": run.response_id}, {"run_id": run.run_id}):
            ended = await bridge.run({"input": "and now?", **further}, principal=ME)
            assert ended.ending
            sent = model.requests[-1].json["input"]
            assert [item.get("content") for item in (sent[0], sent[-1])] == [name, "and now?"]
            assert len(sent) == 1 + 3 + 3 + 1 + 1


async def test_a_run_of_another_replica_can_be_stopped(postgres: Postgres, tmp_path: Path) -> None:
    async with open_shared(postgres, tmp_path, "stopped here") as (_, bridge, _, _, _):
        run = await bridge.find(run_id_of("stopped here"), principal=ME)
        await bridge.engine.send(run, Stop())
        run = await finish(bridge, "stopped here")
        assert run.ending
        assert run.ending["status"] == "cancelled"


async def test_a_run_whose_replica_died_is_found_by_an_equal_call(postgres: Postgres, tmp_path: Path) -> None:
    async with open_shared(postgres, tmp_path, "lost") as (_, bridge, model, process, gate):
        process.kill()
        await model.arrivals.wait(2)
        gate.set()
        run, is_found = await bridge.start({"input": "lost"}, principal=ME)
        assert (run.run_id, is_found) == (run_id_of("lost"), True)
        await finish(bridge, "lost")


async def test_a_server_that_remembers_is_not_called_for_a_run_that_was_taken_over(
    postgres: Postgres, tmp_path: Path
) -> None:
    name = f"{HELD} state"
    async with open_shared(postgres, tmp_path, name, stateful=True) as (world, bridge, model, process, gate):
        gate.set()
        await come_true(lambda: len(world.writes) == 2)
        process.kill()
        run: Run = await finish(bridge, name)
    told = find_told(model.requests, name)
    assert run.ending
    assert "may have been executed" in told["a"]
    assert "taken over from another process" in told["c"]
    assert world.writes == {f"{name} a": 1, f"{name} b": 1}


@pytest.mark.parametrize(
    ("store", "words"),
    [
        ("postgresql://postgres@127.0.0.1:{port}/postgres", "cannot be reached"),
        ("postgresql://postgres@/postgres?host=/tmp", "by its TCP address"),
        ("postgresql:///postgres", "by its TCP address"),
    ],
)
def test_a_database_that_cannot_be_used_ends_the_start_in_one_sentence(tmp_path: Path, store: str, words: str) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"runs": {"store": "' + store.format(port=find_port()) + '"}}', encoding="utf-8")
    done = serve(file, "--transport", "http", "--port", "0")
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def serve(file: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "bridge", "serve", "--config", str(file), *options]
    environ = os.environ | {"MCP_RESPONSES_BRIDGE_TOKEN": TOKEN, "OPENAI_API_KEY": "sk-of-the-tests"}
    return subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=LONG_S, check=False, env=environ
    )


def test_over_stdio_a_database_is_refused_in_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"runs": {"store": "postgresql://postgres@127.0.0.1/postgres"}}', encoding="utf-8")
    done = serve(file)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "of the service" in done.stderr


def test_nobody_else_pays_for_it() -> None:
    code = "import sys, bridge.app, bridge.cli.serve, bridge.run.store.choice, bridge.run.store.engine, bridge.run.body"
    check = "sys.exit(any(name.split('.')[0] in ('dbos', 'psycopg', 'sqlalchemy') for name in sys.modules))"
    subprocess.run([sys.executable, "-c", f"{code}\n{check}"], check=True)
