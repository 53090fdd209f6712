"""The log: however often somebody does the same wrong, it stays short, and nothing else is left out."""

import logging
from pathlib import Path

import pytest

from bridge.telemetry import ALIKE, ALIKE_S, Redactor, configure_logging

logger = logging.getLogger("bridge.test")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    configure_logging("info", tmp_path / "log", Redactor())
    return tmp_path / "log"


def warn(server: str, seconds: float, words: str = "%s: what it sent is not a message: %s") -> None:
    record = logger.makeRecord(logger.name, logging.WARNING, "", 0, words, (server, "a line"), None)
    record.created = seconds
    logger.handle(record)


def test_a_hundred_thousand_warnings_alike_are_a_few_lines_and_a_count(file: Path) -> None:
    for number in range(100_000):
        warn("loud", number / 10_000)
    warn("good", 5)
    warn("loud", 6, "%s: something else: %s")
    warn("loud", ALIKE_S)
    lines = file.read_text(encoding="utf-8").splitlines()
    assert len(lines) == ALIKE + 3
    assert sum("good" in line for line in lines) == sum("something else" in line for line in lines) == 1
    assert lines[-1].endswith("[99,980 lines like it were left out]")


def test_what_a_server_says_on_stderr_is_all_there(file: Path) -> None:
    for number in range(100):
        logger.info("%s: %s", "shop", number)
    assert len(file.read_text(encoding="utf-8").splitlines()) == 100


@pytest.mark.rule("S30")
def test_what_others_say_is_one_line_and_moves_no_cursor(file: Path) -> None:
    odd = "x\nERROR admin: all is well\r\x1b[2J\x1b]52;c;QQ==\x07\x85\u2028\u202e\u200b\U000e0041\x00"
    logger.warning("%s: %s", odd, odd)
    try:
        raise ValueError(odd)
    except ValueError:
        logger.exception("%s broke", "it")
    half = logger.makeRecord(logger.name, logging.ERROR, "", 0, "half an emoji: %s", ("\ud83d",), None)
    ours = next(handler for handler in logging.getLogger().handlers if isinstance(handler, logging.FileHandler))
    ours.handle(half)  # not to pytest's own, whose workers cannot tell each other of it
    lines = file.read_bytes().decode("utf-8").split("\n")[:-1]
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)
