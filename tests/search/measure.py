"""How good the search is on the held-out questions. `python -m tests.search.measure` prints the table of the docs."""

import json
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from bridge.config.settings import Limits, ToolSearch
from bridge.items import Notice
from bridge.run.limits import lower_limits
from bridge.run.offer import make_offer
from bridge.run.request import Request
from bridge.run.tools.find_tools import find_tools
from bridge.run.tools.own_tools import RunCatalogue
from bridge.search.ranking import Index, Ranking
from bridge.texts import estimate_tokens
from tests.search.baseline import Baseline
from tests.search.corpus import (
    STRANGERS,
    Question,
    Wish,
    describe,
    load_entries,
    load_questions,
    load_tools,
    load_wishes,
)

Rank = Callable[[str], Sequence[str]]


@dataclass(frozen=True)
class Shelf:
    """A catalogue of the corpus, without servers."""

    functions: Mapping[str, str]
    owners: Mapping[str, str]
    tokens: Mapping[str, int]
    index: Index
    notices: Sequence[Notice] = ()
    polling: Collection[str] = ()
    harmless: Collection[str] = ()

    @cached_property
    def plain_names(self) -> Mapping[str, str]:
        return {name: name.partition("/")[2] for name in self.functions}

    def search(self, wish: str) -> Ranking:
        return self.index.search(wish)

    def find_named(self, name: str) -> list[str]:
        return self.index.find_named(name)

    def rank(self, wish: str) -> list[str]:
        return self.index.search(wish).names


def fill_shelf(catalogues: Mapping[str, Sequence[dict[str, Any]]] | None = None) -> Shelf:
    """All tools of the corpus, or those of some servers."""
    catalogues = load_tools() if catalogues is None else catalogues
    tools = {f"{key}/{tool['name']}": tool for key, listed in catalogues.items() for tool in listed}
    functions = {
        name: json.dumps(
            {
                "type": "function",
                "name": name.replace("/", "__"),
                "description": tool.get("description") or tool.get("title"),
                "parameters": tool["inputSchema"],
                "strict": False,
            },
            ensure_ascii=False,
            separators=(",", ":"),
        )
        for name, tool in tools.items()
    }
    owners = {name: name.partition("/")[0] for name in functions}
    tokens = {name: estimate_tokens(text) for name, text in functions.items()}
    return Shelf(
        functions, owners, tokens, Index(describe(key, tool) for key, listed in catalogues.items() for tool in listed)
    )


def find_recall(questions: Iterable[Question], rank: Rank) -> float:
    """The share of the questions for which a tool that would do is among the first five."""
    found = [bool(set(rank(question.text)[:5]) & question.tools) for question in questions if question.tools]
    return sum(found) / len(found)


def find_silence(questions: Iterable[Question | Wish], shelf: Shelf) -> float:
    """The share of the questions that no tool would do for which none is offered."""
    silent = [not shelf.search(question.text).clear for question in questions if not question.tools]
    return sum(silent) / len(silent)


class Reach(NamedTuple):
    """What shares of some wishes reach a tool that would do."""

    offered: float
    """With its schema, by one search."""
    seen: float
    """Offered or named, by one search."""


def find_reach(wishes: Sequence[Wish], shelf: Shelf) -> Reach:
    """How many of these wishes, which some tool fulfils, a search leads to one."""
    offered = seen = 0
    for wish in wishes:
        found = find_tools(RunCatalogue(shelf, {}), shelf.functions, wish.text, ToolSearch().found)
        offered += bool(wish.tools.intersection(found.names))
        seen += any(name.replace("/", "__") in found.text or name in found.text for name in wish.tools)
    return Reach(offered / len(wishes), seen / len(wishes))


def find_share(questions: Sequence[Question], shelf: Shelf) -> tuple[float, float]:
    """What the last request of a run costs that also searched once, as a share of sending all tools: mean and most."""
    limits, _ = lower_limits(Limits(), None, None)
    whole = sum(shelf.tokens.values())
    shares = []
    for question in questions:
        items = [json.dumps({"role": "user", "content": question.text})]
        offer = make_offer(Request({}), items, RunCatalogue(shelf, {}), limits, ToolSearch())
        found = find_tools(RunCatalogue(shelf, {}), offer.hidden, question.text, ToolSearch().found)
        grown = offer.grow(found.names)
        shares.append(sum(map(estimate_tokens, grown.texts)) / whole)
    return sum(shares) / len(shares), max(shares)


def main() -> None:
    shelf, baseline = fill_shelf(), Baseline(load_entries())
    lines = ["| wishes of | style | number | offered | offered or named |", "|---|---|---|---|---|"]
    for name, (file, _) in STRANGERS.items():
        wishes = load_wishes(file)
        for style in dict.fromkeys(wish.style for wish in wishes if wish.tools):
            lines.append(_show(name, style, [wish for wish in wishes if wish.tools and wish.style == style], shelf))
        lines.append(_show(name, "all but avoid", [w for w in wishes if w.tools and w.style != "avoid"], shelf))
        silence = find_silence(wishes, shelf)
        lines.append(f"| {name} | none | {sum(not w.tools for w in wishes)} | nothing offered: {silence:.2f} | |")
    questions = [question for question in load_questions() if question.is_held_out]
    lines += [
        "",
        "| held out, by the author | questions | recall@5 | BM25 alone | none right |",
        "|---|---|---|---|---|",
    ]
    for name, languages in (("English", ("en",)), ("Chinese", ("zh",)), ("all", ("en", "zh"))):
        asked = [question for question in questions if question.language in languages]
        recall, plain = find_recall(asked, shelf.rank), find_recall(asked, baseline.rank)
        lines.append(f"| {name} | {len(asked)} | {recall:.3f} | {plain:.3f} | {find_silence(asked, shelf):.3f} |")
    mean, most = find_share(questions, shelf)
    lines.append(f"\nTokens: {mean:.1%} of all on average, {most:.1%} at most; all are {sum(shelf.tokens.values()):,}.")
    lines.append(f"Tools: {len(shelf.functions):,}. {_time_it(questions)}")
    sys.stdout.write("\n".join(lines) + "\n")


def _show(name: str, style: str, wishes: Sequence[Wish], shelf: Shelf) -> str:
    offered, seen = find_reach(wishes, shelf)
    return f"| {name} | {style} | {len(wishes)} | {offered:.2f} | {seen:.2f} |"


def _time_it(questions: Sequence[Question]) -> str:
    entries = load_entries()
    began = time.process_time()
    index = Index(entries)
    between = time.process_time()
    for question in questions:
        index.search(question.text)
    searches = (time.process_time() - between) / len(questions)
    return f"Processor time: {(between - began) * 1e3:.0f} ms for the index, {searches * 1e3:.1f} ms for a search."


if __name__ == "__main__":
    main()
