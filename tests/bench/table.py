"""The figures as one table, and which of them missed their goals."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.bench.workloads import Goal

HEAD = ("workload", "floor", "direct", "ratio", "respond", "ratio", "direct + hop", "ratio", "goal", "reached")
ALL_REACHED = "every goal is reached"


class Outcome(NamedTuple):
    """One way to do a workload against its bound; None is not bounded or not measured."""

    way: str
    bound: float | None
    figure: float | None
    is_reached: bool | None


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
    hop: float | None = None

    @property
    def direct_and_hop(self) -> float | None:
        """How long `respond` would take if it added nothing to the two."""
        return None if self.direct is None or self.hop is None else self.direct + self.hop

    def cells(self) -> list[str]:
        """What stands in the columns of HEAD."""
        return [
            self.title,
            _number(self.floor),
            _number(self.direct),
            _ratio(self.direct, self.floor),
            _number(self.respond),
            _ratio(self.respond, self.floor),
            _number(self.direct_and_hop),
            _ratio(self.respond, self.direct_and_hop),
            self._describe_goal(),
            " / ".join({None: "-", True: "yes", False: "no"}[outcome.is_reached] for outcome in self._judge()),
        ]

    def list_missed(self) -> list[str]:
        """A line for each bound that is not kept to."""
        return [
            f"{self.title}, {way}: {figure:.4g}, goal {self._sign()} {bound:g}"
            for way, bound, figure, is_reached in self._judge()
            if is_reached is False
        ]

    def _judge(self) -> Iterator[Outcome]:
        """A run directly, and one through `respond`; nothing without a goal."""
        if self.goal:
            base = self.direct_and_hop if self.goal.past_hop else self.floor
            yield self._hold("directly", self.goal.direct, self.direct, self.floor)
            yield self._hold("through `respond`", self.goal.respond, self.respond, base)

    def _hold(self, way: str, bound: float | None, figure: float | None, base: float | None) -> Outcome:
        assert self.goal
        compared = figure if self.goal.in_units else _divide(figure, base)
        is_reached = None if bound is None or compared is None else self.goal.is_reached(bound, compared)
        return Outcome(way, bound, compared, is_reached)

    def _describe_goal(self) -> str:
        if self.goal is None:
            return ""
        bounds = " / ".join("-" if bound is None else f"{bound:g}" for bound in (self.goal.direct, self.goal.respond))
        unit = " as figures" if self.goal.in_units else " of direct + hop" if self.goal.past_hop else ""
        return f"{self._sign()} {bounds}{unit}"

    def _sign(self) -> str:
        return "≥" if self.goal and self.goal.at_least else "≤"


def render(rows: Iterable[Row]) -> str:
    """The rows as a Markdown table."""
    return _draw([list(HEAD), *(row.cells() for row in rows)])


def render_missed(rows: Iterable[Row]) -> str:
    """The goals that were missed, a line each, or that there is none."""
    missed = [line for row in rows for line in row.list_missed()]
    return "\n".join(["goals that were missed:", *missed] if missed else [ALL_REACHED])


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


def _ratio(figure: float | None, base: float | None) -> str:
    ratio = _divide(figure, base)
    return "-" if ratio is None else f"{ratio:.2f}"


def _divide(figure: float | None, base: float | None) -> float | None:
    return figure / base if figure is not None and base else None
