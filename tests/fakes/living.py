"""A service in a process of its own, whose config file changes while it runs, and which is told of that by signals."""

import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import httpx2
import psutil
from anyio.abc import Process

from tests.fakes.clock import PATIENCE_S
from tests.fakes.items import Json
from tests.fakes.servers import ROGUE, rogue
from tests.fakes.service import TOKEN
from tests.fakes.upstream import ScriptedUpstream

LOOK_S = 0.02
"""Between two looks at the list of processes, which takes a while."""
LONG_PATIENCE_S = 4 * PATIENCE_S
"""For what another process does, which may have to be started first."""


class Living:
    """A `serve --transport http` that runs. `lines` are those of its log, as they come."""

    def __init__(self, process: Process, file: Path) -> None:
        self.process = process
        self.file = file
        self.lines: list[str] = []
        self._news = anyio.Event()
        self._seen = 0

    async def read_log(self) -> None:
        assert self.process.stderr
        rest = b""
        async for data in self.process.stderr:
            *lines, rest = (rest + data).split(b"\n")
            self.lines += [line.decode() for line in lines]
            self._news.set()
            self._news = anyio.Event()

    async def said(self, words: str) -> str:
        """The next line with these words behind the last one that was asked for; TimeoutError after LONG_PATIENCE_S."""
        with anyio.fail_after(LONG_PATIENCE_S):
            while True:
                for number, line in enumerate(self.lines[self._seen :], self._seen + 1):
                    if words in line:
                        self._seen = number
                        return line
                await self._news.wait()

    async def listens(self) -> None:
        found = re.search(r":(\d+)/mcp", await self.said("Serving on"))
        assert found
        self.port = int(found[1])

    def write(self, config: Json) -> None:
        write_config(self.file, config)

    async def reload(self, config: Json | None = None) -> str:
        """What it says of reading its file again, which is changed in place to this before."""
        if config is not None:
            self.write(config)
        self.process.send_signal(signal.SIGHUP)
        return (await self.said("reloaded")).partition("cli.life: ")[2]

    async def health(self, token: str | None = TOKEN) -> tuple[int, Json]:
        """The status and body of `/healthz`."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with httpx2.AsyncClient(verify=False) as http:
            reply = await http.get(f"http://127.0.0.1:{self.port}/healthz", headers=headers)
        return reply.status_code, reply.json() if reply.headers["content-type"] == "application/json" else {}

    async def ends(self) -> int:
        """Its exit code."""
        with anyio.fail_after(LONG_PATIENCE_S):
            return await self.process.wait()

    def children(self) -> dict[str, int]:
        """The rogue servers that it has started, by the last of their modes, each with its process."""
        found = {}
        for child in psutil.Process(self.process.pid).children():
            with suppress(psutil.NoSuchProcess):  # also that of a zombie
                words = child.cmdline()
                if str(ROGUE) in words:
                    found[words[-1]] = child.pid
        return found

    async def has_children(self, *names: str) -> dict[str, int]:
        """The processes of its servers, once they are these."""
        with anyio.fail_after(LONG_PATIENCE_S):
            while (found := self.children()).keys() != set(names):  # noqa: ASYNC110 - no event tells of it
                await anyio.sleep(LOOK_S)
        return found


def write_config(file: Path, config: Json) -> None:
    """Write the file in place, readable by its owner only."""
    file.touch(0o600)
    file.write_text(json.dumps(config), encoding="utf-8")


def free(*modes: str, name: str, **settings: Any) -> Json:
    """An entry for a rogue server whose tools need no yes; its process is known by this name."""
    return {**rogue(*modes, name), "require_approval": "never", **settings}


@asynccontextmanager
async def living(
    folder: Path, upstream: ScriptedUpstream | None, servers: Json | None = None, **sections: Any
) -> AsyncIterator[tuple[Living, Json]]:
    """A service of this config, and the config, for others to be made of it."""
    config: Json = {
        "upstream": {"base_url": upstream.base_url, "model": "m"} if upstream else {},
        "mcpServers": servers or {},
        "builtin_tools": False,
        **sections,
        "serve": {"port": 0, "token": TOKEN, **sections.get("serve", {})},
    }
    file = folder / "config.json"
    write_config(file, config)
    async with starting(file) as service:
        yield service, config


@asynccontextmanager
async def starting(file: Path) -> AsyncIterator[Living]:
    """A service of the config in this file; it is killed where it has not ended by itself."""
    command = [
        sys.executable,
        "-m",
        "bridge",
        "serve",
        "--transport",
        "http",
        "--config",
        str(file),
        "--log-level",
        "warning",
    ]
    environ = os.environ | {"MCP_RESPONSES_BRIDGE_STATE": str(file.parent / "state")}
    async with (
        await anyio.open_process(command, stdin=None, stdout=None, env=environ) as process,
        anyio.create_task_group() as tasks,
    ):
        service = Living(process, file)
        tasks.start_soon(service.read_log)
        try:
            await service.listens()
            yield service
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGINT)  # at once, whatever goes on
                with anyio.CancelScope(shield=True), anyio.move_on_after(LONG_PATIENCE_S):
                    await process.wait()
            tasks.cancel_scope.cancel()
