"""The events of a run and their JSON form. docs/events.md says what the code says; `python -m tests.test_events >
docs/events.md` writes it anew."""

import ast
import inspect
import json
import math
import re
import sys
import typing
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp.server.mcpserver import Context, MCPServer
from typing_extensions import override

from bridge.app import Bridge
from bridge.events import (
    KINDS,
    Event,
    InBackground,
    Kept,
    Moment,
    QuestionAsked,
    Retrying,
    TextArrived,
    TurnStarted,
    read_event,
    write_event,
)
from bridge.items import ErrorInfo
from bridge.json_text import JsonObject
from bridge.questions import YES, Question, say_yes
from bridge.run.engine import Say, Settle, Stop
from bridge.run.interjections import name_interjection
from bridge.run.receipt import build_receipt
from tests.fakes.bridges import open_without_host
from tests.fakes.clock import VirtualClock
from tests.fakes.upstream import Answer, ScriptedUpstream, api_error, call, hang, message, responds, tokens
from tests.run.test_steps import FORM, RICH, desk, entry

HEAD = """# Events

A run tells everything that happens to it by events, in one list. The progress that a host is shown, the lines on the
terminal, the result of `respond` and the conversation are made of this list; a store of runs, or another program, reads
the JSON form that is described here.

- Each event is an object. Its `type` says which kind it is, and the other fields are those of that kind: all of them
  are always there.
- `at` is when it happened, in seconds since 1970.
- `seq` is its number in the run. They begin with 0 and have no gaps.
- `run.ended` is the last event of a run, and every run that has ended has one.
- `text` and `call.progress` are events of the moment: those who listen hear them. They have no `seq`, and are not kept.
- Later versions may have more kinds. Pass over those that you do not know.

The examples are from runs with a scripted upstream.
"""
AT = 1_756_108_120.0
"""When the runs of the examples began."""
NAMES: dict[Any, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    type(None): "null",
}


# The page


def render(examples: dict[str, Event]) -> str:
    parts = [HEAD.rstrip(), "## Events that are kept"]
    for name, kind in KINDS.items():
        if kind is get_args(Moment)[0]:
            parts.append("## Events of the moment")
        parts += [f"### `{name}`", inspect.getdoc(kind) or "", render_fields(kind)]
        parts.append(f"```json\n{json.dumps(write_event(examples[name]), indent=2, ensure_ascii=False)}\n```")
    return "\n\n".join(parts) + "\n"


def render_fields(kind: type[Event]) -> str:
    docs = dict(read_docstrings(kind))
    types = get_type_hints(kind)
    rows = ["| field | type | meaning |", "|---|---|---|"]
    for field in fields(kind):
        if field.name not in ("at", "seq"):
            rows.append(f"| `{field.name}` | {name_type(types[field.name])} | {docs[field.name]} |")
    return "\n".join(rows)


def read_docstrings(kind: type) -> Iterator[tuple[str, str]]:
    """Each field with the text below it, also those of the classes that it is made of."""
    for part in reversed(kind.__mro__[:-1]):
        tree = ast.parse(inspect.getsource(part)).body[0]
        assert isinstance(tree, ast.ClassDef)
        for field, doc in zip(tree.body, tree.body[1:], strict=False):
            match field, doc:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    yield name, inspect.cleandoc(text).replace("\n", " ")
                case _:
                    pass


def name_type(hint: Any) -> str:
    """What a field's value is in JSON."""
    parts = get_args(hint)
    if hint is ErrorInfo:
        return f"object of {', '.join(f'`{name}`' for name in ErrorInfo.__annotations__)}"
    match get_origin(hint):
        case None:
            return NAMES[hint]
        case typing.Literal:
            return ", ".join(f'`"{value}"`' for value in parts)
        case origin if origin is dict:
            return "object"
        case origin if origin is list:
            return f"list of {name_type(parts[0])}s"
        case _:
            return "anything" if len(parts) > 3 else " or ".join(map(name_type, parts))


async def gather() -> dict[str, Event]:
    """An example of each kind: the first that these runs told."""
    told = [*await run_whole(), *await run_in_background(), *await run_and_speak(), *await run_and_stop()]
    return {kind: next(event for event in told if event.type == kind) for kind in KINDS}


class Calendar(VirtualClock):
    """Begins on the same day each time."""

    @override
    def time(self) -> float:
        return AT + self.now()


class Person:
    """Somebody who can be asked."""

    def find_obstacle(self, question: Question) -> str | None:  # noqa: ARG002
        return None

    def note_silence(self, question: Question) -> bool:  # noqa: ARG002
        raise AssertionError("the question was answered")


async def attend(bridge: Bridge, clock: VirtualClock, arguments: JsonObject) -> list[Event]:
    """Everything that a run tells. It is stopped when it begins to speak, if the input says so."""
    told = list[Event]()
    run, _ = await bridge.start(arguments, run_id="run_1")

    def hear(event: Event) -> None:
        told.append(event)
        match event:
            case QuestionAsked(question=question):
                yes = Settle(question, {"action": "accept", "content": {"answer": YES}, "reason": ""})
                tasks.start_soon(bridge.engine.send, run, yes)
            case Retrying() | InBackground():
                tasks.start_soon(clock.advance, 1)
            case TurnStarted(turn=1) if arguments["input"] == "Name a bridge.":
                items: list[JsonObject] = [{"role": "user", "content": "One in Prague."}]
                name = name_interjection({"run_id": "run_1", "input": items[0]["content"]})
                tasks.start_soon(bridge.engine.send, run, Say({"message_id": f"{name}.0", "items": items}))
            case TextArrived() if arguments["input"] == "Stop.":
                tasks.start_soon(bridge.engine.send, run, Stop())
            case _:
                pass

    async with anyio.create_task_group() as tasks:
        with bridge.engine.attend(run, hear, audience=Person()):
            while run.ending is None:
                await bridge.engine.wait(run, news=run.news, until=math.inf)
    return told


async def run_whole() -> list[Event]:
    clock, server = Calendar(), MCPServer("library")

    @server.tool()
    async def look_up(word: str, ctx: Context) -> str:
        await ctx.report_progress(1, 2, f"at {word[0]}")
        await clock.advance(0.25)
        return "a way across"

    made = call("library__look_up", {"word": "bridge"}, call_id="call_1", id="fc_1")
    script: list[Answer] = [
        api_error(503, "Too busy.", {"retry-after": "1"}),
        responds(made, id="resp_1", usage=tokens(120, 20)),
        responds(message('{"meaning": "a way across"}', id="msg_1"), id="resp_2", usage=tokens(160, 10)),
    ]
    arguments: JsonObject = {"input": "What is a bridge?", "text": FORM, "max_turns": 20}
    async with (
        ScriptedUpstream(script) as upstream,
        open_without_host(
            upstream,
            {"library": {"command": server, "require_approval": "always"}},
            clock=clock,
            prices={"gpt-4.1": {"input": 2, "output": 8}},
        ) as bridge,
    ):
        return await attend(bridge, clock, arguments)


async def run_in_background() -> list[Event]:
    clock = Calendar()
    queued = responds(id="resp_1", status="queued", as_json=True)
    done = responds(message("Done.", id="msg_1"), id="resp_1", as_json=True)
    async with (
        ScriptedUpstream([queued, done]) as upstream,
        open_without_host(upstream, clock=clock) as bridge,
    ):
        return await attend(bridge, clock, {"input": "Take your time.", "extra": {"background": True}})


async def run_and_speak() -> list[Event]:
    script = [responds(message(text, id="msg_1"), id="resp_1") for text in ("Tower Bridge.", "Charles Bridge.")]
    clock = Calendar()
    async with ScriptedUpstream(script) as upstream, open_without_host(upstream, clock=clock) as bridge:
        return await attend(bridge, clock, {"input": "Name a bridge."})


async def run_and_stop() -> list[Event]:
    clock = Calendar()
    said = responds(message("One moment, I have to think.", id="msg_1"), id="resp_1")
    async with (
        ScriptedUpstream([hang("response.output_text.delta", said)]) as upstream,
        open_without_host(upstream, clock=clock) as bridge,
    ):
        return await attend(bridge, clock, {"input": "Stop."})


@pytest.mark.anyio
async def test_the_page_says_what_a_run_tells(repository: Path) -> None:
    assert (repository / "docs" / "events.md").read_text(encoding="utf-8") == render(await gather())


def test_every_field_of_every_kind_is_explained() -> None:
    for kind in KINDS.values():
        explained = dict(read_docstrings(kind))
        assert [field.name for field in fields(kind) if field.name not in explained] == [], kind


# There and back

texts = st.text(max_size=10)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
objects = st.dictionaries(texts, values, max_size=3)
FORMS: dict[str, st.SearchStrategy[Any]] = {
    "text": texts,
    "whole number": st.integers(),
    "number": numbers,
    "true or false": st.booleans(),
    "null": st.none(),
    "object": objects,
    "list of objects": st.lists(objects, max_size=3),
    "anything": values,
}
"""Values by the names that the page has for them."""


def find_values(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a field."""
    parts = get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        return st.sampled_from(parts)
    if hint is ErrorInfo:
        return st.fixed_dictionaries({name: find_values(of) for name, of in get_type_hints(ErrorInfo).items()})
    if (name := name_type(hint)) in FORMS:
        return FORMS[name]
    return st.one_of(*map(find_values, parts))


def find_events(kind: type[Event]) -> st.SearchStrategy[Event]:
    """Any event of a kind."""
    hints = get_type_hints(kind)
    return st.builds(kind, **{field.name: find_values(hints[field.name]) for field in fields(kind)})


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@settings(max_examples=25, derandomize=True, deadline=None)
@given(data=st.data())
def test_any_event_comes_back_from_json_as_it_was(kind: type[Event], data: st.DataObject) -> None:
    event = data.draw(find_events(kind))
    read = read_event(json.loads(json.dumps(write_event(event))))
    assert (type(read), read) == (kind, event)


@pytest.mark.anyio
async def test_an_event_of_every_kind_comes_back_from_json_as_it_was_told() -> None:
    for kind, event in (await gather()).items():
        assert read_event(json.loads(json.dumps(write_event(event)))) == event, kind


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"type": "turn.paused", "at": 0}, "no kind of event is called 'turn.paused'"),
        ({"type": None}, "no kind of event is called None"),
        ({"type": ["text"]}, "no kind of event is called ['text']"),
        ({}, "no kind of event is called None"),
        ({"type": "text", "at": 0.0}, "in an event 'text' delta is missing"),
        ({"type": "text", "at": 0.0, "delta": "a", "seq": 1}, "in an event 'text' seq is not known"),
        (
            {"type": "cut_off", "text": "a", "odd": 1},
            "in an event 'cut_off' at is missing, seq is missing, odd is not known",
        ),
    ],
    ids=str,
)
def test_what_is_no_event_is_refused_in_one_sentence(value: JsonObject, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        read_event(value)


@pytest.mark.anyio
async def test_the_result_made_of_the_events_that_were_read_back_is_that_of_the_originals() -> None:
    server, _ = desk()
    limits = {"output_bytes": 2000}
    async with (
        ScriptedUpstream(RICH) as upstream,
        open_without_host(upstream, {"desk": entry(server)}, ask=say_yes, limits=limits) as bridge,
    ):
        run = await bridge.run({"input": "Hello", "text": FORM})
    assert run.ending
    assert run.ending["status"] == "completed"
    assert [event.seq for event in run.events] == list(range(len(run.events)))
    read = [read_event(json.loads(json.dumps(write_event(event)))) for event in run.events]
    assert read == run.events
    kept = [event for event in read if isinstance(event, Kept)]
    results = [
        build_receipt("run_1", events, run.ending, detail="full", limit_chars=10**6) for events in (kept, run.events)
    ]
    assert results[0] == results[1]
    assert results[0]["output_parsed"] == {"answer": 42}


if __name__ == "__main__":
    sys.stdout.write(render(anyio.run(gather)))
