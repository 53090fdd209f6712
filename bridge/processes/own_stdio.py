"""Our own stdin, stdout and stderr: made safe at the start, and claimed for the protocol by `serve`.

After that, file descriptor 1 is stderr and 0 is empty: a stray `print`, a library's banner or a child's output cannot
break the protocol, and nothing else can read its input. Standard library only.
"""

import io
import os
import sys
from typing import Any

NAMES = ("stdin", "stdout", "stderr")
_ODD = "backslashreplace"


class _Forgiving(io.FileIO):
    """A descriptor that nothing fails on: what nobody reads, or no disk has room for, is left out."""

    def write(self, data: Any) -> int:  # type: ignore[missing-override-decorator] - it is not in the standard library
        try:
            return super().write(data) or len(data)
        except OSError:
            return len(data)


def prepare_streams() -> list[str]:
    """Make stdout and stderr safe to write to, and return the names of those of the three streams that are closed.

    In place of a closed one the null device is opened: else the next file or socket would get its descriptor, and
    whatever is printed would go there. An odd character causes no traceback, nor does stderr whatever happens to it;
    whether stdout can be written to is for its writer to know.
    """
    closed = [name for name in NAMES if getattr(sys, name) is None]
    for name in closed:
        _open_null(NAMES.index(name))
    sys.stdout = sys.stdout or _open_text(1)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=_ODD, write_through=False)  # Python 3.11 would turn the latter on
    if sys.stderr is None or (sys.stderr is sys.__stderr__ and sys.platform != "win32"):
        sys.stderr = _open_text(2, sys.stderr.encoding if sys.stderr else "utf-8")
    elif isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors=_ODD)
    return closed


def _open_null(fd: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    if null != fd:
        os.dup2(null, fd)
        os.close(null)
    os.set_inheritable(fd, True)


def _open_text(fd: int, encoding: str = "utf-8") -> io.TextIOWrapper:
    binary = io.BufferedWriter(_Forgiving(fd, "wb", closefd=False))
    return io.TextIOWrapper(binary, encoding=encoding, errors=_ODD, line_buffering=True)


def drop_output() -> None:
    """Send to nowhere what is left to be written to stdout: else it would be tried again at the end, in vain."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


def claim_stdio() -> tuple[int, int]:
    """Move stdin and stdout to private descriptors; return (the one to read from, the one to write to)."""
    source, sink = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    sys.stdout.flush()
    os.dup2(2, 1)
    return source, sink
