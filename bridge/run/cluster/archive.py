"""The runs as the database has them, whoever drives or has driven them: found by their marks, read as they go on."""

import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast
from weakref import WeakKeyDictionary

from dbos import DBOS, SetWorkflowAttributes, SetWorkflowID, WorkflowStatus
from dbos import error as dbos_errors

from bridge.events import RunEnded
from bridge.items import ErrorInfo
from bridge.json_text import JsonObject
from bridge.run.cluster.record import Paper, SharedPast, read_batch, read_past, rebuild_transcript
from bridge.run.cluster.task import EVENTS, MESSAGES
from bridge.run.cluster.workflow import ask_dbos, respond
from bridge.run.engine import Listener
from bridge.run.limits import Ending
from bridge.run.run import Run
from bridge.run.store.past import Told
from bridge.run.task import tell

NAME = "respond"
"""The workflows that are runs."""
FIND_MOST = 1000
BROKEN: ErrorInfo = {
    "code": "internal_error",
    "message": "The run could not be taken up again; the log of the bridge has the cause.",
    "who": "operator",
    "status": None,
    "request_id": None,
}


class Archive:
    """All that is asked of DBOS about runs. What it returns of a run has secrets blanked that are not configured."""

    def __init__(self, paper: Paper) -> None:
        self._paper = paper
        self._read = WeakKeyDictionary[Run, int]()
        """How many batches of events were read of a run that others drive."""
        self._listening: dict[str, list[Listener]] = {}

    async def begin(self, run: Run, marks: JsonObject) -> None:
        """Begin a run, which is found by its marks."""
        record = self._paper.write({"arguments": run.arguments, "principal": run.principal, "created": run.created})

        async def begin() -> None:
            with SetWorkflowID(run.run_id), SetWorkflowAttributes(marks):
                await DBOS.start_workflow_async(respond, record)

        await ask_dbos(begin)

    async def mark(self, run_id: str, marks: JsonObject) -> None:
        """Change some of the marks that a run is found by."""
        await ask_dbos(partial(DBOS.update_workflow_attributes_async, run_id, marks, merge=True))

    async def say(self, run_id: str, words: JsonObject) -> None:
        """Say something to the process that drives a run."""
        await ask_dbos(partial(DBOS.send_async, run_id, self._paper.write(words), MESSAGES))

    async def find(self, run_id: str) -> WorkflowStatus | None:
        """Find a run by its id."""
        return await ask_dbos(partial(DBOS.get_workflow_status_async, run_id))

    async def search(
        self, marks: JsonObject, *, limit: int = FIND_MOST, until: float | None = None
    ) -> Sequence[WorkflowStatus]:
        """Find the newest runs with these marks that began until then."""
        last = None if until is None else datetime.fromtimestamp(until, UTC).isoformat()
        listing = partial(DBOS.list_workflows_async, name=NAME, sort_desc=True, limit=limit, end_time=last)
        return await ask_dbos(partial(listing, attributes=marks or None))

    async def delete_old(self, keep_s: float) -> None:
        """Delete what ended longer ago than that, in seconds."""
        before = datetime.fromtimestamp(time.time() - keep_s, UTC).isoformat()
        listing = partial(DBOS.list_workflows_async, name=NAME, completed_before=before, limit=FIND_MOST)
        old = await ask_dbos(partial(listing, load_input=False, load_output=False))
        await ask_dbos(partial(DBOS.delete_workflows_async, [status.workflow_id for status in old]))

    async def read_run(self, status: WorkflowStatus, principal: str | None) -> Run | None:
        """Read a run as it is now, if it is one of this principal."""
        if status.name != NAME or not isinstance(status.input, dict):  # DBOS gives what it cannot read as text
            return None
        begun = self._paper.show(status.input["args"][0])
        if principal not in (begun["principal"], None):
            return None
        run = Run(status.workflow_id, begun["principal"], begun["arguments"], created=begun["created"])
        await self._read_batches(run, 0.0)
        await self._read_ending(run, status)
        return run

    async def read_cut(self, run_id: str, record: str) -> tuple[Run, SharedPast]:
        """Read a run that is to be taken up, with all that was done of it. Raises Missing where a secret of it is not
        configured any more."""
        begun = self._paper.read(record)
        run = Run(run_id, begun["principal"], begun["arguments"], created=begun["created"])
        steps = await ask_dbos(partial(DBOS.list_workflow_steps_async, run_id))
        past = read_past(steps, self._paper.read)
        past.used_s = await self._read_batches(run, 0.0)
        past.told = Told(run.events)
        return run, past

    async def follow(self, run: Run, seconds: float) -> None:
        """Read what is new of a run, and wait so long for it."""
        await self._read_batches(run, seconds)
        if status := await self.find(run.run_id):
            await self._read_ending(run, status)

    def forget(self, run: Run) -> None:
        """Have a run be read from its beginning, since this process drives it no longer."""
        run.events.clear()
        self._read[run] = 0

    @contextmanager
    def listen(self, run: Run, listener: Listener, after: int) -> Generator[None]:
        """Hear the events of a run behind number `after`, as somebody follows it."""
        tell(run, listener, run.events[after + 1 :])
        self._listening.setdefault(run.run_id, []).append(listener)
        try:
            yield
        finally:
            self._listening[run.run_id].remove(listener)
            if not self._listening[run.run_id]:
                del self._listening[run.run_id]

    async def _read_batches(self, run: Run, seconds: float) -> float:
        """Read the events since the last look, or that come within so many seconds; their listeners hear them.

        Return for how long the run was driven by then.
        """
        texts = await ask_dbos(partial(_read_stream, run.run_id, self._read.get(run, 0), seconds))
        batches: list[Any] = [self._paper.show(text) for text in texts]
        self._read[run] = self._read.get(run, 0) + len(batches)
        new = [event for batch in batches for event in read_batch(batch) if event.seq >= len(run.events)]
        run.events += new
        for listener in list(self._listening.get(run.run_id, ())):
            tell(run, listener, new)
        return batches[-1]["used_s"] if batches else 0.0

    async def _read_ending(self, run: Run, status: WorkflowStatus) -> None:
        goes_on = status.status in ("PENDING", "ENQUEUED", "DELAYED")
        if goes_on and not (run.events and isinstance(run.events[-1], RunEnded)):
            return
        await self._read_batches(run, 0.0)
        steps = await ask_dbos(partial(DBOS.list_workflow_steps_async, run.run_id))
        rebuild_transcript(run, read_past(steps, self._paper.show).outcomes)
        last = run.events[-1] if run.events else None
        if isinstance(last, RunEnded):
            run.ending = cast("Ending", {"status": last.status, "reason": last.reason, "error": last.error})
        elif isinstance(status.output, str):
            run.ending = self._paper.show(status.output)
        else:
            run.ending = Ending(status="failed", reason=None, error=BROKEN)
        run.news += 1


async def _read_stream(run_id: str, offset: int, seconds: float) -> list[str]:
    """Read what a run has written from there on; wait so long for the first of it."""
    found = list[str]()
    try:
        async for text in DBOS.read_stream_async(run_id, EVENTS, offset=offset, timeout_seconds=seconds):
            found.append(text)
            seconds = 0
    except dbos_errors.DBOSStreamTimeoutError:
        pass
    return found
