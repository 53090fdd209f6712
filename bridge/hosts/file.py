"""A host's file: read as it is, and written whole or not at all, with a copy of the old one beside it."""

import codecs
import os
import secrets
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bridge.config.faults import Fault, join_path
from bridge.config.text import find_encoding
from bridge.errors import ConfigError
from bridge.hosts.edits import Change, edit, read_value
from bridge.json_text import JsonObject
from bridge.visible import show_line

BACKUP = ".before-mcp-responses-bridge"
"""What the name of a backup has behind that of the file; further ones have -2, -3 and so on behind it."""
MAX_BYTES = 64 << 20
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_WRITABLE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True)
class HostFile:
    """A host's file as it was when it was read."""

    path: Path
    """Where the host looks for it."""
    target: Path
    """Where it is: `path`, but for symbolic links, which are written through."""
    data: bytes | None
    """All of it; None where there is no file."""
    mode: int
    text: str
    mark: bytes
    """The byte order mark that it begins with, if any."""
    encoding: str

    @property
    def suffix(self) -> str:
        """The end of its name, by which JSON and TOML are told apart."""
        return self.path.suffix.lower()

    def read_value(self) -> JsonObject:
        """Return what it says. Raises ConfigError for a file that is broken."""
        try:
            return read_value(self.text, self.suffix)
        except Fault as fault:
            raise self.refuse(fault) from None

    def edit(self, changes: Iterable[Change]) -> bytes:
        """Return all of it with these changes, and no others. Raises ConfigError where that cannot be done safely."""
        try:
            return self.encode(edit(self.text, changes, self.suffix))
        except Fault as fault:
            raise self.refuse(fault) from None
        except UnicodeError:
            raise self.refuse(Fault((), "what is to be written is no text (half a character)")) from None

    def encode(self, text: str) -> bytes:
        """Return a text as bytes in the encoding of the file, with its mark."""
        return self.mark + text.encode(self.encoding)

    def decode(self, data: bytes) -> str:
        """Return bytes that `encode` made as a text."""
        return data.removeprefix(self.mark).decode(self.encoding)

    def refuse(self, fault: Fault) -> ConfigError:
        """Make an error of a fault of this file, in one sentence."""
        where = ": ".join(part for part in (str(self.path), join_path(fault.path), fault.message) if part)
        return ConfigError(show_line(f"{where}; the file is left as it is"))


def read(path: Path) -> HostFile:
    """Read a host's file, which need not exist. Raises ConfigError where it cannot be read or is no text."""
    try:
        target = path.resolve()
        found = target.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ConfigError(f"{path}: is not a file; it is left as it is")
        if found.st_size > MAX_BYTES:
            raise ConfigError(f"{path}: is larger than {MAX_BYTES >> 20} MiB; it is left as it is")
        data = target.read_bytes()
    except FileNotFoundError:
        return HostFile(path, path.resolve(), None, 0o600, "", b"", "utf-8")
    except (OSError, RuntimeError) as error:  # RuntimeError: links that lead in a circle, up to Python 3.12
        reason = error.strerror if isinstance(error, OSError) else "its links lead in a circle"
        raise ConfigError(f"{path}: cannot be read: {reason}") from None
    mark, encoding = _find_encoding(data)
    try:
        text = data.removeprefix(mark).decode(encoding)
        if mark + text.encode(encoding) != data:
            raise UnicodeError
    except UnicodeError:
        raise ConfigError(f"{path}: is not text in {encoding.upper()}; it is left as it is") from None
    return HostFile(path, target, data, stat.S_IMODE(found.st_mode), text, mark, encoding)


def check_unchanged(file: HostFile) -> None:
    """Raise ConfigError where the file is not what it was when it was read."""
    with suppress(OSError, RuntimeError):
        now = file.target.read_bytes() if file.target.exists() else None
        if now == file.data and file.path.resolve() == file.target:
            return
    raise ConfigError(f"{file.path}: has been changed meanwhile; nothing was written, try it again")


def check_writable(file: HostFile) -> None:
    """Raise ConfigError where the file or its folder is read-only."""
    folder = next(folder for folder in file.target.parents if folder.exists())
    for place, what in ((file.target, "it"), (folder, f"the folder {folder}")):
        if place.exists() and not (os.access(place, os.W_OK) and place.stat().st_mode & _WRITABLE):
            raise ConfigError(f"{file.path}: {what} is read-only; nothing was written")


def write(file: HostFile, data: bytes) -> None:
    """Write `data` in place of the file, whole or not at all, if it still is what was read; its mode is kept.

    Raises ConfigError where that fails; the old file is then as it was.
    """
    check_writable(file)
    try:
        file.target.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.target.with_name(f".{file.target.name}.{secrets.token_hex(4)}.tmp")
        try:
            _write_new(temporary, data, file.mode)
            _copy_owner(file.target, temporary)
            check_unchanged(file)
            if file.data is None:
                _put(temporary, file.target)
            else:
                temporary.replace(file.target)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(file.target.parent)
    except FileExistsError:
        raise ConfigError(f"{file.path}: has been changed meanwhile; nothing was written, try it again") from None
    except OSError as error:
        raise ConfigError(f"{file.path}: cannot be written: {error.strerror or error}; it is as it was") from None


def back_up(file: HostFile) -> Path | None:
    """Write a copy of the file beside it, under a name that no file has; None where there is no file to keep.

    Raises ConfigError.
    """
    if file.data is None:
        return None
    check_writable(file)
    number = 1
    while True:
        backup = file.path.with_name(f"{file.path.name}{BACKUP}{f'-{number}' if number > 1 else ''}")
        try:
            _write_new(backup, file.data, file.mode)
            _copy_owner(file.target, backup)
        except FileExistsError:
            number += 1
        except OSError as error:
            raise ConfigError(f"{backup}: cannot be written: {error.strerror}; nothing was changed") from None
        else:
            return backup


def write_with_backup(file: HostFile, data: bytes) -> Path | None:
    """Write the file anew with a copy of the old one beside it, and return the copy; none is left by a ConfigError."""
    check_unchanged(file)
    backup = back_up(file)
    try:
        write(file, data)
    except ConfigError:
        if backup:
            backup.unlink(missing_ok=True)
        raise
    return backup


def delete(file: HostFile) -> None:
    """Delete the file, if it still is what was read. Raises ConfigError."""
    check_writable(file)
    check_unchanged(file)
    try:
        file.target.unlink()
    except OSError as error:
        raise ConfigError(f"{file.path}: cannot be deleted: {error.strerror}") from None


def _find_encoding(data: bytes) -> tuple[bytes, str]:
    """Find the byte order mark, if there is one, and the encoding."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return mark, encoding
    return b"", find_encoding(data)


def _write_new(path: Path, data: bytes, mode: int) -> None:
    number = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o600)
    try:
        with os.fdopen(number, "wb") as written:
            written.write(data)
            written.flush()
            os.fsync(written.fileno())
        path.chmod(mode)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _copy_owner(source: Path, target: Path) -> None:
    """Give a file the owner of another: where root installs for somebody, it stays theirs."""
    with suppress(OSError, AttributeError):
        found = source.stat()
        if found.st_uid != os.geteuid():
            os.chown(target, found.st_uid, found.st_gid)


def _put(temporary: Path, target: Path) -> None:
    """Move a file to where there is none. Raises FileExistsError where there is one by now."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(target):
            raise FileExistsError(str(target)) from None
        temporary.replace(target)


def _sync_folder(folder: Path) -> None:
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
