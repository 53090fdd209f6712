"""The figures as one table."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tests.bench.workloads import Goal

HEAD = ("workload", "floor", "direct", "ratio", "respond", "ratio", "goal", "reached")


@dataclass(frozen=True)
class Row:
    """The figures of one workload, in milliseconds where its title names no other unit; None is not measured."""

    title: str
    floor: float | None
    direct: float | None
    respond: float | None
    goal: Goal | None = None
    peers: Mapping[str, float] = field(default_factory=dict[str, float])
    """The figures of other libraries, by name."""

    def cells(self) -> list[str]:
        """What stands in the columns of HEAD."""
        ratios = [_ratio(figure, self.floor) for figure in (self.direct, self.respond)]
        figures = [*map(_number, (self.floor, self.direct, self.respond))]
        return [
            self.title,
            figures[0],
            figures[1],
            ratios[0],
            figures[2],
            ratios[1],
            self._describe_goal(),
            self._judge(),
        ]

    def _describe_goal(self) -> str:
        if self.goal is None:
            return ""
        bounds = " / ".join("-" if bound is None else f"{bound:g}" for bound in (self.goal.direct, self.goal.respond))
        return f"{'≥' if self.goal.at_least else '≤'} {bounds}{' as figures' if self.goal.in_units else ''}"

    def _judge(self) -> str:
        if self.goal is None:
            return ""
        pairs = ((self.goal.direct, self.direct), (self.goal.respond, self.respond))
        return " / ".join(
            "-"
            if bound is None or figure is None
            else "yes"
            if self.goal.is_reached(bound, figure, self.floor or 1)
            else "no"
            for bound, figure in pairs
        )


def render(rows: Iterable[Row]) -> str:
    """The rows as a Markdown table."""
    return _draw([list(HEAD), *(row.cells() for row in rows)])


def render_peers(rows: Iterable[Row]) -> str:
    """A table of the other libraries' figures and their ratios to the floor; nothing where none is installed."""
    rows = [row for row in rows if row.peers]
    if not rows:
        return ""
    names = list(rows[0].peers)
    head = ["workload", *(column for name in names for column in (name, "ratio"))]
    lines = [
        [
            row.title,
            *(cell for name in names for cell in (_number(row.peers[name]), _ratio(row.peers[name], row.floor))),
        ]
        for row in rows
    ]
    return f"{_draw([head, *lines])}\n"


def _draw(lines: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(f"| {' | '.join(map(str.ljust, line, widths))} |" for line in lines)


def _number(figure: float | None) -> str:
    return (
        "-"
        if figure is None
        else f"{figure:.2f}"
        if figure < 10
        else f"{figure:.1f}"
        if figure < 100
        else f"{figure:,.0f}"
    )


def _ratio(figure: float | None, floor: float | None) -> str:
    return "-" if figure is None or not floor else f"{figure / floor:.2f}"
