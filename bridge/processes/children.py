"""Child processes: started and ended in parallel, within deadlines, and so that none outlives the bridge.

Standard library only: it runs before the large imports, so that connected servers start up during them. See
docs/processes.md for the guarantees on each operating system.
"""

import atexit
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType

from bridge.processes.open_files import is_raised, restore_limit
from bridge.processes.watcher import watch_groups

TYPE_CHECKING = False
if TYPE_CHECKING or sys.platform == "win32":  # elsewhere ctypes is not needed, and importing it takes time
    from bridge.processes.windows import Job

EOF_GRACE_S = 0.6
"""How long a child may take to exit by itself once its stdin has ended. Hosts kill the bridge 2 s after EOF, so the two
periods together stay under that."""
TERM_GRACE_S = 0.5
"""How long a child may take to exit after SIGTERM; then it is killed."""

DEPTH = "MCP_RESPONSES_BRIDGE_DEPTH"
"""Environment variable of every child: a bridge that has it connects no servers, so bridges do not start bridges
without end."""

INHERITED = ["HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "LANG", "LC_ALL", "TMPDIR"]
if sys.platform == "win32":
    INHERITED = ["APPDATA", "HOMEDRIVE", "HOMEPATH", "LOCALAPPDATA", "PATH", "PATHEXT", "PROCESSOR_ARCHITECTURE"]
    INHERITED += ["PROGRAMFILES", "SYSTEMDRIVE", "SYSTEMROOT", "TEMP", "TMP", "USERNAME", "USERPROFILE"]
"""The variables that a child gets from the bridge's environment; all others come from its entry's `env`."""

WINDOWS_FLAGS = 0
if sys.platform == "win32":
    WINDOWS_FLAGS = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
"""A server gets no console window, and no Ctrl-C that is meant for the bridge."""


@dataclass(eq=False)
class Child:
    """A running child process and the descriptors of its pipes."""

    process: subprocess.Popen[bytes]
    job: "Job | None" = None
    """The job that holds it and its descendants on Windows; elsewhere its process group does."""
    was_stopped: bool = False
    """True if it had to be ended by a signal: its exit status tells nothing about itself."""

    @property
    def stdin(self) -> int:
        """The descriptor to write the child's messages to."""
        assert self.process.stdin
        return self.process.stdin.fileno()

    @property
    def stdout(self) -> int:
        """The descriptor to read the child's messages from."""
        assert self.process.stdout
        return self.process.stdout.fileno()

    @property
    def stderr(self) -> int:
        """The descriptor to read the child's log lines from."""
        assert self.process.stderr
        return self.process.stderr.fileno()


_alive: set[Child] = set()
_changing = threading.RLock()
_is_starting = False
_postponed: list[Callable[[], None]] = []


def start_child(
    command: str, args: Sequence[str], env: Mapping[str, str], cwd: str | None, environ: Mapping[str, str]
) -> Child:
    """Start `command` in a process group of its own, without a shell.

    Raises OSError if it cannot be found or started.
    """
    child_env = {name: environ[name] for name in INHERITED if name in environ} | dict(env)
    child_env[DEPTH] = str(int(environ.get(DEPTH) or 0) + 1)
    global _is_starting
    _is_starting = True  # a signal now would miss the child, which is not in `_alive` yet
    try:
        child = Child(
            subprocess.Popen(
                [find_program(command, child_env), *args],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=child_env,
                cwd=cwd,
                bufsize=0,
                start_new_session=True,
                creationflags=WINDOWS_FLAGS,
                # It makes one system call and takes no lock, so the threads of this process do not matter.
                preexec_fn=restore_limit if is_raised() else None,
            )
        )
        if sys.platform == "win32":
            with contextlib.suppress(OSError):
                child.job = Job(child.process.pid)
        _note(_alive.add, child)
    finally:
        _is_starting = False
        for end in _postponed:
            end()
    return child


def find_program(command: str, env: Mapping[str, str]) -> str:
    """Find the path of `command` by the PATH of `env`; return `command` itself if it is not found.

    On Windows the file must have one of the endings in PATHEXT, so that `npx` is `npx.cmd` and not the shell script
    beside it. The working directory is not searched, where `shutil.which` looks first.
    """
    if sys.platform != "win32" or os.path.dirname(command):  # noqa: PTH120 - pathlib costs start-up time
        return shutil.which(command, path=env.get("PATH")) or command
    endings = env.get("PATHEXT", ".COM;.EXE;.BAT;.CMD").lower().split(";")
    names = [command] if command.lower().endswith(tuple(endings)) else [command + ending for ending in endings]
    folders = filter(None, env.get("PATH", "").split(os.pathsep))
    paths = (os.path.join(folder, name) for folder in folders for name in names)  # noqa: PTH118
    return next(filter(os.path.isfile, paths), command)


def _note(change: Callable[[Child], None], child: Child) -> None:
    """Add or remove a child of those that end with the bridge; safe to call from several threads."""
    with _changing:
        change(child)
        if sys.platform != "win32":
            watch_groups([other.process.pid for other in _alive])


def end_children(children: Iterable[Child] | None = None) -> None:
    """End these children (None: all of them) and their process groups; return when all are gone, in about a second.

    The order is the specification's (MCP 2025-11-25, lifecycle, shutdown): end of stdin, SIGTERM, SIGKILL.
    """
    ending = list(_alive if children is None else children)
    for child in ending:
        with contextlib.suppress(OSError):
            assert child.process.stdin
            child.process.stdin.close()
    left = _await_exits(ending, EOF_GRACE_S)
    for child in left:
        child.was_stopped = True
    _signal_groups(left, "SIGTERM")
    left = _await_exits(left, TERM_GRACE_S)
    _signal_groups(ending, "SIGKILL")  # also for children that exited: others in their group may still run
    _await_exits(left, TERM_GRACE_S)
    for child in ending:
        child.process.poll()
        _note(_alive.discard, child)
        for pipe in (child.process.stdout, child.process.stderr):
            if pipe:
                pipe.close()


def _await_exits(children: list[Child], seconds: float) -> list[Child]:
    """Wait up to `seconds` for `children` to exit; return those that still run."""
    deadline = time.monotonic() + seconds
    while (left := [child for child in children if not _has_exited(child)]) and time.monotonic() < deadline:
        time.sleep(0.005)
    return left


def _has_exited(child: Child) -> bool:
    """Tell whether a child has exited, without reaping it if possible: until then, its group's id is not reused."""
    if sys.platform == "linux" and child.process.returncode is None:
        with contextlib.suppress(ChildProcessError):
            return os.waitid(os.P_PID, child.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    return child.process.poll() is not None


def _signal_groups(children: list[Child], name: str) -> None:
    for child in children:
        with contextlib.suppress(OSError):
            if sys.platform == "win32":
                child.process.kill()
                if child.job:
                    child.job.end()
            else:
                os.killpg(child.process.pid, getattr(signal, name))


def end_on_signals(names: Sequence[str] = ("SIGINT", "SIGTERM", "SIGHUP"), code: int = 0) -> None:
    """Make these signals end the children and then the process, with exit code `code` (130 for SIGINT).

    For the time before an event loop handles signals, and for commands without one. Call it in the main thread, before
    the first child is started.
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
