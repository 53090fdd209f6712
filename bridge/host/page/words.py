"""Texts of other programs as the page gets them: without secrets, and safe to look at."""

import re

from bridge.json_text import Json, JsonObject, encode
from bridge.run.summary import PROMPT_CHARS
from bridge.telemetry import Redactor
from bridge.visible import show_exactly, show_line, show_prose

PAGE_CHARS = 20_000
"""Characters of a text that are sent at once."""
_LAST_WORD = re.compile(r"[!-~]+\Z")


class Words:
    """Texts that the page is told."""

    def __init__(self, redact: Redactor) -> None:
        self.redact = redact

    def line(self, text: str) -> str:
        """Return a name or a sentence."""
        return show_line(self.redact(text))

    def prose(self, text: str) -> str:
        """Return a text of many lines, whole."""
        return show_prose(self.redact(text))

    def exactly(self, value: Json) -> str:
        """Return a value as JSON on which each character is seen."""
        return show_exactly(self.redact(encode(value)))

    def prompt(self, text: str) -> str:
        """Return the first words of what was asked. Where they were cut, half a secret would not be found."""
        return self.line(_LAST_WORD.sub("…", text) if len(text) >= PROMPT_CHARS else text)

    def clean(self, value: Json) -> Json:
        """Return a JSON value whose texts are all of one line."""
        match value:
            case str():
                return self.line(value)
            case list():
                return [self.clean(each) for each in value]
            case dict():
                return {name: self.clean(each) for name, each in value.items()}
            case _:
                return value

    def cut(self, text: str, start: int = 0) -> JsonObject:
        """Return a page of a text, and how long it is in all. Secrets are looked for before it is cut."""
        whole = self.prose(text)
        place: JsonObject = {"from": start} if start else {}
        return {"text": whole[start : start + PAGE_CHARS], **place, "chars": len(whole)}
