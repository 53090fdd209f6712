"""What the benchmark says while it measures."""

import io
import re

import pytest
from typing_extensions import override

from tests.bench.progress import tell


class Terminal(io.StringIO):
    @override
    def isatty(self) -> bool:
        return True


def test_a_part_is_a_line_as_it_begins_and_a_line_with_its_time_as_it_ends(capsys: pytest.CaptureFixture[str]) -> None:
    with tell("one tool"):
        assert capsys.readouterr() == ("", "one tool ...\n")
    assert re.fullmatch(r"one tool: \d+\.\d s\n", capsys.readouterr().err)


def test_on_a_terminal_the_end_takes_the_place_of_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    with tell("one tool"):
        pass
    assert re.fullmatch(r"one tool \.\.\.\rone tool: \d+\.\d s\n", terminal.getvalue())


def test_a_part_that_fails_is_said_to_be_given_up(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), tell("one tool"):
        raise ZeroDivisionError
    assert capsys.readouterr().err == "one tool ...\none tool: given up\n"
