"""Changes to hosts' files at the terminal: they are shown, and nothing is written without a yes."""

import sys
from collections.abc import Collection, Sequence

from bridge.cli.output import tell
from bridge.errors import ArgumentError
from bridge.hosts.differences import blank, compare
from bridge.hosts.file import HostFile
from bridge.visible import show_line


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


def confirm(command: str, question: str, *, yes: bool) -> bool:
    """Ask at the terminal, unless `--yes` was given. Raises ArgumentError where nobody can be asked."""
    if yes:
        return True
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ArgumentError(f"{command}: nobody can be asked here, so nothing was written; --yes writes it")
    sys.stdout.write(f"{show_line(question)} [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
