"""A move out of, and back into, each file of the corpus that is one of a host whose file we write."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import ConfigError
from bridge.hosts.edits import Remove, make_change
from bridge.hosts.file import read, write
from bridge.hosts.imports import Import, plan_move, save_import
from bridge.hosts.known import WRITTEN, Host, find_host
from bridge.hosts.shapes import Start, list_own
from bridge.hosts.undo import plan_undo, undo
from tests.config.test_host_corpus import CASES, place

NUMBERS = [number for number, case in enumerate(CASES) if case["host"] in WRITTEN]
START: tuple[Start, list[Any]] = (Start("/opt/bin/mcp-responses-bridge", ("serve",)), [])


def plan_or_refuse(host: Host, theirs: Path, ours: Path, environ: dict[str, str], project: str | None) -> Import | None:
    """The move; None where the file is broken, or has what cannot be moved."""
    with suppress(ConfigError):
        return plan_move(host, read(theirs), read(ours), START, environ, "linux", project)
    return None


@pytest.mark.parametrize("number", NUMBERS, ids=[f"{number} {CASES[number]['host']}" for number in NUMBERS])
def test_a_move_leaves_what_it_cannot_take_and_comes_back_whole(number: int, tmp_path: Path) -> None:
    case = CASES[number]
    environ = {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")}
    file, host, project = place(case, tmp_path), find_host(case["host"]), case.get("project")
    ours = tmp_path / ".config/mcp-responses-bridge/config.json"
    plan = plan_or_refuse(host, file, ours, environ, project)
    if plan is None or plan.theirs_after is None:
        return
    save_import(plan, environ)
    assert_only_the_rest_is_there(plan, file)
    edited = read(file)
    write(edited, edited.encode(edited.text + ("\n# mine\n" if file.suffix == ".toml" else "\n// mine\n")))
    undo(plan_undo(host, read(file), read(ours), environ))
    assert read(file).read_value() == plan.theirs.read_value()
    assert "mine\n" in read(file).text
    assert not ours.exists()


def assert_only_the_rest_is_there(plan: Import, file: Path) -> None:
    """The servers that were taken are gone from the file, ours is there, and all else is as it was."""
    before, after = plan.theirs.read_value(), read(file).read_value()
    assert list_own(plan.host, after) == [plan.own_path]
    own = list_own(plan.host, before)
    for change in (*(taken.path for taken in plan.translation.taken), plan.own_path, *own):
        make_change(before, Remove(change))
        make_change(after, Remove(change))
    assert {key: value for key, value in after.items() if value} == {
        key: value for key, value in before.items() if value
    }
