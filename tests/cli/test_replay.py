"""`ask --record` and `ask --replay` as a person types them."""

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.commands import Done, run
from tests.fakes.servers import rogue
from tests.fakes.upstream import Reply, Request, ScriptedUpstream, call, http_error, message, responds

pytestmark = pytest.mark.anyio

KEY, SECRET = "sk-canary-0123456789", "canary-of-the-shop"
CALLS = [call("shop__echo", {"text": f"{SECRET} {place}"}, call_id=f"call_{place}") for place in (1, 2)]


async def record(folder: Path, capfd: pytest.CaptureFixture[str], *options: str) -> tuple[Done, list[str]]:
    """A run with a server in a process of its own, after a failure that passes; and the bodies that were sent."""
    config = folder / "config.json"
    script = [http_error(503, "busy"), responds(*CALLS), responds(message(f"done, {SECRET}"))]
    async with ScriptedUpstream(script) as upstream:
        unit: dict[str, Any] = {"base_url": upstream.base_url, "api_key": KEY, "model": "m"}
        shop = {**rogue("good", env={"KEY": SECRET}), "require_approval": "never"}
        config.write_text(json.dumps({"upstream": unit, "mcpServers": {"shop": shop}}), encoding="utf-8")
        config.chmod(0o600)
        done = await run(capfd, "ask", "do it", "--config", str(config), *options)
    config.unlink()
    return done, [request.body.decode() for request in upstream.requests]


async def test_a_run_is_recorded_without_secrets_and_replayed_without_anything_else(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.jsonl"
    done, bodies = await record(tmp_path, capfd, "--json", "--record", str(file))
    text = file.read_text(encoding="utf-8")
    assert "canary" not in text
    sent = [line["body"] for line in map(json.loads, text.splitlines()) if line["kind"] == "request"]
    assert sent == [body.replace(SECRET, "***") for body in bodies]

    again = await run(capfd, "ask", "--replay", str(file), "--json")
    assert again.code == done.code == 0
    assert again.stdout == done.stdout.replace(SECRET, "***")
    assert "! asking again in" in again.stderr
    assert find_ends(again) == find_ends(done)
    [answer] = (await run(capfd, "ask", "--replay", str(file))).stdout.splitlines()
    assert answer == "done, ***"


def find_ends(done: Done) -> list[str]:
    """The lines about the two calls that have ended: each says how long it took."""
    ends = [line.replace(SECRET, "***") for line in done.stderr.splitlines() if "✓ shop__echo" in line]
    assert len(ends) == 2
    return ends


async def test_a_changed_recording_is_one_line_that_shows_where_and_exits_1(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.jsonl"
    await run(capfd, "ask", "Compute 2 + 3", "--offline", "--record", str(file))
    file.write_text(file.read_text(encoding="utf-8").replace("2 + 3", "2 + 4", 2), encoding="utf-8")
    done = await run(capfd, "ask", "--replay", str(file))
    assert (done.code, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith("mcp-responses-bridge: request 1 differs from the recorded one at")
    assert "Traceback" not in done.stderr


@pytest.mark.rule("S33")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["hello", "--offline", "--record", "{file}"], "it is there already, and nothing is overwritten"),
        (["hello", "--offline", "--record", "{file}/no"], "cannot be written: "),
        (["--replay", "{file}"], "it is not a recording of `ask`"),
        (["--replay", "{file}.none"], "cannot be read: No such file or directory"),
        (["hello", "--replay", "{file}"], "PROMPT: the recording has its own"),
        (["--offline"], "PROMPT: it is missing"),
        (["hello", "--dry-run", "--record", "{file}"], "not allowed with argument"),
    ],
)
async def test_what_cannot_be_recorded_or_replayed_is_one_sentence_and_exit_2(
    options: list[str], words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("hello", encoding="utf-8")
    done = await run(capfd, "ask", *(option.format(file=file) for option in options))
    assert (done.code, done.stdout) == (2, "")
    assert words in done.stderr.splitlines()[-1]
    assert file.read_text(encoding="utf-8") == "hello"


async def test_what_never_began_leaves_no_recording(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.json"
    unit = {"base_url": "http://127.0.0.1:9", "model": "m", "state": "stateless"}
    config.write_text(json.dumps({"upstream": unit}), encoding="utf-8")
    file = tmp_path / "run.jsonl"
    done = await run(capfd, "ask", "hello", "--previous", "r", "--config", str(config), "--record", str(file))
    assert (done.code, file.exists()) == (2, False)


@pytest.mark.rule("S29", "REL29")
async def test_a_disk_that_is_full_costs_the_recording_and_not_the_answer(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, write, lines = tmp_path / "run.jsonl", os.write, list[bytes]()

    def write_little(descriptor: int, data: bytes) -> int:
        lines.append(bytes(data))
        if len(lines) > 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write_little)
        done = await run(capfd, "ask", "Compute 2 + 3", "--offline", "--record", str(file))
    assert (done.code, done.stderr.splitlines()[-1]) == (
        0,
        f"! The recording {file} is incomplete: No space left on device",
    )
    assert "5" in done.stdout
    assert "Traceback" not in done.stderr
    assert file.read_bytes() == b"".join(lines[:4])
    again = await run(capfd, "ask", "--replay", str(file))
    assert "it breaks off at line 4, before its run had ended" in again.stderr


@pytest.mark.parametrize("fate", ["deleted", "read-only"])
async def test_a_folder_that_is_lost_during_the_run_costs_at_most_the_recording(
    fate: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    file = folder / "run.jsonl"

    def lose(_: Request) -> Reply:
        shutil.rmtree(folder) if fate == "deleted" else folder.chmod(0o500)
        return responds(message("fine"))

    async with ScriptedUpstream(lose) as upstream:
        config = tmp_path / "config.json"
        config.write_text(json.dumps({"upstream": {"base_url": upstream.base_url, "model": "m"}}), encoding="utf-8")
        done = await run(capfd, "ask", "hello", "--config", str(config), "--record", str(file))
    assert (done.code, done.stdout) == (0, "fine\n")
    if fate == "deleted":
        assert done.stderr.splitlines()[-1] == f"! The recording {file} is incomplete: it was deleted meanwhile"
    else:
        assert "incomplete" not in done.stderr
        folder.chmod(0o700)
        assert file.read_bytes().splitlines()[-1].endswith(b'"kind":"end"}')
