"""What takes an import back: both files to the byte, or only what is ours where somebody has changed them since."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bridge.config.faults import Fault, KeyPath, join_path
from bridge.errors import ConfigError
from bridge.hosts import file as host_file
from bridge.hosts.edits import Change, Remove, Set, find_value, read_value
from bridge.hosts.file import HostFile
from bridge.hosts.imports import digest_entry
from bridge.hosts.known import Host
from bridge.hosts.records import Kind, Record, Records, clear, digest, read_backup
from bridge.hosts.secret_names import PREFIX
from bridge.hosts.start import INPUT
from bridge.json_text import Json, JsonObject
from bridge.visible import show_line

_VARIABLES = ("env", "environment")
_REFERENCE = re.compile(r"\$?\{[^}]*\}|\$\w+")


@dataclass
class Return:
    """The way back of one file."""

    file: HostFile
    records: Records
    undone: Sequence[Record] = ()
    """The changes of ours that are taken back, the last one first."""
    after: bytes | None = None
    """The file afterwards; None: there is none."""
    exact: list[Record] = field(default_factory=list[Record])
    """Those of them after which nobody else has changed the file: what was before comes back to the byte."""
    needed: Mapping[str, str] = field(default_factory=dict[str, str])
    """Servers that others have been moved onto, each with the file that these came from."""
    stays: list[str] = field(default_factory=list[str])
    """Sentences about what is not taken back, because it is not ours any more."""

    @property
    def is_exact(self) -> bool:
        """True if the file will be what it was before, to the byte."""
        return len(self.exact) == len(self.undone)

    @property
    def changes(self) -> bool:
        return self.after != self.file.data

    def list_values(self) -> set[str]:
        """List what our entry holds for its servers, which nobody may see."""
        entries = [find_value(self.file.read_value(), path) for record in self.undone for path in record.added]
        sections = [find_value(entry, (key,)) for entry in entries for key in _VARIABLES]
        named = [section for section in sections if isinstance(section, dict)]
        return {
            value
            for section in named
            for name, value in section.items()
            if name.startswith(f"{PREFIX}_") and isinstance(value, str) and not _REFERENCE.fullmatch(value)
        }


def plan_undo(host: Host, theirs: HostFile, ours: HostFile, environ: Mapping[str, str]) -> tuple[Return, Return]:
    """Work out how our config and the host's file come back. Raises ConfigError where nothing was imported."""
    back = _plan(ours, "import", host, theirs, environ), _plan(theirs, "move", host, theirs, environ)
    if not any(each.undone for each in back):
        unusable = next((each.records.unusable for each in back if each.records.unusable), None)
        why = f"; the state folder cannot be used: {unusable}" if unusable else ""
        raise ConfigError(f"import {host.name} --undo: there is no import of {theirs.path} to take back{why}")
    return back


def find_our_config(theirs: HostFile, environ: Mapping[str, str]) -> Path | None:
    """Find the config to which the servers of this file were moved last; None where they were not."""
    moves = [record for record in Records(theirs.target, environ).records if record.kind == "move"]
    named = moves[-1].details.get("ours") if moves else None
    return Path(named) if isinstance(named, str) else None


def _plan(file: HostFile, kind: Kind, host: Host, theirs: HostFile, environ: Mapping[str, str]) -> Return:
    records = Records(file.target, environ)
    mine = [record for record in reversed(records.records) if _is_meant(record, kind, host, theirs)]
    back, now = Return(file, records, mine, file.data), file
    back.needed = _list_needed(records.records, mine)
    for record in mine:
        old = read_backup(record)
        is_needed = not back.needed.keys().isdisjoint(str(path[-1]) for path in record.added)
        if now.data is None:
            _say_gone(file, record, back)
        elif record.before == record.after:
            back.exact.append(record)
        elif digest(now.data) == record.after and (record.before is None or old is not None) and not is_needed:
            now = _replace(now, old)
            back.exact.append(record)
        else:
            now = _replace(now, now.edit(list(_list_changes(now, record, back))))
    back.after = now.data
    return back


def _is_meant(record: Record, kind: Kind, host: Host, theirs: HostFile) -> bool:
    """Tell whether a record is of an import from this file: a host has several, and each is taken back by itself."""
    is_of_file = kind == "move" or record.details.get("theirs") == str(theirs.path)
    return (record.kind, record.host) == (kind, host.name) and is_of_file


def _list_needed(records: Iterable[Record], mine: Iterable[Record]) -> dict[str, str]:
    """List the servers that moves from other files have found in our config, each with such a file."""
    others = [record for record in records if record not in mine]
    return {name: str(record.details.get("theirs")) for record in others for name in _read_uses(record)}


def _replace(file: HostFile, data: bytes | None) -> HostFile:
    return replace(file, data=data, text="" if data is None else file.decode(data))


def _say_gone(file: HostFile, record: Record, back: Return) -> None:
    """Say that a file is gone. Raises ConfigError for a host's: its servers would be nowhere then."""
    if record.kind == "move":
        raise ConfigError(show_line(f"{file.path}: is gone; its copy is {record.backup}; nothing was undone"))
    back.stays.append(f"{file.path} is gone; nothing is taken back there.")


def _list_changes(file: HostFile, record: Record, back: Return) -> Iterator[Change]:
    """List what takes one import back in a file that was changed since; note in `back` what stays."""
    value = file.read_value()
    if record.kind == "import":
        yield from _take_out(value, record, back)
        return
    old = _read_value(file, record)
    if old is None:
        raise ConfigError(
            show_line(f"{file.path}: has been changed, and its backup ({record.backup}) is gone; nothing was undone")
        )
    for path in _list_paths(record):
        if find_value(value, path) is None:
            yield Set(path, find_value(old, path))
        else:
            back.stays.append(f"{join_path(path)} is there again, and stays as it is.")
    for path in record.added:
        yield from _undo_own(value, old, path, record, back)
    inputs, before = find_value(value, ("inputs",)), find_value(old, ("inputs",))
    if isinstance(inputs, list) and INPUT in inputs and not (isinstance(before, list) and INPUT in before):
        yield Remove(("inputs", inputs.index(INPUT)))


def _take_out(value: JsonObject, record: Record, back: Return) -> Iterator[Change]:
    """Take the servers out of our config that are still as they came."""
    entries = record.details.get("entries")
    digests = entries if isinstance(entries, dict) else {}
    for path in record.added:
        entry = find_value(value, path)
        if (other := back.needed.get(str(path[-1]))) and entry is not None:
            back.stays.append(
                f"{join_path(path)} stays in {back.file.path}: the server moved from {other} is the same."
            )
        elif entry is not None and digest_entry(entry) == digests.get(str(path[-1])):
            yield Remove(path)
        elif entry is not None:
            back.stays.append(f"{join_path(path)} was changed since it came, and stays in {back.file.path}.")


def _undo_own(value: JsonObject, old: JsonObject, path: KeyPath, record: Record, back: Return) -> Iterator[Change]:
    """Take our entry back; of one that was changed since, only the secrets that were put into it."""
    entry, before = find_value(value, path), find_value(old, path)
    if entry is None:
        return
    if digest_entry(entry) == record.details.get("entry"):
        yield Remove(_widen(path, value, old)) if before is None else Set(path, before)
        return
    names = record.details.get("names")
    key = next((key for key in _VARIABLES if isinstance(entry, dict) and key in entry), "env")
    for name in names if isinstance(names, list) else []:
        if find_value(entry, (key, str(name))) is not None:
            yield Remove((*path, key, str(name)))
    back.stays.append(f"Our entry, {join_path(path)}, was changed since; it stays, without the servers' secrets.")


def _widen(path: KeyPath, value: JsonObject, old: JsonObject) -> KeyPath:
    """Widen the path of our entry to the sections that were made for it, and have nothing else in them."""
    while len(path) > 1 and find_value(old, path[:-1]) is None:
        section = find_value(value, path[:-1])
        if not isinstance(section, dict) or len(section) > 1:
            break
        path = path[:-1]
    return path


def _list_paths(record: Record) -> list[KeyPath]:
    moved = record.details.get("moved")
    paths = [path for path in moved if isinstance(path, list)] if isinstance(moved, list) else []
    return [tuple(step for step in path if isinstance(step, (str, int))) for path in paths]


def _read_value(file: HostFile, record: Record) -> JsonObject | None:
    data = read_backup(record)
    try:
        return None if data is None else read_value(file.decode(data), file.suffix)
    except (Fault, UnicodeError):
        return None


def undo(back: tuple[Return, Return]) -> None:
    """Write both files; if the second fails, the first is as it was. Raises ConfigError."""
    wanted = [each for each in back if each.undone]
    for each in wanted:
        host_file.check_unchanged(each.file)
        if each.changes:
            host_file.check_writable(each.file)
    for number, each in enumerate(wanted):
        try:
            _write(each.file, each.after)
        except ConfigError:
            for done in wanted[:number]:
                _write(host_file.read(done.file.path), done.file.data)
            raise
    for each in wanted:
        _hand_over(each)
        clear(each.exact if each.is_exact else (), each.records)
        for record in each.undone:  # where the file was changed since, its copies stay
            each.records.drop(record)


def _hand_over(back: Return) -> None:
    """Leave servers that stay to the imports that need them: these take them out when they are undone."""
    for record in back.undone:
        for path in record.added:
            name = str(path[-1])
            heir = next((other for other in back.records.records if name in _read_uses(other)), None)
            if heir is None or name not in back.needed:
                continue
            entries, theirs = record.details.get("entries"), heir.details.get("entries")
            digests = {**(theirs if isinstance(theirs, dict) else {}), **(entries if isinstance(entries, dict) else {})}
            uses = list[Json](each for each in _read_uses(heir) if each != name)
            details = {**heir.details, "uses": uses, "entries": digests}
            changed = {
                "added": (*heir.added, path),
                "details": details,
                "after": "",
            }  # it is not undone to the byte now
            back.records.put(heir, heir.model_copy(update=changed))


def _read_uses(record: Record) -> list[str]:
    uses = record.details.get("uses")
    return [str(name) for name in uses] if isinstance(uses, list) else []


def _write(file: HostFile, data: bytes | None) -> None:
    if data == file.data:
        return
    if data is None:
        host_file.delete(file)
    else:
        host_file.write(file, data)


def name_backups(back: Return) -> list[Json]:
    """Name the backups that stay."""
    return [] if back.is_exact else [record.backup for record in back.undone if record.backup]
