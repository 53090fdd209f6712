"""The watcher: a shell that outlives a killed bridge by a second and ends its children. POSIX only.

Standard library only, as `children.py`. Not PR_SET_PDEATHSIG: it exists only on Linux, does not reach the children's
own children, kills without giving time to exit at the end of stdin, and is tied to a thread.
"""

import os
import subprocess
from collections.abc import Iterable
from contextlib import suppress

SHELL = "/bin/sh"
_SCRIPT = (
    'trap "" HUP INT TERM; while read -r line; do groups=$line; done; [ "$groups" ] && sleep 1; kill -s KILL -- $groups'
)
"""Each line it reads lists all process groups; the pipe ends when the bridge does. Children that exit at the end of
their own stdin have a second to do so."""

_watcher: subprocess.Popen[bytes] | None = None


def watch_groups(groups: Iterable[int]) -> None:
    """Replace the list of process groups to kill when the bridge ends, however it ends."""
    line = " ".join(f"-{group}" for group in groups).encode() + b"\n"
    with suppress(OSError):  # without a shell there is no watcher, but hardly a server either
        try:
            _write(line)
        except BrokenPipeError:  # the watcher was killed
            _forget()
            _write(line)


def _write(line: bytes) -> None:
    global _watcher
    _watcher = _watcher or _start()
    assert _watcher.stdin
    os.write(_watcher.stdin.fileno(), line)


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [SHELL, "-c", _SCRIPT, "mcp-responses-bridge watcher"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,  # not inherited: the reader of the bridge's output would not see its end
        stderr=subprocess.DEVNULL,
        env={"PATH": os.defpath},
        cwd="/",
        bufsize=0,
        start_new_session=True,
    )


def _forget() -> None:
    global _watcher
    if _watcher:
        assert _watcher.stdin
        _watcher.stdin.close()
        _watcher.wait()
        _watcher = None
