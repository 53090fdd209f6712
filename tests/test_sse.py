"""Event streams read as the standard says, however their bytes arrive, and never more of one event than allowed."""

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


def test_every_split_in_two_reads_the_same() -> None:
    for place in range(len(CANONICAL)):
        reader = EventReader(1 << 20)
        found = [*reader.feed(CANONICAL[:place]), *reader.feed(CANONICAL[place:])]
        assert found == READ, place


def test_data_over_the_limit_is_counted_and_its_event_and_no_other_says_so() -> None:
    long, after = read(b"data: " + b"x" * 500 + b"\n\ndata: after\n\n", limit=100, chunk=7)
    assert isinstance(long.data, Overlong)
    assert long.data.head.endswith(b"xxx")
    assert after.data == b"after"
    [many] = read(b"data: x\n" * 100 + b"\n", limit=100)
    assert isinstance(many.data, Overlong)


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


@given(st.binary(max_size=60), st.integers(1, 9))
@settings(max_examples=150, derandomize=True, deadline=None)
def test_no_bytes_break_the_reader(data: bytes, chunk: int) -> None:
    assert read(data, chunk=chunk) == read(data)
