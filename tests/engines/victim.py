"""`python -m tests.engines.victim`: bridges that are killed (SIGKILL) at a given point of a run, one after the other.

Reads plans from stdin, a JSON object a line: `{config, run_id, input, kind, key}`. Each is done by a process of its
own, forked before anything is open; what it came to is printed: `killed`, or the keys of the run's steps.
"""

import json
import math
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from typing_extensions import override

from bridge.app import Bridge
from bridge.cli.watchers import open_audit
from bridge.config.load import load
from bridge.run.engine import Intend
from bridge.run.store import engine as stored
from bridge.run.store.choice import choose_engine
from bridge.run.store.task import StoredTask
from bridge.telemetry import Redactor

KINDS = ("before", "done", "after", "written")
"""Before a step begins; when its effect is done; when its outcome is on its way to the disk; when it is there."""
INTENT = "intended"
"""When the intent of a call is on the disk, and it was not sent."""


class Victim(StoredTask):
    """Kills its process at the point of the plan."""

    kind, key = "", ""
    keys: list[str] = []  # noqa: RUF012  one run a process

    @override
    async def step(self, key: str, fn: Callable[[], Awaitable[Any]]) -> Any:
        self.keys.append(key)
        self._die("before", key)

        async def do() -> Any:
            outcome = await fn()
            self._die("done", key)
            return outcome

        outcome = await super().step(key, do)
        self._die("after", key)
        if (self.kind, self.key) == ("written", key):
            await self._store.load(self.run.run_id)
            self._die("written", key)
        return outcome

    @override
    async def step_once(self, key: str, fn: Callable[[Intend], Awaitable[Any]], *, is_harmless: bool = False) -> Any:
        async def watched(intend: Intend) -> Any:
            async def note() -> None:
                await intend()
                if (self.kind, self.key) == (INTENT, key):
                    await self._store.load(self.run.run_id)
                    self._die(INTENT, key)

            return await fn(note)

        return await super().step_once(key, watched, is_harmless=is_harmless)

    def _die(self, kind: str, key: str) -> None:
        if (self.kind, self.key) == (kind, key):
            os.kill(os.getpid(), signal.SIGKILL)


async def run(plan: dict[str, str]) -> None:
    Victim.kind, Victim.key = plan["kind"], plan["key"]
    config = load(Path(plan["config"]), environ={})
    build_engine = choose_engine(config, {}, default="sqlite", build_stored=Victim)
    audit = open_audit(config, Redactor())
    async with Bridge(config, environ=os.environ, build_engine=build_engine, audit=audit) as bridge:
        if known := await bridge.engine.find(plan["run_id"], principal="host"):
            stored.StoredTask = Victim  # type: ignore[misc]  # what a run that is taken up is driven by
            started = await bridge.engine.resume(known)
        else:
            started, _ = await bridge.start({"input": plan["input"]}, principal="host", run_id=plan["run_id"])
        with bridge.engine.attend(started):
            while started.ending is None:
                started = await bridge.engine.wait(started, news=started.news, until=math.inf)
    say(json.dumps(Victim.keys))


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def main() -> None:
    for line in sys.stdin:
        if process := os.fork():
            _, status = os.waitpid(process, 0)
            if os.WIFSIGNALED(status):
                say("killed")
            continue
        anyio.run(partial(run, json.loads(line)))
        os._exit(0)


if __name__ == "__main__":
    main()
