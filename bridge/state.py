"""The state folder: files that outlive the process, which only their owner may read or change."""

import errno
import os
import secrets
import stat
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "MCP_RESPONSES_BRIDGE_STATE"
FOLDER = "mcp-responses-bridge"
MAX_BYTES = 64 << 20
"""Files that are larger are not read."""
STALE_S = 3600
"""Age of a half-written file at which its writer is taken for dead."""
_FOR_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_TO_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class Unusable(Exception):
    """The state folder cannot be used; the message says why."""


class Suspect(Exception):
    """A file in the state folder cannot be relied on; the message says why."""


def find_state_folder(environ: Mapping[str, str], platform: str = sys.platform) -> Path:
    """Find the state folder, which need not exist. Raises Unusable where none is named: never the working directory."""
    if named := environ.get(VARIABLE):
        if not Path(named).is_absolute():
            raise Unusable(f"{VARIABLE} is not an absolute path")
        return Path(named)
    home = environ.get("HOME", "")
    if platform == "win32":
        candidates = [Path(environ.get("LOCALAPPDATA", ""), FOLDER)]
    elif platform == "darwin":
        candidates = [Path(home, "Library/Application Support", FOLDER, "state")]
    else:
        candidates = [Path(environ.get("XDG_STATE_HOME", ""), FOLDER), Path(home, ".local/state", FOLDER)]
    found = next((folder for folder in candidates if folder.is_absolute()), None)
    if found is None:
        raise Unusable(f"no home folder is known; set {VARIABLE}")
    return found


@dataclass(frozen=True)
class StateFolder:
    """One folder in the state folder, for files of one kind."""

    root: Path
    """The state folder."""
    kind: str

    @property
    def path(self) -> Path:
        return self.root / self.kind

    def check(self) -> None:
        """Raise Unusable where others could have put files into the folder; one that is missing is in order."""
        for folder in (self.root, self.path):
            with suppress(FileNotFoundError):
                _check_folder(folder, may_be_link=folder == self.root)

    def find(self, prefix: str) -> list[str]:
        """Return the names that begin so, those of the newest files first."""
        try:
            with os.scandir(self.path) as entries:
                found = [entry for entry in entries if entry.name.startswith(prefix)]
                found.sort(key=lambda entry: -entry.stat(follow_symlinks=False).st_mtime)
        except OSError:
            return []
        return [entry.name for entry in found]

    def read(self, name: str, *, is_secret: bool = False) -> str | None:
        """Read a file, or None where there is none. Raises Suspect for one that others may have written, or read if it
        `is_secret`."""
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        try:
            file = os.open(self.path / name, flags)
        except FileNotFoundError:
            return None
        except OSError as error:
            why = "it is a link" if error.errno == errno.ELOOP else f"it cannot be read: {error.strerror}"
            raise Suspect(why) from None
        try:
            _check_file(os.fstat(file), is_secret=is_secret)
            with os.fdopen(file, "rb", closefd=False) as opened:
                return opened.read().decode()
        except (OSError, UnicodeDecodeError):
            raise Suspect("it is damaged") from None
        finally:
            os.close(file)

    def add(self, name: str, text: str) -> bool:
        """Write a new file, whole or not at all; False where there is one already. Raises OSError or Unusable."""
        with self._written(text) as temporary:
            target = self.path / name
            try:
                os.link(temporary, target)
            except FileExistsError:
                return False
            except OSError:  # a file system without hard links
                if os.path.lexists(target):
                    return False
                temporary.replace(target)
        return True

    def replace(self, name: str, text: str) -> None:
        """Write a file in place of the one there, whole or not at all. Raises OSError or Unusable."""
        with self._written(text) as temporary:
            temporary.replace(self.path / name)

    def prepare(self) -> None:
        """Make the folder where it is missing, for nobody else to read. Raises OSError or Unusable."""
        for folder in (self.root, self.path):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _make_private(folder)
        self.check()

    def _written(self, text: str) -> "_Temporary":
        self.prepare()
        return _Temporary(self.path, text)


class _Temporary:
    """A file beside the one that it will become; gone when it is left."""

    def __init__(self, folder: Path, text: str) -> None:
        self._folder = folder
        self._text = text
        self._path = folder / f".{secrets.token_hex(8)}.tmp"

    def __enter__(self) -> Path:
        number = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode=0o600)
        with os.fdopen(number, "w", encoding="utf-8") as file:
            file.write(self._text)
            file.flush()
            os.fsync(file.fileno())
        self._clear()
        return self._path

    def __exit__(self, *_: object) -> None:
        self._path.unlink(missing_ok=True)

    def _clear(self) -> None:
        """Remove what writers have left that were killed."""
        now = self._path.stat().st_mtime
        for old in list(self._folder.glob(".*.tmp")):
            with suppress(OSError):
                if now - old.stat().st_mtime > STALE_S:
                    old.unlink()


def _make_private(folder: Path) -> None:
    if sys.platform != "win32" and stat.S_IMODE(folder.stat().st_mode) & 0o077 and _is_ours(folder.stat()):
        folder.chmod(0o700)


def _check_folder(folder: Path, *, may_be_link: bool) -> None:
    try:
        found = folder.stat() if may_be_link else folder.lstat()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Unusable(f"{folder}: {error.strerror}") from None
    if not stat.S_ISDIR(found.st_mode):
        raise Unusable(f"{folder} is not a folder")
    if not _is_ours(found):
        raise Unusable(f"{folder} belongs to somebody else")
    if sys.platform != "win32" and found.st_mode & stat.S_IWOTH:
        raise Unusable(f"{folder} can be written by others")


def _check_file(found: os.stat_result, *, is_secret: bool) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise Suspect("it is not a file")
    if not _is_ours(found):
        raise Suspect("it belongs to somebody else")
    if sys.platform != "win32" and found.st_mode & _FOR_OTHERS:
        raise Suspect("it can be written by others")
    if sys.platform != "win32" and is_secret and found.st_mode & _TO_OTHERS:
        raise Suspect("it can be read by others")
    if found.st_size > MAX_BYTES:
        raise Suspect(f"it is larger than {MAX_BYTES >> 20} MiB")


def _is_ours(found: os.stat_result) -> bool:
    return sys.platform == "win32" or found.st_uid == os.geteuid()
