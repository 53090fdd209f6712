"""Progress lines in colour, where the terminal has any."""

from rich.console import Console
from rich.text import Text

STYLES = {"✓": "green", "✗": "red", "!": "yellow", "turn": "bold"}
"""By the first word of a line."""


def print_styled(console: Console, line: str) -> None:
    """Print a line in the colour of its first word; a text of many lines has none."""
    first = line.split(maxsplit=1)[:1] if "\n" not in line else []
    console.print(Text(line, style=STYLES.get(first[0], "") if first else ""))
