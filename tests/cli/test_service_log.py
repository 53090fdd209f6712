"""What the program itself logs and keeps as it serves: by default, as JSON, over stdio, and where it must not start."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TextIO

import anyio
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from tests.fakes.audited import read_audit
from tests.fakes.bridges import respond
from tests.fakes.service import TOKEN, connect

pytestmark = [pytest.mark.anyio, pytest.mark.external]

SERVE = [sys.executable, "-m", "bridge", "serve"]
ASKED = "What is 2 + 3?"


def write(folder: Path, **sections: Any) -> str:
    file = folder / "config.json"
    file.write_text(json.dumps(sections), encoding="utf-8")
    file.chmod(0o600)
    return str(file)


def serve(*options: str) -> subprocess.CompletedProcess[str]:
    """The program, where it ends by itself."""
    return subprocess.run(
        [*SERVE, "--offline", *options], input="", capture_output=True, text=True, timeout=60, check=False
    )


def open_text(file: Path) -> TextIO:
    return file.open("w", encoding="utf-8")


class Said:
    """What a service says on stderr."""

    def __init__(self) -> None:
        self.lines: list[str] = []


@asynccontextmanager
async def service(*options: str) -> AsyncIterator[tuple[int, Said]]:
    """A service with these options: its port, and what it has said when this is left."""
    command = [*SERVE, "--transport", "http", "--port", "0", "--offline", *options]
    environ = os.environ | {"MCP_RESPONSES_BRIDGE_TOKEN": TOKEN}
    process = await asyncio.create_subprocess_exec(*command, env=environ, stderr=asyncio.subprocess.PIPE)
    assert process.stderr
    first, said = (await process.stderr.readline()).decode(), Said()
    try:
        found = re.search(r":(\d+)/mcp", first)
        assert found, first
        yield int(found[1]), said
    finally:
        process.terminate()
        said.lines = [first.rstrip("\n"), *(await process.stderr.read()).decode().splitlines()]
        assert await process.wait() == 0


async def use(*options: str) -> tuple[str, Sequence[str]]:
    """One run of a service: its id, and what the service said."""
    async with service(*options) as (port, said), connect(port, "/mcp", "auto") as client:
        run_id = (await respond(client, ASKED))["run_id"]
    return run_id, said.lines


async def test_without_a_level_the_service_tells_of_requests_and_runs_and_of_nothing_else() -> None:
    run_id, [first, *lines] = await use()
    assert first.startswith("Serving on http://127.0.0.1:")
    told = [line.split(" ", 3)[2:] for line in lines]
    loggers = {logger for (_, rest) in told for logger in [rest.split(":")[0]]}
    assert loggers == {"bridge.host.request_log", "bridge.run.run_log"}
    assert [f"{run_id} begins" in line for line in lines].count(True) == 1
    assert [f"{run_id} is completed: 2 turns, 1 calls" in line for line in lines].count(True) == 1
    assert any(line.endswith(f" ms, {run_id}") for line in lines)


async def test_as_json_every_line_is_json_also_the_first() -> None:
    """stacklok/toolhive#4295: the one line that was not broke the collectors of all others."""
    run_id, lines = await use("--log-format", "json")
    values = [json.loads(line) for line in lines]
    assert all([*value][:4] == ["ts", "level", "logger", "message"] for value in values)
    assert values[0]["url"].endswith("/mcp")
    assert {value["run"] for value in values if value.get("run")} == {run_id}


async def test_over_stdio_it_is_quiet_and_keeps_an_audit_where_one_is_configured(tmp_path: Path) -> None:
    file, log = tmp_path / "audit.jsonl", tmp_path / "stderr"
    config = write(tmp_path, serve={"audit": str(file)}, runs={"store": "memory"})
    command = StdioServerParameters(
        command=sys.executable, args=["-m", "bridge", "serve", "--offline", "--config", config], env=dict(os.environ)
    )
    with open_text(log) as errors:
        async with Client(stdio_client(command, errors)) as client:
            receipt = await respond(client, ASKED)
    [line] = read_audit(file)
    assert (line["run"], line["principal"], line["tool"]) == (receipt["run_id"], "host", "math_calculator")
    assert (line["by"], line["rule"], line["outcome"]) == ("config", "builtin_tools", "ok")
    assert await anyio.Path(log).read_text(encoding="utf-8") == ""


FAULTS = {
    "no folder": ("gone/audit.jsonl", "No such file or directory"),
    "a folder": (".", "Is a directory"),
    "a link": ("link", "it is a link"),
    "no file": ("pipe", "it is no file"),
}


@pytest.mark.rule("S29", "S33")
@pytest.mark.parametrize(("name", "why"), FAULTS.values(), ids=FAULTS)
def test_it_refuses_to_start_where_the_audit_cannot_be_written(tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "pipe")
    path = tmp_path / name
    done = serve("--config", write(tmp_path, serve={"audit": str(path)}))
    words = f"mcp-responses-bridge: serve.audit: {path} cannot be written: {why}; name another file, or none\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", words)


def test_a_path_that_depends_on_where_it_is_started_is_refused(tmp_path: Path) -> None:
    done = serve("--config", write(tmp_path, serve={"audit": "audit.jsonl"}))
    assert done.returncode == 2
    assert done.stderr.endswith("serve.audit: 'audit.jsonl' is not an absolute path\n")
