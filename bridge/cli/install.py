"""`install HOST`: writes our entry into the file of a host."""

import argparse
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from bridge.cli.changes import confirm, show_change
from bridge.cli.entries import print_entry
from bridge.cli.exits import COMPLETED, FAILED
from bridge.cli.output import tell
from bridge.config.faults import KeyPath
from bridge.config.load import default_file
from bridge.errors import ConfigError
from bridge.hosts.file import HostFile, check_writable, read
from bridge.hosts.known import Host, find_host
from bridge.hosts.places import locate, locate_in_project
from bridge.hosts.records import Records, save
from bridge.hosts.shapes import Start, build_entry, find_added, list_changes, list_own
from bridge.hosts.start import KEY, build_start, find_config, find_needs
from bridge.json_text import JsonObject


def install(options: argparse.Namespace) -> int:
    """Show what is to be written, ask, and write it. Raises ConfigError with one sentence where that cannot be."""
    host = find_host(options.host)
    if options.print or not host.is_written:
        return print_entry(host.name, options.config)
    file = read(find_file(host, options.project))
    start, inputs, remarks = prepare(host, options.config, os.environ, is_shared=options.project is not None)
    try:
        value = file.read_value()
        changes = list_changes(host, value, build_entry(host, start, is_shared=options.project is not None), inputs)
        data = file.edit(changes)
    except ConfigError as error:
        raise ConfigError(f"{error.message}; install {host.name} --print shows what to paste") from None
    if not changes:
        tell(f"{file.path} has this entry already; there is nothing to do.")
        return COMPLETED
    check_writable(file)
    if file.mark:
        remarks.append("The file begins with a byte order mark, which is kept; some hosts read no such file.")
    if list_own(host, value):
        remarks.append("The file has an entry of ours with other settings; it is replaced.")
    show_change(file, data, remarks)
    if not confirm("install", f"Write it to {file.path}?", yes=options.yes):
        return FAILED
    _write(host, file, data, find_added(value, changes))
    return COMPLETED


def find_file(host: Host, project: Path | None) -> Path:
    """Find the host's file, of the user or of a project. Raises ConfigError where the host is not installed."""
    if project is not None:
        return locate_in_project(host, project)
    return Path(locate(host, os.environ, sys.platform))


def prepare(
    host: Host, config: Path | None, environ: Mapping[str, str], *, is_shared: bool
) -> tuple[Start, list[JsonObject], list[str]]:
    """Build how the host starts us, and say what of that a person should know before a yes."""
    config = find_config(config, environ)
    start, inputs = build_start(host, config, environ, with_secrets=True, is_shared=is_shared)
    needs = find_needs(config, environ)
    if not needs.is_known and not inputs:
        file = config or default_file(os.environ)
        where = f"set {KEY} (and OPENAI_BASE_URL, OPENAI_MODEL) here and run it again, or write upstream into {file}"
        return replace(start, env={}, passed=()), inputs, [f"No upstream is configured yet: {where}."]
    remarks = [_say_variables(host, start, needs.names, is_shared=is_shared)] if needs.names and not inputs else []
    if inputs:
        remarks = [f"{host.title} asks for the key when it starts the server."]
    elif needs.missing:
        remarks.append(f"{', '.join(needs.missing)}: not set here; the upstream in {config} needs it.")
    return start, inputs, remarks


def _say_variables(host: Host, start: Start, names: tuple[str, ...], *, is_shared: bool) -> str:
    """Say where the host has the variables from."""
    shown = ", ".join(names)
    if start.passed or host.reference is not None:
        how = f"{host.title} takes {shown} from the environment that it is started in"
        return f"{how}; an app that is started from the desktop may not see your shell's."
    if is_shared:
        return f"{shown}: to be set where {host.title} is started, since the file belongs to the project."
    return f"{shown}: written into the file as it is, since {host.title} knows no references."


def _write(host: Host, file: HostFile, data: bytes, added: tuple[KeyPath, ...]) -> None:
    records = Records(file.target, os.environ)
    backup = save(file, data, records, kind="install", host=host.name, added=added)
    tell(f"Written: {file.path}{f' (as it was before: {backup})' if backup else ''}.")
    if records.unusable:
        tell(f"It cannot be remembered ({records.unusable}), so uninstall will take out the entry and nothing else.")
    tell(f"{host.restart} Its log: {host.log}.")
