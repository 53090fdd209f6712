"""News for open pages: which runs have changed, as numbered events. It costs nothing while nobody looks."""

import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import anyio
from typing_extensions import override

from bridge.clock import Clock
from bridge.errors import Busy
from bridge.events import Event
from bridge.host.page.door import Visitor
from bridge.host.page.line import describe_line
from bridge.host.page.words import Words
from bridge.host.server import Runner
from bridge.json_text import Json, JsonObject, encode
from bridge.questions import Answer
from bridge.run.observers import Observer
from bridge.run.run import Run
from bridge.run.summary import Outline
from bridge.sse import Event as Frame

PACE_S = 0.5
"""Changes within this time are told together: a run is told of twice a second at most."""
SERVERS_S = 2.0
"""Seconds between looks at the servers."""
IDLE_S = 60.0
"""So long after the last look nothing is noted any more."""
BEAT_S = 15.0
"""A stream without news says so often that it is there."""
CHECK_S = 5.0
"""Seconds between checks that a stream's visitor is still signed in."""
MOST_CHANGES = 2000
"""Most runs whose last change is remembered, for pages that were away."""
MOST_STREAMS, MOST_OF_ONE = 200, 20
"""Most pages that may listen, in all and of one principal."""
RETRY_MS = 2000


@dataclass(frozen=True)
class _Change:
    number: int
    principal: str | None
    is_for_all: bool
    frame: bytes


class News(Observer):
    """Latest changes, the newest last: of each run its last change alone, as nobody needs the others."""

    def __init__(self, runner: Runner, words: Words, clock: Clock) -> None:
        self._runner = runner
        self._words = words
        self._clock = clock
        self._is_on = False
        self._looked_at = 0.0
        self._listening: dict[str | None, int] = {}
        """Number of pages that listen, by principal."""
        self._clear()

    def _clear(self) -> None:
        self._nonce = secrets.token_hex(8)
        """Tells the numbers of this process, and of this time of looking, from others."""
        self._number = self._floor = 0
        """The last number, and the last that was forgotten."""
        self._changes: dict[str, _Change] = {}
        self._changed: dict[str, Run] = {}
        """The runs that have changed since it was told."""
        self._outlines = WeakKeyDictionary[Run, Outline]()
        self._servers: list[JsonObject] | None = None
        self._servers_at = 0.0
        self._stirred, self._told = anyio.Event(), anyio.Event()

    # -- what runs tell -----------------------------------------------------------------------------------------------

    @override
    def begin(self, run: Run) -> None:
        """Note that a run begins."""
        self._note(run)

    @override
    def hear(self, run: Run, event: Event) -> None:
        """Note that a run has changed."""
        self._note(run)

    @override
    def settle(self, run: Run, question: str, answer: Answer | None, sender: str) -> None:
        """Note that a question waits no more."""
        self._note(run)

    def _note(self, run: Run) -> None:
        self._changed[run.run_id] = run
        self._stirred.set()

    # -- what pages hear ----------------------------------------------------------------------------------------------

    def look(self) -> str:
        """Return the id of the last news: what comes from now on is behind it."""
        self._looked_at = self._clock.now()
        if not self._is_on:
            self._is_on = True
            self._runner.engine.observe(self)
            self._runner.start_soon(self._tell)
        return self._name(self._number)

    async def listen(
        self, visitor: Visitor, after: str | None, look_again: Callable[[], Awaitable[Visitor | None]]
    ) -> AsyncGenerator[bytes]:
        """Yield what a visitor may see of the news behind this id, for as long as it is signed in. `look_again` tells
        who it is by now: an operator may be none any more."""
        if self._is_full(visitor):  # by those that came at the same time; it asks again, and is told so
            return
        newest = self.look()
        with self._counted(visitor.principal):
            number = self._read_id(after or newest)
            yield b"retry: %d\n\n" % RETRY_MS
            checked = self._clock.now()
            while True:
                if self._clock.now() >= checked + CHECK_S:
                    now = await look_again()
                    if now is None:
                        return
                    visitor, checked = now, self._clock.now()
                frames, told = self._list(number, visitor), self._told
                number = self._number
                if frames:
                    yield b"".join(frames)
                with self._clock.scope(self._clock.now() + min(BEAT_S, CHECK_S)):
                    await told.wait()
                if not told.is_set():
                    yield b": \n\n"

    def check_room(self, visitor: Visitor) -> None:
        """Raise Busy where too many pages listen."""
        if self._is_full(visitor):
            raise Busy("Too many pages are open; close one, or try again later", retry_after_s=10)

    def _is_full(self, visitor: Visitor) -> bool:
        own = self._listening.get(visitor.principal, 0)
        return own >= MOST_OF_ONE or sum(self._listening.values()) >= MOST_STREAMS

    @contextmanager
    def _counted(self, principal: str | None) -> Iterator[None]:
        self._listening[principal] = self._listening.get(principal, 0) + 1
        try:
            yield
        finally:
            self._looked_at = self._clock.now()
            self._listening[principal] -= 1
            if not self._listening[principal]:
                del self._listening[principal]

    def _read_id(self, text: str) -> int | None:
        """Read the number of an id; None for one that is not of this time, or of what is forgotten."""
        nonce, _, number = text.rpartition("-")
        if nonce != self._nonce or not (number.isdecimal() and len(number) < 16):
            return None
        return int(number) if self._floor <= int(number) <= self._number else None

    def _list(self, number: int | None, visitor: Visitor) -> list[bytes]:
        """List the frames behind that number; where they are not all known any more, the word to fetch all again."""
        if number is None or number < self._floor:
            return [self._frame("reset", self._number, {})]
        found = list[bytes]()
        for change in reversed(self._changes.values()):
            if change.number <= number:
                break
            if change.is_for_all or visitor.sees(change.principal):
                found.append(change.frame)
        return found[::-1]

    # -- what is told -------------------------------------------------------------------------------------------------

    async def _tell(self) -> None:
        """Tell of changes for as long as somebody looks."""
        try:
            while self._listening or self._clock.now() < self._looked_at + IDLE_S:
                with self._clock.scope(self._clock.now() + SERVERS_S):
                    await self._stirred.wait()
                self._stirred = anyio.Event()
                self._tell_changes()
                await self._clock.sleep(PACE_S)
        finally:
            self._is_on = False
            self._runner.engine.ignore(self)
            self._told.set()
            self._clear()

    def _tell_changes(self) -> None:
        changed, self._changed = self._changed, dict[str, Run]()
        for run in changed.values():
            self._put(run.run_id, "run", self._describe(run), run.principal)
        if self._clock.now() >= self._servers_at + SERVERS_S:
            self._look_at_servers()
        while len(self._changes) > MOST_CHANGES:
            self._floor = self._changes.pop(next(iter(self._changes))).number
        self._told.set()
        self._told = anyio.Event()

    def _describe(self, run: Run) -> JsonObject:
        outline = self._outlines.pop(run, None) or Outline(run)
        if run.ending is None:
            self._outlines[run] = outline
        return describe_line(outline.draw(), len(run.questions), self._words)

    def _look_at_servers(self) -> None:
        self._servers_at = self._clock.now()
        before, self._servers = self._servers, self._runner.describe_servers()
        if before is not None and before != self._servers:
            self._put("", "servers", {}, None, is_for_all=True)

    def _put(self, key: str, name: str, data: JsonObject, principal: str | None, *, is_for_all: bool = False) -> None:
        self._number += 1
        self._changes.pop(key, None)
        frame = self._frame(name, self._number, data)
        self._changes[key] = _Change(self._number, principal, is_for_all, frame)

    def _frame(self, name: str, number: int, data: Json) -> bytes:
        return Frame(name, encode(data).encode(), id=self._name(number).encode()).encode()

    def _name(self, number: int) -> str:
        return f"{self._nonce}-{number}"
