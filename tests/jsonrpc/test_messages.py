"""Whatever bytes stand on a line, it is read as a message, or fails the one request that it belongs to."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp_types import JSONRPCResponse

from bridge.json_text import TOO_DEEP
from bridge.jsonrpc.lines import Overlong
from bridge.jsonrpc.messages import (
    BARE,
    MENDED,
    MENDED_WORDS,
    NO_ID,
    BadMessage,
    read_message,
    split_messages,
    write_message,
)


def reply(value: str) -> bytes:
    return f'{{"jsonrpc": "2.0", "id": 7, "result": {{"value": {value}}}}}'.encode()


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (reply('"plain"'), "plain"),
        (reply('"crlf"') + b"\r", "crlf"),
        (b"\xef\xbb\xbf" + reply('"bom"'), "bom"),
        (reply('"caf?"').replace(b"?", b"\xe9"), "caf\ufffd"),
        (reply('"half \\ud83d"'), "half \ufffd"),
        (reply('"whole \\ud83d\\ude00"'), "whole 😀"),
        (reply("7" * 4300), int("7" * 4300)),
        (reply("7" * 4301), "7" * 4301),
        (reply("[" * 240 + "]" * 240), json.loads("[" * 240 + "]" * 240)),
        (reply("[" * 100_000 + "]" * 100_000), json.loads("[" * 98 + f'"{TOO_DEEP}"' + "]" * 98)),
        (reply('[NaN, -Infinity, 1e999, "\\ud83d"]'), ["NaN", "-Infinity", "1e999", "\ufffd"]),
    ],
    ids=[
        "plain",
        "crlf",
        "bom",
        "not utf-8",
        "half an emoji",
        "a whole one",
        "digits",
        "more",
        "deep",
        "deeper",
        "none",
    ],
)
def test_what_can_be_read_is_read(line: bytes, value: object) -> None:
    message = read_message(line)
    assert isinstance(message, JSONRPCResponse)
    mended = {"_meta": {MENDED: True}} if "\ufffd" in str(value) else {}
    assert message.result == {"value": value} | mended


@pytest.mark.parametrize(
    ("line", "read"),
    [
        (b'{"jsonrpc": "2.0", "id": 7.0, "result": {}}', {"id": 7, "result": {}}),
        (b'{"jsonrpc": "2.0", "id": null, "result": {}}', {"id": NO_ID, "result": {}}),
        (b'{"jsonrpc": "2.0", "id": true, "result": {}}', {"id": NO_ID, "result": {}}),
        (b'{"result": {}}', {"id": NO_ID, "result": {}}),
        (b'{"jsonrpc": "2.0", "id": 7, "result": {}, "time": 5}', {"id": 7, "result": {}}),
        (b'{"id": 7, "result": {}}', {"id": 7, "result": {}}),
        (b'{"jsonrpc": 2.0, "id": 7, "result": {}, "error": null}', {"id": 7, "result": {}}),
        (b'{"jsonrpc": "2.0", "id": 7, "result": null}', {"id": 7, "result": {}}),
        (b'{"jsonrpc": "2.0", "id": 7, "result": "hello"}', {"id": 7, "result": {BARE: "hello"}}),
        (b'{"jsonrpc": "2.0", "id": 7, "error": "no"}', {"id": 7, "error": {"code": -32603, "message": "no"}}),
        (b'{"jsonrpc": "2.0", "id": 7, "error": {"code": "E1", "message": "no", "data": 5}}',
         {"id": 7, "error": {"code": -32603, "message": "no", "data": 5}}),
        (b'{"jsonrpc": "2.0", "id": 7, "error": {"code": 5, "reason": "no"}}',
         {"id": 7, "error": {"code": 5, "message": '{"code":5,"reason":"no"}', }}),
    ],
)  # fmt: skip
def test_a_reply_is_read_in_any_form(line: bytes, read: object) -> None:
    found = read_again(line)
    assert found.pop("jsonrpc") == "2.0"
    assert found == read


def read_again(line: bytes) -> Any:
    return json.loads(write_message(read_message(line)))


def test_what_was_replaced_is_said_and_what_the_server_itself_replaced_is_not() -> None:
    own = b"\xef\xbb\xbf" + reply('["\ufffd", "\\uFFFD", "caf?"]')
    assert "_meta" not in read_again(own)["result"]
    assert read_again(own.replace(b"?", b"\xe9"))["result"]["_meta"] == {MENDED: True}
    assert read_again(reply('"\\ud83d", "_meta": {"mine": 1}'))["result"]["_meta"] == {"mine": 1, MENDED: True}
    error = b'{"jsonrpc": "2.0", "id": 7, "error": {"code": -1, "message": "caf\xe9"}}'
    assert read_again(error)["error"]["message"] == f"caf\ufffd [{MENDED_WORDS}]"


@pytest.mark.rule("REL7")
@pytest.mark.parametrize(
    ("line", "id"),
    [
        (reply("NaN\\ud83d"), 7),
        (b'{"jsonrpc": "2.0", "id": 7, "result": {"id": 8, "text": "cut', 7),
        (b'{"jsonrpc": "2.0", "id": "seven \\"7\\"", "result": ', 'seven "7"'),
        (b'{"result": {"content": [{"id": 8, bad}]}, "jsonrpc": "2.0", "id": 7}', 7),
        (b'{"result": {"id": 8}, "text": "cut', None),
        (b'{"result": [{"id": 8', None),
        (b"Listening on stdio ...", None),
        (b'{"jsonrpc": "2.0", "id": 1', None),
        (b'{"jsonrpc": "2.0", "id": 1\x012, "result": {}}', None),
        (b'{"jsonrpc": "2.0", "id": 7}', 7),
        (b'{"error": "unauthorized"}', None),
        (b'{"level": "error", "error": "no disk", "id": "a"}', None),
        (b"[]", None),
        (b"5", None),
        (b'{"jsonrpc": "2.0", "id": null, "method": "ping"}', None),
        (b'{"jsonrpc": "2.0", "id": 1.5, "method": "ping"}', None),
        (Overlong(b'{"jsonrpc": "2.0", "id": 7, "result": {"text": "xxx', b'xxx"}}', 5000, 4000), 7),
        (Overlong(b'{"result": {"text": "\\"id\\": 8, xxx', b'xxx"}, "jsonrpc": "2.0", "id": 7}', 5000, 4000), 7),
    ],
)
def test_what_cannot_be_read_names_the_request_it_belongs_to_and_no_other(line: bytes | Overlong, id: object) -> None:
    with pytest.raises(BadMessage) as caught:
        read_message(line)
    assert caught.value.id == id


@given(st.binary(max_size=60))
@settings(max_examples=200, derandomize=True)
def test_no_line_raises_anything_else(line: bytes) -> None:
    with suppress(BadMessage):
        read_message(line)


ids = st.integers(-(10**17), 10**17) | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
results = st.recursive(st.none() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3), max_leaves=5)


@given(ids, results, st.booleans(), st.integers(1, 200), st.booleans())
@settings(max_examples=200, derandomize=True, deadline=None)
def test_a_broken_reply_is_never_taken_for_that_of_another_call(
    id: Any, value: Any, is_last: bool, place: int, is_cut: bool
) -> None:
    """Cut anywhere, or with a byte in it that JSON does not know; the result holds an id that is none."""
    result, envelope = {"result": {"id": 31415, "value": value}}, {"jsonrpc": "2.0", "id": id}
    line = json.dumps(result | envelope if is_last else envelope | result).encode()
    place = min(place, len(line) - 1)
    spoiled = line[:place] + (b"" if is_cut else b"\x01" + line[place:])
    with pytest.raises(BadMessage) as caught:
        read_message(spoiled)
    assert caught.value.id in (None, id) or "\x01" in str(caught.value.id)


@pytest.mark.rule("REL1")
@given(st.recursive(st.none() | st.floats() | st.integers() | st.text(st.characters()), st.lists, max_leaves=9))
@settings(max_examples=100, derandomize=True)
def test_whatever_a_message_holds_is_one_line_of_json(value: Any) -> None:
    line = write_message(JSONRPCResponse(jsonrpc="2.0", id=7, result={"value": value}))
    assert line.count(b"\n") == 1
    assert json.loads(line)["id"] == 7


@pytest.mark.parametrize("levels", [300, 900, 100_000])
def test_a_reply_too_deep_to_be_written_is_an_error_and_no_crash(levels: int) -> None:
    value: object = "\ud83d"
    for _ in range(levels):
        value = [value]
    written = json.loads(write_message(JSONRPCResponse(jsonrpc="2.0", id=7, result={"value": value})))
    assert written["id"] == 7
    assert ("error" in written) == (levels == 100_000)


def test_messages_in_a_row_are_split_however_deep_the_last_is() -> None:
    """What can just be read cannot be written again, a few levels before the depth that cannot be read either."""
    for depth in range(900, 1000):
        deep = b'{"a": ' * depth + b"1" + b"}" * depth
        assert split_messages(b'{"a": 1} ' + deep)[0] == b'{"a": 1}'
