"""A run in a line, as the page shows it."""

from bridge.host.page.words import Words
from bridge.json_text import JsonObject
from bridge.run.description import describe
from bridge.run.summary import Summary


def describe_line(summary: Summary, questions: int, words: Words) -> JsonObject:
    """Describe a run in a line, as the page shows it."""
    told = describe(summary) | {"prompt": "", "questions": questions}
    cleaned = {name: words.clean(value) for name, value in told.items()}
    return cleaned | {"prompt": words.prompt(summary.prompt)}
