"""Upstreams whose events and whose end do not say the same, or say it twice or in other words.

Where users of a relay have met it, the report is named as owner/repo#number. The conversation is that of `faults.py`.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tests.fakes.events import Event
from tests.fakes.faults import Fault, Play, as_chat, edited, of_calls, streamed, without_key
from tests.fakes.items import Json, message, reasoning
from tests.fakes.replies import http_error, responds
from tests.fakes.wire import Reply

Edit = Callable[[Json], Json]
Change = Callable[[list[Any]], Iterable[Event]]


def end(edit: Callable[[list[Json]], list[Json]]) -> Change:
    """The items in the last event changed."""

    def change(events: list[Any]) -> Iterable[Event]:
        response = events[-1]["response"]
        return [*events[:-1], events[-1] | {"response": response | {"output": edit(response["output"])}}]

    return change


def each(edit: Edit) -> Change:
    return end(lambda items: [edit(item) for item in items])


def only(keep: Callable[[Json], bool]) -> Change:
    return end(lambda items: [item for item in items if keep(item)])


def of_messages(edit: Edit) -> Edit:
    return lambda item: edit(item) if item["type"] == "message" else item


def setting(**fields: Any) -> Edit:
    return lambda item: item | fields


def emptied(*kinds: str) -> Change:
    """Events of these kinds without text and arguments."""

    def empty(event: Json) -> Json:
        if not event["type"].endswith(kinds):
            return event
        blank: Json = {key: "" for key in ("text", "arguments") if key in event}
        for key in ("item", "part"):
            if key in event:
                blank[key] = blank_item(event[key])
        return event | blank

    return lambda events: [empty(event) for event in events]


def blank_item(item: Json) -> Json:
    if "content" in item:
        return item | {"content": [blank_item(part) for part in item["content"]]}
    return item | {key: "" for key in ("text", "arguments") if key in item}


def both(*changes: Change) -> Change:
    def change(events: list[Any]) -> Iterable[Event]:
        for one in changes:
            events = list(one(events))
        return events

    return change


def dropped(*kinds: str) -> Change:
    return lambda events: [event for event in events if not event["type"].endswith(kinds)]


def announced(arguments: str) -> Change:
    """Calls that are announced with these arguments."""

    def announce(event: Json) -> Json:
        is_call = event["type"].endswith("item.added") and event["item"]["type"] == "function_call"
        return event | {"item": event["item"] | {"arguments": arguments}} if is_call else event

    return lambda events: [announce(event) for event in events]


def renamed(item: Json) -> Json:
    return item | {"id": "x" + item["id"]}


def is_call(item: Json) -> bool:
    return item["type"] == "function_call"


BYSTANDER: Json = {"type": "reasoning", "id": "rs_0", "summary": []}
EMPTY_END = end(lambda _: [])
BLANK = each(of_calls(setting(arguments="")))
DONES = ("item.done", "arguments.done", "text.done", "part.done")
LOST = "Wei-Shaw/sub2api#6629"
WIPED = "maximhq/bifrost#2120"

TWICE = "QuantumNous/new-api#6278"
DONE = "can1357/oh-my-pi#4692"
FORMS: dict[str, dict[str, Any]] = {
    "streamed": {},
    "streamed with an empty end": {"empty_final": True},
    "as JSON": {"as_json": True},
}


def twice(items: list[Json]) -> list[Json]:
    return [copy for item in items for copy in ((item, item) if is_call(item) else (item,))]


def all_twice(items: list[Json]) -> list[Json]:
    return [*items, *items]


def under_two_ids(items: list[Json]) -> list[Json]:
    return [copy for item in items for copy in ((item, renamed(item)) if is_call(item) else (item,))]


def spaced(items: list[Json]) -> list[Json]:
    other = of_calls(lambda item: item | {"arguments": item["arguments"].replace(" ", "\n  ")})
    return [copy for item in items for copy in ((item, other(item)) if is_call(item) else (item,))]


def first_blank(items: list[Json]) -> list[Json]:
    blank = setting(arguments="", status="in_progress")
    return [copy for item in items for copy in ((blank(item), item) if is_call(item) else (item,))]


TWICES = {
    "every call twice": twice,
    "every item twice": all_twice,
    "every call under two item ids": under_two_ids,
    "every call twice, written otherwise": spaced,
    "every call announced and finished in one output": first_blank,
}


def announced_as(edit: Edit) -> Change:
    """Items that are announced in another way than they are finished."""

    def announce(event: Json) -> Json:
        is_begun = event["type"].endswith("item.added")
        return event | {"item": edit(event["item"]) if is_call(event["item"]) else event["item"]} if is_begun else event

    return lambda events: [announce(event) for event in events]


def replaced(**fields: Any) -> Change:
    return lambda events: [event | fields if "output_index" in event else event for event in events]


PLACELESS = both(lambda events: [without_key(event, "output_index") for event in events], EMPTY_END)
REANNOUNCED = both(announced_as(renamed), PLACELESS)


def last(**fields: Any) -> Change:
    return lambda events: [*events[:-1], events[-1] | {"response": events[-1]["response"] | fields}]


def named_done(events: list[Any]) -> Iterable[Event]:
    return [*events[:-1], events[-1] | {"type": "response.done"}]


def bare_done(events: list[Any]) -> Iterable[Event]:
    return [*events[:-1], {"type": "response.done"}]


def unsaid(events: list[Any]) -> Iterable[Event]:
    return [*events[:-1], {"type": "response.done", "response": {"id": "resp_1"}}]


ENDS: dict[str, Change] = {
    "`response.done`": named_done,
    "`response.done` with an empty output": both(EMPTY_END, named_done),
    "`response.done` with the status COMPLETED": both(last(status="COMPLETED"), named_done),
    "`response.done` with a status in progress": both(last(status="in_progress"), named_done),
    "`response.done` without a status": both(last(status=None), named_done),
    "`response.done` with an id alone": unsaid,
    "`response.done` without a response": bare_done,
    "`response.completed` with the status COMPLETED": last(status="COMPLETED"),
    "`response.completed` with the status done": last(status="done"),
    "`response.complete`": lambda events: [*events[:-1], events[-1] | {"type": "response.complete"}],
}


def halved(events: list[Any]) -> Iterable[Event]:
    """Each emoji in two deltas."""
    for event in events:
        if isinstance(delta := event.get("delta"), str) and "\N{GRINNING FACE}" in delta:
            before, _, after = delta.partition("\N{GRINNING FACE}")
            yield event | {"delta": before + "\ud83d", "sequence_number": None}
            yield event | {"delta": "\ude00" + after}
        else:
            yield event


SPLITS: dict[str, Change] = {
    "an emoji in two deltas": halved,
    "an emoji in two deltas and an empty end": both(halved, EMPTY_END),
    "an emoji in two deltas and no `done` events": both(halved, dropped(*DONES), EMPTY_END),
    "an emoji in two deltas, and an end without text": both(halved, dropped(*DONES), each(of_messages(blank_item))),
    "an emoji in two deltas, no places": both(halved, dropped(*DONES), PLACELESS),
}


def last_alone(events: list[Any]) -> Iterable[Event]:
    return events[-1:]


def of_parts(edit: Edit) -> Edit:
    return of_messages(lambda item: item | {"content": [edit(part) for part in item["content"]]})


def outside(items: list[Json], **options: Any) -> Sequence[Reply]:
    """The text of messages at the top of the response."""
    texts = [item["content"][0]["text"] for item in items if item["type"] == "message"]
    kept = [item for item in items if item["type"] != "message"]
    return [responds(*kept, output_text="".join(texts), **options)]


def nothing_but_text(items: list[Json]) -> Sequence[Reply]:
    if any(is_call(item) for item in items):
        return [responds(*items)]
    return [http_error(200, {"id": "resp_1", "output_text": items[0]["content"][0]["text"]})]


UNREADS: dict[str, Play] = {
    "parts of type `text`, streamed": edited(of_parts(setting(type="text")), events=last_alone),
    "parts of type `text`, as JSON": edited(of_parts(setting(type="text")), as_json=True),
    "parts without a type, as JSON": edited(of_parts(lambda part: without_key(part, "type")), as_json=True),
    "parts that are texts, as JSON": edited(
        of_messages(lambda i: i | {"content": [i["content"][0]["text"]]}), as_json=True
    ),
    "content as one object, as JSON": edited(of_messages(lambda i: i | {"content": i["content"][0]}), as_json=True),
    "content as one object, streamed": edited(
        of_messages(lambda i: i | {"content": i["content"][0] | {"type": "text"}}), events=last_alone
    ),
    "text beside the content, as JSON": edited(
        of_messages(lambda i: without_key(i, "content") | {"text": i["content"][0]["text"]}), as_json=True
    ),
    "text as an object with a value, as JSON": edited(
        of_parts(lambda part: part | {"type": "text", "text": {"value": part["text"], "annotations": []}}), as_json=True
    ),
    "items that are parts, as JSON": edited(of_messages(lambda i: i["content"][0]), as_json=True),
    "`output_text` at the top, as JSON": lambda items: outside(items, as_json=True),
    "`output_text` at the top, streamed": outside,
    "nothing but `output_text`": nothing_but_text,
}
EMPTIES: dict[str, list[Json]] = {
    "no item": [],
    "reasoning alone": [reasoning("hm", encrypted="gAAAA")],
    "an empty message": [message("")],
    "a message without parts": [message("", content=[])],
    "a message without content": [message("", content=None)],
    "a blank message behind reasoning": [reasoning("hm"), message(" \n")],
}


def only_then(items: list[Json], options: Json) -> Play:
    return lambda _: [responds(*items, **options)] * 2


def before_answer(items: list[Json]) -> Play:
    return lambda right: [*([] if any(map(is_call, right)) else [responds(*items)]), responds(*right)]


def in_place_of_answer(items: list[Json]) -> Play:
    return lambda right: [responds(*right)] if any(map(is_call, right)) else [responds(*items)] * 2


WITNESSES: tuple[Fault, ...] = (
    Fault(f"an end whose calls have empty arguments ({LOST})", streamed(BLANK)),
    Fault(f"an end whose calls have blank arguments ({LOST})", streamed(each(of_calls(setting(arguments=" \n"))))),
    Fault(f"an end whose calls have null as arguments ({LOST})", streamed(each(of_calls(setting(arguments=None))))),
    Fault(
        f"an end whose calls lack arguments ({LOST})",
        streamed(each(of_calls(lambda item: without_key(item, "arguments")))),
    ),
    Fault(f"an end whose calls have `{{}}` as arguments ({LOST})", streamed(each(of_calls(setting(arguments="{}"))))),
    Fault(
        f"an end whose calls have an empty object as arguments ({LOST})",
        streamed(each(of_calls(setting(arguments={})))),
    ),
    Fault(
        f"an end whose calls are cut short ({LOST})",
        streamed(each(of_calls(lambda item: item | {"arguments": item["arguments"][:-3]}))),
    ),
    Fault(f"an end whose calls lack names ({LOST})", streamed(each(of_calls(lambda item: without_key(item, "name"))))),
    Fault(f"an end whose items have other ids, and empty arguments ({LOST})", streamed(both(BLANK, each(renamed)))),
    Fault(
        f"an end in another order, with empty arguments ({LOST})",
        streamed(both(BLANK, end(lambda items: sorted(items, key=lambda item: not is_call(item))))),
    ),
    Fault(
        f"an end without reasoning, and with empty arguments ({LOST})",
        streamed(both(BLANK, only(lambda item: item["type"] != "reasoning"))),
    ),
    Fault(f"an end without calls ({WIPED})", streamed(only(lambda item: not is_call(item)))),
    Fault(f"an end with the first call alone ({WIPED})", streamed(end(lambda items: items[:3]))),
    Fault(f"an end with the last item alone ({WIPED})", streamed(end(lambda items: items[-1:]))),
    Fault(f"an end without messages ({WIPED})", streamed(only(lambda item: item["type"] != "message"))),
    Fault(
        f"an end with other items in place of the calls ({WIPED})",
        streamed(each(lambda item: {"type": "reasoning", "id": item["id"], "summary": []} if is_call(item) else item)),
    ),
    Fault(f"an end whose messages have empty text ({WIPED})", streamed(each(of_messages(blank_item)))),
    Fault(f"an end whose messages have no parts ({WIPED})", streamed(each(of_messages(setting(content=[]))))),
    Fault(f"an end whose messages have no content ({WIPED})", streamed(each(of_messages(setting(content=None))))),
    Fault(
        f"an end whose messages are cut short ({WIPED})",
        streamed(each(of_messages(lambda item: item | {"content": item["content"][0]["text"][:5]}))),
    ),
    Fault(f"an empty end and empty finished items ({WIPED})", streamed(both(emptied("item.done"), EMPTY_END))),
    Fault(f"an empty end and empty `arguments.done` ({WIPED})", streamed(both(emptied("arguments.done"), EMPTY_END))),
    Fault(f"an empty end and nothing but empty `done` events ({WIPED})", streamed(both(emptied(*DONES), EMPTY_END))),
    Fault(f"an end and `done` events with empty arguments ({LOST})", streamed(both(emptied(*DONES), BLANK))),
    Fault(f"an end with empty arguments and no `done` events ({LOST})", streamed(both(dropped(*DONES), BLANK))),
    Fault(
        f"calls that are announced with `{{}}`, and empty `done` events ({WIPED})",
        streamed(both(announced("{}"), emptied(*DONES), EMPTY_END)),
    ),
    Fault(
        f"an end without calls, which were never finished ({WIPED})",
        streamed(both(dropped("item.done"), end(lambda items: [i for i in items if not is_call(i)] or [BYSTANDER]))),
        executed=(),
    ),
    Fault(
        f"an end without calls of a response that is incomplete ({WIPED})",
        streamed(only(lambda item: not is_call(item)), status="incomplete"),
        "max_output_tokens",
        1,
        (),
    ),
    *(
        Fault(f"{words}, {form} ({TWICE})", lambda items, say=say, options=options: [responds(*say(items), **options)])
        for words, say in TWICES.items()
        for form, options in FORMS.items()
    ),
    Fault(f"a chat completion with every call twice ({TWICE})", lambda items: [as_chat(twice(items))]),
    Fault(f"items announced under one id and finished under another, no places ({TWICE})", streamed(REANNOUNCED)),
    Fault(
        f"calls announced under another call id too, no places ({TWICE})",
        streamed(both(announced_as(lambda item: item | {"id": "x", "call_id": "x" + item["call_id"]}), PLACELESS)),
    ),
    Fault(
        f"every event twice and an empty end ({TWICE})",
        streamed(both(lambda e: [x for y in e for x in (y, y)], EMPTY_END)),
    ),
    Fault(f"every item at place 0 and an empty end ({TWICE})", streamed(both(replaced(output_index=0), EMPTY_END))),
    *(
        Fault(
            f"two calls with one call id, {form} (openai/gpt-oss#309)",
            lambda items, options=options: [responds(*map(of_calls(setting(call_id="call_0")), items), **options)],
        )
        for form, options in FORMS.items()
    ),
    Fault(
        "a chat completion with two calls with one call id (openai/gpt-oss#309)",
        lambda items: [as_chat(list(map(of_calls(setting(call_id="call_0")), items)))],
    ),
    *(Fault(f"{words} ({DONE})", streamed(change)) for words, change in ENDS.items()),
    *(
        Fault(
            f"the status `{status}`, {form} ({DONE})",
            lambda items, status=status, options=options: [responds(*items, **options, status=status)],
        )
        for status in ("COMPLETED", "Completed", "complete", "succeeded", "done", "response.completed")
        for form, options in {"as JSON": {"as_json": True}}.items()
    ),
    *(
        Fault(f"items with the status `{status}` ({DONE})", edited(setting(status=status)))
        for status in ("COMPLETED", "complete", "done", "finished", "IN_PROGRESS")
    ),
    Fault(
        f"`response.done` of a response that is INCOMPLETE ({DONE})",
        streamed(both(last(status="INCOMPLETE", incomplete_details={"reason": "max_output_tokens"}), named_done)),
        "max_output_tokens",
        1,
        (),
    ),
    Fault(
        f"the status INCOMPLETE as JSON ({DONE})",
        lambda items: [responds(*items, status="INCOMPLETE", as_json=True)],
        "max_output_tokens",
        1,
        (),
    ),
    *(Fault(words, streamed(change)) for words, change in SPLITS.items()),
    *(Fault(words, play) for words, play in UNREADS.items()),
    *(
        Fault(f"{words}, {form}", only_then(items, options), "empty_answer", 2, ())
        for words, items in EMPTIES.items()
        for form, options in FORMS.items()
    ),
    *(
        Fault(f"{words} in place of the answer, once", before_answer(items), requests=4)
        for words, items in EMPTIES.items()
    ),
    *(
        Fault(f"{words} in place of the answer", in_place_of_answer(items), "empty_answer", 4)
        for words, items in EMPTIES.items()
    ),
)
