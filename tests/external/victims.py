"""Published servers that can be killed: how each is started, called, found and ended."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
import psutil
from anyio.streams.buffered import BufferedByteReceiveStream

from tests.fakes.ports import find_port
from tests.fakes.rogue import HANDSHAKE
from tests.fakes.told import Told

PEERS = Path(__file__).parent.parent.parent / ".peers"
PYTHON, OLD_PYTHON, NODE = PEERS / "bin", PEERS / "old" / "bin", PEERS / "node_modules" / ".bin"
START_S = 120
LINE_BYTES, CALL_ID = 1 << 20, 3

Json = dict[str, Any]


@dataclass
class Victim:
    """A server to be killed; `call` is one of its tools. Over HTTP it is a process of ours, else the bridge's child."""

    key: str
    program: Path
    call: Told
    args: tuple[str, ...] = ()
    wire: str = "stdio"
    port: int = 0

    @property
    def entry(self) -> Json:
        """Its entry of `mcpServers`."""
        common = {"require_approval": "never", "connect_timeout_s": START_S, "call_timeout_s": START_S}
        if self.wire == "stdio":
            return {**common, "command": str(self.program), "args": list(self.args)}
        path = "sse" if self.wire == "sse" else "mcp"
        return {**common, "type": self.wire, "url": f"http://127.0.0.1:{self.port}/{path}"}

    def find(self) -> psutil.Process:
        """Its process."""
        children = psutil.Process().children()
        words = self.args[:1] if self.wire != "stdio" else self.args
        [process] = [child for child in children if _is_running(child, [str(self.program), *words])]
        return process

    async def revive(self) -> None:
        """Start it again, where that is not the bridge's work."""
        if self.wire == "stdio":
            return
        env = os.environ | {"PORT": str(self.port)}
        process = await anyio.open_process([str(self.program), *self.args], env=env, stdout=subprocess.DEVNULL)
        assert process.stderr
        said = ""
        with anyio.fail_after(START_S):
            while not re.search(r"port \d+|listening", said, re.IGNORECASE):
                said += (await process.stderr.receive()).decode()
        self._process = process

    async def stop(self) -> None:
        """End it, if it is ours."""
        if self.wire != "stdio":
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            await self._process.aclose()

    async def rehearse(self) -> None:
        """The same start, words and end, of another process of the program and without a bridge: what the machine and
        not the bridge makes the neighbours wait for."""
        if self.wire == "stdio":
            await self._speak_alone()
        else:
            double = replace(self, port=find_port())
            await double.revive()
            await double.stop()

    async def _speak_alone(self) -> None:
        async with await anyio.open_process([str(self.program), *self.args], stderr=subprocess.DEVNULL) as process:
            assert process.stdin
            assert process.stdout
            await process.stdin.send(b"".join(json.dumps(message).encode() + b"\n" for message in self._say()))
            replies = BufferedByteReceiveStream(process.stdout)
            with anyio.fail_after(START_S):
                while json.loads(await replies.receive_until(b"\n", LINE_BYTES)).get("id") != CALL_ID:
                    pass
            process.kill()

    def _say(self) -> Iterator[Json]:
        """What is said to it, up to its first call."""
        info = {"name": "control", "version": "1"}
        client: Json = {"protocolVersion": HANDSHAKE, "capabilities": {}, "clientInfo": info}
        name, arguments = self.call
        yield {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": client}
        yield {"jsonrpc": "2.0", "method": "notifications/initialized"}
        yield {"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {}}
        call = {"name": name.removeprefix(f"{self.key}__"), "arguments": arguments}
        yield {"jsonrpc": "2.0", "id": CALL_ID, "method": "tools/call", "params": call}


def _is_running(process: psutil.Process, words: list[str]) -> bool:
    try:
        line = process.cmdline()
    except psutil.NoSuchProcess:
        return False
    return process.status() != psutil.STATUS_ZOMBIE and all(word in line for word in words)


def list_victims(folder: Path, page: str) -> list[Victim]:
    """Eight published servers, over every transport they have."""
    subprocess.run(["git", "init", "-q", folder / "git"], check=True)
    any_page = ("--ignore-robots-txt", "--allow-private-ips")
    hello = {"message": "hello"}
    thought = {"thought": "hm", "nextThoughtNeeded": False, "thoughtNumber": 1, "totalThoughts": 1}
    everything = NODE / "mcp-server-everything"
    return [
        Victim("time", PYTHON / "mcp-server-time", ("time__get_current_time", {"timezone": "Etc/UTC"})),
        Victim("git", PYTHON / "mcp-server-git", ("git__git_status", {"repo_path": str(folder / "git")})),
        Victim("fetch", PYTHON / "mcp-server-fetch", ("fetch__fetch", {"url": page}), any_page),
        Victim("sqlite", OLD_PYTHON / "mcp-server-sqlite", ("sqlite__list_tables", {}), ("--db-path", f"{folder}/db")),
        Victim("files", NODE / "mcp-server-filesystem", ("files__list_allowed_directories", {}), (str(folder),)),
        Victim("memory", NODE / "mcp-server-memory", ("memory__read_graph", {})),
        Victim("thinking", NODE / "mcp-server-sequential-thinking", ("thinking__sequentialthinking", thought)),
        Victim("everything", everything, ("everything__echo", hello), ("stdio",)),
        Victim("everything_sse", everything, ("everything_sse__echo", hello), ("sse",), "sse", find_port()),
        Victim(
            "everything_http", everything, ("everything_http__echo", hello), ("streamableHttp",), "http", find_port()
        ),
    ]
