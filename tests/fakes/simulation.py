"""A simulation of bad days: a seed makes a plan of servers, faults and calls, and the same seed the same plan again.

`python -m tests.fakes.simulation 10000` runs that many seeds, `... 17 18` the seeds 17 and 18 alone, and says of each
that broke a promise what it was.
"""

import asyncio
import json
import logging
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.lowlevel

from bridge.call_options import CallOptions
from bridge.config.settings import Config
from bridge.hub.hub import Hub
from bridge.hub.transports.connect import Connectors
from bridge.items import Call, CallOutput
from bridge.telemetry import Redactor
from tests.fakes.bridges import use_hub
from tests.fakes.canonical import RECOVERY_S, TRANSPORTS, count_fds, describe_server
from tests.fakes.clock import VirtualClock
from tests.fakes.peers import FAULTS, ODD, REFUSALS, MemoryHttp, Peer, Trouble, start_peers

WIRES = [transport for transport in TRANSPORTS if transport != "in process"]
CODES = {
    "connection_lost",
    "protocol_error",
    "refused",
    "server_unavailable",
    "timeout",
    "unknown_tool",
    "unreadable_result",
}
"""How a call may fail here."""
CALLERS, CALLS_EACH = 3, 3


@dataclass
class Day:
    """What was planned, and what came of it."""

    seed: int
    transports: dict[str, str] = field(default_factory=dict[str, str])
    peers: dict[str, Peer] = field(default_factory=dict[str, Peer])
    outputs: dict[str, CallOutput] = field(default_factory=dict[str, CallOutput])
    """By the mark of the call."""
    faults: list[str] = field(default_factory=list[str])
    """Every fault that happened, in order."""
    violations: list[str] = field(default_factory=list[str])
    is_calm: bool = False


async def simulate(seed: int) -> Day:
    """One day: calls and faults at once, then a calm in which everything must come back."""
    chance, clock, day = random.Random(seed), VirtualClock(), Day(seed)
    for number in range(2):
        key, risk = f"s{number}", chance.choice((0, 0.1, 0.3, 0.6))
        day.transports[key] = chance.choice(WIRES)
        is_legacy = TRANSPORTS[day.transports[key]]["protocol"] == "legacy"
        is_odd = random.Random(f"{seed} {key} is odd").random() < 0.5
        day.peers[key] = Peer(key, clock, {"legacy" if is_legacy else "good": ""}, is_odd=is_odd)
        day.peers[key].plan = _plan(day, key, risk)
    tasks, fds = len(asyncio.all_tasks()), count_fds()
    async with open_hub(day.transports, day.peers, clock) as hub:
        await _spend(day, hub, clock, chance)
        day.is_calm = True
        await clock.advance(RECOVERY_S)
        await _check_calm(day, hub, clock)
    for _ in range(20):
        await anyio.lowlevel.checkpoint()
    _compare(day, "tasks", tasks, len(asyncio.all_tasks()))
    _compare(day, "descriptors", fds, count_fds())
    _check_counts(day)
    return day


def _plan(day: Day, key: str, risk: float) -> Any:
    def decide(number: int, step: str) -> Trouble | None:
        """By the step alone, not by the order in which the servers take theirs: so a seed replays."""
        chance = random.Random(f"{day.seed} {key} {number}")
        if day.is_calm or chance.random() >= risk:
            return None
        trouble = Trouble(chance.choice((*FAULTS, *ODD, *REFUSALS)))
        day.faults.append(f"{key} ({day.transports[key]}), step {number} ({step}): {trouble.fault}")
        return trouble

    return decide


@asynccontextmanager
async def open_hub(
    transports: Mapping[str, str], peers: Mapping[str, Peer], clock: VirtualClock, **limits: Any
) -> AsyncIterator[Hub]:
    """A hub with these peers, each over its transport."""
    servers = tuple(describe_server(key, transport) for key, transport in transports.items())
    config = Config(servers=servers, builtin_tools=False, **limits)
    framed = frozenset(key for key, transport in transports.items() if transport == "http framed")
    connectors = Connectors(start_peers(peers), MemoryHttp(peers, framed=framed))
    hub = Hub(config, clock=clock, environ={}, redact=Redactor(), in_process={}, connectors=connectors)
    async with hub:
        yield hub


async def _spend(day: Day, hub: Hub, clock: VirtualClock, chance: random.Random) -> None:
    """Some callers, each with a few calls at times of its own."""
    plans = [
        [
            (chance.choice([*day.peers]), chance.choice(("echo", "read")), chance.uniform(0, 40), chance.uniform(1, 90))
            for _ in range(CALLS_EACH)
        ]
        for _ in range(CALLERS)
    ]
    left = CALLERS

    async def work(caller: int) -> None:
        nonlocal left
        for number, (key, tool, pause, patience) in enumerate(plans[caller]):
            await clock.sleep(pause)
            mark = f"{caller}.{number} {tool}"
            deadline = clock.now() + patience
            day.outputs[mark] = await call(hub, f"{key}__{tool}", mark, deadline)
            if clock.now() > deadline:
                day.violations.append(f"I1: {mark} took {clock.now() - deadline:g} s too long")
        left -= 1

    async with anyio.create_task_group() as tasks:
        for caller in range(CALLERS):
            tasks.start_soon(work, caller)
        await clock.drive(lambda: not left, 1000)


async def call(hub: Hub, name: str, mark: str, deadline: float) -> CallOutput:
    """One call, whose mark comes back if all is well."""
    made = Call(mark, name, json.dumps({"text": mark}), {})
    return await use_hub(hub, made, CallOptions(deadline=deadline))


async def _check_calm(day: Day, hub: Hub, clock: VirtualClock) -> None:
    for member in hub.members:
        if member.state == "needs sign-in" and _wanted_sign_in(day, member.key):
            continue  # it has asked for somebody to sign in, and nobody does
        if member.state != "ready":
            day.violations.append(f"I5: {member.key} ({day.transports[member.key]}) is {member.state}")
            continue
        output = await call(hub, f"{member.key}__echo", f"calm {member.key} echo", clock.now() + 60)
        if output["output"] != f"calm {member.key} echo":
            day.violations.append(f"I4: {member.key} ({day.transports[member.key]}) answered {output['output']}")


def _wanted_sign_in(day: Day, key: str) -> bool:
    return any(fault.startswith(f"{key} ") and fault.endswith(": sign-in") for fault in day.faults)


def _check_counts(day: Day) -> None:
    ran = Counter(mark for peer in day.peers.values() for mark in peer.executed)
    day.violations += [f"I3: {mark} ran {n} times" for mark, n in ran.items() if n > 1 + mark.endswith("read")]
    if len(day.outputs) != CALLERS * CALLS_EACH:
        day.violations.append(f"I2: {len(day.outputs)} outputs")
    for mark, output in day.outputs.items():
        good = mark if mark.endswith("echo") else "nothing has changed"
        first = str(output["output"]).partition("\n")[0]  # what came in bad company stands below it
        if first != good and not (output.get("is_error") and _code_of(output) in CODES):
            day.violations.append(f"I2: {mark} was answered {output['output']}")


def _code_of(output: CallOutput) -> str:
    return str(json.loads(str(output["output"]))["error"])


def _compare(day: Day, what: str, before: int, after: int) -> None:
    if after > before:
        day.violations.append(f"I7: {what} {before} -> {after}")


async def simulate_all(seeds: list[int]) -> list[Day]:
    """The days on which a promise was broken."""
    broken: list[Day] = []
    for seed in seeds:
        try:
            with anyio.fail_after(20):
                day = await simulate(seed)
        except Exception as error:  # noqa: BLE001  whatever it was, the seed is what counts
            day = Day(seed, violations=[f"the simulation itself ended: {error!r}"])
        if day.violations:
            broken.append(day)
    return broken


def main(words: list[str]) -> int:
    logging.disable(logging.CRITICAL)
    seeds = list(range(int(words[0]))) if len(words) == 1 else [int(word) for word in words]
    broken = anyio.run(simulate_all, seeds)
    for day in broken:
        sys.stdout.write(f"seed {day.seed}:\n" + "".join(f"  {line}\n" for line in [*day.violations, *day.faults]))
    sys.stdout.write(f"{len(seeds)} seeds, {len(broken)} with violations\n")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
