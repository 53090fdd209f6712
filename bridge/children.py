"""Start and end child processes: in parallel, by deadlines, and so that none outlives the bridge.

Standard library only: it is used before the heavy imports, so that connected servers boot under them.
Linux: a child dies with the bridge even when that is killed (PDEATHSIG); grandchildren of a killed bridge must notice
the end of their stdin themselves. macOS has no such signal; Windows has neither signals nor process groups here.
"""

import atexit
import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType

EOF_GRACE_S = 0.6
"""How long a child may take to exit by itself once its stdin has ended. Hosts kill the bridge 2 s after EOF, so both
graces together stay under that."""
TERM_GRACE_S = 0.5
"""How long it may take after SIGTERM; then it is killed."""

DEPTH = "MCP_RESPONSES_BRIDGE_DEPTH"
"""Set for every child: a bridge started with it connects no servers, so that no bridge starts bridges without end."""

INHERITED = ["HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "LANG", "LC_ALL", "TMPDIR"]
if sys.platform == "win32":
    INHERITED = ["APPDATA", "HOMEDRIVE", "HOMEPATH", "LOCALAPPDATA", "PATH", "PATHEXT", "PROCESSOR_ARCHITECTURE"]
    INHERITED += ["PROGRAMFILES", "SYSTEMDRIVE", "SYSTEMROOT", "TEMP", "TMP", "USERNAME", "USERPROFILE"]
"""The variables a child gets from the bridge's environment; everything else only by its entry's `env`."""

_PR_SET_PDEATHSIG = 1


@dataclass(eq=False)
class Child:
    """A running child process and the descriptors of its pipes."""

    process: subprocess.Popen[bytes]

    @property
    def stdin(self) -> int:
        """Where the bridge writes to the child."""
        assert self.process.stdin
        return self.process.stdin.fileno()

    @property
    def stdout(self) -> int:
        """Where the child's messages are read."""
        assert self.process.stdout
        return self.process.stdout.fileno()

    @property
    def stderr(self) -> int:
        """Where the child's log lines are read."""
        assert self.process.stderr
        return self.process.stderr.fileno()


_alive: set[Child] = set()
_is_starting = False
_postponed: list[Callable[[], None]] = []


def start_child(
    command: str, args: Sequence[str], env: Mapping[str, str], cwd: str | None, environ: Mapping[str, str]
) -> Child:
    """Start `command` in a process group of its own, without a shell.

    Raises OSError when it cannot be found or started. Call it from the main thread: the signal that ends the child
    with the bridge is tied to the thread that started it (prctl(2), PR_SET_PDEATHSIG).
    """
    child_env = {name: environ[name] for name in INHERITED if name in environ} | dict(env)
    child_env[DEPTH] = str(int(environ.get(DEPTH) or 0) + 1)
    program = shutil.which(command, path=child_env.get("PATH")) or command
    global _is_starting
    _is_starting = True  # a child that is not in the list yet could not be ended
    try:
        child = Child(
            subprocess.Popen(
                [program, *args],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=child_env,
                cwd=cwd,
                bufsize=0,
                start_new_session=True,
                preexec_fn=_die_with_parent(),
            )
        )
        _alive.add(child)
    finally:
        _is_starting = False
        for end in _postponed:
            end()
    return child


def _die_with_parent() -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def ask_kernel() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the bridge died before the kernel knew
            os._exit(1)

    return ask_kernel


def end_children(children: Iterable[Child] | None = None) -> None:
    """End these children (None: all of them) and their process groups; returns when all are gone, in about a second.

    The order is the specification's (MCP 2025-11-25, lifecycle, shutdown): end of stdin, SIGTERM, SIGKILL.
    """
    ending = list(_alive if children is None else children)
    for child in ending:
        with contextlib.suppress(OSError):
            assert child.process.stdin
            child.process.stdin.close()
    left = _await_exits(ending, EOF_GRACE_S)
    _signal_groups(left, "SIGTERM")
    left = _await_exits(left, TERM_GRACE_S)
    _signal_groups(ending, "SIGKILL")  # of those that exited too: what they left behind in their group
    _await_exits(left, TERM_GRACE_S)
    for child in ending:
        child.process.poll()
        _alive.discard(child)
        for pipe in (child.process.stdout, child.process.stderr):
            if pipe:
                pipe.close()


def _await_exits(children: list[Child], seconds: float) -> list[Child]:
    """Those of `children` that still run after `seconds`."""
    deadline = time.monotonic() + seconds
    while (left := [child for child in children if not _has_exited(child)]) and time.monotonic() < deadline:
        time.sleep(0.005)
    return left


def _has_exited(child: Child) -> bool:
    """Without reaping it where that is possible: until then, the number of its group cannot become another's."""
    if sys.platform != "linux" or child.process.returncode is not None:
        return child.process.poll() is not None
    with contextlib.suppress(ChildProcessError):
        return os.waitid(os.P_PID, child.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    return True


def _signal_groups(children: list[Child], name: str) -> None:
    for child in children:
        with contextlib.suppress(OSError):
            if sys.platform == "win32":
                child.process.kill()
            else:
                os.killpg(child.process.pid, getattr(signal, name))


def end_on_signals(names: Sequence[str] = ("SIGINT", "SIGTERM", "SIGHUP"), code: int = 0) -> None:
    """From now on, these signals end the children first and then the process, with `code` (130 for SIGINT).

    For the time before an event loop has receivers of its own, and for commands that have none. Call it before the
    first start, in the main thread.
    """

    def end(number: int, _frame: FrameType | None) -> None:
        def end_all() -> None:
            end_children()
            os._exit(130 if number == signal.SIGINT else code)

        if _is_starting:
            _postponed.append(end_all)
        else:
            end_all()

    for name in names:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), end)
    atexit.register(end_children)
