"""Questions that only the person at the host can answer, never a model, and their answers."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal, NotRequired, TypeAlias, TypedDict, cast

from bridge.json_text import Json, JsonObject, encode
from bridge.pages import Page
from bridge.visible import count_blanks, quote_name, show_exactly, show_line, show_prose

YES, NO = "run it", "do not run it"
RUN_IT = "Run it?"
DONE = "the user says that it is done"
"""The `reason` beside a yes of somebody who has not only opened an address, but done what it is for."""
UNANSWERED = "the question was not answered in time"
IN_ADVANCE = "it was given in advance"
"""The `reason` beside a yes of somebody who has not seen the question."""
AT_TERMINAL, ON_PAGE = "given at a terminal", "given on the page of the service"
"""The `reason` beside an answer that was not given at the host."""
MAX_SHOWN_CHARS = 4000
"""The most characters of a call's arguments in a question. A longer text says how much is not shown, because nobody can
approve what they cannot see."""
MAX_NEAR_CHARS = 400
"""Behind longer arguments a question names the tool again."""


@dataclass(frozen=True)
class Question:
    """A question whose answer a call needs before it can go on."""

    server: str
    """The connected server that the question is about."""
    message: str
    """The text that the person is shown."""
    schema: JsonObject
    """The form of the answer: a JSON Schema of the flat kind that MCP's form elicitation allows."""
    address: str = ""
    """What the person is asked to open, in place of a form; a yes means that they have begun to."""
    is_approval: bool = False
    """True for our own question whether a call may run, False for a question of the server."""
    about: str = ""
    """Set if the call needs a yes only because of something else that is shown: identifies that. One question does for
    all calls that wait for it."""
    tool: str = ""
    """The plain name of the tool that an approval is about."""
    arguments: JsonObject = field(default_factory=dict[str, Json], repr=False)
    """The arguments of that call, all of them."""
    difference: str = ""
    """Changes since the tool was approved, as an approval shows them; a part of the message."""
    remedy: str = ""
    """How the tool would get to run without a question, for good: only the person can do that."""
    identify: Callable[[], tuple[str, ...]] = field(default=tuple, repr=False, compare=False)
    """Identifies the tool with all that it claims, for a yes that is to hold for more calls of a run; empty where none
    can."""
    on_yes: Callable[[], None] | None = field(default=None, repr=False, compare=False)
    """Called with a yes of somebody who has seen the question; not again where an answer is only remembered."""
    is_moot: Callable[[], bool] = field(default=lambda: False, repr=False, compare=False)
    """Tells whether the call would not run whatever the answer is."""


class Answer(TypedDict):
    """The outcome of a question."""

    action: Literal["accept", "decline", "cancel", "unasked", "elsewhere", "moot"]
    """The person's action, named as in MCP; "unasked" if nobody was asked or nobody answered; "elsewhere" if they have
    said yes to the same for another call; "moot" if nobody had to be asked, as the call does not run anyway."""
    content: JsonObject
    """The filled-in form, if the person accepted."""
    reason: str
    """Why nobody was asked or nobody answered; or a remark on how far the answer can be trusted. It ends a sentence."""
    subject: NotRequired[list[str]]
    """Identity of the tool that a yes was given to, as `Question.identify` had it: the yes holds for nothing else."""


Who = Literal["config", "host", "terminal", "page", "advance", "nobody", "limits", "run", "bridge", "before"]
"""Deciders about a call: the config; a person at the host, at a terminal or at the page; one who agreed in advance;
nobody, where a person had to; a limit; the end of the run; the bridge itself; the process that drove the run before."""
_PLACES: dict[str, Who] = {AT_TERMINAL: "terminal", ON_PAGE: "page", IN_ADVANCE: "advance"}


Ask: TypeAlias = Callable[[Question], Awaitable[Answer]]
MOOT: Answer = {"action": "moot", "content": {}, "reason": ""}


def leave_unasked(reason: str) -> Answer:
    """Return the answer that stands for a question that was not asked or not answered."""
    return {"action": "unasked", "content": {}, "reason": reason}


async def ask_nobody(_question: Question) -> Answer:
    """Answer every question with "unasked", where there is nobody to ask."""
    return leave_unasked("nobody can be asked here")


async def say_yes(question: Question) -> Answer:
    """Approve every call, for a person who has agreed in advance; a server's own questions stay unasked."""
    return approve(IN_ADVANCE) if question.is_approval else await ask_nobody(question)


def approve(reason: str = "") -> Answer:
    """Return the yes to an approval."""
    return {"action": "accept", "content": {"answer": YES}, "reason": reason}


def decline(reason: str = "") -> Answer:
    """Return the no to an approval."""
    return {"action": "decline", "content": {}, "reason": reason}


def ask_approval(server: str, tool: str, arguments: JsonObject) -> Question:
    """Build the question whether `tool` of `server` may run with these arguments."""
    what, shown = f"{quote_name(tool)} of {quote_name(server)}", show_arguments(arguments)
    # Long arguments can scroll the names off the screen, and end in words that look like this question about others.
    it = what if len(shown) > MAX_NEAR_CHARS else "it"
    message = f"The model wants to run {what} with {shown}. Run {it}?"
    # A required choice without a default: a form that is submitted unchanged approves nothing.
    choice: JsonObject = {"type": "string", "title": RUN_IT, "enum": [NO, YES]}
    return Question(
        server,
        message,
        {"type": "object", "properties": {"answer": choice}, "required": ["answer"]},
        is_approval=True,
        tool=tool,
        arguments=arguments,
    )


def ask_to_open(server: str, page: Page, said: str) -> Question:
    """Build the question whether the person opens a page for `server`; `said` is shown as it is."""
    message = f"The server {quote_name(server)} asks you to open a page of {page.host}: {said}"
    return Question(server, message, {}, address=page.address)


def show_before(question: Question, text: str) -> Question:
    """Show lines in an approval before what it asks."""
    shown = "\n".join(filter(None, [question.difference, text]))
    message = f"{question.message.removesuffix(RUN_IT).rstrip()}\n{text}\n{RUN_IT}"
    return replace(question, message=message, difference=shown)


def is_yes(answer: Answer) -> bool:
    """Tell whether the person chose to run the call; accepting the form alone is not enough."""
    return answer["action"] == "accept" and answer["content"].get("answer") == YES


def find_who(answer: Answer) -> Who:
    """Find who gave an answer."""
    if answer["action"] in ("unasked", "moot"):
        return "nobody"
    return _PLACES.get(answer["reason"], "host")


def has_read(answer: Answer) -> bool:
    """Tell whether whoever chose to run the call has seen the question."""
    return is_yes(answer) and answer["reason"] != IN_ADVANCE


async def ask_and_tell(question: Question, ask: Ask) -> Answer:
    """Ask, unless the question is moot, tell of a yes whoever the question says, and note what it is to."""
    if question.is_moot():
        return MOOT
    subject = [*question.identify()]
    answer = await ask(question)
    if question.on_yes and has_read(answer):
        question.on_yes()
    return {**answer, "subject": subject} if subject and is_yes(answer) else answer


def show_arguments(arguments: JsonObject) -> str:
    """Format arguments as JSON for people, short enough for a dialog, with every character seen."""
    text = count_blanks(show_exactly(encode(arguments)))
    if len(text) <= MAX_SHOWN_CHARS:
        return text
    half = MAX_SHOWN_CHARS // 2
    return f"{text[:half]} [… {len(text) - 2 * half:,} more characters that are not shown …] {text[-half:]}"


_SPOKEN = frozenset({"title", "description", "enumNames"})
"""What a form only shows; all else in it comes back in the answer, or says what may."""


def show_form(form: JsonObject) -> JsonObject | None:
    """Return a server's form with its texts safe to look at; None where a part cannot be shown as it is, and would be
    another thing if it were shown otherwise."""
    texts = _list_texts(form)
    return cast("JsonObject", _show_texts(form)) if all(show_line(text) == text for text in texts) else None


def _list_texts(value: Json) -> Iterator[str]:
    """List the names and values in a form but for what it only shows."""
    match value:
        case str():
            yield value
        case list():
            for each in value:
                yield from _list_texts(each)
        case dict():
            for name, each in value.items():
                yield name
                yield from () if _is_spoken(name, each) else _list_texts(each)
        case _:
            pass


def _show_texts(value: Json, *, is_spoken: bool = False) -> Json:
    match value:
        case str():
            return show_prose(value) if is_spoken else value
        case list():
            return [_show_texts(each, is_spoken=is_spoken) for each in value]
        case dict():
            return {name: _show_texts(each, is_spoken=_is_spoken(name, each)) for name, each in value.items()}
        case _:
            return value


def _is_spoken(name: str, value: Json) -> bool:
    """Tell a text that is only shown from a field of the form that has the same name, and is an object."""
    return name in _SPOKEN and not isinstance(value, dict)
