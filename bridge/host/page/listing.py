"""The list of runs, page by page, the newest first."""

import re
from collections.abc import Mapping

from bridge.errors import ArgumentError
from bridge.host.page.door import Visitor
from bridge.host.page.line import describe_line
from bridge.host.page.words import Words
from bridge.json_text import Json, JsonObject
from bridge.run.description import name_principal, name_status
from bridge.run.engine import Engine
from bridge.run.summary import Place, Summary

LIMIT = 100
MOST = 200
"""Most runs in one reply."""
MOST_LOOKS = 10
"""Most pages that one request looks through for the runs it wants; the next request goes on from there."""
_CURSOR = re.compile(r"(\d{1,12}(?:\.\d{1,20})?(?:e[+-]?\d{1,3})?)~(\w{1,100})")


async def list_runs(engine: Engine, visitor: Visitor, query: Mapping[str, str], words: Words) -> JsonObject:
    """List runs that a visitor may see, from the place that the query names. Raises ArgumentError."""
    limit, before = _read_limit(query.get("limit", "")), _read_place(query.get("before", ""))
    status, who = query.get("status", ""), query.get("who", "")
    wanted, is_more = list[Summary](), True
    for _ in range(MOST_LOOKS if status or who else 1):
        page = await engine.list_page(whose=visitor.whose, before=before, limit=limit)
        for each in page:
            before = each.place
            if _is_wanted(each, status, who):
                wanted.append(each)
                if len(wanted) == limit:
                    break
        is_more = len(page) == limit or len(wanted) == limit
        if not is_more or len(wanted) == limit:
            break
    runs: list[Json] = [describe_line(each, await count_questions(engine, each), words) for each in wanted]
    return {"runs": runs, "before": _write_place(before) if is_more and before else None}


async def count_questions(engine: Engine, summary: Summary) -> int:
    """Count the questions of a run that goes on here."""
    if summary.ended is not None or not summary.is_driven:
        return 0
    found = await engine.find(summary.run_id, principal=summary.principal)
    return len(found.questions) if found else 0


def _is_wanted(run: Summary, status: str, who: str) -> bool:
    if status and status != name_status(run):
        return False
    return not who or who == name_principal(run.principal)


def _read_limit(text: str) -> int:
    if not text:
        return LIMIT
    if not (text.isascii() and text.isdecimal() and len(text) <= 4 and int(text)):
        raise ArgumentError(f"limit: a number from 1 to {MOST} is right.")
    return min(int(text), MOST)


def _read_place(text: str) -> Place | None:
    if not text:
        return None
    found = _CURSOR.fullmatch(text)
    if not found:
        raise ArgumentError("before: this is no place in the list; leave it out for the newest.")
    return Place(float(found[1]), found[2])


def _write_place(place: Place) -> str:
    return f"{place.created!r}~{place.run_id}"
