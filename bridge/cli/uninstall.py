"""`uninstall HOST`: brings a host's file back to the byte, or takes out our entry where the file was changed since."""

import argparse
import copy
import os
from dataclasses import replace
from pathlib import Path

from bridge.cli.changes import confirm, show_change, show_rest
from bridge.cli.exits import COMPLETED, FAILED
from bridge.cli.install import find_file
from bridge.cli.output import tell
from bridge.errors import ConfigError
from bridge.hosts.edits import Change, Remove, find_value, make_change
from bridge.hosts.file import HostFile, check_writable, read, write_with_backup
from bridge.hosts.known import Host, find_host
from bridge.hosts.records import Original, Records, find_original, restore
from bridge.hosts.secret_names import PREFIX
from bridge.hosts.shapes import list_own
from bridge.hosts.start import INPUT
from bridge.json_text import JsonObject, encode


def uninstall(options: argparse.Namespace) -> int:
    """Show what is to be undone, ask, and undo it. Raises ConfigError with one sentence where that cannot be."""
    host = find_host(options.host)
    if not host.is_written:
        raise ConfigError(f"uninstall: we never write {host.title}'s file; take the entry out of {host.file} yourself")
    file = read(find_file(host, options.project))
    records = Records(file.target, os.environ)
    if moved := next((record for record in records.records if record.kind == "move"), None):
        raise ConfigError(f"{file.path}: its servers were moved; import {moved.host} --undo brings them back first")
    original = find_original(file, records, "install")
    if original and not _has_own(host, file, original):
        return _restore(host, file, original, records, options)
    value = file.read_value()
    if held := _list_held(host, value):
        raise ConfigError(
            f"{file.path}: our entry has the secrets of moved servers ({', '.join(held)}); nothing was changed"
        )
    changes = list_removals(host, value)
    changes += _list_emptied(value, changes, records)
    if not changes:
        tell(f"{file.path} has no entry of ours; there is nothing to do.")
        return COMPLETED
    return _take_out(host, file, changes, records, options)


def _list_held(host: Host, value: JsonObject) -> list[str]:
    """List the variables of our entry that moved servers need, and which are nowhere else."""
    entries = [find_value(value, path) for path in list_own(host, value)]
    sections = [entry.get(key) for entry in entries if isinstance(entry, dict) for key in ("env", "environment")]
    names = [name for section in sections if isinstance(section, dict) for name in section]
    return [name for name in names if name.startswith(f"{PREFIX}_")]


def list_removals(host: Host, value: JsonObject) -> list[Change]:
    """List what takes our entries out of a file, and the input that nothing else refers to."""
    own = list_own(host, value)
    changes: list[Change] = [Remove(path) for path in own]
    inputs = find_value(value, ("inputs",))
    if host.shape != "vscode" or not own or not isinstance(inputs, list):
        return changes
    servers = find_value(value, ("servers",))
    names = {path[-1] for path in own}
    others = [entry for name, entry in servers.items() if name not in names] if isinstance(servers, dict) else []
    is_used = f"${{input:{INPUT['id']}}}" in encode(others)
    return [*changes, *(Remove(("inputs", inputs.index(item))) for item in inputs if item == INPUT and not is_used)]


def _list_emptied(value: JsonObject, changes: list[Change], records: Records) -> list[Change]:
    """List the sections that we made, and that are empty when the changes are made."""
    rest = copy.deepcopy(value)
    for change in changes:
        make_change(rest, change)
    made = dict.fromkeys(path for record in records.records for path in record.added)
    return [Remove(path) for path in made if find_value(rest, path) in ({}, [])] if changes else []


def _has_own(host: Host, file: HostFile, original: Original) -> bool:
    """Tell whether an entry of ours was there before the first install, which is to go too."""
    if original.data is None:
        return False
    old = replace(file, data=original.data, text=file.decode(original.data))
    return bool(list_own(host, old.read_value()))


def _restore(host: Host, file: HostFile, original: Original, records: Records, options: argparse.Namespace) -> int:
    check_writable(file)
    show_change(file, original.data)
    if options.print:
        return COMPLETED
    what = f"Delete {file.path}, which was not there before?" if original.data is None else f"Bring {file.path} back?"
    if not confirm("uninstall", what, yes=options.yes):
        return FAILED
    restore(file, original, records)
    how = "is gone, as it was before" if original.data is None else "is as it was before"
    tell(f"{file.path} {how}. {host.restart}")
    return COMPLETED


def _take_out(host: Host, file: HostFile, changes: list[Change], records: Records, options: argparse.Namespace) -> int:
    data = file.edit(changes)
    check_writable(file)
    before = next((record.backup for record in reversed(records.records) if record.backup), None)
    remarks = ["The file was changed since it was installed: only our entry is taken out, and the rest stays."]
    remarks += [f"As it was before the install: {before}."] if before else []
    show_change(file, data, remarks if records.records else ())
    if before:
        show_rest(file, data, Path(before))
    if options.print:
        return COMPLETED
    if not confirm("uninstall", f"Write it to {file.path}?", yes=options.yes):
        return FAILED
    backup = write_with_backup(file, data)
    records.forget()
    tell(f"Written: {file.path} (as it was before: {backup}). {host.restart}")
    return COMPLETED
