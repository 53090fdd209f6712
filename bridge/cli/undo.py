"""`import HOST --undo`: takes the imports from a host back."""

import argparse
import os
from pathlib import Path

from bridge.cli.changes import confirm, show_change, show_rest
from bridge.cli.exits import COMPLETED, FAILED
from bridge.cli.output import tell
from bridge.hosts.file import HostFile
from bridge.hosts.known import Host
from bridge.hosts.undo import Return, name_backups, plan_undo, undo


def take_back(host: Host, theirs: HostFile, ours: HostFile, options: argparse.Namespace) -> int:
    """Show what comes back and what does not, ask, and bring it back. Raises ConfigError."""
    back = plan_undo(host, theirs, ours, os.environ)
    for each in back:
        _show_return(each)
    if options.print:
        return COMPLETED
    paths = [str(each.file.path) for each in back if each.undone and each.changes]
    if paths and not confirm("import", f"Bring back {' and '.join(paths)}?", yes=options.yes):
        return FAILED
    undo(back)
    for each in back:
        if each.undone:
            _say_outcome(each)
    return COMPLETED


def _show_return(back: Return) -> None:
    """Show what becomes of a file, and of one that was changed since the import also what stays of that."""
    secrets = back.list_values()
    if back.changes:
        show_change(back.file, back.after, secrets=secrets)
    for sentence in back.stays:
        tell(sentence)
    if back.is_exact or back.after is None:
        return
    tell(f"{back.file.path} was changed since the import: only what is ours is taken back, and the rest stays.")
    if backup := back.undone[-1].backup:
        show_rest(back.file, back.after, Path(backup), secrets=secrets)


def _say_outcome(back: Return) -> None:
    if back.is_exact:
        tell(f"{back.file.path} is {'gone, as before' if back.after is None else 'as it was, to the byte'}.")
    else:
        backups = "".join(f" As it was before the import: {name}." for name in name_backups(back))
        tell(f"{back.file.path}: what was ours is taken back.{backups}")
