"""A caller's recent runs, for one that has lost the id of a run."""

from collections.abc import Sequence

from bridge.events import Notified
from bridge.json_text import Json, JsonObject
from bridge.run.limits import COMPLETED
from bridge.run.receipt import build_receipt
from bridge.run.summary import Summary
from bridge.visible import show_line

MOST = 20
"""How many runs are listed."""
_LINE_CHARS = 80
_UNITS = ((86_400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))


def build_list(runs: Sequence[Summary], now: float, limit_chars: int) -> JsonObject:
    """Build the result that lists runs; `now` is the wall-clock time, in seconds since 1970."""
    lines = [_describe(run, now) for run in runs]
    how = "respond_wait with one of these run_ids gets that run's result."
    notices = [Notified(code="runs", message=how if runs else "There are no runs of yours here.")]
    receipt = build_receipt(None, notices, COMPLETED, limit_chars=limit_chars)
    return receipt | {"output_text": "\n".join(lines), "runs": list[Json](run.to_json() for run in runs)}


def _describe(run: Summary, now: float) -> str:
    state = run.status if run.ended or run.is_driven else "interrupted; respond_wait takes it up"
    return f"{run.run_id} ({state}, {show_age(now - run.created)} ago): {show_line(run.prompt[:_LINE_CHARS])}"


def show_age(seconds: float) -> str:
    """Show a time in its largest unit: `3 min`."""
    size, unit = next(((size, unit) for size, unit in _UNITS if seconds >= size), _UNITS[-1])
    return f"{max(seconds, 0) / size:.0f} {unit}"
