"""Event streams read as the standard says, however their bytes arrive, and never more of one event than allowed."""

import time

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.jsonrpc.lines import Overlong
from bridge.sse import Event, EventReader

CANONICAL = (
    b"\xef\xbb\xbf: welcome\r\n\r\nid: 1\r\ndata:\r\n\r\nretry: 100\n\n"
    b"event: message\rdata: caf\xc3\xa9 \xf0\x9f\x98\x80\r\r"
    b"data: one\ndata:two\nid: 2\n\nid: no\0pe\nretry: soon\nnonsense\n\nevent: endpoint\ndata:  /messages\n\n"
)
READ = [
    Event(id=b"1"),
    Event(retry=100),
    Event(data="café 😀".encode()),
    Event(data=b"one\ntwo", id=b"2"),
    Event("endpoint", b" /messages"),
]


def read(data: bytes, *, chunk: int = 1 << 16, limit: int = 1 << 20) -> list[Event]:
    reader = EventReader(limit)
    return [event for start in range(0, len(data), chunk) for event in reader.feed(data[start : start + chunk])]


@pytest.mark.parametrize("chunk", range(1, 40))
def test_chunks_make_no_difference(chunk: int) -> None:
    assert read(CANONICAL, chunk=chunk) == READ


@pytest.mark.rule("REL13")
def test_every_split_in_two_reads_the_same() -> None:
    for place in range(len(CANONICAL)):
        reader = EventReader(1 << 20)
        found = [*reader.feed(CANONICAL[:place]), *reader.feed(CANONICAL[place:])]
        assert found == READ, place


@pytest.mark.rule("REL13")
def test_data_over_the_limit_is_counted_and_its_event_and_no_other_says_so() -> None:
    long, after = read(b"data: " + b"x" * 500 + b"\n\ndata: after\n\n", limit=100, chunk=7)
    assert isinstance(long.data, Overlong)
    assert long.data.head.endswith(b"xxx")
    assert after.data == b"after"
    [many] = read(b"data: x\n" * 100 + b"\n", limit=100)
    assert isinstance(many.data, Overlong)


def test_an_event_that_never_ends_is_known_to_be_over_the_limit_before_it_does() -> None:
    reader = EventReader(100)
    assert reader.feed(b"data: first\n\nid: 7\nevent: note\ndata: " + b"x" * 50) == [Event(data=b"first")]
    assert not reader.is_over
    assert not any(reader.feed(b"x") for _ in range(20_000))
    assert reader.is_over
    [event] = reader.feed(b"\nretry: 5\n\n")
    assert (event.name, event.id, event.retry) == ("note", b"7", 5)
    assert isinstance(event.data, Overlong)
    assert event.data.size == 20_050
    assert not reader.is_over


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CR LF", "CR"])
def test_a_field_without_a_value_a_mark_within_and_spaces_are_read_as_the_standard_says(end: str) -> None:
    lines = ["data", "data:  two", "\ufeffdata: no", "data : no", "Data: no", "event", "id", "retry: 1.5", "", ""]
    assert read(end.join(lines).encode()) == [Event(data=b"\n two", id=b"")]


def test_a_byte_order_mark_counts_at_the_beginning_of_the_stream_alone() -> None:
    marked = b"\xef\xbb\xbfdata: x\n\n"
    assert [read(marked * 2, chunk=chunk) for chunk in (1, 99)] == [[Event(data=b"x")]] * 2


def test_time_is_linear_in_the_length_of_an_event() -> None:
    def time_for(kilobytes: int) -> float:
        reader, chunk = EventReader(1 << 30), b"x" * 256
        began = time.process_time()
        for _ in range(kilobytes << 2):
            reader.feed(chunk)
        assert len(reader.feed(b"data: x\n\n")) == 0
        return time.process_time() - began

    short, long = (min(time_for(kilobytes) for _ in range(3)) for kilobytes in (512, 4096))
    assert long < 32 * short  # linear is 8 times, quadratic 64


text = st.text(st.characters(exclude_characters="\0\r\n", exclude_categories=["Cs"]), max_size=12)
events = st.builds(
    Event,
    name=text.filter(bool),
    data=st.lists(text, min_size=1, max_size=3).map(lambda lines: "\n".join(lines).encode()).filter(bool),
    id=st.none() | text.map(str.encode),
    retry=st.none() | st.integers(0, 10**6),
)


@given(st.lists(events, max_size=4), st.integers(1, 9))
@settings(max_examples=60, derandomize=True, deadline=None)
def test_what_is_written_is_read_again_by_us_and_by_the_sdk(made: list[Event], chunk: int) -> None:
    data = b"".join(event.encode() for event in made)
    assert read(data, chunk=chunk) == made
    response = httpx2.Response(
        200, headers={"content-type": "text/event-stream"}, content=data, request=httpx2.Request("GET", "http://far")
    )
    theirs = [(event.event, event.data.encode()) for event in httpx2.EventSource(response)]
    assert theirs == [(event.name, event.data) for event in made]


@pytest.mark.parametrize("end", [b"\r", b"\r\n", b"\n"])
def test_json_whose_lines_end_in_any_way_is_one_event(end: bytes) -> None:
    json = b'{"id": 1,' + end + b'"result": {}}'
    data = Event(data=json).encode()
    response = httpx2.Response(
        200, headers={"content-type": "text/event-stream"}, content=data, request=httpx2.Request("GET", "http://far")
    )
    assert [event.data for event in httpx2.EventSource(response)] == ['{"id": 1,\n"result": {}}']
    assert [event.data for event in read(data)] == [b'{"id": 1,\n"result": {}}']


@given(st.binary(max_size=60), st.integers(1, 9))
@settings(max_examples=150, derandomize=True, deadline=None)
def test_no_bytes_break_the_reader(data: bytes, chunk: int) -> None:
    assert read(data, chunk=chunk) == read(data)
