"""Replicas of a bridge on one database: in this process, or in processes that are killed.

Every run does the same: two calls at once, then a third, then an answer. What tools did is in a file, and what was
asked of the model with the model, so that neither dies with a replica.
"""

import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio
from mcp.server.mcpserver import MCPServer
from typing_extensions import override

from bridge.app import Bridge
from bridge.run.cluster.task import ClusterTask
from bridge.run.run import Run
from bridge.run.store.choice import choose_engine
from tests.fakes.bridges import configure, outputs_of
from tests.fakes.items import Json
from tests.fakes.upstream import Reply, Request, call, message, responds

T = TypeVar("T")
ME = "somebody's token"
PHASES = ("before", "after", "recorded")
"""Of a step: nothing of it is done; it is done, and nobody knows; its outcome is in the database."""
Point = tuple[str, str]
"""A phase, and the key of a step."""
LONG_S = 60
HELD = "held"
"""In the name of a run whose tools never return in the process that began it."""


@dataclass(frozen=True)
class World:
    """What outlives a replica: the database, the model, and what the tools have done."""

    store: str
    base_url: str
    done: Path

    def write(self, text: str) -> None:
        """Do something to the world, once for each call."""
        with self.done.open("a", encoding="utf-8") as file:
            file.write(f"{text}\n")

    def name_runs(self, count: int) -> list[str]:
        """Names that no other test has: an equal call would get its run."""
        return [f"{self.done.parent.name} {number}" for number in range(count)]

    @property
    def writes(self) -> Counter[str]:
        """How often each thing was done."""
        return Counter(self.done.read_text(encoding="utf-8").splitlines() if self.done.exists() else [])


def prompt_of(request: Request) -> str:
    """The name of the run that asks."""
    return str(request.json["input"][0]["content"])


def answer(request: Request) -> Reply:
    """Two calls, a third, and an answer: by what the run has behind it."""
    name, outputs = prompt_of(request), outputs_of(request)
    match len(outputs):
        case 0:
            made = [call("desk__write", {"text": f"{name} a"}), call("desk__write", {"text": f"{name} b"})]
            return responds(*made, id=f"resp_{name}_1")
        case 2:
            return responds(call("desk__write", {"text": f"{name} c"}), id=f"resp_{name}_2")
        case _:
            return responds(message(f"{name} is done"), id=f"resp_{name}_3")


def build_desk(world: World, *, holds: bool) -> MCPServer:
    server = MCPServer("desk")

    @server.tool()
    async def write(text: str) -> str:
        world.write(text)
        if holds and HELD in text:
            await anyio.sleep_forever()
        return f"wrote {text}"

    return server


@asynccontextmanager
async def open_replica(
    world: World, *, holds: bool = False, stateful: bool = False, **options: Any
) -> AsyncIterator[Bridge]:
    """A bridge that keeps its runs in the database."""
    upstream, runs = {"base_url": world.base_url, "model": "m"}, {"store": world.store}
    config = configure({}, builtin_tools=False, upstream=upstream, runs=runs)
    entry: Json = {"command": "in here", "require_approval": "never", "pin": False, "stateful": stateful}
    server = configure({"desk": entry}).servers[0]
    config = config.model_copy(update={"servers": (server,)})
    build = choose_engine(config, {}, default="memory", is_service=True)
    bridge = Bridge(
        config,
        environ={},
        in_process={"desk": build_desk(world, holds=holds)},
        build_engine=partial(build, **options),
        is_service=True,
    )
    async with bridge:
        yield bridge


class DoomedTask(ClusterTask):
    """A run whose process is killed at a point; or one that notes all the points. A run of another process gets no
    further here, so that it dies as it came."""

    point: Point | None = None
    noted: list[Point]

    @override
    async def _record(self, key: str, fn: Callable[[], Awaitable[T]]) -> T:
        if self.is_taken_over:
            await anyio.sleep_forever()

        async def do() -> T:
            self._pass("before", key)
            outcome = await fn()
            self._pass("after", key)
            return outcome

        outcome = await super()._record(key, do)
        self._pass("recorded", key)
        return outcome

    def _pass(self, phase: str, key: str) -> None:
        if self.point == (phase, key):
            os.kill(os.getpid(), signal.SIGKILL)
        self.noted.append((phase, key))


async def run_doomed(world: World, point: Point | None, names: list[str], noted: list[Point]) -> None:
    """Run these in a replica that is killed at a point. With none, be there."""

    def build(*arguments: Any, **named: Any) -> DoomedTask:
        task = DoomedTask(*arguments, **named)
        task.point, task.noted = point, noted
        return task

    async with open_replica(world, holds=True, build_shared=build) as bridge, anyio.create_task_group() as tasks:
        if not names:
            await anyio.sleep_forever()
        for name in names:
            tasks.start_soon(partial(bridge.run, {"input": name}, principal=ME, run_id=run_id_of(name)))


async def finish(bridge: Bridge, name: str) -> Run:
    """The run of this name, once it has ended, wherever that is."""
    run = await bridge.find(run_id_of(name), principal=ME)
    with anyio.fail_after(LONG_S):
        while run.ending is None:
            run = await bridge.engine.wait(run, news=run.news, until=anyio.current_time() + LONG_S)
    return run


def run_id_of(name: str) -> str:
    return f"run_{name.replace(' ', '_')}"


def parse_order(line: str) -> tuple[World, Point | None, list[str]]:
    """Read what a nursery is told: one line for each replica."""
    order = json.loads(line)
    world = World(order["store"], order["base_url"], Path(order["done"]))
    return world, tuple(order["point"]) if order["point"] else None, order["names"]


def write_order(world: World, point: Point | None, names: list[str]) -> str:
    order = {"store": world.store, "base_url": world.base_url, "done": str(world.done), "point": point, "names": names}
    return json.dumps(order) + "\n"
