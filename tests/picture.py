"""Draws what a terminal shows of `make run`, for the README: `python -m tests.picture > docs/demo.svg`."""

import sys
from collections.abc import Sequence
from html import escape

from tests.fakes.screen import COLUMNS, answer_on_terminal, render

COMMAND = "make run"
WIDTH, HEIGHT, MARGIN = 8.4, 19, 16
"""Of a character, of a row, and around them all, in pixels."""
COLOURS = {"$": "#e6edf3", "✓": "#3fb950", "✗": "#f85149", "→": "#8b949e", "turn": "#58a6ff"}
"""Of a row, by its first word."""


def run_demo() -> list[str]:
    """The rows that the demo leaves on a terminal, as far as the answer goes: what follows is for pasting."""
    language = ["LANG=en_US.UTF-8", "LC_ALL=", "LC_MESSAGES="]
    seen, code = answer_on_terminal(["/usr/bin/env", *language, sys.executable, "-m", "bridge", "demo"], {})
    if code:
        raise RuntimeError(seen)
    rows = render(seen)
    end = next((number for number, row in enumerate(rows) if row.startswith("To give your host")), len(rows))
    return [f"$ {COMMAND}", *trim(rows[:end])]


def trim(rows: Sequence[str]) -> Sequence[str]:
    """Without blank rows at the end."""
    return trim(rows[:-1]) if rows and not rows[-1] else rows


def draw(rows: Sequence[str]) -> str:
    """The rows as an SVG."""
    width, height = COLUMNS * WIDTH + 2 * MARGIN, len(rows) * HEIGHT + 2 * MARGIN
    lines = [
        f'<text x="{MARGIN}" y="{MARGIN + HEIGHT * number + 14}" fill="{choose_colour(row)}">{escape(row)}</text>'
        for number, row in enumerate(rows)
        if row
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height}" width="{width:g}" role="img">',
            f"<title>What a terminal shows of {COMMAND}</title>",
            '<rect width="100%" height="100%" rx="8" fill="#0d1117"/>',
            '<g font-family="ui-monospace, Menlo, Consolas, monospace" font-size="14" xml:space="preserve">',
            *lines,
            "</g>",
            "</svg>\n",
        ]
    )


def choose_colour(row: str) -> str:
    """The colour of a row."""
    [first, *_] = row.split()
    return COLOURS.get(first, "#c9d1d9")


if __name__ == "__main__":
    sys.stdout.write(draw(run_demo()))
