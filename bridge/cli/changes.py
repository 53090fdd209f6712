"""Changes to hosts' files at the terminal: they are shown, and nothing is written without a yes."""

import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from bridge.cli.output import tell
from bridge.errors import ArgumentError
from bridge.hosts.differences import blank, compare
from bridge.hosts.file import HostFile
from bridge.visible import show_line

MOST_LINES = 60
"""Lines that are shown of what stays: some hosts write their files anew all the time."""


def show_change(
    file: HostFile, data: bytes | None, remarks: Sequence[str] = (), *, secrets: Collection[str] = ()
) -> None:
    """Show on stdout what would become of a host's file (None: it is deleted), with secrets blanked, and remarks.

    `secrets` are those that are known besides what is one by its name or its look.
    """
    new = "" if data is None else file.decode(data)
    lines = [blank(line, {*secrets}) for line in compare(file.text, new, str(file.path), file.suffix)]
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()
    for remark in remarks:
        tell(remark)


def show_rest(file: HostFile, data: bytes, backup: Path, *, secrets: Collection[str] = ()) -> None:
    """Show what others have changed in a host's file since the backup was made, and which stays."""
    try:
        old = file.decode(backup.read_bytes())
    except (OSError, UnicodeError):
        return
    lines = compare(old, file.decode(data), str(file.path), file.suffix, times=("before", "left"))
    lines = [blank(line, {*secrets}) for line in lines]
    if lines:
        tell("What was changed since then, and stays:")
        more = [f"… and {len(lines) - MOST_LINES} lines more"] if len(lines) > MOST_LINES else []
        sys.stdout.write("".join(f"{line}\n" for line in [*lines[:MOST_LINES], *more]))
        sys.stdout.flush()


def confirm(command: str, question: str, *, yes: bool) -> bool:
    """Ask at the terminal, unless `--yes` was given, and say after a no that nothing was written.

    Raises ArgumentError where nobody can be asked.
    """
    if yes:
        return True
    if sys.stdin is None or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ArgumentError(f"{command}: nobody can be asked here, so nothing was written; --yes writes it")
    sys.stdout.write(f"{show_line(question)} [y/N] ")
    sys.stdout.flush()
    is_agreed = sys.stdin.readline().strip().lower() in ("y", "yes")
    if not is_agreed:
        tell("Nothing was written.")
    return is_agreed
