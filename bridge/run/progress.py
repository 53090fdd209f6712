"""A run's events as one line each, for people: in progress notifications, on the terminal and in `demo`."""

from collections.abc import Callable
from contextlib import suppress

from bridge.events import (
    CallEnded,
    CallProgressed,
    CallStarted,
    Event,
    InBackground,
    Notified,
    QuestionAsked,
    Retrying,
    Said,
    TurnStarted,
)
from bridge.items import read_messages
from bridge.json_text import Json, decode, encode
from bridge.visible import show_line, show_name

MAX_CHARS = 100
LOOK_CHARS = 8 * MAX_CHARS
"""How much of a text is looked at."""


def describe_event(event: Event, redact: Callable[[str], str]) -> str | None:
    """Describe an event for somebody who waits; None where it is not worth a line.

    The line has no secrets, which a tool may return to the model, and is safe to look at: it contains other programs'
    words.
    """
    line = _describe(event, redact)
    return _flatten(redact(line)) if line else None


def _describe(event: Event, redact: Callable[[str], str]) -> str | None:
    match event:
        case TurnStarted():
            return f"turn {event.turn}: asking {event.model} ({_count(event.tools, 'tool')})"
        case CallStarted():
            owner = f" on {show_name(event.server)}" if event.server else ""
            return f"  → {show_name(event.name)}({_shorten(_show_arguments(event.arguments), redact)}){owner}"
        case CallProgressed():
            return f"  · {show_name(event.name)}: {_show_progress(event)}"
        case CallEnded():
            mark = "✗" if event.is_error else "✓"
            said = _shorten(_show_output(event.item.get("output")), redact)
            return f"  {mark} {show_name(event.name)} {_show_time(event.duration_ms)} {said}"
        case QuestionAsked():
            return f"  ? asking the user for {show_name(event.server)}: {_shorten(event.message, redact)}"
        case Said():
            said = " ".join(read_messages(event.items).split())
            return f"  + said before turn {event.turn}: {_shorten(said, redact)}"
        case Retrying():
            return f"  ! asking again in {event.pause_s} s: {event.reason}"
        case InBackground() if event.what != "begun":
            return f"  · {event.response_id} is made in the background and {event.what}"
        case Notified():
            return f"  ! {event.message}"
        case _:
            return None


def _show_progress(event: CallProgressed) -> str:
    """Show how far a call has come: the server's message, and a percentage or a count."""
    share = f"{event.progress / event.total:.0%}" if event.total and event.total > 0 else f"{event.progress:g}"
    return f"{event.message} ({share})" if event.message else share


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _show_time(duration_ms: float) -> str:
    return f"{duration_ms / 1000:.1f} s" if duration_ms >= 1000 else f"{duration_ms:.0f} ms"


def _show_arguments(arguments: Json) -> str:
    try:
        values = decode(arguments) if isinstance(arguments, str) else arguments
    except ValueError:
        values = arguments
    if isinstance(values, dict):
        return ", ".join(f"{name}={_show(value)}" for name, value in values.items())
    return _show(values) if values else ""


def _show_output(output: Json) -> str:
    if isinstance(output, list):
        texts = [str(part.get("text") or f"[{part.get('type')}]") for part in output if isinstance(part, dict)]
        output = " ".join(texts)
    return " ".join((_show_error(output) or str(output)).split())


def _show_error(output: Json) -> str | None:
    """Show one of our own errors as `code: message`; of a missing approval only the code, as a notice says it all."""
    with suppress(ValueError):
        error = decode(output) if isinstance(output, str) else None
        if isinstance(error, dict) and error.keys() >= {"error", "message"}:
            code = str(error["error"])
            return code if code == "approval_required" else f"{code}: {error['message']}"
    return None


def _show(value: Json) -> str:
    return value if isinstance(value, str) else encode(value)


def _shorten(text: str, redact: Callable[[str], str]) -> str:
    text = redact(text if len(text) <= LOOK_CHARS else text[:LOOK_CHARS] + "…")  # half a secret would not be found
    return text if len(text) <= MAX_CHARS else text[: MAX_CHARS - 1] + "…"


def _flatten(text: str) -> str:
    indent = len(text) - len(text.lstrip(" "))
    return " " * indent + show_line(" ".join(text.split()))
