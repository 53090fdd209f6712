"""Ends the children of a bridge that was killed and could not: a shell that outlives it by a second. POSIX only.

Standard library only, as `children.py`. Not the kernel's PR_SET_PDEATHSIG: that is Linux's alone, does not reach what
the children have started, ends them without the end of stdin that they could obey, and is tied to a thread.
"""

import os
import subprocess
from collections.abc import Iterable
from contextlib import suppress

SHELL = "/bin/sh"
_SCRIPT = (
    'trap "" HUP INT TERM; while read -r line; do groups=$line; done; [ "$groups" ] && sleep 1; kill -s KILL -- $groups'
)
"""Each line is all the groups there are; the end of the pipe is the end of the bridge. Who obeys the end of its own
stdin has gone a second later."""

_watcher: subprocess.Popen[bytes] | None = None


def watch_groups(groups: Iterable[int]) -> None:
    """From now on, these process groups are the ones that end with the bridge, however that ends."""
    line = " ".join(f"-{group}" for group in groups).encode() + b"\n"
    with suppress(OSError):  # without a shell there is nobody to watch, and hardly a server to start
        try:
            _write(line)
        except BrokenPipeError:  # it was killed
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
        stdout=subprocess.DEVNULL,  # whoever reads the bridge's output sees its end at once
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
