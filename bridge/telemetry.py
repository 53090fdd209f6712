"""Logging to stderr or a file, with every configured secret blanked."""

import logging
import re
import sys
import time
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener
from pathlib import Path
from queue import Full, Queue

from typing_extensions import override

from bridge.json_text import Json, JsonObject, write
from bridge.log_file import LogFile
from bridge.spellings import Spellings
from bridge.visible import show_line

BLANK = "***"
MAX_LEARNED = 64
"""Secrets that came while the program ran, such as tokens; each of a server's takes the place of the one before it."""
MAX_WAITING_LINES = 1000
ALIKE, ALIKE_S, MAX_KINDS = 20, 60.0, 1000
"""How many warnings of one kind are logged in so many seconds, and how many kinds are told apart."""
FLUSH_S = 0.3

_DELTA = re.compile(r'("delta"\s*:\s*")((?:[^"\\]|\\.)*)"')


class Redactor:
    """Replaces known secret values by `***`, however they are spelled."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets = frozenset(secrets)
        self._learned = deque[str](maxlen=MAX_LEARNED)
        self._of_learned: Redactor | None = None
        self._spellings = Spellings(self._secrets)

    def learn(self, secrets: Iterable[str]) -> None:
        """Replace these too from now on, and no longer those that were learned first where there are too many."""
        new = [secret for secret in secrets if secret not in self._secrets and secret not in self._learned]
        if new:
            self._learned.extend(new)
            self._spellings = Spellings(self._secrets.union(self._learned))
            self._of_learned = Redactor(self._learned)

    def add(self, secrets: Iterable[str]) -> None:
        """Replace these too from now on: the configuration has them by now. Those of before stay replaced."""
        self._secrets = self._secrets.union(secrets)
        self._spellings = Spellings(self._secrets.union(self._learned))

    def hide_learned(self, text: str) -> str:
        """Replace in a text for the model what was learned: nobody but us has put that there for a server to repeat."""
        return self._of_learned(text) if self._of_learned else text

    def __call__(self, text: str) -> str:
        spans = self._spellings.find(text)
        if not spans:
            return text
        ends = [0, *(end for _, end in spans)]
        kept = [text[end:start] for end, start in zip(ends, [*(start for start, _ in spans), len(text)], strict=True)]
        return BLANK.join(kept)

    def clean(self, value: Json) -> Json:
        """Redact each text in a JSON value; the result is valid JSON, whatever a secret looks like."""
        match value:
            case str():
                return self(value)
            case list():
                return [self.clean(each) for each in value]
            case dict():
                return {self(name): self.clean(each) for name, each in value.items()}
            case _:
                return value

    def clean_stream(self, text: str) -> str:
        """Blank the secrets in the text of a reply, also those that are split between the deltas of a stream."""
        text, end = self(text), 0
        joined = "".join(match[2] for match in _DELTA.finditer(text))
        secrets = self._spellings.find(joined)

        def blank(match: re.Match[str]) -> str:
            nonlocal end
            start, end = end, end + len(match[2])
            has_part = any(first < end and start < last for first, last in secrets)
            return f'{match[1]}{BLANK}"' if has_part else match[0]

        return _DELTA.sub(blank, text) if secrets else text


class _LineFormatter(logging.Formatter):
    """Formats each record as one redacted line: control characters, which foreign texts may contain, are escaped."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._redact = redact

    @override
    def format(self, record: logging.LogRecord) -> str:
        text = self._redact(super().format(record))
        return show_line(text.replace("\n", " | "))


class _JsonFormatter(logging.Formatter):
    """Formats each record as one line of JSON: `ts`, `level`, `logger` and `message`, then what `tell` was given."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__("%(message)s")
        self._redact = redact

    @override
    def format(self, record: logging.LogRecord) -> str:
        line: JsonObject = {
            "ts": write_time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._show(super().format(record).replace("\n", " | ")),
        }
        fields: Mapping[str, Json] = getattr(record, _FIELDS, {})
        shown = {name: self._show(value) if isinstance(value, str) else value for name, value in fields.items()}
        return write(line | shown)

    def _show(self, text: str) -> str:
        return show_line(self._redact(text))


_FIELDS = "bridge_fields"


def tell(**fields: Json) -> dict[str, object]:
    """Return the `extra` of a record whose JSON line has these fields beside its message."""
    return {_FIELDS: fields}


def write_time(seconds: float) -> str:
    """Write a wall-clock time as programs sort it: UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


COUNTED = {"is_counted": True}
"""Marks a record, as its `extra`, that has been counted where it was made."""


class _Repeats(logging.Filter):
    """Lets at most ALIKE warnings of one kind about one server pass in ALIKE_S seconds, and counts the others.

    The next one that passes tells how many were left out.
    """

    def __init__(self) -> None:
        super().__init__()
        self._counts: dict[tuple[str, str, str], tuple[float, int]] = {}

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING or COUNTED.items() <= vars(record).items():
            return True
        about = record.args[0] if isinstance(record.args, tuple) and record.args else None
        kind = record.name, str(record.msg), about if isinstance(about, str) else ""
        began, count = self._counts.get(kind, (record.created, 0))
        if record.created >= began + ALIKE_S:
            if count > ALIKE:
                record.msg = f"{record.msg} [{count - ALIKE:,} lines like it were left out]"
            began, count = record.created, 0
        if len(self._counts) >= MAX_KINDS:
            self._counts.clear()
        self._counts[kind] = began, count + 1
        return count < ALIKE


class _DroppingHandler(QueueHandler):
    """Puts records into a queue, and drops them while it is full."""

    @override
    def enqueue(self, record: logging.LogRecord) -> None:
        with suppress(Full):
            self.queue.put_nowait(record)


_waiting: Queue[logging.LogRecord] = Queue(MAX_WAITING_LINES)


def _in_background(handler: logging.Handler) -> logging.Handler:
    """Let a thread write to `handler`: a host that does not read our stderr must not block the event loop."""
    QueueListener(_waiting, handler).start()
    return _DroppingHandler(_waiting)


def flush_log() -> bool:
    """Wait up to FLUSH_S seconds for the thread to write the last lines.

    Return False if it is stuck: a normal exit would then be stuck too.
    """
    deadline = time.monotonic() + FLUSH_S
    while _waiting.unfinished_tasks and time.monotonic() < deadline:
        time.sleep(0.005)
    return not _waiting.unfinished_tasks


def _tells_of_a_fault(record: logging.LogRecord) -> bool:
    """Leave out the tracebacks of sessions that end while a message for them is on its way."""
    return not record.exc_info or type(record.exc_info[1]).__name__ != "ClosedResourceError"


def configure_logging(
    level: str,
    file: Path | None,
    redact: Redactor,
    *,
    in_background: bool = False,
    as_json: bool = False,
    telling: Iterable[str] = (),
) -> None:
    """Log at `level` to `file`, or to stderr. Libraries log errors only: at DEBUG they would log whole messages.

    `in_background`: a thread writes the log; if it cannot keep up, lines are dropped. `as_json`: each line is JSON.
    `telling`: loggers that log at INFO, whatever `level` is.
    """
    logging.raiseExceptions = False  # else a line that cannot be written is printed to stderr with all it must not say
    handler: logging.Handler = LogFile(file) if file else logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter(redact) if as_json else _LineFormatter(redact))
    handler = _in_background(handler) if in_background else handler
    handler.addFilter(_Repeats())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("bridge").setLevel(level.upper())
    for name in telling:
        logging.getLogger(name).setLevel(logging.INFO)
    for library in ("mcp", "client", "httpx2", "httpcore2"):  # `client` is a logger of mcp's
        logging.getLogger(library).setLevel(logging.ERROR)
    logging.getLogger("mcp.server.streamable_http").addFilter(_tells_of_a_fault)
    # It logs a traceback with the whole body if that is not a message; the client gets an error and can correct it.
    logging.getLogger("mcp.server.sse").setLevel(logging.CRITICAL)
    # It logs a traceback with what an authority has answered; the error is told by whoever signs in.
    logging.getLogger("mcp.client.auth").setLevel(logging.CRITICAL)
