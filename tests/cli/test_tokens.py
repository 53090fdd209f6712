"""`tokens`, and what `check` says of those who use the service, as a person types it."""

import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bridge.processes.children import DEPTH
from tests.fakes.commands import Done, run

pytestmark = pytest.mark.anyio

Tokens = Callable[..., Any]
PEOPLE: dict[str, Any] = {"ann": {}, "bob": {}, "default": {"max_runs": 2}}


@pytest.fixture
def tokens(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Tokens:
    """The command, with a config of these people."""
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"serve": {"principals": PEOPLE}}), encoding="utf-8")

    async def call(*words: str, command: str = "tokens") -> Done:
        return await run(capfd, command, *words, "--config", str(file))

    return call


def kept_files() -> list[Path]:
    return sorted(Path(os.environ["XDG_STATE_HOME"]).rglob("tokens/*"))


async def test_a_token_is_printed_once_and_its_hash_is_kept(tokens: Tokens) -> None:
    done = await tokens("add", "ann")
    token = done.stdout.strip()
    assert (done.code, done.stderr) == (0, "The token of ann, shown this once; a service that runs takes it at once:\n")
    assert re.fullmatch(r"mrb_[\w-]{43}", token), "256 bits"
    [file] = kept_files()
    assert json.loads(file.read_text("utf-8"))["sha256"] == hashlib.sha256(token.encode()).hexdigest()
    assert token not in file.read_text("utf-8")
    assert file.stat().st_mode & 0o777 == 0o600
    assert token not in (listed := await tokens("list")).stdout + listed.stderr


async def test_they_are_listed_and_removed_by_name_or_one_by_one(tokens: Tokens) -> None:
    for name in ("bob", "ann", "ann"):
        await tokens("add", name)
    listed = (await tokens("list")).stdout.splitlines()
    assert [line.split()[0] for line in listed] == ["ann", "ann", "bob"]
    first, second, _ = (line.split()[1] for line in listed)
    assert [each["id"] for each in json.loads((await tokens("list", "--json")).stdout)][:2] == [first, second]
    removed = await tokens("remove", "ann", first)
    assert removed.stderr == f"Removed: {first} of ann. A service that runs refuses them at once.\n"
    assert (await tokens("list")).stdout.split()[1] == second
    await tokens("remove", "ann")
    assert [line.split()[0] for line in (await tokens("list")).stdout.splitlines()] == ["bob"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["add"], "tokens add: NAME is missing; whose token is it?"),
        (["add", "anne"], "tokens add: 'anne' is not in serve.principals of the config; did you mean ann?"),
        (["add", "zoe"], "tokens add: 'zoe' is not in serve.principals of the config; add \"zoe\": {} there first"),
        (["add", "default"], "tokens add: default is whoever sends serve.token; set that instead"),
        (["add", "ann", "x"], "tokens add: takes one name, not 'x' too"),
        (["add", "ann", "--json"], "tokens: --json belongs to list"),
        (["list", "ann"], "tokens list: takes no name, not 'ann'"),
        (["remove", "ann"], "tokens remove: there is no such token; 'ann' has none that was made here"),
    ],
)
async def test_a_wrong_word_is_one_sentence(tokens: Tokens, words: list[str], told: str) -> None:
    done = await tokens(*words)
    assert (done.code, done.stdout, done.stderr) == (2, "", f"mcp-responses-bridge: {told}\n")
    assert kept_files() == []


async def test_no_tool_of_the_bridge_makes_itself_a_token(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DEPTH, "1")
    done = await tokens("add", "ann")
    assert done.code == 2
    assert "refused in a process that a bridge has started" in done.stderr


async def test_check_says_how_many_there_are_and_what_is_odd(tokens: Tokens) -> None:
    await tokens("add", "ann")
    lines = (await tokens(command="check")).stdout.splitlines()
    at = lines.index("✓ principals: 3: ann, bob, default")
    assert lines[at + 1 : at + 3] == ["! principals: no token: bob, default", "  → tokens add bob"]
    [file] = kept_files()
    file.rename(file.with_name(file.name.replace("ann", "carol")))
    said = (await tokens(command="check")).stdout
    assert "! principals: tokens that open nothing, of names that serve.principals does not have: carol" in said
    file.with_name(file.name.replace("ann", "carol")).chmod(0o644)
    said = (await tokens(command="check")).stdout
    assert re.search(
        r"✗ principals: .*carol~\w{8}: it can be read by others; remove that file, and give a new token", said
    )
