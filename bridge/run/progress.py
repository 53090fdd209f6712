"""A run's events as one line each, for people: in progress notifications, on the terminal and in `demo`."""

from contextlib import suppress

from bridge.json_text import Json, JsonObject, decode, encode

MAX_CHARS = 100


def describe_event(event: JsonObject) -> str | None:
    """What `event` says to somebody who waits, or None when it says nothing new.

    One line without control characters: it has other programs' words in it, and may be shown on a terminal.
    """
    line = _describe(event)
    return _flatten(line) if line else None


def _describe(event: JsonObject) -> str | None:
    match event["type"]:
        case "turn.started":
            return f"turn {event['turn']}: asking {event['model']} ({_count(event['tools'], 'tool')})"
        case "call.started":
            return f"  → {event['name']}({_show_arguments(event['arguments'])}){_show_owner(event['server'])}"
        case "call.progress":
            return f"  · {event['name']}: {_show_progress(event)}"
        case "call.ended":
            mark = "✗" if event["is_error"] else "✓"
            return f"  {mark} {event['name']} {_show_time(event['duration_ms'])} {_show_output(event['item'])}"
        case "question":
            return f"  ? asking the user for {event['server']}: {_shorten(str(event['message']))}"
        case "retry":
            return f"  ! asking again in {event['pause_s']} s: {event['reason']}"
        case "background":
            return f"  · {event['response_id']} is made in the background and {event['what']}"
        case "notice":
            return f"  ! {event['message']}"
        case _:
            return None


def _show_progress(event: JsonObject) -> str:
    """How far a call has come: its words, and in which part or count."""
    done, total = event["progress"], event["total"]
    assert isinstance(done, (int, float))
    share = f"{done / total:.0%}" if isinstance(total, (int, float)) and total > 0 else f"{done:g}"
    return f"{event['message']} ({share})" if event["message"] else share


def _count(number: Json, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _show_owner(server: Json) -> str:
    return f" on {server}" if server else ""


def _show_time(duration_ms: Json) -> str:
    assert isinstance(duration_ms, (int, float))
    return f"{duration_ms / 1000:.1f} s" if duration_ms >= 1000 else f"{duration_ms:.0f} ms"


def _show_arguments(arguments: Json) -> str:
    try:
        values = decode(arguments) if isinstance(arguments, str) else arguments
    except ValueError:
        values = arguments
    if isinstance(values, dict):
        return _shorten(", ".join(f"{name}={_show(value)}" for name, value in values.items()))
    return _shorten(_show(values)) if values else ""


def _show_output(item: Json) -> str:
    output = item.get("output") if isinstance(item, dict) else None
    if isinstance(output, list):
        texts = [str(part.get("text") or f"[{part.get('type')}]") for part in output if isinstance(part, dict)]
        output = " ".join(texts)
    return _shorten(" ".join((_show_error(output) or str(output)).split()))


def _show_error(output: Json) -> str | None:
    """One of our own errors as words; what needs approval is told whole, as a notice."""
    with suppress(ValueError):
        error = decode(output) if isinstance(output, str) else None
        if isinstance(error, dict) and error.keys() >= {"error", "message"}:
            code = str(error["error"])
            return code if code == "approval_required" else f"{code}: {error['message']}"
    return None


def _show(value: Json) -> str:
    return value if isinstance(value, str) else encode(value)


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_CHARS else text[: MAX_CHARS - 1] + "…"


def _flatten(text: str) -> str:
    line = "".join(c if c.isprintable() else " " for c in text)
    indent = len(line) - len(line.lstrip())
    return " " * indent + " ".join(line.split())
