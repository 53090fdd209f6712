"""Text that comes in pieces with rows below it: a terminal of any width shows the text as if it had come at once."""

import io
import os
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.cli.screen.columns import crop
from bridge.cli.screen.stream import ROW_COLUMNS, Stream
from tests.fakes.screen import render

ROWS = ["⠋ 12 s · turn 2 · answering", "    3 s → read"]
SIGNS = st.text("ab \n\tй中文，。🎉❤\ufe0fe\u0301", max_size=30)


class Both(io.StringIO):
    """stdout and stderr, which are one terminal, and what went to the former alone."""

    def __init__(self, columns: int, lines: int = 24) -> None:
        super().__init__()
        self.size = os.terminal_size((columns, lines))
        self.out = io.StringIO()
        self.stream = Stream(self, self, lambda: self.size)

    def rows(self) -> list[str]:
        return render(self.getvalue().replace("\r\n", "\n").replace("\n", "\r\n"), self.size.columns, self.size.lines)


def show(pieces: Sequence[str], columns: int) -> list[str]:
    """What is seen in the end, with rows drawn after each piece."""
    both = Both(columns)
    for piece in pieces:
        both.stream.add(piece)
        both.stream.draw(ROWS)
    both.stream.end_text()
    both.stream.clear()
    return both.rows()


@given(st.lists(SIGNS, max_size=12), st.integers(20, 45))
def test_it_is_wrapped_where_the_terminal_wraps_it(pieces: list[str], columns: int) -> None:
    whole = "".join(pieces)
    plain = render((whole + ("\n" if whole and not whole.endswith("\n") else "")).replace("\n", "\r\n"), columns)
    assert show(pieces, columns) == plain


@given(st.lists(SIGNS, max_size=12), st.integers(20, 45))
def test_nothing_but_the_text_is_written_to_stdout(pieces: list[str], columns: int) -> None:
    out, size = io.StringIO(), os.terminal_size((columns, 24))
    stream = Stream(out, io.StringIO(), lambda: size)
    for piece in pieces:
        stream.add(piece)
        stream.draw(ROWS)
    stream.end_text()
    assert out.getvalue().removesuffix("\n") == "".join(pieces).removesuffix("\n")


def test_a_row_that_is_full_to_its_last_column_loses_nothing() -> None:
    assert show(["a" * 20, "b" * 20, "c"], 20) == ["a" * 20, "b" * 20, "c", ""]
    assert show(["a" * 20, "\n", "b"], 20) == ["a" * 20, "b", ""]
    assert show(["中" * 10, "文"], 20) == ["中" * 10, "文", ""]
    assert show(["a" * 19, "文"], 20) == ["a" * 19, "文", ""]


def test_the_rows_are_below_the_text_while_it_comes() -> None:
    both = Both(80)
    both.stream.add("One line.\nAnd half of an")
    both.stream.draw(ROWS)
    assert both.rows() == ["One line.", "And half of an", *ROWS]
    both.stream.add("other.\n")
    both.stream.draw(ROWS[:1])
    assert both.rows() == ["One line.", "And half of another.", ROWS[0]]


def test_a_text_that_is_still_on_the_screen_is_taken_back() -> None:
    both = Both(40, 10)
    both.stream.print("turn 1: asking m\n")
    both.stream.add("word " * 30)
    both.stream.draw(ROWS)
    assert both.stream.retract()
    both.stream.draw(ROWS)
    assert both.rows() == ["turn 1: asking m", *ROWS]


@pytest.mark.parametrize("text", ["word " * 80, "line\n" * 8, "🏳️ flag"])
def test_a_text_whose_beginning_cannot_be_found_again_stays(text: str) -> None:
    both = Both(40, 10)
    both.stream.add(text)
    both.stream.draw(ROWS)
    before = both.rows()
    assert not both.stream.retract()
    assert [row for row in before if row not in ROWS] == [row for row in both.rows() if row]


@pytest.mark.parametrize("columns", [40, 60, 120])
def test_a_window_that_changes_its_width_costs_a_line_end_and_no_text(columns: int) -> None:
    """What the terminal has wrapped by then it may wrap anew, or not."""
    both = Both(80)
    both.stream.add("one two thr")
    both.stream.draw(ROWS)
    both.size = os.terminal_size((columns, 24))
    both.stream.add("ee four")
    both.stream.draw(ROWS)
    both.stream.end_text()
    assert both.rows() == ["one two thr", "ee four", ""]


@pytest.mark.parametrize(("columns", "lines"), [(80, 3), (15, 24)])
def test_a_window_that_is_too_small_has_no_rows(columns: int, lines: int) -> None:
    both = Both(80)
    both.stream.add("text")
    both.size = os.terminal_size((columns, lines))
    both.stream.draw(ROWS)
    both.stream.add(" and more\n")
    assert "text and more\n" in both.getvalue()


def test_no_row_is_wider_than_the_narrowest_window() -> None:
    both = Both(80)
    both.stream.draw(["⠋ 中文" * 30])
    [row] = both.rows()
    assert row == crop(row, ROW_COLUMNS)
    assert row.endswith("…")


def test_what_is_typed_meanwhile_moves_no_text() -> None:
    both, typed = Both(80), [0]
    stream = Stream(both, both, lambda: both.size, lambda: typed[0])
    stream.add("half a li")
    stream.draw(ROWS)
    both.write("x\n")  # the terminal's echo
    typed[0] = 2
    stream.add("ne\n")
    stream.draw(ROWS[:1])
    assert both.rows() == ["half a line", ROWS[0]]
