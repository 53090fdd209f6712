"""What whole tasks cost with many tools, for two kinds of model. `python -m tests.search.tasks` prints the table.

A model calls a tool that does what is wished as soon as its request carries one. One kind reads the list of names and
asks for the right one by its name; the other only searches in its own words, and asks by name for what a search named.
Each request is the real one: its tools, and the outputs of `find_tools` so far.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import anyio

from bridge.config.settings import Limits, ToolSearch
from bridge.json_text import JsonObject
from bridge.run.limits import lower_limits
from bridge.run.offer import Offer, make_offer
from bridge.run.request import Request
from bridge.run.tools.own_tools import Found, RunCatalogue
from bridge.texts import estimate_tokens
from tests.search.corpus import TUNED, Wish, load_tools, load_wishes
from tests.search.measure import Shelf, fill_shelf

Kind = Literal["reads the list", "only searches"]
KINDS: tuple[Kind, ...] = ("reads the list", "only searches")
SOME = ("github", "atlassian", "playwright", "notion", "kubernetes", "excel", "git")
"""Servers with about 300 tools together, as one developer may have them."""
FIRSTS = (0, 3, 6, 12)
ANSWER_TOKENS = 100
"""A question, a call or an answer."""


@dataclass
class Task:
    """One run: what its requests cost together, how many there were, and whether a right tool was called."""

    tokens: int = 0
    turns: int = 0
    is_done: bool = False


async def do_task(question: Wish, shelf: Shelf, kind: Kind, search: ToolSearch) -> Task:
    """Play one run to its end."""
    limits, _ = lower_limits(Limits(), None, None)
    items = [json.dumps({"role": "user", "content": question.text})]
    offer = make_offer(Request({}), items, RunCatalogue(shelf, {}), limits, search)
    task, said = Task(), estimate_tokens(question.text)
    tried = list[str]()
    while True:
        task.turns += 1
        task.tokens += said + sum(map(estimate_tokens, offer.texts))
        carried = {json.loads(text)["name"].replace("__", "/", 1) for text in offer.texts}
        if carried & question.tools:
            task.is_done = True
            task.turns += 1  # the call's output goes back
            task.tokens += said + ANSWER_TOKENS + sum(map(estimate_tokens, offer.texts))
            return task
        arguments = _choose(question, offer, kind, tried)
        if arguments is None:
            return task
        tried.append(json.dumps(arguments))
        found = await offer.own[0].answer(arguments, 0)
        assert isinstance(found, Found)
        tried.append(found.text)
        said += estimate_tokens(found.text) + ANSWER_TOKENS
        offer = offer.grow(found.names)


def _choose(question: Wish, offer: Offer, kind: Kind, tried: Sequence[str]) -> JsonObject | None:
    """What such a model asks `find_tools` next; None where it gives up."""
    if not offer.own:
        return None
    description = offer.own[0].function.description
    read = "\n".join([*tried[1::2], description if kind == "reads the list" and "All of them:" in description else ""])
    named = [name for name in question.tools if _is_named(name, read)]
    ways: list[JsonObject] = [{"names": [name]} for name in sorted(named)[:1]] + [{"query": question.text}]
    return next((arguments for arguments in ways if json.dumps(arguments) not in tried), None)


def _is_named(name: str, text: str) -> bool:
    owner, _, plain = name.partition("/")
    return name in text or any(f" {plain}{end}" in text and f"{owner}: " in text for end in (",", ";", "."))


async def measure(shelf: Shelf, questions: Sequence[Wish], kind: Kind, first: int) -> str:
    """A row of the table: mean tokens and turns of a task, and the share of those that were done."""
    search = ToolSearch().model_copy(update={"first": first})
    tasks = [await do_task(question, shelf, kind, search) for question in questions]
    tokens, turns, done = (
        sum(getattr(task, name) for task in tasks) / len(tasks) for name in ("tokens", "turns", "is_done")
    )
    return f"| {len(shelf.functions):,} | {kind} | {first} | {tokens:,.0f} | {turns:.2f} | {done:.2f} |"


async def main() -> None:
    everything = fill_shelf()
    some = fill_shelf({key: tools for key, tools in load_tools().items() if key in SOME})
    asked = [question for question in load_wishes(TUNED) if question.tools]
    lines = ["| tools | the model | first | tokens | turns | done |", "|---|---|---|---|---|---|"]
    for shelf in (some, everything):
        questions = [question for question in asked if question.tools <= shelf.functions.keys()]
        for kind in KINDS:
            lines += [await measure(shelf, questions, kind, first) for first in FIRSTS]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    anyio.run(main)
