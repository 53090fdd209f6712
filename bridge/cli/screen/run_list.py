"""A list of runs for a terminal of any width, or for a pipe."""

import time
from collections.abc import Callable, Iterator, Sequence

from bridge.cli.screen.columns import crop
from bridge.run.description import name_principal, name_status
from bridge.run.summary import Summary
from bridge.visible import show_line

SHORT_CHARS = 8
"""Characters of an id that are shown; the command takes any beginning."""
HEAD = ("id", "when", "status", "turns", "calls", "tokens", "money")
_LEFT = 3
"""The first so many columns begin at the left; the others are numbers."""
_MIN_PROMPT = 32
_GAP = "  "


def list_runs(runs: Sequence[Summary], columns: int | None, redact: Callable[[str], str]) -> Iterator[str]:
    """List the runs: a line for each, and where that would be too short for what was asked, that on a line below.

    `columns` is None where nobody looks: then every line is whole.
    """
    rows = [HEAD, *map(_describe, runs)]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    asked = [f"{name_principal(run.principal)}: {show_line(redact(run.prompt))}" for run in runs]
    room = None if columns is None else columns - sum(widths) - len(_GAP) * len(HEAD)
    for row, text in zip(rows, ["who: asked", *asked], strict=True):
        cells = [
            cell.ljust(width) if place < _LEFT else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        line = _GAP.join(cells)
        if room is None or columns is None:
            yield f"{line}{_GAP}{text}".rstrip()
        elif room >= _MIN_PROMPT:
            yield f"{line}{_GAP}{crop(text, room)}"
        else:
            yield line.rstrip()
            yield f"{_GAP}{crop(text, columns - len(_GAP))}"


def shorten(run_id: str) -> str:
    """Shorten an id to what is shown of it."""
    return run_id.removeprefix("run_")[:SHORT_CHARS]


def show_time(at: float) -> str:
    """Show a time of day, in the time zone here."""
    then, now = time.localtime(at), time.localtime()
    return time.strftime("%d %b %H:%M" if then.tm_year == now.tm_year else "%d %b %Y", then)


def show_count(count: int) -> str:
    """Show a count in at most seven columns."""
    return f"{count:,}" if count < 100_000 else f"{count / 1000:,.0f}k"


def show_money(cost: float | None) -> str:
    """Show money, in the unit of the config's `prices`."""
    return "" if cost is None else f"{cost:,.4f}" if cost < 100 else f"{cost:,.0f}"


def _describe(run: Summary) -> tuple[str, ...]:
    numbers = (show_count(run.turns), show_count(run.calls), show_count(run.tokens), show_money(run.cost))
    return shorten(run.run_id), show_time(run.created), name_status(run), *numbers
