"""What the engine for several processes promises to a run: the Context, through an engine that ends and another one."""

import asyncio
import base64
import pickle
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from typing_extensions import override

from bridge.clock import Clock
from bridge.json_text import JsonObject
from bridge.run.cluster.engine import ClusterEngine
from bridge.run.engine import Context, Intend, OutcomeUnknown
from bridge.run.limits import COMPLETED, Ending
from bridge.run.run import Run
from tests.engines.cluster.postgres import Postgres
from tests.engines.cluster.replicas import LONG_S, ME

pytestmark = [pytest.mark.anyio, pytest.mark.external]

Body = Callable[[Context], Awaitable[None]]


def open_engine(postgres: Postgres, body: Body, **options: Any) -> ClusterEngine:
    async def execute(ctx: Context, _: JsonObject) -> Ending:
        await body(ctx)
        return COMPLETED

    return ClusterEngine(execute, Clock(), orphan_s=600, store=postgres.url, configuration="a test", **options)


async def finish(engine: ClusterEngine, run_id: str) -> Run:
    with anyio.fail_after(LONG_S):
        run = await engine.find(run_id, principal=ME)
        assert run
        while run.ending is None:
            run = await engine.wait(run, news=run.news, until=asyncio.get_running_loop().time() + LONG_S)
    return run


async def run_twice(postgres: Postgres, run_id: str, first: Body, second: Body) -> Run:
    """A run that the first engine begins, and that the next one takes up, once the first has come to `rest`."""
    async with open_engine(postgres, first) as engine:
        await engine.start(run_id, {"input": run_id}, principal=ME)
        with anyio.fail_after(LONG_S):
            await RESTING[run_id].wait()
    async with open_engine(postgres, second) as engine:
        return await finish(engine, run_id)


RESTING: dict[str, anyio.Event] = {}


async def rest(run_id: str) -> None:
    """Never go on: the process ends meanwhile."""
    RESTING[run_id].set()
    await anyio.sleep_forever()


def note(done: list[str], what: str) -> Callable[[], Awaitable[JsonObject]]:
    async def do() -> JsonObject:
        done.append(what)
        return {"did": what, "half": "\ud83d", "none": None, "zero": "\x00"}

    return do


async def test_a_step_that_was_done_is_not_done_again_and_has_the_same_outcome(postgres: Postgres) -> None:
    done, outcomes = list[str](), list[Any]()
    RESTING["run_steps"] = anyio.Event()

    async def body(ctx: Context, *, rests: bool) -> None:
        outcomes.append(await ctx.step("one", note(done, "one")))
        if rests:
            await ctx.step("two", partial(rest, "run_steps"))
        outcomes.append(await ctx.step("two", note(done, "two")))

    run = await run_twice(postgres, "run_steps", partial(body, rests=True), partial(body, rests=False))
    assert run.ending == COMPLETED
    assert done == ["one", "two"]
    assert outcomes[0] == outcomes[1]


async def test_an_error_is_an_outcome_too(postgres: Postgres) -> None:
    told = list[str]()
    RESTING["run_errors"] = anyio.Event()

    async def fail() -> None:
        told.append("failed")
        raise ValueError("no such thing")

    async def body(ctx: Context, *, rests: bool) -> None:
        try:
            await ctx.step("bad", fail)
        except Exception as error:  # noqa: BLE001 - what it is called is not the point
            told.append(str(error))
        if rests:
            await ctx.step("rest", partial(rest, "run_errors"))

    await run_twice(postgres, "run_errors", partial(body, rests=True), partial(body, rests=False))
    assert told == ["failed", "no such thing", "no such thing"]


async def test_steps_that_go_on_at_once_are_known_by_their_keys_in_any_order(postgres: Postgres) -> None:
    done, outcomes = list[str](), dict[str, Any]()
    RESTING["run_parallel"] = anyio.Event()

    async def body(ctx: Context, *, rests: bool) -> None:
        async def one(key: str) -> None:
            if rests and key == "c":
                await ctx.step(key, partial(rest, "run_parallel"))
            outcomes[key] = await ctx.step(key, note(done, key))

        async with anyio.create_task_group() as tasks:
            for key in "abc" if rests else "cba":
                tasks.start_soon(one, key)

    await run_twice(postgres, "run_parallel", partial(body, rests=True), partial(body, rests=False))
    assert sorted(done) == ["a", "b", "c"]
    assert {key: outcome["did"] for key, outcome in outcomes.items()} == {"a": "a", "b": "b", "c": "c"}


async def test_what_was_about_to_be_sent_is_not_sent_again_unless_that_does_no_harm(postgres: Postgres) -> None:
    sent = list[str]()
    RESTING["run_intents"] = anyio.Event()

    async def send(intend: Intend, key: str, *, rests: bool) -> str:
        await intend()
        sent.append(key)
        if rests and len(sent) == 2:
            await rest("run_intents")
        if rests:
            await anyio.sleep_forever()
        return key

    async def body(ctx: Context, *, rests: bool) -> None:
        async def once(key: str, *, is_harmless: bool) -> None:
            try:
                await ctx.step_once(key, partial(send, key=key, rests=rests), is_harmless=is_harmless)
            except OutcomeUnknown:
                sent.append(f"{key} unknown")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(once, "write", is_harmless=False))
            tasks.start_soon(partial(once, "read", is_harmless=True))

    await run_twice(postgres, "run_intents", partial(body, rests=True), partial(body, rests=False))
    assert sorted(sent) == ["read", "read", "write", "write unknown"]


async def test_time_that_was_used_before_counts_and_the_run_knows_that_it_was_taken_over(postgres: Postgres) -> None:
    seen = list[tuple[bool, bool]]()
    RESTING["run_time"] = anyio.Event()

    async def body(ctx: Context, *, rests: bool) -> None:
        seen.append((ctx.is_taken_over, ctx.used_s > 0))
        if rests:
            await rest("run_time")

    await run_twice(postgres, "run_time", partial(body, rests=True), partial(body, rests=False))
    assert seen[0] == (False, False)
    assert seen[1][0]


class Trap:
    """What makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


async def test_a_row_that_is_pickled_is_refused(postgres: Postgres, tmp_path: Path) -> None:
    async def body(ctx: Context) -> None:
        await ctx.step("one", note([], "one"))

    async with open_engine(postgres, body) as engine:
        await engine.start("run_pickled", {"input": "pickled"}, principal=ME)
        await finish(engine, "run_pickled")
    trap = base64.b64encode(pickle.dumps(Trap(tmp_path / "trapped"))).decode()
    for table, column in (("workflow_output", "output"), ("workflow_input", "inputs"), ("operation_outputs", "output")):
        query = f"UPDATE dbos.{table} SET {column} = %s WHERE workflow_uuid = 'run_pickled' RETURNING 1"
        assert postgres.ask(query, trap)
    for table in ("workflow_status", "operation_outputs"):
        mark = f"UPDATE dbos.{table} SET serialization = 'py_pickle' WHERE workflow_uuid = 'run_pickled' RETURNING 1"
        assert postgres.ask(mark)
    async with open_engine(postgres, body) as engine:
        assert await engine.find("run_pickled", principal=ME) is None
        assert await engine.list_recent(principal="nobody", limit=10) == []
    assert not (tmp_path / "trapped").exists()


async def test_no_secret_is_written(postgres: Postgres) -> None:
    secret = "sk-4711-do-not-write-this"

    async def body(ctx: Context) -> None:
        async def say() -> str:
            return f"the key is {secret}"

        assert await ctx.step("one", say) == f"the key is {secret}"

    async with open_engine(postgres, body, secrets=[secret]) as engine:
        await engine.start("run_secret", {"input": f"use {secret}"}, principal=ME)
        await finish(engine, "run_secret")
        engine._runs.clear()
        found = await engine.find("run_secret", principal=ME)
        assert found
        assert found.arguments == {"input": f"use {secret}"}
    tables = [name for (name,) in postgres.ask("SELECT tablename FROM pg_tables WHERE schemaname = 'dbos'")]
    rows = [str(row) for name in tables for row in postgres.ask(f'SELECT * FROM dbos."{name}"')]
    assert any("run_secret" in row for row in rows)
    assert not [row for row in rows if secret in row]
