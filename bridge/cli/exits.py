"""Exit codes of the commands, and the signals that end them."""

import signal
import threading
from collections.abc import Callable

COMPLETED, FAILED, USAGE, INCOMPLETE, INTERRUPTED = 0, 1, 2, 3, 130


async def watch_signals(on_end: Callable[[int], None]) -> None:
    """Call `on_end` with the exit code at the first signal to end, and ignore later ones, until cancelled.

    Their default action would end the process before its children.
    """
    import anyio  # not before `serve` has started the servers

    names = ("SIGINT", "SIGTERM", "SIGHUP")
    known = [getattr(signal, name) for name in names if hasattr(signal, name)]
    has_ended = False
    with anyio.open_signal_receiver(*known) as signals:
        async for number in signals:
            if not has_ended:
                has_ended = True
                on_end(INTERRUPTED if number == signal.SIGINT else COMPLETED)


def note_hangup() -> Callable[[], bool]:
    """Have SIGHUP noted while a service starts, instead of ending it; return what tells whether one has come."""
    came = False

    def note(_number: int, _frame: object) -> None:
        nonlocal came
        came = True

    is_main = threading.current_thread() is threading.main_thread()  # elsewhere signals cannot be handled
    if is_main and hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, note)
    return lambda: came
