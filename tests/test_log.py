"""The log: however often somebody does the same wrong, it stays short, and nothing else is left out.

Its file may be on a full disk, vanish or be moved away: nothing of a line is shown elsewhere, and it goes on.
"""

import logging
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bridge.log_file import TELL_S, LogFile
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


def read(file: Path) -> list[str]:
    """The lines, without time, level and name."""
    return [line.split("bridge.", 1)[1].split(": ", 1)[1] for line in file.read_text(encoding="utf-8").splitlines()]


@contextmanager
def full_at(size: int) -> Iterator[None]:
    """The system lets no file of this process grow over so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_line_is_one_line_whatever_is_in_it(file: Path) -> None:
    forged = "fine\n2026-01-01 00:00:00,000 ERROR bridge.app: forged\r\x85\u2028\u2029\x0b\x0c\x00 end"
    logger.error("%s: %s", "shop", forged)
    try:
        raise ValueError(forged)
    except ValueError:
        logger.exception("%s", forged, stack_info=True)
    text = file.read_bytes()
    assert text.count(b"\n") == len(text.decode().splitlines()) == 2


@pytest.mark.rule("REL29")
def test_on_a_full_disk_one_line_says_so_and_none_of_what_was_to_be_logged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "log"
    file.symlink_to("/dev/full")
    configure_logging("info", file, Redactor())
    for _ in range(50):
        logger.warning("%s: %s", "shop", "an argument that nobody may see")
    why = "No space left on device"
    assert capsys.readouterr().err == (
        f"The log cannot be written to {file}: {why}; lines are left out until it can.\n"
    )
    file.unlink()
    logger.info("there is room again")
    logger.info("and again")
    assert read(file) == ["20 lines could not be written before this", "there is room again", "and again"]
    assert capsys.readouterr().err == ""


def test_a_line_that_was_cut_by_a_full_disk_does_not_run_into_the_next(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logger.info("first")
    with full_at(file.stat().st_size + 40):
        logger.info("secret words " * 10)
        logger.info("lost")
    logger.info("last")
    whole, torn, gap, last = file.read_text(encoding="utf-8").splitlines()
    assert (whole.endswith("first"), len(torn), last.endswith("last")) == (True, 40, True)
    assert gap.endswith("2 lines could not be written before this")
    assert capsys.readouterr().err.count("\n") == 1


def test_a_disk_that_is_full_time_and_again_is_told_of_once_a_minute(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for second in range(int(2 * TELL_S)):
        with full_at(0):
            warn(f"server {second}", second)
        warn(f"other {second}", second)
    assert capsys.readouterr().err.count("\n") == 2
    assert sum("1 line could not be" in line for line in read(file)) == int(2 * TELL_S)


def test_a_log_that_is_moved_away_or_deleted_is_begun_anew(file: Path) -> None:
    logger.info("one")
    file.rename(file.with_suffix(".1"))
    logger.info("two")
    assert read(file.with_suffix(".1")) == ["one"]
    assert read(file) == ["two"]
    file.unlink()
    logger.info("three")
    assert read(file) == ["three"]


def test_a_log_whose_folder_vanishes_goes_on_when_that_is_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    configure_logging("info", folder / "log", Redactor())
    logger.info("one")
    shutil.rmtree(folder)
    logger.info("two")
    folder.mkdir()
    logger.info("three")
    assert read(folder / "log") == ["1 line could not be written before this", "three"]
    assert capsys.readouterr().err.count("No such file or directory") == 1


@pytest.mark.rule("S14")
def test_a_line_that_cannot_be_formatted_shows_its_arguments_nowhere(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logger.warning("%d lines", "a secret argument")
    logger.info("next")
    assert read(file) == ["next"]
    assert capsys.readouterr().err == ""


@pytest.mark.rule("S30")
def test_what_others_say_is_one_line_and_moves_no_cursor(file: Path) -> None:
    odd = "x\nERROR admin: all is well\r\x1b[2J\x1b]52;c;QQ==\x07\x85\u2028\u202e\u200b\U000e0041\x00"
    logger.warning("%s: %s", odd, odd)
    try:
        raise ValueError(odd)
    except ValueError:
        logger.exception("%s broke", "it")
    half = logger.makeRecord(logger.name, logging.ERROR, "", 0, "half an emoji: %s", ("\ud83d",), None)
    ours = next(handler for handler in logging.getLogger().handlers if isinstance(handler, LogFile))
    ours.handle(half)  # not to pytest's own, whose workers cannot tell each other of it
    lines = file.read_bytes().decode("utf-8").split("\n")[:-1]
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)
