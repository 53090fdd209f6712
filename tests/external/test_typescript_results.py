"""The validators of the official TypeScript clients accept every result, and refuse one that is none."""

import json
from pathlib import Path

import pytest

from bridge.host.result_schema import RESULT
from tests.external.conftest import RunNode
from tests.fakes.endings import ENDINGS, go_on_and_stop, reach

pytestmark = [pytest.mark.anyio, pytest.mark.external]


SCRIPT = Path(__file__).with_name("results.mjs").read_text(encoding="utf-8")


def write(file: Path, results: list[object]) -> str:
    file.write_text(json.dumps({"schema": RESULT, "results": results}), encoding="utf-8")
    return str(file)


async def judge(run_node: RunNode, file: Path, results: list[object]) -> dict[str, list[str]]:
    """What each validator finds wrong; a word of theirs on stderr would be a warning about the schema."""
    done = await run_node("node", "--input-type=module", "--eval", SCRIPT, write(file, results))
    assert done.stderr == b""
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


async def test_the_typescript_clients_accept_every_result(run_node: RunNode, tmp_path: Path) -> None:
    results = [await reach(ending) for ending in ENDINGS.values()] + await go_on_and_stop()
    faults = await judge(run_node, tmp_path / "results.json", list(results))
    assert len(faults) == 3
    assert set(map(len, faults.values())) == {0}, faults


async def test_and_they_refuse_what_is_none(run_node: RunNode, tmp_path: Path) -> None:
    result = await reach(ENDINGS["an answer"])
    wrong = [result | {"turns": "two"}, result | {"tool_calls": None}, {"status": "completed"}]
    assert set(map(len, (await judge(run_node, tmp_path / "results.json", list(wrong))).values())) == {3}
