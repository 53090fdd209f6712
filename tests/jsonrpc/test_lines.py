"""Lines are found whatever way the bytes arrive in, in linear time, and a line over the limit is only counted."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.jsonrpc.lines import KEPT_BYTES, LineSplitter, Overlong


def split(data: bytes, *, limit: int = 1 << 20, chunk: int = 1 << 16) -> list[bytes | Overlong]:
    lines = LineSplitter(limit)
    found = [line for start in range(0, len(data), chunk) for line in lines.feed(data[start : start + chunk])]
    return found + lines.flush()


@given(st.lists(st.binary(max_size=9).map(lambda line: line.replace(b"\n", b""))), st.integers(1, 12))
@settings(max_examples=100, derandomize=True)
def test_chunks_make_no_difference(lines: list[bytes], chunk: int) -> None:
    assert split(b"".join(line + b"\n" for line in lines), chunk=chunk) == lines


def test_a_last_line_needs_no_newline() -> None:
    assert split(b"one\ntwo", chunk=2) == [b"one", b"two"]


@pytest.mark.parametrize("chunk", [1, 7, 4096, 1 << 20])
def test_a_line_over_the_limit_is_counted_and_its_ends_are_kept(chunk: int) -> None:
    long = bytes(range(48, 58)) * 1500
    before, found, after = split(b"before\n" + long + b"\nafter", limit=9_000, chunk=chunk)
    assert (before, after) == (b"before", b"after")
    assert found == Overlong(long[:KEPT_BYTES], long[-KEPT_BYTES:], len(long), 9_000)


def test_a_line_of_exactly_the_limit_is_whole() -> None:
    assert split(b"x" * 100 + b"\n" + b"y" * 101 + b"\n", limit=100) == [
        b"x" * 100,
        Overlong(b"y" * 101, b"y" * 101, 101, 100),
    ]


@pytest.mark.rule("REL10")
@pytest.mark.parametrize("limit", [1 << 30, 1 << 16], ids=["within the limit", "over it"])
def test_time_is_linear_in_the_length_of_a_line(limit: int) -> None:
    def time_for(megabytes: int) -> float:
        lines, chunk = LineSplitter(limit), b"x" * 256
        began = time.process_time()
        for _ in range(megabytes << 12):
            lines.feed(chunk)
        assert len(lines.flush()) == 1
        return time.process_time() - began

    short, long = (min(time_for(megabytes) for _ in range(3)) for megabytes in (1, 8))
    assert long < 32 * short  # linear is 8 times, quadratic 64
