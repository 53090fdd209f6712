"""The audit: one line of JSON for each tool call of each run, with who decided that it may run and what came of it."""

import hashlib
import json
import logging
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from typing import cast

from typing_extensions import override

from bridge.audit_file import AuditFile
from bridge.events import CallEnded, Event, RunEnded
from bridge.items import OWN_NAMES, CallOutput, Notice, fail_call
from bridge.json_text import Json, JsonObject, encode
from bridge.questions import Answer
from bridge.run.observers import Observer
from bridge.run.run import Run
from bridge.run.run_log import name_principal
from bridge.run.tools.own_tools import BRIDGE
from bridge.telemetry import Redactor, write_time
from bridge.verdicts import Verdict

logger = logging.getLogger(__name__)

CALL, INTENT = "call", "intent"
"""Kinds of lines: of a call that has ended, exactly one; of one that is about to be sent, where the audit is
required."""
MAX_CHARS = 256
"""Characters of a name that are written: a model can make up any."""
MAX_LATE = 1000
"""Most lines that are kept until they can be written."""
_NAMES = ("server", "tool", "name", "call_id")
"""Fields whose text others have chosen: a secret may be in it."""
LIMITS = {"limit_reached", "repeated_call"}
IN_DOUBT = {"timeout", "connection_lost", "stopped", "outcome_unknown"}
"""Codes of failures after which a call that was sent may have been executed."""
REFUSED = "unrecorded"
FOR_THE_MODEL = (
    "this bridge keeps an audit of all calls, cannot write it now, and runs no tool meanwhile; it was not run. Tell "
    "the user that whoever runs the bridge has to see to it"
)


class Audit(Observer):
    """Writes the lines of all runs that this process drives."""

    def __init__(self, file: AuditFile, redact: Redactor, *, is_required: bool = False) -> None:
        """`is_required`: what cannot be noted beforehand is not run."""
        self._file = file
        self._redact = redact
        self._is_required = is_required
        self._account: JsonObject | None = None
        """Note on the call whose end is told now."""
        self._known: dict[str, set[tuple[Json, Json]]] = {}
        """Calls that have their line already, of runs that were taken up from another process, by run."""
        self._late = deque[str](maxlen=MAX_LATE)
        self._dropped = 0
        self._fault = ""
        """Reason that the file cannot be written; empty while it can."""
        self._told: set[str] = set()
        """Runs that have said so."""

    @override
    def begin(self, run: Run) -> None:
        if run.events:
            lines = map(_read, self._file.find(run.run_id))
            calls = [line for line in lines if (line.get("run"), line.get("kind")) == (run.run_id, CALL)]
            self._known[run.run_id] = {(line.get("turn"), line.get("index")) for line in calls}

    @override
    def hear(self, run: Run, event: Event) -> None:
        if isinstance(event, CallEnded) and self._account is not None:
            if (event.turn, event.index) not in self._known.get(run.run_id, ()):
                self._write(describe_call(run, event, self._account))
        elif isinstance(event, RunEnded):
            self._known.pop(run.run_id, None)
            self._told.discard(run.run_id)

    @override
    def settle(self, run: Run, question: str, answer: Answer | None, sender: str) -> None:
        pass

    def close(self) -> None:
        """Close the file, with what was late as far as there is room."""
        with suppress(OSError):
            self._write_late()
        if lost := len(self._late) + self._dropped:
            logger.error("serve.audit: %s lines are lost", f"{lost:,}")
        self._file.close()

    @contextmanager
    def telling(self, account: JsonObject) -> Generator[None]:
        """Expect the end of a call. One that was told before the run was taken up is not told again."""
        self._account = account
        try:
            yield
        finally:
            self._account = None

    def admit(self, run: Run, about: JsonObject, at: float) -> CallOutput | None:
        """Note that a call is about to be sent, where the audit is required; return its output where that fails."""
        if not self._is_required:
            return None
        if self._write(_begin_line(run, INTENT, about, at) | {"arguments": hash_arguments(about["arguments"])}):
            return None
        words = f"serve.audit_required: no tool is run while the audit cannot be written: {self._fault}"
        return {**fail_call(REFUSED, FOR_THE_MODEL), "notices": [Notice(code=REFUSED, message=words)]}

    def list_news(self, run: Run) -> Sequence[Notice]:
        """List what a run has to say, once: that its calls are not noted."""
        if not self._fault or run.run_id in self._told:
            return ()
        self._told.add(run.run_id)
        return [Notice(code="audit_unwritten", message=f"the audit of this run's calls is late: {self._fault}")]

    def _write(self, line: JsonObject) -> bool:
        """Write a line, behind those that are late. Return False where it is late itself; an intent is then dropped."""
        names = {name: self._redact.clean(line[name]) for name in _NAMES}
        text = json.dumps(line | names, separators=(",", ":"))
        try:
            self._write_late()
            self._file.write(text)
        except OSError as error:
            self._note_fault(error)
            if line["kind"] == CALL:
                self._dropped += len(self._late) == MAX_LATE
                self._late.append(text)
            return False
        if self._fault:
            lost = f"; {self._dropped:,} lines are lost" if self._dropped else ""
            logger.warning("serve.audit: the file can be written again%s", lost)
            self._fault, self._dropped = "", 0
            self._told.clear()
        return True

    def _write_late(self) -> None:
        while self._late:
            self._file.write(self._late[0])
            self._late.popleft()

    def _note_fault(self, error: OSError) -> None:
        if not self._fault:
            self._fault = f"{self._file.path} cannot be written: {error.strerror or type(error).__name__}"
            then = (
                "no tool is run until it can be" if self._is_required else "calls go on, and are noted when it can be"
            )
            logger.error("serve.audit: %s; %s", self._fault, then)


def describe_call(run: Run, event: CallEnded, account: JsonObject) -> JsonObject:
    """Describe a call that has ended."""
    verdict, outcome = judge(event, account)
    output = event.item.get("output")
    about: JsonObject = {
        "turn": event.turn,
        "index": event.index,
        "call_id": event.call_id,
        "name": event.name,
        "server": event.server or account["server"],
        "tool": event.tool or account["tool"],
    }
    return _begin_line(run, CALL, about, event.at) | {
        "definition": verdict.definition,
        "decision": "allowed" if verdict.is_allowed else "refused",
        "by": verdict.by,
        "rule": verdict.rule,
        "outcome": outcome,
        "arguments": hash_arguments(event.arguments),
        "bytes": len((output if isinstance(output, str) else encode(output)).encode(errors="replace")),
        "ms": event.duration_ms,
    }


def judge(event: CallEnded, account: JsonObject) -> tuple[Verdict, str]:
    """Judge a call by what was decided about it, if that came so far, and by how it ended: ok, error, not_sent, or
    unknown where it may have been executed."""
    if account["is_unknown"]:
        return Verdict(is_allowed=True, by="before", rule="resumed"), "unknown"
    told = account["verdict"]
    code = _read_code(event.item.get("output")) if event.is_error else ""
    if told is None:
        if event.server == BRIDGE and event.name in OWN_NAMES:
            return Verdict(is_allowed=True, by="bridge", rule="own tool"), "error" if event.is_error else "ok"
        by = "limits" if code in LIMITS else "run" if code == "stopped" else "bridge"
        return Verdict(is_allowed=False, by=by, rule=code), "not_sent"
    verdict = Verdict(**cast("dict[str, Json]", told))  # type: ignore[arg-type]
    if not verdict.is_allowed or not (verdict.is_sent or verdict.is_answered):
        return verdict, "not_sent"
    if verdict.is_answered:
        return verdict, "error" if event.is_error else "ok"
    return verdict, "unknown" if code in IN_DOUBT else "error"


def hash_arguments(arguments: Json) -> str:
    """Hash arguments as the model wrote them: the text, or an object as compact JSON."""
    text = arguments if isinstance(arguments, str) else encode(arguments)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _begin_line(run: Run, kind: str, about: JsonObject, at: float) -> JsonObject:
    names = {name: _cut(about.get(name)) for name in _NAMES}
    return {
        "ts": write_time(at),
        "kind": kind,
        "run": run.run_id,
        "principal": name_principal(run.principal),
        "turn": about["turn"],
        "index": about["index"],
        **names,
    }


def _cut(name: Json) -> Json:
    return f"{name[:MAX_CHARS]}…" if isinstance(name, str) and len(name) > MAX_CHARS else name


def _read_code(output: Json) -> str:
    """Read the code of a failed call."""
    if not isinstance(output, str):
        return ""
    code = _read(output).get("error")
    return code if isinstance(code, str) else ""


def _read(text: str) -> JsonObject:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
