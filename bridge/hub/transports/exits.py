"""How a server's process ended, in one sentence for people. Imported only when one has."""

import re
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bridge.config.settings import ServerConfig
from bridge.hub.transports.commands import explain_missing
from bridge.hub.transports.last_words import choose_words
from bridge.hub.transports.words import shorten

_MISSED = re.compile(
    r"env: [‘'`\"]?(?P<env>[^’'`\":\\]+)(?P<cr>\\r)?[’'`\"]?: No such file"  # GNU's and BSD's
    r"|(?P<sh>[\w.+-]+): (?:command )?not found|not found: (?P<zsh>[\w.+-]+)"
)
"""How `env` and shells say, with status 127, that there is no such program."""
_CUT_DOWNLOAD = re.compile(r"(?:package|module) '[^']+' imported from ((?:/|[A-Za-z]:).*?_npx[/\\][0-9a-f]+)")
"""How Node.js says that a package of a server that npx keeps is not there."""
_VARIABLE = re.compile(r"\$([A-Z][A-Z0-9_]+)|%([A-Z][A-Z0-9_]+)%")
ONE_CHARS, BOTH_CHARS = 160, 100
_MEANINGS = {"SIGKILL": "the system does that when memory runs out", "SIGSEGV": "it crashed", "SIGABRT": "it gave up"}


@dataclass(frozen=True)
class Ending:
    """The end of a process, as far as we saw it."""

    status: int | None
    """None if it did not exit by itself after it had closed the connection."""
    stderr: Iterable[str] = field(default_factory=tuple[str, ...])
    stdout: Iterable[str] = field(default_factory=tuple[str, ...])
    """Lines that were no messages."""
    was_ready: bool = False


def explain_ending(
    server: ServerConfig, environ: Mapping[str, str], ending: Ending, redact: Callable[[str], str]
) -> str:
    """Explain to people how the process of `server` ended, quote what it said last, and say what would be right."""
    stderr, stdout = choose_words(ending.stderr, redact), choose_words(ending.stdout, redact)
    if stderr and (ending.was_ready or stdout == stderr):
        stdout = ""
    limit = BOTH_CHARS if stdout and stderr else ONE_CHARS
    quoted = {"stdout": stdout, "stderr": stderr}
    parts = [_explain_status(ending)]
    parts += [f"its last line on {pipe}: {shorten(words, limit)}" for pipe, words in quoted.items() if words]
    advice = None if ending.was_ready else _advise(server, environ, ending, f"{stdout} {stderr}".strip())
    return "; ".join([*parts, *([advice] if advice else [])])


def _explain_status(ending: Ending) -> str:
    status = ending.status
    if status is None:
        return "the process closed the connection without exiting"
    if name := _name_signal(-status):
        return f"the process was ended by {name}{_explain_signal(name)}"
    if name := _name_signal(status - 128):
        return f"the process exited with status {status}, as after {name}{_explain_signal(name)}"
    return f"the process exited with status {status}"


def _name_signal(number: int) -> str | None:
    return signal.Signals(number).name if number in set(signal.Signals) else None


def _explain_signal(name: str) -> str:
    return f" ({_MEANINGS[name]})" if name in _MEANINGS else ""


def _advise(server: ServerConfig, environ: Mapping[str, str], ending: Ending, said: str) -> str | None:
    """Say what would be right, where the command or its words show it."""
    if ending.status == 127 and (missed := _MISSED.search(said)):
        if missed["cr"]:
            return "its script has Windows line endings: save it with LF"
        return explain_missing(missed["env"] or missed["sh"] or missed["zsh"], server, environ)
    if cut := next(filter(None, map(_CUT_DOWNLOAD.search, ending.stderr)), None):
        return f"the download by npx was cut off before: delete {cut[1]}, and start it again"
    if ending.status and (advice := _find_unexpanded(server.args, environ.get("HOME", ""))):
        return advice
    if _lacks_input(server):
        return 'docker needs "-i" after "run" in args, to pass stdin on'
    if not said and ending.status == 0:
        return "it said nothing: is it an MCP server, and does it need an argument such as stdio"
    if not said and 0 < (ending.status or 0) < 128:
        return "it said nothing: start its command by hand to see why"
    return None


def _find_unexpanded(args: Sequence[str], home: str) -> str | None:
    """Name the first argument that only a shell would expand, but not the script that is given to a shell."""
    for arg in args:
        if arg.startswith("~/") and home:
            return f'"{arg}" in args is not expanded, as no shell is used; write "{home}{arg[1:]}"'
        if not re.search(r"\s", arg) and (found := _VARIABLE.search(arg)):
            return f"{found[0]} in args is not filled in, as no shell is used; write ${{{found[1] or found[2]}}}"
    return None


def _lacks_input(server: ServerConfig) -> bool:
    """Tell whether the command runs a container that gets no stdin."""
    if Path(server.command or "").name not in ("docker", "podman") or "run" not in server.args:
        return False
    flags = [arg for arg in server.args if arg.startswith("-")]
    return not any(flag.startswith("--interactive") or re.fullmatch(r"-[a-zA-Z]*i[a-zA-Z]*", flag) for flag in flags)
