"""What other processes say to a run that goes on, and what it asks them: all of it waits in the file."""

import json
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from bridge.json_text import Json, JsonObject, decode, encode
from bridge.run.run import Interjection
from bridge.run.store.asked import Asked, Settled
from bridge.run.store.seal import Seal
from bridge.run.store.writer import Writer

SAY = "say"
"""The type of a letter with what is said to the run."""


@dataclass(frozen=True)
class Letter:
    """Something that another process says to a run."""

    run_id: str
    body: JsonObject


class Mail:
    """The letters, interjections and questions of all runs of a file."""

    def __init__(self, writer: Writer, *, me: Callable[[], str], seal: Callable[[], Seal]) -> None:
        """`me` and `seal`: the driver that this process is, and what keeps secrets out; known once the file is open."""
        self._writer = writer
        self._me = me
        self._seal = seal

    async def send(self, run_id: str, body: JsonObject) -> int:
        """Leave a letter for the process that drives a run, and return its number. Raises Broken."""
        statement = "INSERT INTO messages (run_id, message) VALUES (?, ?)"
        row = [run_id, self._write(body)]
        return await self._writer.ask(lambda connection: connection.execute(statement, row).lastrowid or 0)

    async def has_message(self, number: int) -> bool:
        """Tell whether a letter is still there, as nobody has received it. Raises Broken."""
        query = "SELECT count(*) FROM messages WHERE number = ?"
        return await self._writer.ask(lambda connection: connection.execute(query, [number]).fetchone() == (1,))

    async def withdraw(self, number: int) -> None:
        """Take a letter back. Raises Broken."""
        statement = "DELETE FROM messages WHERE number = ?"
        await self._writer.ask(lambda connection: connection.execute(statement, [number]).rowcount)

    async def receive(self) -> list[Letter]:
        """Take the letters for the runs of this process. Raises Broken."""
        return await self._writer.ask(self._take)

    def say(self, run_id: str, said: Interjection) -> None:
        """Write what is said to a run that this process drives, until that stands before a turn."""
        self._writer.write(run_id, partial(self._say, run_id, said))

    async def say_elsewhere(self, run_id: str, said: Interjection) -> None:
        """Write what is said to a run that another process drives, which looks for it. Raises Broken."""
        await self._writer.ask(lambda connection: self._say(run_id, said, connection))

    def hear(self, run_id: str, message_ids: Iterable[str]) -> None:
        """Write that this stands before a turn: nobody has to be told it any more."""
        rows = [[run_id, message_id] for message_id in message_ids]

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany("DELETE FROM said WHERE run_id = ? AND message_id = ?", rows)

        self._writer.write(run_id, write)

    def note_asked(self, run_id: str, key: str, asked: Asked) -> None:
        """Write that a question is open."""
        self._note_question(run_id, key, {"asked": asked.to_json()})

    def note_settled(self, run_id: str, key: str, settled: Settled) -> None:
        """Write what has become of a question."""
        self._note_question(run_id, key, {"settled": {**vars(settled)}})

    def _note_question(self, run_id: str, key: str, value: JsonObject) -> None:
        row = [run_id, key]

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("REPLACE INTO questions VALUES (?, ?, ?)", [*row, self._write(value)])

        self._writer.write(run_id, write)

    async def list_questions(self, run_id: str) -> dict[str, Asked | Settled]:
        """List the questions of a run, in their order, and what has become of those that are not open.
        Raises Broken, and Missing where a question has a secret that is not in the configuration."""
        query = "SELECT key, question FROM questions WHERE run_id = ? ORDER BY length(key), key"
        rows = await self._writer.ask(lambda connection: connection.execute(query, [run_id]).fetchall())
        return {key: _read_question(json.loads(self._seal().open(text))) for key, text in rows}

    def read_said(self, connection: sqlite3.Connection, run_id: str) -> list[Interjection]:
        """Read what is said to a run and does not stand before a turn yet: for the writer's thread."""
        rows = connection.execute("SELECT message_id, items FROM said WHERE run_id = ?", [run_id]).fetchall()
        return [{"message_id": name, "items": json.loads(self._seal().show(text))} for name, text in rows]

    def _take(self, connection: sqlite3.Connection) -> list[Letter]:
        query = "SELECT number, run_id, message FROM messages JOIN runs USING (run_id) WHERE driver = ? ORDER BY number"
        rows = connection.execute(query, [self._me()]).fetchall()
        connection.executemany("DELETE FROM messages WHERE number = ?", [[number] for number, _, _ in rows])
        bodies = [(run_id, _read_body(self._seal().show(text))) for _, run_id, text in rows if isinstance(text, str)]
        letters = [Letter(run_id, body) for run_id, body in bodies if body is not None]
        query = "SELECT DISTINCT run_id FROM said JOIN runs USING (run_id) WHERE driver = ?"
        for (run_id,) in connection.execute(query, [self._me()]).fetchall():
            said = self.read_said(connection, run_id)
            letters += [Letter(run_id, {"type": SAY, "said": cast("JsonObject", one)}) for one in said]
        return letters

    def _say(self, run_id: str, said: Interjection, connection: sqlite3.Connection) -> None:
        row = [run_id, said["message_id"], self._write(list[Json](said["items"]))]
        connection.execute("INSERT OR IGNORE INTO said VALUES (?, ?, ?)", row)

    def _write(self, value: Json) -> str:
        return self._seal().close(encode(value))


def _read_body(text: str) -> JsonObject | None:
    """Read a letter; None for what is none, whoever has written it."""
    try:
        body = decode(text)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _read_question(value: JsonObject) -> Asked | Settled:
    if isinstance(settled := value.get("settled"), dict):
        return Settled(**cast("dict[str, Any]", settled))
    return Asked.read(cast("JsonObject", value["asked"]))
