"""The runs in the file: what is written of each while it goes on, and what is read of those of other processes."""

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from bridge.errors import NotResumable
from bridge.events import Kept, TurnEnded, read_event, write_event
from bridge.json_text import Json, JsonObject, encode, scrub
from bridge.run.limits import Ending, fail_with
from bridge.run.run import Run
from bridge.run.store.database import Driver, abandon, clear_locks, is_alive, is_disowned, open_database
from bridge.run.store.mail import Mail
from bridge.run.store.past import Past, Told
from bridge.run.store.seal import Missing, Seal
from bridge.run.store.writer import Writer
from bridge.run.summary import Place, Summary, Totals, read_prompt
from bridge.run.transcript import Transcript, read_transcript

CATALOGUE = "catalogue"
"""The part of a run's first outcome that is the same for many runs, and written once."""
INPUT = "input"
"""The one step whose outcome an ended run still needs: what its conversation began with."""
MOST = 2**63 - 1
"""The largest number that the file takes. Upstreams say what they like."""
TIDY_EVERY = 50
"""After so many ended runs the old ones are dropped."""
INCOMPLETE = "its record is not complete: the file could not be written any more"
SECRET_GONE = "it used a secret that is not in the configuration any more"
DAMAGED = "its record cannot be read"


@dataclass(frozen=True)
class Stored:
    """A run as it is written."""

    run: Run
    past: Past
    driver: str | None
    """The process that has driven it last."""
    flaw: str | None = None
    """Why it cannot be taken up, as the end of a sentence."""


class Store:
    """One file of runs, and this process as one of those that use it. It is opened by the first that needs it."""

    def __init__(
        self,
        file: Path,
        *,
        prepare: Callable[[], None],
        secrets: Iterable[str],
        keep_s: float,
        keep_bytes: int,
        time: Callable[[], float],
        on_broken: Callable[[str], None],
        on_lost: Callable[[str], None],
    ) -> None:
        """`prepare` makes its folder. `on_broken` is called once if the file cannot be used (any more), with the
        reason; `on_lost` for a run that another process has taken."""
        self.file = file
        self._prepare = prepare
        self._secrets = secrets
        self._keep_s = keep_s
        self._keep_bytes = keep_bytes
        self._time = time
        self._on_broken = on_broken
        self._writer = Writer(self._open, drives=self._drives, on_broken=self._note_broken, on_lost=on_lost)
        self._driver: Driver | None = None
        self._seal = Seal((), b"")
        self.mail = Mail(self._writer, me=lambda: self._me, seal=lambda: self._seal)
        self._catalogue: tuple[Json, str] = None, ""
        self._ended = 0

    @property
    def broken(self) -> str | None:
        """Why nothing is written any more; None while all is well."""
        return self._writer.broken

    def begin(self, run: Run, fingerprint: str) -> None:
        """Write that a run begins; this process drives it."""
        now = self._time()

        def write(connection: sqlite3.Connection) -> None:
            model = run.arguments.get("model")
            row = [run.run_id, run.principal, self._close(run.arguments), fingerprint, run.created, now, "in_progress"]
            row += [self._me, self._close_cut(read_prompt(run.arguments)), None if model is None else scrub(str(model))]
            connection.execute(
                "INSERT INTO runs (run_id, principal, arguments, fingerprint, created, seen, status, driver, prompt,"
                " model) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )

        self._writer.write(run.run_id, write)

    def keep(self, run_id: str, key: str, outcome: Json, used_s: float) -> None:
        """Write the outcome of a step, and how long the run has been driven by then."""
        now = self._time()

        def write(connection: sqlite3.Connection) -> None:
            text = self._close(self._part_catalogue(connection, outcome))
            connection.execute("REPLACE INTO steps VALUES (?, ?, ?)", [run_id, key, text])
            connection.execute("UPDATE runs SET used_s = ?, seen = ? WHERE run_id = ?", [used_s, now, run_id])

        self._writer.write(run_id, write)

    async def intend(self, run_id: str, key: str, *, waits: bool) -> None:
        """Write that a step is about to be sent. With `waits`, return when that is on the disk."""

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR IGNORE INTO steps VALUES (?, ?, NULL)", [run_id, key])

        if waits:
            await self._writer.flush(run_id, write)
        else:
            self._writer.write(run_id, write)

    def add(self, run_id: str, event: Kept, totals: Totals) -> None:
        """Write an event, and the sums by then."""
        sums = [*_sum_up(totals), run_id]

        def write(connection: sqlite3.Connection) -> None:
            row = [run_id, event.seq, self._close(write_event(event))]
            connection.execute("REPLACE INTO events VALUES (?, ?, ?)", row)
            if isinstance(event, TurnEnded):
                connection.execute("UPDATE runs SET turns = ?, calls = ?, tokens = ?, cost = ? WHERE run_id = ?", sums)

        self._writer.write(run_id, write, lingers=not isinstance(event, TurnEnded))

    def end(self, run: Run, totals: Totals) -> None:
        """Write how a run has ended, and drop what is needed only to take it up, and runs that are too old."""
        assert run.ending
        ending, now = run.ending, self._time()
        response_id = run.response_id and scrub(run.response_id)
        head = [now, now, encode(cast("Json", ending)), ending["status"], ending["reason"], response_id]
        sums = [*_sum_up(totals), run.is_stopped, run.run_id]

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM steps WHERE run_id = ? AND key <> ?", [run.run_id, INPUT])
            connection.execute("DELETE FROM said WHERE run_id = ?", [run.run_id])
            connection.execute(
                "UPDATE runs SET ended = ?, seen = ?, ending = ?, status = ?, reason = ?, response_id = ?, turns = ?,"
                " calls = ?, tokens = ?, cost = ?, is_delivered = max(is_delivered, ?), bytes = length(arguments)"
                " + ifnull((SELECT sum(length(event)) FROM events WHERE events.run_id = runs.run_id), 0)"
                " + ifnull((SELECT sum(length(outcome)) FROM steps WHERE steps.run_id = runs.run_id), 0)"
                " WHERE run_id = ?",
                [*head, *sums],
            )
            self._ended += 1
            if self._ended % TIDY_EVERY == 0:
                self._drop_old(connection, now)

        self._writer.write(run.run_id, write)

    def note_delivery(self, run_id: str, *, is_delivered: bool) -> None:
        """Write whether somebody has got the result of a run."""

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE runs SET is_delivered = ? WHERE run_id = ?", [is_delivered, run_id])

        self._writer.write(run_id, write, lingers=True)

    def note_time(self, run_id: str, used_s: float) -> None:
        """Write how long a run has been driven by now."""
        now = self._time()

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE runs SET used_s = ?, seen = ? WHERE run_id = ?", [used_s, now, run_id])

        self._writer.write(run_id, write)

    async def load(self, run_id: str) -> Stored | None:
        """Read a run with all that is written of it. Raises Broken."""
        return await self._writer.ask(lambda connection: self._load(connection, run_id))

    async def take(self, run_id: str) -> Stored | None:
        """Take a run up that has not ended; None where it has, or another process drives it. Raises Broken.

        Where it has a flaw, it must be ended with that.
        """
        return await self._writer.ask(lambda connection: self._take(connection, run_id))

    async def is_driven(self, run_id: str) -> bool:
        """Tell whether a process drives the run. Raises Broken."""
        return await self._writer.ask(lambda connection: self._is_driven(connection, run_id))

    async def list_left(self) -> list[str]:
        """List the runs that have not ended and that nobody drives, the oldest first. Raises Broken."""
        return await self._writer.ask(self._list_left)

    async def list_recent(
        self, *, limit: int, principal: str | None = None, before: Place | None = None
    ) -> list[Summary]:
        """List the newest runs behind that place, those of everybody where no principal is named. Raises Broken."""
        return await self._writer.ask(lambda connection: self._list_recent(connection, limit, principal, before))

    async def find_beginning(self, beginning: str, *, limit: int) -> list[Summary]:
        """Find the runs whose ids begin so. Raises Broken."""
        where = "WHERE run_id >= ? AND run_id < ? LIMIT ?"
        values = [beginning, beginning + "\U0010ffff", limit]
        return await self._writer.ask(lambda connection: self._list(connection, where, values))

    async def find_last_answer(self) -> Summary | None:
        """Find the run that was the last of the person at this terminal to end with an answer. Raises Broken."""
        where = (
            "WHERE principal IS NULL AND ended IS NOT NULL AND status IN ('completed', 'incomplete')"
            " ORDER BY ended DESC LIMIT 1"
        )
        found = await self._writer.ask(lambda connection: self._list(connection, where, []))
        return found[0] if found else None

    async def read_events(self, run_id: str, *, after: int) -> list[Kept]:
        """Read the events of a run behind this number. Raises Broken."""
        query = "SELECT event FROM events WHERE run_id = ? AND seq > ? ORDER BY seq"
        rows = await self._writer.ask(lambda connection: connection.execute(query, [run_id, after]).fetchall())
        return [cast("Kept", read_event(json.loads(self._seal.show(text)))) for (text,) in rows]

    async def find_equal(self, fingerprint: str) -> list[tuple[str, float]]:
        """Find the runs of other processes that an equal call began and whose result nobody has got, the newest first:
        their ids, and when they were last driven. Raises Broken."""
        query = (
            "SELECT run_id, seen FROM runs WHERE fingerprint = ? AND is_delivered = 0 AND driver IS NOT ?"
            " ORDER BY created DESC"
        )
        return await self._writer.ask(lambda connection: connection.execute(query, [fingerprint, self._me]).fetchall())

    async def find_response(self, response_id: str) -> list[tuple[str, str | None]]:
        """Find the runs that ended with this response, the newest first: their ids and principals. Raises Broken."""
        query = "SELECT run_id, principal FROM runs WHERE response_id = ? ORDER BY ended DESC"
        return await self._writer.ask(lambda connection: connection.execute(query, [scrub(response_id)]).fetchall())

    async def forget(self, run_ids: Iterable[str] | None = None) -> int:
        """Delete these runs, or all, but for those that a process drives; return how many. Raises Broken."""
        return await self._writer.ask(lambda connection: self._forget(connection, run_ids))

    async def close(self) -> None:
        """Write what is left, and let others take the runs up that have not ended."""
        await self._writer.close()
        if self._driver and not self.broken:
            self._driver.leave()

    def _open(self) -> sqlite3.Connection:
        self._prepare()
        connection = open_database(self.file)
        try:
            [salt] = connection.execute("SELECT value FROM salt").fetchone()
            self._seal = Seal(self._secrets, salt)
            self._driver = Driver(self.file)
            self._tidy(connection)
        except BaseException:
            abandon(connection)
            raise
        return connection

    def _tidy(self, connection: sqlite3.Connection) -> None:
        """Drop what is too old, and what nothing refers to any more."""
        connection.execute("BEGIN IMMEDIATE")
        self._drop_old(connection, self._time())
        begun = " ".join(text or "" for (text,) in connection.execute("SELECT outcome FROM steps WHERE key = 'begin'"))
        kept = [name for (name,) in connection.execute("SELECT hash FROM catalogues")]
        connection.executemany("DELETE FROM catalogues WHERE hash = ?", [[name] for name in kept if name not in begun])
        drivers = {name for (name,) in connection.execute("SELECT DISTINCT driver FROM runs WHERE ended IS NULL")}
        connection.execute("COMMIT")
        clear_locks(self.file, drivers | {self._me})

    def _drop_old(self, connection: sqlite3.Connection, now: float) -> None:
        """Drop runs that ended, or were last driven, too long ago, and the oldest where all take too much."""
        query = "SELECT run_id, driver, ended FROM runs WHERE seen <= ?"
        rows = connection.execute(query, [now - self._keep_s]).fetchall()
        # Its driver may have been asleep with the machine, or the clock has jumped.
        old = [run_id for run_id, driver, ended in rows if ended is not None or not self._is_held(driver)]
        [total] = connection.execute("SELECT ifnull(sum(bytes), 0) FROM runs").fetchone()
        if total > self._keep_bytes:
            for run_id, weight in connection.execute("SELECT run_id, bytes FROM runs WHERE ended > 0 ORDER BY ended"):
                if total <= self._keep_bytes:
                    break
                old.append(run_id)
                total -= weight
        self._delete(connection, old)

    def _delete(self, connection: sqlite3.Connection, run_ids: Iterable[str]) -> None:
        names = [[run_id] for run_id in run_ids]
        for table in ("runs", "steps", "events", "messages", "said", "questions"):
            connection.executemany(f"DELETE FROM {table} WHERE run_id = ?", names)

    def _note_broken(self, reason: str) -> None:
        if self._driver:
            self._driver.disown()
        self._on_broken(reason)

    @property
    def _me(self) -> str:
        assert self._driver
        return self._driver.name

    def _drives(self, connection: sqlite3.Connection, run_id: str) -> bool:
        row = connection.execute("SELECT driver FROM runs WHERE run_id = ?", [run_id]).fetchone()
        return row is None or row[0] == self._me

    def _close(self, value: Json) -> str:
        return self._seal.close(encode(value))

    def _close_cut(self, text: str) -> str:
        """Close a text that may have been cut within a secret."""
        return self._seal.close(f"{scrub(text)}…").removesuffix("…")

    def _part_catalogue(self, connection: sqlite3.Connection, outcome: Json) -> Json:
        """Return the outcome with a name in place of the catalogue, which is written once for all runs that have it."""
        if not isinstance(outcome, dict) or not isinstance(catalogue := outcome.get(CATALOGUE), dict):
            return outcome
        if self._catalogue[0] is not catalogue:
            text = self._close(catalogue)
            name = hashlib.sha256(text.encode()).hexdigest()
            connection.execute("INSERT OR IGNORE INTO catalogues VALUES (?, ?)", [name, text])
            self._catalogue = catalogue, name
        return outcome | {CATALOGUE: self._catalogue[1]}

    def _restore_catalogue(self, connection: sqlite3.Connection, outcome: Json) -> Json:
        if not isinstance(outcome, dict) or not isinstance(name := outcome.get(CATALOGUE), str):
            return outcome
        [text] = connection.execute("SELECT text FROM catalogues WHERE hash = ?", [name]).fetchone()
        return outcome | {CATALOGUE: json.loads(self._seal.open(text))}

    def _load(self, connection: sqlite3.Connection, run_id: str) -> Stored | None:
        query = "SELECT principal, arguments, ending, created, used_s, driver FROM runs WHERE run_id = ?"
        row = connection.execute(query, [run_id]).fetchone()
        if row is None:
            return None
        principal, arguments, ending, created, used_s, driver = row
        run = Run(run_id, principal, {}, created=created)
        try:
            put_back = self._seal.show if ending else self._seal.open
            run.ending = cast("Ending | None", json.loads(ending) if ending else None)
            run.arguments = _read_arguments(put_back(arguments))
            past = self._read_past(connection, run, float(used_s), put_back)
        except Missing:
            return Stored(run, Past(used_s=used_s), driver, SECRET_GONE)
        except (ValueError, KeyError, TypeError):  # somebody, or a fault of the disk, has changed it
            run.ending = fail_with(NotResumable(f"This run has ended, but {DAMAGED}")) if ending else None
            return Stored(run, Past(), driver, DAMAGED)
        is_unfit = driver is not None and ending is None and is_disowned(self.file, driver)
        return Stored(run, past, driver, INCOMPLETE if is_unfit else None)

    def _read_past(
        self, connection: sqlite3.Connection, run: Run, used_s: float, put_back: Callable[[str], str]
    ) -> Past:
        """Read the events and outcomes of a run; `put_back` puts the secrets into a text.

        Raises Missing; ValueError, KeyError or TypeError for what is no record of ours.
        """
        events = connection.execute("SELECT event FROM events WHERE run_id = ? ORDER BY seq", [run.run_id])
        run.events = [cast("Kept", read_event(json.loads(self._seal.show(text)))) for (text,) in events]
        past = Past(used_s=used_s, told=Told(run.events))
        for key, text in connection.execute("SELECT key, outcome FROM steps WHERE run_id = ?", [run.run_id]):
            if text is None:
                past.intents.add(key)
            else:
                past.outcomes[key] = self._restore_catalogue(connection, json.loads(put_back(text)))
        run.transcript = _rebuild_transcript(run, past)
        run.inbox = [one for one in self.mail.read_said(connection, run.run_id) if not run.knows(one["message_id"])]
        return past

    def _take(self, connection: sqlite3.Connection, run_id: str) -> Stored | None:
        row = connection.execute("SELECT driver, ended FROM runs WHERE run_id = ?", [run_id]).fetchone()
        if row is None or row[1] is not None or self._is_held(row[0]):
            return None
        stored = self._load(connection, run_id)
        change = "UPDATE runs SET driver = ? WHERE run_id = ? AND driver IS ? AND ended IS NULL"
        if not connection.execute(change, [self._me, run_id, row[0]]).rowcount:
            return None
        connection.execute("DELETE FROM questions WHERE run_id = ?", [run_id])  # each is asked anew, or not at all
        return stored

    def _is_held(self, driver: str | None) -> bool:
        return driver is not None and (driver == self._me or is_alive(self.file, driver))

    def _is_driven(self, connection: sqlite3.Connection, run_id: str) -> bool:
        row = connection.execute("SELECT driver FROM runs WHERE run_id = ? AND ended IS NULL", [run_id]).fetchone()
        return row is not None and self._is_held(row[0])

    def _list_left(self, connection: sqlite3.Connection) -> list[str]:
        rows = connection.execute("SELECT run_id, driver FROM runs WHERE ended IS NULL ORDER BY created").fetchall()
        held = {driver: self._is_held(driver) for _, driver in rows}
        return [run_id for run_id, driver in rows if not held[driver]]

    def _list_recent(
        self, connection: sqlite3.Connection, limit: int, principal: str | None, before: Place | None
    ) -> list[Summary]:
        wanted = ["principal = ?"] if principal is not None else []
        wanted += ["(created, run_id) < (?, ?)"] if before else []
        where = f"WHERE {' AND '.join(wanted)}" if wanted else ""
        values = [*filter(None, [principal]), *(before or ()), limit]
        return self._list(connection, f"{where} ORDER BY created DESC, run_id DESC LIMIT ?", values)

    def _list(self, connection: sqlite3.Connection, where: str, values: list[Any]) -> list[Summary]:
        columns = (
            "CAST(run_id AS TEXT), CAST(principal AS TEXT), CAST(created AS REAL), CAST(ended AS REAL),"
            " CAST(status AS TEXT), CAST(reason AS TEXT), driver, CAST(prompt AS TEXT), CAST(model AS TEXT),"
            " CAST(turns AS INTEGER), CAST(calls AS INTEGER), CAST(tokens AS INTEGER), CAST(cost AS REAL)"
        )  # whatever a disk or somebody has put there, the others are listed
        rows = connection.execute(f"SELECT {columns} FROM runs {where}", values).fetchall()
        held = {driver: self._is_held(driver) for driver in {row[6] for row in rows if row[3] is None}}
        return [
            Summary(*row[:6], is_driven=row[3] is None and held[row[6]], **self._read_rest(row[7:])) for row in rows
        ]

    def _read_rest(self, row: tuple[Any, ...]) -> dict[str, Any]:
        rest = dict(zip(("prompt", "model", "turns", "calls", "tokens", "cost"), row, strict=True))
        return rest | {"prompt": self._seal.show(rest["prompt"])}

    def _forget(self, connection: sqlite3.Connection, run_ids: Iterable[str] | None) -> int:
        rows = connection.execute("SELECT run_id, driver, ended FROM runs").fetchall()
        wanted = None if run_ids is None else set(run_ids)
        found = [row for row in rows if wanted is None or row[0] in wanted]
        held = {driver: self._is_held(driver) for driver in {row[1] for row in found if row[2] is None}}
        names = [run_id for run_id, driver, ended in found if ended is not None or not held[driver]]
        connection.execute("BEGIN IMMEDIATE")
        self._delete(connection, names)
        connection.execute("COMMIT")
        connection.execute("PRAGMA incremental_vacuum")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # else their texts stay in the file beside it
        return len(names)


def _sum_up(totals: Totals) -> list[float | None]:
    return [totals.turns, totals.calls, min(totals.tokens, MOST), totals.cost]


def _read_arguments(text: str) -> JsonObject:
    """Read the arguments of a run. Raises ValueError for what are none."""
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("arguments are an object")
    return value


def _rebuild_transcript(run: Run, past: Past) -> Transcript | None:
    """Rebuild the conversation of a run from what it began with and what it told."""
    opened = past.outcomes.get(INPUT)
    if not isinstance(opened, dict) or not isinstance(begun := opened.get("transcript"), dict):
        return None
    transcript = read_transcript(begun)
    for event in run.events:
        transcript.add(event)
    return transcript
