"""The file of the audit: lines are added at its end and never changed, by any number of processes, up to a size."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be renamed either
    fcntl = None  # type: ignore[assignment]

KEPT = 5
"""Number of full files that are kept beside the one that is written: FILE.1 is the newest."""
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_BINARY = getattr(os, "O_BINARY", 0)


class AuditFile:
    """Adds each line in one write. A file that was moved away, also by another process, is begun anew at its path."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        """Raises OSError if the file cannot be written."""
        self.path = path
        self._max_bytes = max_bytes
        self._file = self._open()

    def write(self, line: str) -> None:
        """Add a line. Raises OSError if it is not there as a whole afterwards."""
        data = line.encode() + b"\n"
        self._follow()
        if self._measure() + len(data) > self._max_bytes:
            self._rotate()
        data = b"\n" + data if self._is_torn() else data
        left = memoryview(data)
        while left:  # again only where the disk is full, to be told so
            left = left[os.write(self._file, left) :]

    def find(self, part: str) -> Iterator[str]:
        """Find the whole lines that contain a text, in the file and in those that are kept."""
        for file in (self.path, *map(self._name, range(1, KEPT + 1))):
            with suppress(OSError):
                yield from _find_lines(file.read_bytes(), part.encode())

    def close(self) -> None:
        """Close it; it cannot be written after that."""
        os.close(self._file)

    def _name(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")

    def _open(self) -> int:
        file = os.open(self.path, _FLAGS | _BINARY, 0o600)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise OSError(errno.EINVAL, "it is no file")
            if os.name == "posix":
                os.fchmod(file, 0o600)
        except OSError:
            os.close(file)
            raise
        return file

    def _follow(self) -> None:
        """Open the file that is now at the path, if that is another one."""
        with suppress(FileNotFoundError):
            if os.path.samestat(self.path.lstat(), os.fstat(self._file)):
                return
        new = self._open()
        os.close(self._file)
        self._file = new

    def _measure(self) -> int:
        return os.fstat(self._file).st_size

    def _is_torn(self) -> bool:
        """Tell whether the file ends in a part of a line: its writer was killed, or the disk was full. Another process
        that is writing may look so too; then there is an empty line, which says nothing."""
        size = self._measure()
        return size > 0 and os.pread(self._file, 1, size - 1) != b"\n"

    def _rotate(self) -> None:
        """Rename the full files and begin a new one, unless another process does; if that fails, this one grows."""
        with suppress(OSError):
            if fcntl:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                if os.path.samestat(self.path.lstat(), os.fstat(self._file)):
                    for number in range(KEPT - 1, 0, -1):
                        with suppress(FileNotFoundError):
                            self._name(number).replace(self._name(number + 1))
                    self.path.replace(self._name(1))
            finally:
                if fcntl:
                    fcntl.flock(self._file, fcntl.LOCK_UN)
        self._follow()


def _find_lines(data: bytes, part: bytes) -> Iterator[str]:
    end = 0
    while (found := data.find(part, end)) >= 0 and (end := data.find(b"\n", found)) >= 0:
        yield data[data.rfind(b"\n", 0, found) + 1 : end].decode(errors="replace")
