"""Lists of tools for a terminal of any width: what matters most comes first, and no word is broken that fits."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.text import Text

from bridge.cli.screen.columns import count_columns, wrap

NAME, BESIDE, TOKENS = "the model sees", "approval", "tokens"
_GAP = "  "


@dataclass(frozen=True)
class ShownTool:
    """A tool as its lines say it, every text safe to look at."""

    name: str
    beside: str
    """Its approval, or its server."""
    tokens: str
    notes: Sequence[str] = field(default_factory=tuple)


def list_tools(tools: Sequence[ShownTool], columns: int, *, beside: str = BESIDE) -> Iterator[str]:
    """List the tools, a line for each and its notes below. A name that is too long for its column has its own line."""
    if not tools:
        return
    rows = [ShownTool(NAME, beside, TOKENS), *tools]
    beside_columns = max(count_columns(row.beside) for row in rows)
    tokens_columns = max(count_columns(row.tokens) for row in rows)
    room = columns - 3 * len(_GAP) - beside_columns - tokens_columns
    name_columns = min(max(count_columns(row.name) for row in rows), max(room, len(NAME)))
    for row in rows:
        more = f"{_GAP}{_pad(row.beside, beside_columns)}{_GAP}{row.tokens:>{tokens_columns}}".rstrip()
        if count_columns(row.name) <= name_columns:
            yield f"{_GAP}{_pad(row.name, name_columns)}{more}"
        else:
            yield f"{_GAP}{row.name}"
            yield f"{_GAP}{' ' * name_columns}{more}"
        for note in row.notes:
            yield from wrap(note, columns, indent=_GAP * 3, first=f"{_GAP * 2}- ")


def _pad(text: str, columns: int) -> str:
    return text + " " * (columns - count_columns(text))


def print_lines(console: Console, lines: Iterable[str], *, style: str = "") -> None:
    """Print lines as they are; a terminal that is narrower than one of them breaks it, and copies it whole."""
    for line in lines:
        console.print(Text(line, style=style), soft_wrap=True)
