"""Upstreams that misbehave in a way of their own in each turn, and refuse what the API would refuse.

    model = Model(seed=7, turns=30)
    ...  # a run with `model.answer` as its script
    assert sorted(executed) == sorted(model.expected)

Each kind is one line of KINDS, with the public report that it comes from.
"""

import json
import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.fakes.events import Event
from tests.fakes.faults import bare, edited, ended, of_calls, once, streamed, without, without_key
from tests.fakes.items import Json, call, message, new_id, reasoning
from tests.fakes.legality import find_faults
from tests.fakes.relays import Refuse
from tests.fakes.upstream import Reply, Request, api_error, http_error, responds
from tests.fakes.wire import Send, encode, http

NOBODY = Request("POST", "/v1/responses", {}, b"")
ANSWER = "All sums are done, 再见 😀"
Play = Callable[[list[Json]], Sequence[Reply]]


@dataclass(frozen=True)
class Kind:
    """One way to misbehave: the replies to a turn that ought to have some items, and what is refused from then on."""

    number: int
    """Of the list that the kinds are taken from."""
    words: str
    play: Play
    report: str = ""
    refuses: Refuse | None = None


class Model:
    """Plays a run: in each turn one call or two, and one kind, drawn by the seed.

    `expected` are the executions that ought to be; `refused` the rules by which histories were refused, as illegal.
    """

    def __init__(self, seed: int, kinds: Sequence[Kind], *, turns: int = 30) -> None:
        self.expected: list[tuple[int, str]] = []
        self.refused: list[str] = []
        self.drawn: list[str] = []
        self._random = random.Random(seed)
        self._kinds = kinds
        self._turns = turns
        self._replies: deque[Reply] = deque()
        self._refuses: list[Refuse] = []

    def answer(self, request: Request) -> Reply:
        body = request.json
        for rule, words in find_faults(body):
            if rule == "pair" and "previous_response_id" in body:
                continue  # the call is in the response that this upstream keeps
            self.refused.append(rule)
            return api_error(400, words, param="input")
        refusals = (refuse(body) for refuse in self._refuses)
        if refusal := next((refusal for refusal in refusals if refusal), None):
            return refusal
        if not self._replies:
            self._begin_turn()
        return self._replies.popleft()

    def _begin_turn(self) -> None:
        kind = self._random.choice(self._kinds)
        number = len(self.drawn)
        is_last = number >= self._turns
        self.drawn.append(kind.words)
        count = 0 if is_last else self._random.choice((1, 2))
        notes = [(n, f"第 {n} 😀") for n in range(2 * number, 2 * number + count)]
        self.expected += notes
        items = [
            reasoning("hm", encrypted="gAAAA"),
            message(ANSWER if is_last else "Let me see", phase="final_answer" if is_last else "commentary"),
            *(call("c__add", {"a": n, "note": note}) for n, note in notes),
        ]
        self._replies.extend(kind.play(items))
        if kind.refuses:
            self._refuses.append(kind.refuses)


# How a kind is made


def good(items: list[Json]) -> Sequence[Reply]:
    return [responds(*items)]


def again(items: list[Json]) -> list[Json]:
    """The same said anew, with ids of its own."""
    return [
        item | {"id": new_id(item["id"][:2])} | ({"call_id": new_id("call")} if "call_id" in item else {})
        for item in items
    ]


def corrected(edit: Callable[[Json], Json], **options: Any) -> Play:
    """Calls that cannot be executed, and then, in the next turn, the same done right."""

    def play(items: list[Json]) -> Sequence[Reply]:
        calls = [item for item in items if item["type"] == "function_call"]
        bad = responds(*(edit(item) if item["type"] == "function_call" else item for item in items), **options)
        return [bad, responds(*again(items))] if calls else good(items)

    return play


def renamed(name: str) -> Play:
    return corrected(lambda item: item | {"name": name})


def given(arguments: Any) -> Play:
    return corrected(lambda item: item | {"arguments": arguments})


def at_the_end(edit: Callable[[Json], Json]) -> Play:
    """The calls in the last event changed, and the events before it true."""
    return streamed(ended(lambda response: response | {"output": [of_calls(edit)(i) for i in response["output"]]}))


def in_events(kind: str, edit: Callable[[Json], Json]) -> Play:
    """Events of one kind changed, before an end that is empty."""
    return streamed(lambda events: without()([edit(e) if e["type"] == kind else e for e in events]))


def lacking_the_last(response: Json) -> Json:
    return response | {"output": response["output"][:-1]}


def twice(items: list[Json]) -> list[Json]:
    return [again for item in items for again in ([item, item] if item["type"] == "function_call" else [item])]


def without_places(events: list[Any]) -> Iterable[Event]:
    """Calls are announced under one id and finished under another, without a place."""

    def change(event: Any) -> Any:
        item = event.get("item", {})
        if event["type"] == "response.output_item.added" and item.get("type") == "function_call":
            event = event | {"item": item | {"id": new_id("fc")}}
        return without_key(event, "output_index")

    return map(change, events)


def without_arguments(item: Json) -> Json:
    return item | {"arguments": ""}


def with_few_call_ids(item: Json) -> Json:
    return item | {"call_id": f"call_{json.loads(item['arguments'])['a'] % 2}"}


def with_one_call_id(items: list[Json]) -> Sequence[Reply]:
    call_id = new_id("call")
    return [responds(*(item | {"call_id": call_id} if "call_id" in item else item for item in items))]


def halved(events: list[Any]) -> Iterable[Event]:
    """Each emoji is split over two deltas, as its halves in UTF-16, and the end is empty."""

    def split(event: Any) -> list[Any]:
        delta = event.get("delta", "")
        place = next((n for n, letter in enumerate(delta) if ord(letter) > 0xFFFF), None)
        if place is None:
            return [event]
        high, low = delta[place].encode("utf-16-be", "surrogatepass")[:2], delta[place].encode("utf-16-be")[2:]
        halves = [half.decode("utf-16-be", "surrogatepass") for half in (high, low)]
        return [
            event | {"delta": delta[:place] + halves[0]},
            event | {"delta": halves[1] + delta[place + 1 :]},
        ]

    changed = [each for event in events for each in split(event)]
    kept = [e for e in changed if not any(kind in e["type"] for kind in ("_text.done", "arguments.done", "part.done"))]
    return without("output_item.done")(kept)


def failing(code: Any, *, form: str = "stream") -> Play:
    """A response that failed for a moment, within a 200."""
    error = {"code": code, "message": "Try again in a moment", "type": "error"}
    event = {"type": "response.failed", "response": _failed(error)}
    bad = {
        "stream": responds(events=lambda events: [*events[:2], event]),
        "event": responds(events=lambda events: [*events[:2], {"type": "error", **error}]),
        "json": http_error(200, _failed(error)),
        "error": http_error(200, {"error": error}),
    }[form]
    return once(bad)


def _failed(error: Json) -> Json:
    return {"id": new_id("resp"), "object": "response", "model": "m", "status": "failed", "output": [], "error": error}


def as_json(items: list[Json], **fields: Any) -> Json:
    response = {"id": new_id("resp"), "object": "response", "model": "m", "status": "completed", "output": items}
    return response | fields


def under_the_name_of_a_stream(before: bytes = b"") -> Play:
    return lambda items: [bare(before + encode(as_json(items)), "text/event-stream")]


def typed_by_line(items: list[Json]) -> Sequence[Reply]:
    """The type of an event only on its `event:` line."""

    def write(event: Any) -> str:
        return f"event: {event['type']}\ndata: {json.dumps(without_key(event, 'type'))}\n\n"

    return streamed(lambda events: map(write, events))(items)


def ended_as(kind: str, status: str) -> Play:
    def change(events: list[Any]) -> Iterable[Event]:
        last = events[-1]
        return [*events[:-1], last | {"type": kind, "response": last["response"] | {"status": status}}]

    return streamed(change)


def spoken(edit: Callable[[Json], Json]) -> Play:
    return edited(lambda item: edit(item) if item["type"] == "message" else item)


def nothing_but(*items: Json) -> Play:
    return once(responds(*items))


def nan_in_usage(items: list[Json]) -> Sequence[Reply]:
    text = encode(as_json(items, usage={"input_tokens": 5, "output_tokens": "NAN"})).replace(b'"NAN"', b"NaN")
    return [Reply(lambda _: [Send(http(200, text, {}))])]


# What is refused from then on


def behind(refuse: Refuse, *, as_text: bool) -> Refuse:
    """The same refusal as a relay passes it on: its reason behind a message that says nothing."""

    def pass_on(body: Json) -> Reply | None:
        reply = refuse(body)
        if reply is None:
            return None
        told = json.loads(b"".join(s.data for s in reply.steps(NOBODY) if isinstance(s, Send)).split(b"\r\n\r\n", 1)[1])
        raw = {"metadata": {"raw": json.dumps(told) if as_text else told, "provider_name": "Azure"}}
        error = {"message": "Provider returned error", "code": 400}
        return http_error(400, {"error": error | raw} if as_text else {"error": error, **raw})

    return pass_on


def lost(words: str, status: int = 400, **fields: Any) -> Refuse:
    """A response that was kept, and is no more."""
    return lambda body: api_error(status, words, **fields) if "previous_response_id" in body else None


def offered(words: str) -> Refuse:
    """A tool whose schema has a key with brackets; `{place}` is the tool's."""

    def refuse(body: Json) -> Reply | None:
        tools = enumerate(body.get("tools", []))
        place = next((n for n, tool in tools if "filter[x]" in tool.get("parameters", {}).get("properties", {})), None)
        return None if place is None else api_error(400, words.format(place=place))

    return refuse


def field(name: str, words: str = "Unknown parameter: 'input[{place}].{name}'.") -> Refuse:
    """A field of a function call."""

    def refuse(body: Json) -> Reply | None:
        places = (n for n, item in enumerate(body["input"]) if item.get("type") == "function_call" and name in item)
        place = next(places, None)
        return None if place is None else api_error(400, words.format(place=place, name=name))

    return refuse


def thoughts(words: str, **fields: Any) -> Refuse:
    """Reasoning that is sent back."""

    def refuse(body: Json) -> Reply | None:
        places = (n for n, item in enumerate(body["input"]) if item.get("type") == "reasoning")
        place = next(places, None)
        return None if place is None else api_error(400, words.format(place=place), **fields)

    return refuse


def included(words: str) -> Refuse:
    return lambda body: api_error(400, words) if body.get("include") else None


KINDS: tuple[Kind, ...] = (
    # 1: what was streamed, and what the last event says
    Kind(1, "empty arguments at the end", at_the_end(without_arguments), "Wei-Shaw/sub2api#6629"),
    Kind(1, "null for arguments at the end", at_the_end(lambda i: i | {"arguments": None}), "Wei-Shaw/sub2api#6629"),
    Kind(1, "no arguments at the end", at_the_end(lambda i: without_key(i, "arguments")), "Wei-Shaw/sub2api#6629"),
    Kind(1, "an end without the last item", streamed(ended(lacking_the_last)), "maximhq/bifrost#2120"),
    Kind(1, "empty `arguments.done`", in_events("response.function_call_arguments.done", without_arguments)),
    Kind(
        1,
        "empty arguments in `output_item.done`",
        in_events("response.output_item.done", lambda e: e | {"item": of_calls(without_arguments)(e["item"])}),
    ),
    # 2: calls that come twice
    Kind(2, "an item twice, in JSON", lambda i: [responds(*twice(i), as_json=True)], "QuantumNous/new-api#6278"),
    Kind(2, "an item twice, in a stream", lambda i: [responds(*twice(i))], "QuantumNous/new-api#6278"),
    Kind(2, "two ids of one item", streamed(lambda e: without()(list(without_places(e)))), "QuantumNous/new-api#6278"),
    Kind(2, "one call id for two calls", with_one_call_id, "openai/gpt-oss#309"),
    # 3: arguments that are no JSON object
    Kind(3, "arguments cut short", given('{"a": 1, "note": "x'), "vllm-project/vllm#33268"),
    Kind(3, "arguments in words", given("add one and two"), "vllm-project/vllm#19419"),
    Kind(3, "arguments as a list", given("[1, 2]"), "sgl-project/sglang#28035"),
    Kind(3, "arguments with more behind them", given('{"a": 1, "note": "x"}{"a": 2}'), "vllm-project/vllm#33268"),
    Kind(3, "blank arguments", given("  "), "sgl-project/sglang#28035"),
    Kind(3, "null for arguments", given("null"), "sgl-project/sglang#28035"),
    # 4: names that nobody offered
    Kind(4, "a name with dots", renamed("c.add")),
    Kind(4, "a name with spaces", renamed("add two numbers")),
    Kind(4, "no name", renamed("")),
    Kind(4, "a name of 130 characters", renamed("a" * 130)),
    Kind(4, "a name behind `functions.`", renamed("functions.c__add")),
    Kind(4, "`multi_tool_use.parallel`", renamed("multi_tool_use.parallel")),
    # 5: ids and fields that it makes and then refuses
    Kind(5, "call ids that repeat", edited(of_calls(with_few_call_ids))),
    Kind(5, "call ids of 90 characters", edited(of_calls(lambda i: i | {"call_id": i["call_id"].rjust(90, "c")}))),
    Kind(5, "call ids with other characters", edited(of_calls(lambda i: i | {"call_id": f"c.add:{i['call_id']} x"}))),
    Kind(5, "item ids that repeat", spoken(lambda i: i | {"id": "msg_1"})),
    Kind(5, "ids of another form", edited(of_calls(lambda i: i | {"id": i["call_id"]})), "Wei-Shaw/sub2api#1505"),
    Kind(5, "`status` is refused", good, refuses=field("status")),
    Kind(5, "`namespace` is refused", edited(of_calls(lambda i: i | {"namespace": "c"})), refuses=field("namespace")),
    # 6: `include` that nobody asked for
    Kind(6, "no encrypted content", good, refuses=included("Encrypted content is not supported with this model.")),
    Kind(6, "no such `include`", good, refuses=included("Invalid value for 'include': reasoning.encrypted_content")),
    # 7: reasoning that cannot be sent back
    Kind(
        7,
        "reasoning of another account",
        good,
        "openai/codex#8119",
        thoughts("The encrypted content gAAA... could not be verified.", code="invalid_encrypted_content"),
    ),
    Kind(7, "reasoning that is not decrypted", good, refuses=thoughts("could not decrypt the reasoning item")),
    Kind(7, "reasoning that is too long", good, refuses=thoughts("Invalid 'input[{place}].content': array too long.")),
    # 8: errors that pass, within a 200
    *(
        Kind(8, f"{code} in {name}", failing(code, form=form))
        for code, form, name in (
            ("server_is_overloaded", "stream", "a stream"),
            ("overloaded_error", "json", "JSON"),
            ("rate_limit_error", "event", "an `error` event"),
            ("too_many_requests", "error", "JSON without a response"),
            ("upstream_error", "stream", "a stream"),
            ("internal_server_error", "event", "an `error` event"),
            (429, "error", "JSON without a response"),
            (503, "json", "JSON"),
        )
    ),
    # 9: the reason is behind the message
    Kind(9, "the reason as text, inside", good, "open-webui/computer#293", behind(field("status"), as_text=True)),
    Kind(9, "the reason as JSON, beside", good, "open-webui/computer#293", behind(field("id"), as_text=False)),
    Kind(
        9,
        "reasoning refused behind the message",
        good,
        refuses=behind(thoughts("could not decrypt the reasoning item"), as_text=True),
    ),
    # 10: replies in another form than their name says
    Kind(10, "JSON under the name of a stream", under_the_name_of_a_stream()),
    Kind(10, "a comment before JSON", under_the_name_of_a_stream(b": PROCESSING\n\n")),
    Kind(10, "types only on `event:` lines", typed_by_line),
    # 11: ends of another name
    Kind(11, "`response.done`", ended_as("response.done", "completed"), "can1357/oh-my-pi#4692"),
    Kind(11, "the status `COMPLETED`", ended_as("response.completed", "COMPLETED")),
    Kind(11, "the status `complete`", ended_as("response.done", "complete")),
    # 13: nothing in it, or something in another place
    Kind(13, "reasoning alone", nothing_but(reasoning("hm", encrypted="gAAAA"))),
    Kind(13, "an empty message", nothing_but(message(""))),
    Kind(13, "no item", nothing_but()),
    Kind(13, "parts of the type `text`", spoken(lambda i: i | {"content": [i["content"][0] | {"type": "text"}]})),
    Kind(13, "content as one object", spoken(lambda i: i | {"content": i["content"][0]})),
    # 14 and 16
    Kind(14, "an emoji in two halves", streamed(halved)),
    Kind(16, "NaN in usage", nan_in_usage),
    Kind(
        16,
        "a key with brackets, told with its place",
        good,
        "beautyfree/appstore-connect-mcp#2",
        offered("tools.{place}.custom.input_schema.properties: Property keys should match pattern '^[a-z]{{1,64}}$'"),
    ),
    Kind(16, "a key with brackets, told without it", good, refuses=offered("Property keys should match pattern")),
)
"""The kinds, in the order of the list that they are taken from. Presets (15) are not here, but in
tests/upstream/test_relays.py; some of 16 end a run and are in tests/upstream/test_told_errors.py."""

KEPT_KINDS: tuple[Kind, ...] = (
    # 12: a response that was kept, and is no more
    Kind(12, "no such response", good, refuses=lost("Response with id 'resp_1' not found.", 404)),
    Kind(12, "calls without outputs", good, refuses=lost("No tool output found for function call call_1.")),
    Kind(12, "outputs without calls", good, refuses=lost("No tool call found for function call output call_1.")),
    Kind(12, "no history node", good, refuses=lost("Could not find the prediction history node", 500)),
    Kind(12, "`not_found_error`", good, refuses=lost("It is gone", type="not_found_error")),
)
"""Further kinds, of an upstream that keeps responses."""
