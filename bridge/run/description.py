"""A run described for programs: in a line, and whole."""

import sys

from bridge.json_text import Json, JsonObject
from bridge.run.engine import NAMED, UNPROVEN
from bridge.run.receipt import build_receipt
from bridge.run.run import Run
from bridge.run.summary import Summary
from bridge.run.timeline import list_spans

NAME_CHARS = 12
"""Characters of somebody's name that are shown."""


def describe(run: Summary) -> JsonObject:
    """Describe a run in a line."""
    return run.to_json() | {"who": name_principal(run.principal), "status": name_status(run)}


def describe_whole(run: Run) -> JsonObject:
    """Describe what is in a run: its spans, and its result if it has ended."""
    result = run.ending and build_receipt(run.run_id, run.events, run.ending, limit_chars=sys.maxsize)
    return {"timeline": list[Json](span.to_json() for span in list_spans(run.events)), "result": result}


def name_status(run: Summary) -> str:
    """Name the status of a run; one that has not ended, and that no process drives, is interrupted."""
    return run.status if run.ended is not None or run.is_driven else "interrupted"


def name_principal(principal: str | None) -> str:
    """Name who a run belongs to, with as much as tells one from another."""
    if principal is None:
        return "terminal"
    kind, _, rest = principal.partition(" ")
    if principal.startswith(NAMED):
        return rest[:NAME_CHARS]
    return f"{'somebody' if principal.startswith(UNPROVEN) else kind} {rest[:4]}".rstrip()
