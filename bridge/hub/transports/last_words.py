"""Which of the last lines of a program says why it ended. Imported only when one has."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from bridge.hub.transports.words import shorten

LINE_CHARS, READ_CHARS = 160, 400
"""How much is quoted, and how much of a line is looked at."""
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]{0,2000}(?:\x07|\x1b\\)?|.)")
_FRAMING = re.compile(r"^[\s\u2500-\u257f\u2580-\u259f\u2800-\u28ff|×✗✖▶➤→>•]+|[\s\u2500-\u257f]+$")
"""Box drawing, spinners and marks around a line; not a frame of a traceback, which is told by its indentation."""
_MARGIN = re.compile(r"[\s|+│-]*")

_NOISE = re.compile(
    r"""
      \W*$                                                       # rules, brackets, carets
    | .*A\ complete\ log\ of\ this\ run | \S*_logs/\S+-debug-\d+\.log$
    | npm\ (warn|notice|WARN|(error|ERR!)(\ \d+)?\s*$)
    | node:internal | Node\.js\ v\d | throw\ | Require\ stack: | -\ /\S+$ | Emitted\ '\w+'\ event | triggerUncaught
    | \(Use\ `node\ | \(node:\d+\)
    | (code|errno|syscall|path|dest|requireStack|spawnargs|url|stack|data):\ .*[,\]}]?$
    | (file://)?\S+\.\w{1,4}:\d+$ | at\ (?!least\b|most\b|the\b|a\b|line\b).*[(:/]
    | \.\.\.\ \d+\ (more|common) | ---\ End\ of
    | Traceback\ \( | File\ ".*",\ line | During\ handling\ of | The\ above\ exception | .*Exception\ Group\ Traceback
    | sys:\d+: | For\ further\ information\ visit | Exception\ ignored\ in | .*\(\d+\ sub-exceptions?\)$ | [+|-]{3,}.*
    | .*\b(Deprecation|Runtime|User|Future|Resource|Experimental)Warning\b
    | goroutine\ \d+ | created\ by\ \w | exit\ status\ \d+$ | \[signal\ | \S+\.go:\d+
    | [\w./*()-]+\.\w+(\.func\d+)?\(.*\)$
    | note:\ (run\ with|[Ss]ome\ details) | stack\ (backtrace|traceback): | \d+:\ +(0x|\w+::|<)
    | \[C\]:\  | \S+:\d+:\ in\ | "\w+":\ .*
    | from\ \S+:\d+ | \#\d+\ | Stack\ trace: | thrown\ in
    | (Try|See|Run)\ ['"`].*help | See\ 'docker | For\ more\ information | (tip|hint):
    | error\ Command\ failed\ with\ exit\ code | info\ Visit\ https | \[end\ of\ output\]
    | BEGIN\ failed
    | .*\b(report|file)\ .*\b(issue|bug)\b
    """,
    re.VERBOSE,
)
"""Lines that accompany the words of an error, as Node.js, npm, Python, Java, Go, Rust, Ruby, PHP and docker write them.
It is matched at the start of a line."""
_PROGRESS = re.compile(r"\d ?%(\W|$)|\d/\d+ \[")

_QUIET = re.compile(r"\b(INFO|DEBUG|TRACE|WARN|WARNING|info|debug|warn|warning)\b")
"""Log lines that are no errors."""
_STRONG = re.compile(
    r"\b(\w*(error|exception|panic|fail)\w*|fatal|cannot|can't|could not|unable|no (such|solution|module|matching)|"
    r"is not|not (found|set|installed|permitted|allowed|supported|defined)|denied|refused|missing|required?|invalid|"
    r"unknown|unauthori[sz]ed|expired|must|ENOENT|EACCES|EADDRINUSE)\b",
    re.IGNORECASE,
)
_OPENING = re.compile(r"npm (error|ERR!) code |thread '.*' \(?.*panicked at |No solution found")
"""Lines that the words after them belong to, up to the end."""
_PREFIX = re.compile(r"npm (error|ERR!)\s*((\d+|notarget|notsup|enoent|network|engine|Error:)\s+)?")
_USAGE = re.compile(r"(usage|flags|options|commands|available commands)\b.*:|usage of ", re.IGNORECASE)
_REJECTED = re.compile(r'rejected with the reason "([^"]+)"')
_ASIDE = re.compile(r" (See|Try|Run) ['\"`][^'\"`]*help['\"`].*$")
_DOUBLED = re.compile(r"(\b\w[^:]{0,40}: )\1+")
_HARDLY = re.compile(r"npm (error|ERR!) (syscall|path|errno|dest|command|node|npm) ")


def choose_words(lines: Iterable[str], redact: Callable[[str], str]) -> str:
    """Choose what people need to know from the last lines of a program, on one line; nothing where they hold nothing.

    That is the error itself: not the frames around it, the hints below it, or what was logged before.
    """
    raw = [strip_control(redact(line))[:READ_CHARS] for line in lines]
    lines = [_clean(line) for line in raw]
    words = _join(_find_exception(raw) or _find_opened(lines)) or _choose_one(lines)
    words = _ASIDE.sub("", " ".join(words[:2000].split()))
    return shorten(_DOUBLED.sub(r"\1", words), LINE_CHARS)


def strip_control(line: str) -> str:
    """Return a line as a terminal would show it: without colours, and as the last of what it was overwritten with."""
    if "\x1b" in line:
        line = _ANSI.sub("", line)
    shown = [part for part in line.replace("\r:", "\\r:").split("\r") if part.strip()]
    return shown[-1] if shown else ""


def _clean(line: str) -> str:
    """Return a line without what frames it; of a structured log line, its message."""
    line = _FRAMING.sub("", line)
    if line.startswith("{") and line.endswith("}"):
        return _read_logged(line) or line
    return line


def _read_logged(line: str) -> str | None:
    try:
        logged = json.loads(line)
    except ValueError:
        return None
    found = next((logged[name] for name in ("msg", "message", "error", "err", "detail") if name in logged), None)
    found = found.get("message") if isinstance(found, dict) else found
    return found if isinstance(found, str) else None


def _find_exception(raw: Sequence[str]) -> list[str]:
    """Return the exception below the last traceback of Python: the first line that is indented less than the frames."""
    frames = [number for number, line in enumerate(raw) if _MARGIN.sub("", line, count=1).startswith('File "')]
    if not frames:
        return []
    indent = _measure(raw[frames[-1]])
    rest = raw[frames[-1] + 1 :]
    below = [number for number, line in enumerate(rest) if _clean(line) and _measure(line) < indent]
    return list(_keep(_clean(line) for line in rest[below[0] :])) if below else []


def _measure(line: str) -> int:
    """Return how far a line is indented, also within the frame that is drawn around the tracebacks of a group."""
    margin = _MARGIN.match(line)
    return len(margin[0]) if margin else 0


def _find_opened(lines: Sequence[str]) -> list[str]:
    """Return the last line that opens an explanation, with those that explain it."""
    openings = [number for number, line in enumerate(lines) if _OPENING.match(line)]
    if not openings:
        return []
    first, *rest = lines[openings[-1] :]
    told = [_PREFIX.sub("", line) for line in _keep(rest) if not _HARDLY.match(line)]
    return [first, *(told[:1] if first.startswith("npm") else told)]


def _choose_one(lines: Sequence[str]) -> str:
    """Choose the last line that tells of an error, else the last one that tells anything; with what it completes."""
    useful = _drop_usage(list(_keep(lines)))
    telling = [number for number, line in enumerate(useful) if _STRONG.search(line)]
    if not useful:
        return next((line for line in reversed(lines) if line.strip()), "")
    last = telling[-1] if telling else len(useful) - 1
    if rejected := _REJECTED.search(useful[last]):
        return rejected[1]
    if useful[last].endswith(":"):  # what it announces
        return _join(useful[last:])
    if useful[last].endswith(("[", "{")):
        return " ".join(lines[lines.index(useful[last]) :])
    first = last
    if first and useful[first - 1].endswith(":"):
        first -= 1
    while first and useful[first].startswith("Caused by"):
        first -= 1
    return _join([shorten(useful[first], LINE_CHARS // 2), useful[last]] if first < last else [useful[last]])


def _drop_usage(lines: list[str]) -> list[str]:
    """Drop the list of options that some programs write below the error."""
    usages = [number for number, line in enumerate(lines) if number and _USAGE.match(line)]
    before = lines[: usages[0]] if usages else []
    return before if any(map(_STRONG.search, before)) else lines


def _keep(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines that are neither noise nor logged as something else than an error."""
    loud = [line for line in lines if line and not _NOISE.match(line) and not _is_progress(line)]
    yield from [line for line in loud if not _QUIET.search(line) or _is_error(line)] or loud


def _is_progress(line: str) -> bool:
    return bool(_PROGRESS.search(line)) and not _STRONG.search(line)


def _is_error(line: str) -> bool:
    return bool(re.search(r"\b(ERROR|FATAL|CRITICAL|error|fatal)\b", line))


def _join(lines: Sequence[str]) -> str:
    """Join the lines of one explanation to a sentence."""
    if not lines:
        return ""
    first, *rest = lines
    told = " ".join(rest)
    return f"{first.rstrip(':')}: {told}" if told else first
