"""The receipt of a run, made from its events: the result of `respond`."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal, cast

from bridge.events import AnswerParsed, CallEnded, CutOff, Kept, Notified, Said, TurnEnded, tell_notice
from bridge.items import may_hold_picture, read_messages, read_text, read_usage
from bridge.json_text import Json, JsonObject, decode, encode, is_deep
from bridge.run.continuation import explain_next
from bridge.run.limits import Ending
from bridge.run.transcript import gather
from bridge.visible import show_line, show_name, show_prose

if TYPE_CHECKING:
    from bridge.run.pictures import Album

Detail = Literal["summary", "full"]
CUT_CHARS = 400
"""How much is left of a call's arguments and output in `detail: full` where the result is over the host's limit."""
NOTICE_CHARS = 300
"""Room for the notice that says what was left out."""
SAID_CHARS = 100
"""How much of an interjection is quoted."""
_DUPLICATES = {"output": "the items", "output_parsed": "the parsed answer"}
"""Fields that repeat what other fields hold, and what a notice calls them."""


def build_receipt(
    run_id: str | None,
    events: Sequence[Kept],
    ending: Ending,
    *,
    detail: Detail = "summary",
    limit_chars: int,
    album: "Album | None" = None,
) -> JsonObject:
    """Build the result object: `{status, output_text, run_id, response_id, model, turns, tool_calls, usage, …}`.

    It has at most `limit_chars` characters of JSON, and any transport can carry it. Where it would be longer it is cut,
    the answer's text last, and a notice says so.
    `detail: full` adds each call's arguments and output, and every item of the run in order; so does an ending that
    leaves calls to the caller, who could not go on without the items. `album` holds the pictures that go with it.
    """
    turns = [event for event in events if isinstance(event, TurnEnded)]
    last = turns[-1] if turns else None
    is_full = detail == "full" or ending["reason"] == "caller_tools"
    receipt: JsonObject = {
        "status": ending["status"],
        "output_text": find_text(events),
        "run_id": run_id,
        "response_id": last.response_id if last else None,
        "model": last.model if last else None,
        "turns": len(turns),
        "tool_calls": [_describe_call(event, is_full=is_full) for event in _find_calls(events)],
        "usage": _sum_usage(turns),
        "incomplete_details": {"reason": ending["reason"]} if ending["reason"] else None,
        "error": _show_error(cast("JsonObject | None", ending["error"])),
        "notices": find_notices([*events, *map(tell_notice, album.notices if album else ())]),
    }
    if album and album.pictures:
        receipt["images"] = [picture.describe() for picture in album.pictures]
    if answer := next((event for event in events if isinstance(event, AnswerParsed)), None):
        receipt["output_parsed"] = answer.value
    if is_full:
        receipt["output"] = [_flatten_deep(item) for item in _list_items(events)]
    if ending["status"] == "needs_input":
        receipt["pending"] = [_flatten_deep(item) for item in gather(events).find_pending()]
    following = cast("list[Json]", explain_next(run_id, ending))
    fitting = _fit(receipt, limit_chars - len(encode(following)) if following else limit_chars)
    return fitting | {"notices": [*cast("list[Json]", fitting["notices"]), *following]}


def render_text(receipt: JsonObject) -> str:
    """Render the receipt for a host that shows its model only text: the answer, then what else must be known."""
    lines = list[str]()
    error, details, status = receipt["error"], receipt["incomplete_details"], str(receipt["status"])
    if isinstance(error, dict):
        lines.append(f"[failed: {error['message']}]")
    elif isinstance(details, dict):
        lines.append(
            f"[{str(receipt['status']).replace('_', ' ')}: {_explain_reason(str(details['reason']), receipt)}]"
        )
    elif receipt["status"] == "cancelled":
        lines.append("[cancelled]")
    if status != "completed" and (done := _summarise_calls(receipt)):
        lines.append(f"[done so far: {done}]")
    if images := cast("list[JsonObject]", receipt.get("images")):
        lines.append(f"[with {'; '.join(map(_describe_image, images))}]")
    notices = receipt["notices"]
    assert isinstance(notices, list)
    lines += [f"[{notice['message']}]" for notice in notices if isinstance(notice, dict)]
    text = [str(receipt["output_text"])] if receipt["output_text"] else []
    return "\n".join([*text, *map(show_line, lines)]) or "(no text)"


def _describe_image(image: JsonObject) -> str:
    maker = ".".join(show_name(str(image[key])) for key in ("server", "tool") if image[key])
    return f"an image of {maker}, {image['type']}, {image['bytes']:,} bytes"


def _explain_reason(reason: str, receipt: JsonObject) -> str:
    """Return the reason with the calls that are pending, or with the number of turns."""
    if pending := cast("list[JsonObject]", receipt.get("pending")):
        return f"{reason}; pending: {', '.join(map(_describe_pending, pending))}"
    turns = f"after {receipt['turns']} turn{'' if receipt['turns'] == 1 else 's'}"
    return f"{reason}, {turns}"


def _describe_pending(item: JsonObject) -> str:
    owner = f" of {item['server_label']}" if item.get("server_label") else ""
    item_id = item.get("call_id") or item.get("id")
    return f"{item.get('name')}({item.get('arguments', item.get('input'))}){owner} [{item_id}]"


def has_pictures(events: Iterable[Kept]) -> bool:
    """Tell whether a run may have pictures. Most have none, and need not import what handles them."""
    for event in events:
        match event:
            case CallEnded(item=item) if may_hold_picture(item):
                return True
            case TurnEnded(output=output) if any(map(may_hold_picture, output)):
                return True
            case _:
                continue
    return False


def find_text(events: Sequence[Kept]) -> str:
    """Find the last text of a run: its answer, or a comment on the way to an answer that never came."""
    for event in reversed(events):
        match event:
            case CutOff(text=text):
                return text
            case TurnEnded() if text := read_text(event.output):
                return text
            case _:
                continue
    return ""


def _list_items(events: Iterable[Kept]) -> list[JsonObject]:
    """List every item of a run in order: what was said to it before each turn, the turn's output, then the outputs of
    its calls in call order."""
    told = [event for event in events if isinstance(event, (Said, TurnEnded, CallEnded))]
    told.sort(key=_find_place)
    return [item for event in told for item in _read_items(event)]


def _find_place(event: Said | TurnEnded | CallEnded) -> tuple[int, int]:
    match event:
        case Said():
            return event.turn, -2
        case TurnEnded():
            return event.turn, -1
        case CallEnded():
            return event.turn, event.index


def _read_items(event: Said | TurnEnded | CallEnded) -> list[JsonObject]:
    match event:
        case Said():
            return event.items
        case TurnEnded():
            return event.output
        case CallEnded():
            return [event.item]


def _find_calls(events: Iterable[Kept]) -> list[CallEnded]:
    ended = (event for event in events if isinstance(event, CallEnded))
    return sorted(ended, key=lambda event: (event.turn, event.index))


def _describe_call(event: CallEnded, *, is_full: bool) -> Json:
    call: JsonObject = {
        "turn": event.turn,
        "call_id": event.call_id,
        "name": event.name,
        "server": event.server,
        "tool": event.tool,
        "is_error": event.is_error,
        "duration_ms": event.duration_ms,
    }
    if is_full:
        call |= {"arguments": _flatten_deep(event.arguments), "output": _name_pictures(event.item["output"])}
    return call


def _name_pictures(output: Json) -> Json:
    """Name the pictures of an output by their types; their bytes are among the items."""
    if not isinstance(output, list):
        return output
    return [
        part | {"image_url": f"{str(part['image_url']).partition(',')[0]},…"}
        if isinstance(part, dict) and part.get("type") == "input_image"
        else part
        for part in output
    ]


def _flatten_deep(item: Json) -> Json:
    """Replace an item that is nested too deeply for a host by its JSON text."""
    return {"type": "unreadable", "json": encode(item)} if is_deep(item) else item


def _show_error(error: JsonObject | None) -> JsonObject | None:
    return error and {**error, "message": show_prose(str(error["message"]))}


def find_notices(events: Iterable[Kept]) -> list[Json]:
    """List the notices in order, each message once."""
    notices: dict[str, Json] = {}
    for event in events:
        match event:
            case Notified():
                notices.setdefault(event.message, {"code": event.code, "message": show_prose(event.message)})
            case Said():
                message = show_prose(_report_said(event))
                notices[event.message_id] = {"code": "said", "message": message}
            case _:
                pass
    return list(notices.values())


def _report_said(event: Said) -> str:
    words = " ".join(read_messages(event.items).split())
    quoted = words if len(words) <= SAID_CHARS else words[: SAID_CHARS - 1] + "…"
    return f"Before turn {event.turn} a message was put into this run: {quoted or '(no text)'}"


def _sum_usage(turns: Sequence[TurnEnded]) -> JsonObject:
    counts = [read_usage(turn.usage) for turn in turns]
    names = ("input_tokens", "output_tokens", "total_tokens")
    totals: JsonObject = {name: sum(count[name] for count in counts) for name in names}
    if costs := [turn.cost for turn in turns if turn.cost is not None]:
        totals["cost"] = round(sum(costs), 6)
    return totals | {"per_turn": [None if is_deep(turn.usage) else turn.usage for turn in turns]}


def _summarise_calls(receipt: JsonObject) -> str:
    calls = receipt["tool_calls"]
    assert isinstance(calls, list)
    done = [call for call in calls if isinstance(call, dict) and call["server"] is not None]
    return ", ".join(f"{call['name']} (failed)" if call["is_error"] else str(call["name"]) for call in done)


def _fit(receipt: JsonObject, limit_chars: int) -> JsonObject:
    """Cut the receipt to the limit, in this order and as far as needed: the items, most of each call, the middle of the
    text. Where other fields alone are over the limit, the lists go before the text."""
    text = encode(receipt)
    if len(text) <= limit_chars:
        return receipt if text.isascii() else cast("JsonObject", decode(text))  # without lone surrogates
    room, cuts = limit_chars - NOTICE_CHARS, list[str]()
    for cut in (_drop_duplicates, _shorten_calls, _drop_lists, _shorten_text):
        if (excess := len(encode(receipt)) - room) > 0 and (what := cut(receipt, excess)):
            cuts.append(what)
    message = f"The result was over the limit of {limit_chars:,} characters: {', '.join(cuts)} left out"
    receipt["notices"] = [*cast("list[Json]", receipt["notices"]), {"code": "result_cut", "message": message}]
    return cast("JsonObject", decode(encode(receipt)))


def _drop_duplicates(receipt: JsonObject, _excess: int) -> str | None:
    dropped = [name for field, name in _DUPLICATES.items() if receipt.pop(field, None) is not None]
    return " and ".join(dropped) or None


def _shorten_calls(receipt: JsonObject, _excess: int) -> str | None:
    calls = cast("list[JsonObject]", receipt["tool_calls"])
    shortened = [call | {name: _cut(call[name]) for name in ("arguments", "output") if name in call} for call in calls]
    receipt["tool_calls"] = list[Json](shortened)
    return None if shortened == calls else "parts of the calls"


def _cut(value: Json) -> str:
    text = value if isinstance(value, str) else encode(value)
    return text if len(text) <= CUT_CHARS else text[:CUT_CHARS] + "…"


def _drop_lists(receipt: JsonObject, excess: int) -> str | None:
    """Drop the lists, but only where cutting all of the text would not be enough."""
    if excess < len(encode(receipt["output_text"])) - NOTICE_CHARS:
        return None
    receipt["usage"] = {**cast("JsonObject", receipt["usage"]), "per_turn": list[Json]()}
    receipt |= {"tool_calls": [], "notices": []} | ({"images": []} if "images" in receipt else {})
    return "the calls, notices and usage per turn"


def _shorten_text(receipt: JsonObject, excess: int) -> str | None:
    """Keep the head and the tail that fit. Escapes count, because the JSON text is measured."""
    text = str(receipt["output_text"])
    room = len(encode(text)) - excess

    def shorten(keep: int) -> str:
        mark = f"\n[… {len(text) - 2 * keep:,} characters left out …]\n"
        return text[:keep] + mark + text[len(text) - keep :]

    keep = bisect_right(range(len(text) // 2), room, key=lambda keep: len(encode(shorten(keep)))) - 1
    receipt["output_text"] = shorten(max(0, keep))
    return "the middle of the text"
