"""Hosts that restart, and processes that are killed: real ones, that talk to their host over stdio."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from tests.fakes.clock import PATIENCE_S
from tests.fakes.items import Json
from tests.fakes.upstream import HEAD, ScriptedUpstream, call, hang, message, responds

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.external,
    pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX"),
]

NOTED = responds(call("notary__note", {"text": "a"}, call_id="c1"))
DONE = responds(message("done"))


class Host:
    """A host over stdio: the requests that it sends, and what it gets for them."""

    def __init__(self, process: Process) -> None:
        assert process.stdin
        assert process.stdout
        self.process = process
        self._input = process.stdin
        self._output = BufferedByteReceiveStream(process.stdout)
        self._sent = 0
        self._answers: dict[int, Json] = {}

    async def open(self) -> None:
        client: Json = {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "host", "version": "1"},
        }
        await self._receive(await self._send("initialize", client))
        await self._write({"method": "notifications/initialized"})

    async def call(self, name: str, **arguments: Any) -> int:
        """Call a tool; the request's number."""
        return await self._send("tools/call", {"name": name, "arguments": arguments})

    async def receipt(self, number: int) -> Json:
        """The structured content of a call's result."""
        receipt: Json = (await self._receive(number))["structuredContent"]
        return receipt

    async def close_stdin(self) -> None:
        await self._input.aclose()

    async def _send(self, method: str, params: Json) -> int:
        self._sent += 1
        await self._write({"id": self._sent, "method": method, "params": params})
        return self._sent

    async def _write(self, line: Json) -> None:
        await self._input.send(json.dumps({"jsonrpc": "2.0"} | line).encode() + b"\n")

    async def _receive(self, number: int) -> Json:
        with anyio.fail_after(PATIENCE_S):
            while number not in self._answers:
                line = json.loads(await self._output.receive_until(b"\n", 1 << 24))
                if "result" in line or "error" in line:
                    self._answers[line["id"]] = line.get("result", line.get("error"))
        return self._answers.pop(number)


@dataclass
class World:
    """What outlives a bridge: its files, those of its server, and the upstream."""

    folder: Path
    upstream: ScriptedUpstream
    notary: Json = field(default_factory=dict)

    @property
    def executed(self) -> Counter[str]:
        file = self.folder / "notes"
        return Counter(file.read_text().splitlines() if file.exists() else ())

    def read(self, query: str) -> list[Any]:
        with closing(sqlite3.connect(self.folder / "runs.sqlite", timeout=PATIENCE_S)) as connection:
            return connection.execute(query).fetchall()

    @property
    def run_id(self) -> str:
        [(run_id,)] = self.read("SELECT run_id FROM runs")
        return str(run_id)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[Host]:
        """A bridge of this world; killed at the end if it still goes on."""
        notary = {"command": sys.executable, "args": ["-m", "tests.engines.notary", str(self.folder / "notes")]}
        config = {
            "mcpServers": {"notary": notary | {"require_approval": "never", "pin": False} | self.notary},
            "upstream": {"base_url": self.upstream.base_url, "model": "gpt-4.1"},
            "runs": {"store": f"sqlite:///{self.folder / 'runs.sqlite'}"},
            "limits": {"connect_timeout_s": 60},
            "builtin_tools": False,
        }
        file = self.folder / "config.json"
        file.write_text(json.dumps(config))
        file.chmod(0o600)
        command = [sys.executable, "-m", "bridge", "serve", "--config", str(file)]
        process = await anyio.open_process(command, env=os.environ, stderr=subprocess.DEVNULL)
        try:
            host = Host(process)
            await host.open()
            yield host
        finally:
            if process.returncode is None:
                process.kill()
            await process.aclose()


async def end(host: Host, how: str) -> None:
    """End a bridge as hosts do."""
    match how:
        case "stdin closed":
            await host.close_stdin()
        case name:
            host.process.send_signal(signal.Signals[name])
    with anyio.fail_after(PATIENCE_S):
        await host.process.wait()


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "SIGKILL", "stdin closed"])
@pytest.mark.parametrize("asks", ["respond_wait", "respond"])
async def test_a_run_goes_on_when_its_host_has_restarted(how: str, asks: str, tmp_path: Path) -> None:
    async with ScriptedUpstream([NOTED, hang(HEAD), DONE]) as upstream:
        world = World(tmp_path, upstream)
        async with world.serve() as host:
            await host.call("respond", input="Note it.")
            await upstream.arrivals.wait(2)
            await end(host, how)
        async with world.serve() as host:
            named: Json = {"run_id": world.run_id} if asks == "respond_wait" else {"input": "Note it."}
            receipt = await host.receipt(await host.call(asks, **named))
    assert (receipt["run_id"], receipt["status"], receipt["output_text"]) == (world.run_id, "completed", "done")
    assert world.executed == {"note a": 1}
    assert "resumed" in {notice["code"] for notice in receipt["notices"]}
