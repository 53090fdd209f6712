"""Whatever the items hold and however a refusal is worded: adapting and learning end, and end without an exception."""

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.errors import ArgumentError, UpstreamError
from bridge.items import Last, Turn
from bridge.json_text import encode
from bridge.upstream.adapt import adapt
from bridge.upstream.learn import learn
from bridge.upstream.profile import PRESETS, Profile

Json = dict[str, Any]

WORDS = [
    *("type", "role", "id", "content", "output", "text", "include", "message", "reasoning", "function_call"),
    *("function_call_output", "developer", "system", "assistant", "input_image", "stream", "store", "background"),
    *("previous_response_id", "context_management", "unsupported parameter: ", "is not supported", "rs_1 not found"),
    *("must be true", "encrypted content could not be verified", "expected an id that begins with", "image", "false"),
    *("input[0].status", "input[1].content[0].id", "status", "arguments", "call_id", "name", "summary", "compaction"),
    *("unknown parameter: status", "duplicate item", "parallel_tool_calls", "tool_choice", "none", "[", "a.b", "null"),
    *("reasoning.encrypted_content", "json", "(phase was unexpected)", "could not decrypt", "phase", "input"),
    *("invalid type for output: expected a string, got an array", "system message must be at the beginning", " "),
]
words = st.sampled_from(WORDS)
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(words, values, max_size=5)


def build_turn(parameters: Json, items: list[Any], last: Last | None) -> Turn:
    return Turn(parameters, tuple(map(encode, items)), (), last, has_odd_calls=True)


def switch(preset: Profile, changes: Json) -> Profile:
    return replace(preset, **changes)


def refuse(said: list[str], code: str, status: int | None) -> UpstreamError:
    return UpstreamError(" ".join(said), code=code, status=status)


lasts = st.none() | st.builds(Last, words, st.integers(0, 6))
turns = st.builds(build_turn, objects, st.lists(objects | values, max_size=5), lasts)
switches = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("reasoning_replay", "item_ids", "content_parts", "images", "odd_arguments"), st.just(False)),
        "state": st.sampled_from(["auto", "stateless", "previous_response_id"]),
        "developer_role": st.sampled_from(["keep", "system", "instructions"]),
        "drop": st.lists(words, max_size=3).map(tuple),
    },
)
profiles = st.builds(switch, st.sampled_from(list(PRESETS.values())), switches)
refusals = st.builds(refuse, st.lists(words, max_size=5), words, st.sampled_from([None, 400, 404, 422, 500]))


def _send(turn: Turn, profile: Profile) -> Turn | None:
    try:
        sent, notices = adapt(turn, profile)
    except ArgumentError:
        return None
    assert all(notice["message"] for notice in notices)
    return sent


@settings(max_examples=40, derandomize=True, deadline=None)
@given(turns, profiles, refusals)
def test_every_lesson_changes_the_next_request_or_the_way_it_is_sent_and_there_is_an_end_to_them(
    turn: Turn, profile: Profile, refusal: UpstreamError
) -> None:
    for _ in range(60):
        if (sent := _send(turn, profile)) is None:
            return
        learned = learn(refusal, sent, profile)
        if learned is None:
            return
        assert learned != profile
        profile = learned
    raise AssertionError("it learns for ever")


@settings(max_examples=40, derandomize=True, deadline=None)
@given(turns, profiles)
def test_a_request_that_was_adapted_needs_no_more_of_it(turn: Turn, profile: Profile) -> None:
    if sent := _send(turn, profile):
        again = replace(sent, last=None)
        assert _send(again, profile) in (again, None)
