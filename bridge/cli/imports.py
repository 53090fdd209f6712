"""`import HOST`: copies a host's servers into our config; with `--move` we are its only server; `--undo` undoes it."""

import argparse
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from bridge.cli.changes import confirm, show_change
from bridge.cli.exits import COMPLETED, FAILED
from bridge.cli.install import find_file, prepare
from bridge.cli.output import print_text, tell
from bridge.cli.undo import take_back
from bridge.config.file import find_leaves
from bridge.config.load import default_file, find, load
from bridge.config.places import PROJECTS
from bridge.config.servers import read_servers
from bridge.config.settings import Config
from bridge.errors import ConfigError
from bridge.hosts.edits import find_value
from bridge.hosts.file import HostFile, check_writable, read
from bridge.hosts.imports import Import, plan_import, plan_move, save_import
from bridge.hosts.known import Host, find_host
from bridge.hosts.records import Records
from bridge.hosts.shapes import Start
from bridge.hosts.start import is_default
from bridge.hosts.translation import LITERAL, Taken, describe_place
from bridge.hosts.undo import find_our_config
from bridge.json_text import JsonObject
from bridge.telemetry import Redactor
from bridge.visible import show_name

_LEAD_TO_CONFIG = ("MCP_RESPONSES_BRIDGE_CONFIG", "HOME", "XDG_CONFIG_HOME", "APPDATA")
"""Variables by which another config would be found than the one that is to be written."""


@dataclass(frozen=True)
class _Source:
    """Where the servers come from."""

    host: Host
    theirs: HostFile
    project: str | None = None
    """The folder for which the user's file, that of Claude Code, has servers of its own."""
    is_of_project: bool = False
    """True for a file in a project, which others may have written, and read."""


def import_servers(options: argparse.Namespace) -> int:
    """Show what is to be written, with what it is good for; ask, and write it. Raises ConfigError."""
    host = find_host(options.host)
    if not host.is_written:
        raise ConfigError(f"import: {host.title}'s file ({host.file}) is not read; write its servers as JSON")
    source = _find_source(host, options.project)
    theirs = source.theirs
    ours = read(_find_ours(options, theirs))
    if options.undo:
        return take_back(host, theirs, ours, options)
    if theirs.data is None:
        raise ConfigError(f"import: {theirs.path}: there is no such file, so {host.title} has no servers to import")
    return _import(source, ours, options)


def _find_source(host: Host, project: Path | None) -> _Source:
    """Find the file that is meant; Claude Code keeps servers of projects in the user's file, too."""
    file = find_file(host, project)
    if project is None or host.name != "claude-code" or file.exists():
        return _Source(host, read(file), is_of_project=project is not None)
    folder, theirs = os.path.normpath(project.absolute()), read(find_file(host, None))
    section = (PROJECTS, folder, "mcpServers")
    if find_value(theirs.read_value(), section):
        return _Source(replace(host, section=section), theirs, folder)
    return _Source(host, read(file), is_of_project=True)


def _find_ours(options: argparse.Namespace, theirs: HostFile) -> Path:
    """Find our config file, which need not exist; an undo means the one that the servers went to."""
    named: Path | None = options.config
    moved = find_our_config(theirs, os.environ) if options.undo else None
    ours = named or moved or find(os.environ) or default_file(os.environ)
    if ours is None:
        raise ConfigError("import: there is no home folder here; say with --config FILE where our config is")
    return ours.absolute()


def _import(source: _Source, ours: HostFile, options: argparse.Namespace) -> int:
    plan = _plan(source, ours, options)
    print_text("\n".join(_describe(plan, moves=options.move)))
    if not plan.translation.taken or (plan.ours_after is None and plan.theirs_after is None):
        tell("There is nothing to do.")
        return COMPLETED
    secrets = plan.list_values()
    both = ((ours, plan.ours_after), (source.theirs, plan.theirs_after))
    files = [(file, after) for file, after in both if after is not None]
    for file, after in files:
        check_writable(file)
        show_change(file, after, secrets=secrets)
    if options.yes or not source.is_of_project:
        _show_figures(plan, source, options)
    else:
        tell("What this spares the host is not counted: that would start commands of a project before your yes.")
    if options.print:
        return COMPLETED
    for file, _ in files:
        if why := Records(file.target, os.environ).unusable:
            tell(f"It cannot be remembered ({why}), so --undo could not take it back.")
    if not confirm("import", f"Write {' and '.join(str(file.path) for file, _ in files)}?", yes=options.yes):
        return FAILED
    _write(plan, files, options)
    return COMPLETED


def _plan(source: _Source, ours: HostFile, options: argparse.Namespace) -> Import:
    host, theirs, project = source.host, source.theirs, source.project
    if not options.move:
        return plan_import(host, theirs, ours, os.environ, sys.platform, project)
    start, inputs, remarks = _build_start(host, ours, is_shared=source.is_of_project)
    plan = plan_move(host, theirs, ours, (start, inputs), os.environ, sys.platform, project)
    plan.translation.notes += remarks if plan.is_new_there else []
    return plan


def _build_start(host: Host, ours: HostFile, *, is_shared: bool) -> tuple[Start, list[JsonObject], list[str]]:
    """Build how the host starts us with our config, which may not be there yet, and say what to know of that."""
    if ours.data is not None:
        return prepare(host, ours.path, os.environ, is_shared=is_shared)
    environ = {name: value for name, value in os.environ.items() if name not in _LEAD_TO_CONFIG}
    start, inputs, remarks = prepare(host, None, environ, is_shared=is_shared)
    if not is_default(ours.path, os.environ):
        start = replace(start, args=(*start.args, "--config", str(ours.path)))
    return start, inputs, remarks


def _describe(plan: Import, *, moves: bool) -> Iterator[str]:
    """Say of each server what becomes of it, and what it needs."""
    taken, left = plan.translation.taken, plan.translation.left
    yield f"{plan.host.title}, {plan.theirs.path}: {len(taken)} of {len(taken) + len(left)} servers are taken over."
    for each in taken:
        yield f"  {show_name(each.called)}: {_say_what(each, plan)}{_say_needs(each, moves=moves)}"
    for each in left:
        yield f"  {show_name(each.name)}: stays there: {each.reason}"
    yield from plan.translation.notes
    if moves and (kept := plan.list_secrets()):
        yield f"Stays in {plan.theirs.path}, in env of our entry, where our config finds it: {', '.join(kept)}."
    if plan.unpassed:
        names = ", ".join(plan.unpassed)
        yield f"Not passed on by {plan.host.title}, as it would be taken for ours: {names}; set it in our entry's env."


def _say_what(taken: Taken, plan: Import) -> str:
    if taken.name in plan.known:
        return "is in our config already" + (f", as {show_name(taken.name)}" if taken.name != taken.called else "")
    if find_value(plan.ours.read_value(), (*plan.section, taken.name)) is not None:
        return "takes the place of its copy in our config"
    if taken.name != taken.called:
        return f"is new, as {show_name(taken.name)}: our config has another one of that name"
    return "is new"


def _say_needs(taken: Taken, *, moves: bool) -> str:
    """Say which variables have to be set where the bridge is started; after a move the host sets those it keeps."""
    places = [] if moves else [f"{name} (now {describe_place(taken, kept)})" for name, kept in taken.kept.items()]
    needs = [*places, *(name for name in taken.list_variables() if name not in taken.passed or not moves)]
    return f"; needs {', '.join(needs)}" if needs else ""


def _show_figures(plan: Import, source: _Source, options: argparse.Namespace) -> None:
    """Connect the host's servers as they stand there, and say what they cost it."""
    from bridge.cli.figures import describe_figures, weigh  # late: they import the whole bridge
    from bridge.cli.setup import start_log

    names = {taken.called for taken in plan.translation.taken}
    read_there = read_servers(plan.theirs.read_value(), plan.theirs.path, os.environ, source.project)
    literal = _list_literal(plan)
    servers = [server for server in read_there.servers if server.key in names - literal]
    config = _load_ours(plan.ours)
    theirs = config.model_copy(update={"servers": tuple(servers)})
    redact = Redactor(plan.list_values() | config.secrets() | theirs.secrets())
    start_log(options, redact)
    tell(f"Connecting {len(servers)} server{'' if len(servers) == 1 else 's'} to count what each costs …")
    figures = weigh(config, servers, redact)
    lines = list(describe_figures(figures, moves=options.move))
    unread = {name: why for name, why in read_there.left_out.items() if name in names}
    unread |= dict.fromkeys(sorted(literal), "it has ${…}, which its host hands over as it stands")
    lines[:0] = [f"  {show_name(name)}: not counted: {why}" for name, why in unread.items()]
    print_text(redact("\n".join(lines)))


def _list_literal(plan: Import) -> set[str]:
    """List the servers in which `${…}` is a text, as their host fills in nothing; we would put values there."""
    if plan.host.name not in LITERAL:
        return set()
    value = plan.theirs.read_value()
    leaves = {taken.called: find_leaves(find_value(value, taken.path)) for taken in plan.translation.taken}
    return {name for name, each in leaves.items() if any("${" in leaf for _, leaf in each if isinstance(leaf, str))}


def _load_ours(ours: HostFile) -> Config:
    """Load our config for the figures, or where a variable that it needs is not set here, that of the environment."""
    if ours.data is not None:
        with suppress(ConfigError):
            return load(ours.path)
    upstream = {name: value for name, value in os.environ.items() if name.startswith("OPENAI_")}
    return load(environ=upstream)


def _name_undo(plan: Import, options: argparse.Namespace) -> str:
    """Name the command that takes this import back."""
    words = ["import", plan.host.name, "--undo"]
    words += ["--project", str(options.project)] if options.project is not None else []
    words += ["--config", str(plan.ours.path)] if options.config and not options.move else []
    return shlex.join(words)


def _write(plan: Import, files: list[tuple[HostFile, bytes]], options: argparse.Namespace) -> None:
    backups = save_import(plan, os.environ)
    tell(f"Written: {' and '.join(str(file.path) for file, _ in files)}.")
    for backup in backups:
        tell(f"As it was before: {backup}.")
    unusable = next((why for file, _ in files if (why := Records(file.target, os.environ).unusable)), None)
    if unusable:
        tell(f"It cannot be remembered ({unusable}), so --undo cannot take it back.")
    else:
        tell(f"{_name_undo(plan, options)} takes it back.")
    if options.move:
        tell(f"{plan.host.restart} Its log: {plan.host.log}.")
