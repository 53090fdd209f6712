"""A command as a person types it, run in this process."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import anyio.to_thread
import pytest

from bridge.cli.main import main


@dataclass(frozen=True)
class Done:
    """What a command printed, and its exit code."""

    code: int
    stdout: str
    stderr: str


async def run(capfd: pytest.CaptureFixture[str], *args: str) -> Done:
    """Run it as the installed script does, in a thread: a server of the test goes on answering."""
    with _keeping_logging():
        try:
            code = await anyio.to_thread.run_sync(main, args)
        except SystemExit as usage:
            code = int(usage.code or 0)
    printed = capfd.readouterr()
    return Done(code, printed.out, printed.err)


@contextmanager
def _keeping_logging() -> Iterator[None]:
    """A command sets up logging for its process; here that is the tests' own."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        yield
    finally:
        for handler in set(root.handlers) - set(before[0]):
            handler.close()
        root.handlers[:], root.level = before
