"""What a principal uses up in a day: counted turn by turn, in a file that outlives the process and that others share.

Each turn adds a line to the file of its day as it begins, with what it may cost, and another one with what it did cost.
So a turn that a killed process has begun counts too, and what other processes do is known before the next turn.
"""

import logging
import os
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import anyio

from bridge.clock import Clock
from bridge.config.settings import Price
from bridge.errors import BridgeError, UsedUp
from bridge.items import Response, Turn
from bridge.run.budget import TurnUsage, estimate_input, read_turn_usage
from bridge.run.rights import Rights
from bridge.state import StateFolder, Unusable
from bridge.texts import estimate_tokens

logger = logging.getLogger(__name__)

DAY_S = 86_400
KIND = "days"
"""The folder of these files in the state folder."""
KEPT_DAYS = 3


class Used(NamedTuple):
    """Tokens, and their cost."""

    tokens: int = 0
    cost: float = 0.0

    def plus(self, other: "Used") -> "Used":
        return Used(self.tokens + other.tokens, self.cost + other.cost)


def _price(usage: TurnUsage, price: Price | None) -> Used:
    return Used(usage.tokens, usage.compute_cost(price) or 0.0)


class Ledger:
    """The file of one day of one principal. What cannot be written is kept in memory alone."""

    def __init__(self, folder: StateFolder, name: str, day: int) -> None:
        self.day = day
        self.most_output = 0
        """The tokens of the longest output of this day here."""
        self.has_landed = False
        """True once a turn of this process has ended, so that it is known what one takes."""
        self.in_flight: dict[str, Used] = {}
        """What the turns that this process has begun may take."""
        self._lines: dict[str, Used] = {}
        self._path = folder.path / f"{_write_day(day)} {name}"
        self._position = 0
        self._is_kept = True
        try:
            _prepare(folder, day)
        except (OSError, Unusable) as error:
            self._give_up(str(error))

    def read(self) -> Used:
        """Return what was used up, without the turns of this process that go on."""
        try:
            self._read_on()
        except FileNotFoundError:  # nobody has written yet
            pass
        except OSError as error:
            self._give_up(str(error.strerror))
        used = Used()
        for key, each in self._lines.items():
            if key not in self.in_flight:
                used = used.plus(each)
        return used

    def write(self, key: str, used: Used) -> None:
        """Note what a turn may take or has taken; its last line counts."""
        self._lines[key] = used
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        try:
            file = os.open(self._path, flags, mode=0o600)
            try:
                os.write(file, f"{key} {used.tokens} {used.cost!r}\n".encode())
            finally:
                os.close(file)
        except OSError as error:
            self._give_up(str(error.strerror))

    def _read_on(self) -> None:
        file = os.open(self._path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        with os.fdopen(file, "rb") as opened:
            opened.seek(self._position)
            data = opened.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._position += len(whole)
        for line in whole.splitlines():
            with suppress(ValueError):  # written while the disk was full
                key, tokens, cost = line.decode().split(" ")
                self._lines[key] = Used(int(tokens), float(cost))

    def _give_up(self, why: str) -> None:
        if self._is_kept:
            self._is_kept = False
            logger.warning("%s: what is used up today is known to this process only: %s", self._path.name, why)


def _prepare(folder: StateFolder, day: int) -> None:
    folder.prepare()
    for old in folder.find(""):
        if old < _write_day(day - KEPT_DAYS):
            Path(folder.path, old).unlink(missing_ok=True)


def _write_day(day: int) -> str:
    return datetime.fromtimestamp(day * DAY_S, UTC).strftime("%Y-%m-%d")


@dataclass
class DayBudget:
    """The day's budget of one principal, in this process."""

    rights: Rights
    folder: StateFolder
    clock: Clock
    _ledger: Ledger | None = None
    _landed: anyio.Event = field(default_factory=anyio.Event)

    def check(self) -> None:
        """Raise UsedUp where nothing is left of today."""
        ledger = self._open()
        if words := self._find_spent(ledger.read()):
            left_s = (ledger.day + 1) * DAY_S - self.clock.time()
            message = f"{words}; the next day begins at 00:00 UTC, in {_write_duration(left_s)}"
            raise UsedUp(message, retry_after_s=max(1, round(left_s)))

    async def count(
        self, turn: Turn, price: Price | None, create: Callable[[], Awaitable[Response]], say: Callable[[], str]
    ) -> Response:
        """Take a turn once there is enough left for it, and count it to the day on which it begins. Raises UsedUp.

        `say` tells the text so far, for a turn that is cut off: it has been paid for.
        """
        asked = estimate_input(turn)
        ledger, key = await self._begin(asked, price)
        usage: TurnUsage | None = None
        try:
            response = await create()
            usage = read_turn_usage(turn, response)
            ledger.has_landed = True
            ledger.most_output = max(ledger.most_output, usage.output)
            return response
        except BridgeError:
            usage = None if say() else TurnUsage(0)  # a refusal costs nothing
            raise
        finally:
            usage = usage or TurnUsage(asked, estimate_tokens(say()))
            del ledger.in_flight[key]
            ledger.write(key, _price(usage, price))
            self._landed.set()
            self._landed = anyio.Event()

    async def _begin(self, asked: int, price: Price | None) -> tuple[Ledger, str]:
        """Wait until there is enough left beside the turns that go on: many at once would each find the same rest."""
        while True:
            self.check()
            ledger = self._open()
            wanted = _price(TurnUsage(asked, ledger.most_output), price)
            if not ledger.in_flight or (ledger.has_landed and self._fits(ledger, wanted)):
                break
            await self._landed.wait()
        key = secrets.token_hex(8)
        ledger.in_flight[key] = wanted
        ledger.write(key, wanted)
        return ledger, key

    def _fits(self, ledger: Ledger, wanted: Used) -> bool:
        together = ledger.read().plus(wanted)
        for each in ledger.in_flight.values():
            together = together.plus(each)
        said = self.rights.said
        has_tokens = said.tokens_per_day is None or together.tokens <= said.tokens_per_day
        return has_tokens and (said.cost_per_day is None or together.cost <= said.cost_per_day)

    def _find_spent(self, used: Used) -> str:
        tokens, cost = self.rights.said.tokens_per_day, self.rights.said.cost_per_day
        if tokens is not None and used.tokens >= tokens:
            return f"Today's tokens are used up: {used.tokens:,} of {tokens:,} ({self.rights.place}.tokens_per_day)"
        if cost is not None and used.cost >= cost:
            return f"Today's budget is used up: {used.cost:.4g} of {cost:g} ({self.rights.place}.cost_per_day)"
        return ""

    def _open(self) -> Ledger:
        day = int(self.clock.time() // DAY_S)
        if self._ledger is None or self._ledger.day != day:
            self._ledger = Ledger(self.folder, self.rights.name, day)
        return self._ledger


def _write_duration(seconds: float) -> str:
    hours, minutes = divmod(max(1, -int(-seconds // 60)), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
