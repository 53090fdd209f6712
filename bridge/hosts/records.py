"""What we wrote into hosts' files, remembered in the state folder so that it can be undone to the byte."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import BaseModel, Field, JsonValue, ValidationError

from bridge.config.faults import KeyPath
from bridge.errors import ConfigError
from bridge.hosts import file as host_file
from bridge.hosts.file import HostFile
from bridge.state import StateFolder, Suspect, Unusable, find_state_folder

KIND = "hosts"
Kind: TypeAlias = Literal["install", "move", "import"]
"""Our entry in a host's file; that and its servers gone from there; those servers in our own config."""


class Record(BaseModel, frozen=True):
    """One change that we made to a host's file. It holds digests and names, and nothing of what is in the file."""

    kind: Kind
    host: str
    before: str | None
    """The digest of the file before; None: there was none."""
    after: str
    backup: str | None
    """The copy of the file before."""
    added: tuple[KeyPath, ...]
    """What was put into it; where a section was made for it, the section."""
    made: tuple[str, ...] = ()
    """Folders that were made for it, the innermost first."""
    details: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    """What else an undo needs."""


class Records:
    """The records of one host's file, the oldest first. Where the state folder is unusable there are none."""

    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        self._name = f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:32]}.json"
        self._path = path
        self.unusable: str | None = None
        """Why nothing can be remembered."""
        try:
            self._folder = StateFolder(find_state_folder(environ), KIND)
            self._folder.check()
            self.records = self._read()
        except (Unusable, Suspect) as error:
            self.unusable = str(error)
            self.records: list[Record] = []

    def add(self, record: Record) -> None:
        """Remember a change; one that cannot be remembered leaves the reason in `unusable`."""
        self._write([*self.records, record])

    def drop_last(self) -> None:
        """Forget the last change."""
        self._write(self.records[:-1])

    def drop(self, record: Record) -> None:
        """Forget one change."""
        self._write([other for other in self.records if other is not record])

    def put(self, record: Record, new: Record) -> None:
        """Remember another record in place of one."""
        self._write([new if other is record else other for other in self.records])

    def forget(self) -> None:
        """Forget all changes."""
        self._write([])

    def _write(self, records: list[Record]) -> None:
        self.records = records
        if self.unusable is None and not records:
            _delete(self._folder.path / self._name)
        elif self.unusable is None:
            kept = {"file": str(self._path), "records": [record.model_dump(mode="json") for record in records]}
            try:
                self._folder.replace(self._name, json.dumps(kept, ensure_ascii=False))
            except (OSError, Unusable, UnicodeError) as error:
                self.unusable = str(error)

    def _read(self) -> list[Record]:
        text = self._folder.read(self._name)
        try:
            return [Record.model_validate(record) for record in json.loads(text)["records"]] if text else []
        except (ValidationError, ValueError, KeyError, TypeError):
            raise Suspect("it is damaged") from None


def digest(data: bytes | None) -> str | None:
    """Return the digest of a file's content; None for no file."""
    return None if data is None else hashlib.sha256(data).hexdigest()


def save(
    file: HostFile,
    data: bytes,
    records: Records,
    *,
    kind: Kind,
    host: str,
    added: tuple[KeyPath, ...],
    details: dict[str, JsonValue] | None = None,
) -> Path | None:
    """Write a host's file anew: a backup, a record, then the file. Return the backup.

    Raises ConfigError where that fails; then all is as it was.
    """
    host_file.check_unchanged(file)
    host_file.check_writable(file)
    made = tuple(str(folder) for folder in file.target.parents if not folder.exists())
    backup = host_file.back_up(file)
    record = Record(
        kind=kind,
        host=host,
        before=digest(file.data),
        after=hashlib.sha256(data).hexdigest(),
        backup=str(backup) if backup else None,
        added=added,
        made=made,
        details=details or {},
    )
    records.add(record)
    try:
        host_file.write(file, data)
    except ConfigError:
        records.drop_last()
        if backup:
            backup.unlink(missing_ok=True)
        raise
    return backup


@dataclass(frozen=True)
class Original:
    """A host's file as it was before changes of ours that nothing has come after."""

    data: bytes | None
    undone: tuple[Record, ...]
    """The changes, the last one first."""


def find_original(
    file: HostFile, records: Records, kind: Kind | None = None, host: str | None = None
) -> Original | None:
    """Find the file as it was before our last changes (of this kind, for this host), to the byte.

    None where it was changed since by somebody else, or a backup is gone or is not what it was.
    """
    data = file.data
    undone: list[Record] = []
    for record in reversed(records.records):
        if digest(data) != record.after or kind not in (None, record.kind) or host not in (None, record.host):
            break
        if record.before is None:
            data = None
        else:
            old = read_backup(record)
            if old is None:
                break
            data = old
        undone.append(record)
    return Original(data, tuple(undone)) if undone else None


def restore(file: HostFile, original: Original, records: Records) -> None:
    """Bring the original back, and take away the backups, folders and records of what is undone. Raises ConfigError."""
    if original.data is None:
        host_file.delete(file)
    else:
        host_file.write(file, original.data)
    clear(original.undone, records)


def clear(undone: Iterable[Record], records: Records) -> None:
    """Take away what changes that are undone have left: backups, folders and the records themselves."""
    for record in undone:
        if record.backup:
            _delete(Path(record.backup))
        for folder in record.made:
            _remove_if_empty(Path(folder))
        records.drop(record)


def read_backup(record: Record) -> bytes | None:
    """Read the copy of a file as it was before a change; None where it is gone, or is not what it was."""
    try:
        data = Path(record.backup or "").read_bytes()
    except OSError:
        return None
    return data if digest(data) == record.before else None


def _delete(file: Path) -> None:
    with suppress(OSError):
        file.unlink(missing_ok=True)


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()
