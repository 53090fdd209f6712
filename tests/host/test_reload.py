"""A bridge whose configuration is another one from some moment on, and one that is to end."""

import sqlite3
from pathlib import Path
from typing import Any

import anyio
import pytest

from bridge.app import Bridge
from bridge.config.changes import compare
from bridge.config.load import load
from bridge.errors import Busy
from bridge.run.run import Run
from tests.fakes.bridges import configure, open_without_host
from tests.fakes.clock import PATIENCE_S, VirtualClock, until
from tests.fakes.items import Json
from tests.fakes.upstream import Request, ScriptedUpstream, gated, message, responds

pytestmark = pytest.mark.anyio


def reconfigure(bridge: Bridge, model: ScriptedUpstream, **sections: Any) -> None:
    where = {"base_url": model.base_url, "model": "gpt-4.1", **sections.pop("upstream", {})}
    later = configure({}, **{"builtin_tools": False, "upstream": where, **sections})
    bridge.reconfigure(compare(bridge.config, later))


class Slow:
    """A model that answers when the gate is open."""

    def __init__(self) -> None:
        self.gate = anyio.Event()

    def answer(self, _request: Request) -> Any:
        return gated(responds(message("done")), self.gate)


async def finish(bridge: Bridge, *runs: Run) -> list[str]:
    with anyio.fail_after(PATIENCE_S):
        return [str((await bridge.see_out(run)).ending) for run in runs]


async def test_more_places_let_those_in_who_wait() -> None:
    model = Slow()
    async with (
        ScriptedUpstream(model.answer) as upstream,
        open_without_host(upstream, limits={"max_runs": 1}) as bridge,
    ):
        runs = [(await bridge.start({"input": str(number)}))[0] for number in range(3)]
        await upstream.arrivals.wait(1)
        reconfigure(bridge, upstream, limits={"max_runs": 2})
        await upstream.arrivals.wait(2)
        reconfigure(bridge, upstream, limits={"max_runs": 1})
        model.gate.set()
        assert all("completed" in ending for ending in await finish(bridge, *runs))


async def test_a_run_ends_at_the_upstream_that_it_began_with() -> None:
    model, other = Slow(), Slow()
    other.gate.set()
    async with (
        ScriptedUpstream(model.answer) as old,
        ScriptedUpstream(other.answer) as new,
        open_without_host(old) as bridge,
    ):
        first, _ = await bridge.start({"input": "one"})
        await old.arrivals.wait()
        reconfigure(bridge, new)
        second, _ = await bridge.start({"input": "two"})
        await finish(bridge, second)
        assert (len(old.requests), len(new.requests), first.ending) == (1, 1, None)
        model.gate.set()
        assert "completed" in (await finish(bridge, first))[0]
        await until(lambda: not bridge._leases._users)


async def test_new_secrets_are_kept_out_of_the_file_of_runs(tmp_path: Path) -> None:
    secret, file = "a-new-secret-of-upstream-123", tmp_path / "runs.sqlite"
    async with ScriptedUpstream(lambda _: responds(message(f"it is {secret}"))) as upstream:
        store: Json = {"runs": {"store": f"sqlite:///{file}"}}
        async with open_without_host(upstream, **store) as bridge:
            await bridge.run({"input": "before"})
            reconfigure(bridge, upstream, upstream={"api_key": secret}, **store)
            run = await bridge.run({"input": f"say {secret}"})
            assert bridge.redact(secret) == "***"
    with sqlite3.connect(file) as connection:
        rows = [*connection.execute("SELECT * FROM steps WHERE run_id = ?", [run.run_id])]
        rows += connection.execute("SELECT * FROM runs WHERE run_id = ?", [run.run_id])
    connection.close()
    assert rows
    assert secret not in str(rows)


async def test_while_it_drains_no_run_begins_and_a_result_is_kept_for_who_polls() -> None:
    clock, model = VirtualClock(), Slow()
    async with ScriptedUpstream(model.answer) as upstream, open_without_host(upstream, clock=clock) as bridge:
        run, _ = await bridge.start({"input": "one"}, principal="token x")
        await upstream.arrivals.wait()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bridge.drain, 25)
            await until(lambda: bridge.is_draining)
            with pytest.raises(Busy, match="The service is stopping"):
                await bridge.start({"input": "two"})
            assert not bridge.is_drained
            model.gate.set()
            await until(lambda: bridge.is_drained)
            await clock.advance(4)
            assert tasks.cancel_scope.cancel_called is False
            await bridge.engine.note_delivery(run, is_delivered=True)
        assert clock.now() == 4


async def test_a_result_that_nobody_comes_for_holds_it_up_for_five_seconds() -> None:
    clock, model = VirtualClock(), Slow()
    async with ScriptedUpstream(model.answer) as upstream, open_without_host(upstream, clock=clock) as bridge:
        await bridge.start({"input": "one"}, principal="token x")
        await upstream.arrivals.wait()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bridge.drain, 25)
            await until(lambda: bridge.is_draining)
            model.gate.set()
            await until(lambda: bridge.is_drained)
            await clock.advance(5)


@pytest.mark.parametrize("seconds", ["-1", '"soon"', "null"])
def test_a_drain_that_is_no_time_is_refused_in_a_sentence(seconds: str, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(f'{{"serve": {{"drain_s": {seconds}}}}}', encoding="utf-8")
    with pytest.raises(Exception, match=r"serve\.drain_s: "):
        load(file, environ={})
