"""`runs show`: one run, with its turns and calls as bars in time."""

import sys
import time
from collections.abc import Iterator, Sequence

from bridge.cli.screen.columns import wrap
from bridge.cli.screen.run_list import show_count, show_money, show_time
from bridge.cli.screen.timeline import LEGEND, draw_bars, list_remarks, show_seconds
from bridge.events import InBackground, Kept, Notified, QuestionAsked, Retrying
from bridge.run.description import name_principal, name_status
from bridge.run.progress import describe_event
from bridge.run.receipt import build_receipt
from bridge.run.run import Run
from bridge.run.summary import Summary
from bridge.run.timeline import Axis, lay_axis, list_spans
from bridge.telemetry import Redactor
from bridge.visible import show_line, show_prose

REMARKS = (Notified, QuestionAsked, Retrying, InBackground)
"""Kinds of events that are told beside the bars."""


def list_lines(summary: Summary, run: Run, columns: int, redact: Redactor) -> Iterator[str]:
    """List what is seen of a run: what was asked, the bars, what was told beside, and the answer."""
    axis = lay_axis(run.events, until=_find_end(summary, run.events))
    yield from _describe_head(summary, axis, columns, redact)
    if spans := list_spans(run.events):
        yield ""
        yield from draw_bars(spans, axis, columns, redact, goes_on=summary.is_driven)
        yield LEGEND
    told = (event for event in run.events if isinstance(event, REMARKS))
    if remarks := [(event.at, line) for event in told if (line := describe_event(event, redact))]:
        yield ""
        yield from list_remarks(remarks, axis, columns)
    if words := _find_words(summary, run, redact):
        yield ""
        yield words


def _find_end(summary: Summary, events: Sequence[Kept]) -> float:
    """Find until when a run was driven: until now where a process drives it."""
    if summary.ended is None and summary.is_driven:
        return time.time()
    return events[-1].at if events else summary.created


def _describe_head(summary: Summary, axis: Axis, columns: int, redact: Redactor) -> Iterator[str]:
    reason = f" ({summary.reason})" if summary.reason else ""
    yield summary.run_id
    yield f"{name_status(summary)}{reason}, {show_time(summary.created)}, {show_seconds(axis.length_s)}"
    sums = [f"turns: {show_count(summary.turns)}", f"calls: {show_count(summary.calls)}"]
    sums += [f"tokens: {show_count(summary.tokens)}"]
    sums += [f"money: {show_money(summary.cost)}"] if summary.cost is not None else []
    yield ", ".join(sums)
    asked = show_line(redact(summary.prompt))
    yield from wrap(asked, columns, indent="  ", first=f"{name_principal(summary.principal)} asked: ")


def _find_words(summary: Summary, run: Run, redact: Redactor) -> str:
    """Find what came of a run, in words: its answer, or why there is none."""
    if run.ending is None:
        name = summary.run_id.removeprefix("run_")[:8]
        remedy = f"follow {name} shows how" if summary.is_driven else f"resume {name} takes it up"
        return f"It {'goes on' if summary.is_driven else 'was interrupted'}: runs {remedy}."
    receipt = build_receipt(run.run_id, run.events, run.ending, limit_chars=sys.maxsize)
    error = receipt["error"]
    failed = f"failed: {error['message']}" if isinstance(error, dict) else ""
    return show_prose(redact("\n".join(filter(None, [str(receipt["output_text"] or ""), failed]))))
