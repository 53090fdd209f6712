"""The signals that end a serving command, as an exit code."""

import signal

import anyio

from bridge.cli.codes import COMPLETED, INTERRUPTED


async def await_signal() -> int:
    """Wait until the process is told to end; the exit code for it."""
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    known = [getattr(signal, name) for name in names if hasattr(signal, name)]
    with anyio.open_signal_receiver(*known) as signals:
        async for number in signals:
            return INTERRUPTED if number == signal.SIGINT else COMPLETED
    raise AssertionError("signals do not run out")
