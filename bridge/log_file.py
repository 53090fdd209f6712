"""The file of the log: it may be on a full disk, be moved away or vanish, and the program goes on all the same."""

import logging
import os
import sys
from contextlib import suppress
from pathlib import Path

from typing_extensions import override

TELL_S = 60.0
"""How often it is said at most that the log cannot be written."""


class LogFile(logging.Handler):
    """Appends each record to a file as one whole line.

    What cannot be written is left out: stderr is told of the first line, and the file of their number when there is
    room again. A file that was moved away, as by logrotate, or deleted is begun anew at its path.
    """

    def __init__(self, path: Path) -> None:
        """Raises OSError if the file cannot be opened."""
        super().__init__()
        self._path = path.absolute()
        self._file = self._open()
        self._lost = 0
        self._is_torn = False
        """True if the file ends in a part of a line."""
        self._told = -TELL_S

    @override
    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._follow()
            if self._lost:
                self._write(self.format(self._explain_gap(record)))
                self._lost = 0
            self._write(self.format(record))
        except OSError as error:
            self._lost += 1
            self._complain(error, record.created)
        except Exception:  # noqa: BLE001 - boundary: a line that cannot be formatted ends nothing
            self.handleError(record)

    @override
    def close(self) -> None:
        with suppress(OSError):
            os.close(self._file)
        self._file = -1
        super().close()

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)

    def _follow(self) -> None:
        """Open the file that is now at the path, if that is another one."""
        with suppress(FileNotFoundError):
            there = self._path.stat()
            if os.path.samestat(there, os.fstat(self._file)):
                return
        new = self._open()
        os.close(self._file)
        self._file, self._is_torn = new, False

    def _write(self, line: str) -> None:
        data = (b"\n" if self._is_torn else b"") + line.encode("utf-8", "backslashreplace") + b"\n"
        left = memoryview(data)
        while left:
            written = os.write(self._file, left)
            self._is_torn = written < len(left)
            left = left[written:]

    def _explain_gap(self, record: logging.LogRecord) -> logging.LogRecord:
        count = f"{self._lost:,} line{'' if self._lost == 1 else 's'}"
        words = {"name": __name__, "levelname": "WARNING", "msg": f"{count} could not be written before this"}
        return logging.makeLogRecord({**words, "created": record.created, "msecs": record.msecs})

    def _complain(self, error: OSError, now: float) -> None:
        if now < self._told + TELL_S:
            return
        self._told = now
        why = error.strerror or type(error).__name__
        with suppress(OSError, ValueError, AttributeError):  # nobody reads stderr
            sys.stderr.write(f"The log cannot be written to {self._path}: {why}; lines are left out until it can.\n")
            sys.stderr.flush()
