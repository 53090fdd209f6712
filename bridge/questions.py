"""Questions that only the person at the host can answer, and their answers; no model ever can."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypedDict

from bridge.json_text import JsonObject, encode

YES, NO = "run it", "do not run it"
MAX_SHOWN_CHARS = 4000
"""Of a call's arguments. What is left out is said: an approval of what cannot be seen would be none."""


@dataclass(frozen=True)
class Question:
    """Something that a call cannot go on without."""

    server: str
    """The connected server that it is about."""
    message: str
    """What the person is shown."""
    schema: JsonObject
    """What they answer with: a JSON Schema of the flat kind that MCP's form elicitation has."""
    is_approval: bool = False
    """Whether it is ours, of a call to run, and not one of the server's own."""


class Answer(TypedDict):
    """What came of a question."""

    action: Literal["accept", "decline", "cancel", "unasked"]
    """The person's action, by MCP's words for it; "unasked": there was none, for `reason`."""
    content: JsonObject
    """What they answered with, where they accepted."""
    reason: str
    """Why nobody was asked, or nobody answered; or what to think of an answer: the end of a sentence."""


Ask: TypeAlias = Callable[[Question], Awaitable[Answer]]


def leave_unasked(reason: str) -> Answer:
    """The answer where there is none."""
    return {"action": "unasked", "content": {}, "reason": reason}


async def ask_nobody(_question: Question) -> Answer:
    """Where there is nobody to ask."""
    return leave_unasked("nobody can be asked here")


async def say_yes(question: Question) -> Answer:
    """For who has said so before: every call may run. What a server asks of the person is not known to anybody here."""
    if question.is_approval:
        return {"action": "accept", "content": {"answer": YES}, "reason": ""}
    return await ask_nobody(question)


def ask_approval(server: str, tool: str, arguments: JsonObject) -> Question:
    """Whether `tool` of `server` may run with these arguments."""
    message = f'The model wants to run "{tool}" of "{server}" with {show_arguments(arguments)}. Run it?'
    # No default, and a choice that must be made: a form that is sent off as it stands approves nothing.
    choice: JsonObject = {"type": "string", "title": "Run it?", "enum": [NO, YES]}
    return Question(
        server,
        message,
        {"type": "object", "properties": {"answer": choice}, "required": ["answer"]},
        is_approval=True,
    )


def is_yes(answer: Answer) -> bool:
    """Whether the person approved, in so many words."""
    return answer["action"] == "accept" and answer["content"].get("answer") == YES


def show_arguments(arguments: JsonObject) -> str:
    """Arguments as JSON for people: nothing that could hide or reorder a part of it, and no more than fits a dialog."""
    text = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in encode(arguments))
    if len(text) <= MAX_SHOWN_CHARS:
        return text
    half = MAX_SHOWN_CHARS // 2
    return f"{text[:half]} [… {len(text) - 2 * half:,} more characters that are not shown …] {text[-half:]}"
