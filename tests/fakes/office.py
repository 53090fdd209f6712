"""A bridge whose runs are kept in a file, a model that calls `write` of a server that needs a yes for it, and whoever
else has that file."""

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from mcp.server.mcpserver import MCPServer

from bridge.app import Bridge
from bridge.clock import Clock
from bridge.config.load import load
from bridge.config.settings import Config
from bridge.run.run import Run
from bridge.run.store.asked import Asked
from bridge.run.store.choice import choose_engine
from tests.fakes.bridges import outputs_of
from tests.fakes.clock import VirtualClock, until
from tests.fakes.items import Json
from tests.fakes.upstream import Request, ScriptedUpstream, call, message, responds


class Office:
    """`written` is what was run, `outputs` what the model was told. The clock is a virtual one, or the real one."""

    def __init__(self, folder: Path, clock: Clock | None = None) -> None:
        self.folder = folder
        self.clock = clock
        self.file = folder / "runs.sqlite"
        self.config = folder / "config.json"
        self.texts = ["one"]
        self.argument = "text"
        self.written: list[str] = []
        self.outputs: list[Any] = []
        self.settings: Json = {"limits": {"approval_s": 3600}}

    @asynccontextmanager
    async def open(self, **sections: Any) -> AsyncIterator[Bridge]:
        """One process of the bridge. `sections` are those of the config file, beside `settings`."""
        async with ScriptedUpstream(self._answer) as upstream:
            config = self.configure(upstream.base_url, **sections)
            server = MCPServer("desk")
            server.tool()(self.write)
            build_engine = choose_engine(config, {}, default="sqlite")
            bridge = Bridge(
                config, environ={}, clock=self.clock, in_process={"desk": server}, build_engine=build_engine
            )
            async with bridge:
                yield bridge
            assert not upstream.errors

    def configure(self, upstream: str, **sections: Any) -> Config:
        """Write the config file, and read it."""
        written = {
            "upstream": {"base_url": upstream, "model": "m"},
            "mcpServers": {"desk": {"command": "in this process"}},
            "runs": {"store": f"sqlite://{self.file}"},
            "builtin_tools": False,
            **self.settings,
            **sections,
        }
        self.config.write_text(json.dumps(written), encoding="utf-8")
        self.config.chmod(0o600)
        return load(self.config, environ={})

    async def write(self, text: str) -> str:
        """Needs a yes."""
        self.written.append(text)
        return f"wrote {text}"

    def _answer(self, request: Request) -> Any:
        if any("output" in item for item in request.json["input"]):
            self.outputs = outputs_of(request)
            return responds(message("done"))
        return responds(*(call("desk__write", {self.argument: text}) for text in self.texts))

    async def pass_time(self, seconds: float) -> None:
        assert isinstance(self.clock, VirtualClock)
        await self.clock.advance(seconds)

    async def asked(self, bridge: Bridge) -> Run:
        """The run, once it asks about each of its calls, and that is written."""
        runs: list[Run] = []

        def is_asked() -> bool:
            runs[:] = [run for run in bridge.engine._runs.values() if len(run.questions) == len(self.texts)]
            return bool(runs) and len(self.read_questions(runs[0].run_id)) == len(self.texts)

        await until(is_asked)
        return runs[0]

    def read_questions(self, run_id: str) -> dict[str, Asked]:
        """The open questions of a run, as another process reads them."""
        query = "SELECT key, question FROM questions WHERE run_id = ? ORDER BY key"
        rows = {key: json.loads(text) for key, text in self.ask_file(query, run_id)}
        return {key: Asked.read(value["asked"]) for key, value in rows.items() if "asked" in value}

    def leave(self, run_id: str, message: object) -> None:
        """Write a message into the table, whatever it is."""
        text = message if isinstance(message, (str, bytes)) else json.dumps(message)
        self.ask_file("INSERT INTO messages (run_id, message) VALUES (?, ?)", run_id, text)

    async def heard(self) -> None:
        """Until the process has taken all messages."""
        while self.ask_file("SELECT number FROM messages"):
            await self.pass_time(0.5)

    def ask_file(self, statement: str, *values: Any) -> list[Any]:
        if not self.file.exists():
            return []
        with closing(sqlite3.connect(self.file, timeout=30, isolation_level=None)) as connection:
            try:
                return connection.execute(statement, values).fetchall()
            except sqlite3.OperationalError as error:  # its tables are about to be made
                if "no such table" in str(error):
                    return []
                raise
