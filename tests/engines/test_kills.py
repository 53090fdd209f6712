"""A bridge that is killed at any point of a run: the next process finishes it, and no tool is executed twice."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from mcp import Client

from tests.engines.victim import INTENT, KINDS
from tests.fakes.audited import read_audit
from tests.fakes.bridges import open_without_host, outputs_of
from tests.fakes.items import Json
from tests.fakes.upstream import Reply, Request, ScriptedUpstream, call, message, responds

pytestmark = pytest.mark.anyio

UNKNOWN = "it may have been executed"
TURNS: list[list[Json]] = [
    [call("notary__note", {"text": "a"}, call_id="c1"), call("notary__look", {"text": "b"}, call_id="c2")],
    [call("notary__note", {"text": "c"}, call_id="c3")],
]
STEPS = ["input", "begin", "turn:1", "call:1:0", "call:1:1", "turn:2", "call:2:0", "turn:3"]
POINTS = [
    *((kind, key) for key in STEPS for kind in KINDS),
    *((INTENT, key) for key in STEPS if key.startswith("call:")),
]
FEW = {("done", "call:1:0"), (INTENT, "call:2:0"), ("done", "turn:2"), ("written", "call:1:1")}


@dataclass
class World:
    """What outlives a bridge: its file of runs, the file that its server writes, and the upstream."""

    folder: Path
    upstream: ScriptedUpstream
    entries: Json = field(default_factory=dict)

    def __post_init__(self) -> None:
        arguments = ["-m", "tests.engines.notary", str(self.folder / "notes")]
        self.entries = {
            "notary": {"command": sys.executable, "args": arguments, "require_approval": "never", "pin": False}
        }

    @property
    def sections(self) -> Json:
        return {
            "runs": {"store": f"sqlite:///{self.folder / 'runs.sqlite'}"},
            "builtin_tools": False,
            "limits": {"connect_timeout_s": 60},
            "serve": {"audit": str(self.folder / "audit.jsonl")},
        }

    @property
    def executed(self) -> Counter[str]:
        file = self.folder / "notes"
        return Counter(file.read_text().splitlines() if file.exists() else ())

    def write_config(self) -> Path:
        upstream = {"base_url": self.upstream.base_url, "model": "gpt-4.1"}
        file = self.folder / "config.json"
        file.write_text(json.dumps({"mcpServers": self.entries, **self.sections, "upstream": upstream}))
        file.chmod(0o600)
        return file


class Killer:
    """A process that does plans."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.engines.victim"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def do(self, plan: Json) -> str:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(plan) + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(60)


@pytest.fixture(scope="module")
def killer() -> Iterator[Killer]:
    killer = Killer()
    yield killer
    killer.close()


def answer(request: Request) -> Reply:
    """The turn that comes after so many outputs."""
    done = len(outputs_of(request))
    turn = {0: 0, 2: 1, 3: 2}[done]
    name = f"resp_{turn + 1}"
    return responds(*TURNS[turn], id=name) if turn < len(TURNS) else responds(message("all is noted"), id=name)


async def kill(world: World, killer: Killer, kind: str, key: str) -> str:
    import anyio.to_thread

    plan = {"config": str(world.write_config()), "run_id": "run_1", "input": "note it", "kind": kind, "key": key}
    return await anyio.to_thread.run_sync(killer.do, plan)


async def finish(world: World) -> Json:
    """What a later process gives a host that asks for the result."""
    async with (
        open_without_host(world.upstream, world.entries, **world.sections) as bridge,
        Client(bridge.server) as client,
    ):
        result = await client.call_tool("respond_wait", {"run_id": "run_1"})
        assert isinstance(result.structured_content, dict)
        return result.structured_content


async def test_the_points_are_those_of_the_run(killer: Killer, tmp_path: Path) -> None:
    async with ScriptedUpstream(answer) as upstream:
        assert json.loads(await kill(World(tmp_path, upstream), killer, "", "")) == STEPS


@pytest.mark.rule("REL32", "S29")
@pytest.mark.parametrize(
    ("kind", "key"),
    [pytest.param(*point, marks=() if point in FEW else pytest.mark.external) for point in POINTS],
)
async def test_a_run_that_is_killed_at_any_point_is_finished_by_the_next_process(
    kind: str, key: str, killer: Killer, tmp_path: Path
) -> None:
    async with ScriptedUpstream(answer) as upstream:
        world = World(tmp_path, upstream)
        assert await kill(world, killer, kind, key) == "killed"
        receipt = await finish(world)
    assert (receipt["status"], receipt["output_text"]) == ("completed", "all is noted")
    made = {1: "note a", 2: "look b", 3: "note c"}
    outputs = outputs_of(upstream.requests[-1])
    for number, output in enumerate(outputs, 1):
        executed = world.executed[made[number]]
        assert executed <= 1, f"{made[number]} was executed {executed} times"
        assert executed == 1 or UNKNOWN in output, "a call is executed, or its model is told"
    assert len(outputs) == 3
    noted = read_audit(tmp_path / "audit.jsonl")
    assert sorted((line["turn"], line["index"]) for line in noted) == [(1, 0), (1, 1), (2, 0)], "each call once"
    doubtful = sum(line["outcome"] == "unknown" for line in noted)
    told = sum(UNKNOWN in output for output in outputs)
    assert doubtful <= told, "the audit may know better: its line was written when the call ended"
    turns = Counter(len(outputs_of(request)) for request in upstream.requests)
    repeated = sum(turns.values()) - 3
    assert repeated <= (0 if kind in ("written", INTENT) else 1), "what is on the disk is not asked again"


@pytest.mark.external
async def test_a_run_that_is_killed_again_and_again_is_finished_in_the_end(killer: Killer, tmp_path: Path) -> None:
    """UKGovernmentBEIS/inspect_ai#4861: a resume that was interrupted itself left what could never be resumed."""
    plays = [("done", "turn:1"), ("before", "turn:1"), (INTENT, "call:1:0"), ("done", "call:2:0"), ("after", "turn:3")]
    async with ScriptedUpstream(answer) as upstream:
        world = World(tmp_path, upstream)
        for kind, key in plays:
            assert await kill(world, killer, kind, key) == "killed", (kind, key)
        receipt = await finish(world)
    assert (receipt["status"], receipt["output_text"]) == ("completed", "all is noted")
    assert max(world.executed.values()) == 1
    first, _, third = outputs_of(upstream.requests[-1])
    assert UNKNOWN in first
    assert UNKNOWN in third
