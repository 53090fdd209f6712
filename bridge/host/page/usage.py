"""Usage of today by principal: the sums of the runs that began on this day and are kept or go on."""

from datetime import UTC, datetime

import anyio.lowlevel

from bridge.host.page.door import Visitor
from bridge.host.page.words import Words
from bridge.host.server import Runner
from bridge.json_text import Json, JsonObject
from bridge.run.description import name_principal
from bridge.run.summary import Place, Summary, Totals

DAY_S = 86_400
AT_ONCE = 200
MOST_RUNS = 20_000
"""Most runs of a day that are counted: the latest."""
MOST_PRINCIPALS = 500
"""Most principals that are listed, those with the most tokens first."""


class Usage:
    """Usage of today, counted when it is asked for."""

    def __init__(self, runner: Runner, words: Words) -> None:
        self._runner = runner
        self._words = words

    async def describe(self, visitor: Visitor, now: float) -> JsonObject:
        """Describe the day, in UTC, of each principal that a visitor may see."""
        begin = now // DAY_S * DAY_S
        runs, sums = dict[str | None, int](), dict[str | None, Totals]()
        before, seen = None, 0
        while seen < MOST_RUNS:
            page = await self._runner.engine.list_page(whose=visitor.whose, before=before, limit=AT_ONCE)
            today = [each for each in page if each.created >= begin]
            for each in today:
                runs[each.principal] = runs.get(each.principal, 0) + 1
                _add(sums.setdefault(each.principal, Totals()), each)
            seen += len(page)
            if len(today) < AT_ONCE:
                break
            before = Place(page[-1].created, page[-1].run_id)
            await anyio.lowlevel.checkpoint()
        if visitor.principal is not None:
            sums.setdefault(visitor.principal, Totals())
        order = sorted(sums, key=lambda principal: (-sums[principal].tokens, principal or ""))
        first = order[:MOST_PRINCIPALS]
        told: list[Json] = [self._describe(principal, runs.get(principal, 0), sums[principal]) for principal in first]
        return {"day": datetime.fromtimestamp(begin, UTC).strftime("%Y-%m-%d"), "principals": told}

    def _describe(self, principal: str | None, runs: int, sums: Totals) -> JsonObject:
        rights = self._runner.find_rights(principal)
        return {
            "name": self._words.line(name_principal(principal)),
            "runs": runs,
            **vars(sums),
            "tokens_per_day": rights.said.tokens_per_day if rights else None,
            "cost_per_day": rights.said.cost_per_day if rights else None,
        }


def _add(sums: Totals, run: Summary) -> None:
    sums.turns += run.turns
    sums.calls += run.calls
    sums.tokens += run.tokens
    if run.cost is not None:
        sums.cost = (sums.cost or 0.0) + run.cost
