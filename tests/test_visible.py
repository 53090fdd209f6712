"""Texts of other programs are safe to look at, and stay readable."""

import json
import random
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.json_text import encode
from bridge.questions import show_arguments
from bridge.visible import (
    MAX_NAME_CHARS,
    ProseStream,
    quote,
    quote_name,
    show_exactly,
    show_line,
    show_name,
    show_prose,
)
from tests.fakes.hostile import HOSTILE, READABLE, find_raw

SHOW: list[Callable[[str], str]] = [show_line, show_prose, show_exactly, show_name, quote_name]
FLAWS = {name: text for name, text in HOSTILE.items() if name not in ("quotes", "quotes that look alike")}
TEXTS = st.text(st.characters(exclude_categories=[]))
SIGNS = st.text(
    st.sampled_from("a1 \n\r\x1b\u200c\u200d\u200e\u202e\ufe0f\u20e3❤👨👩🏽\u0301\u0336ש\u05b8نم\u0915\u094d\ud83d中")
)


@pytest.mark.parametrize("show", SHOW, ids=lambda show: show.__name__)
@pytest.mark.parametrize("text", FLAWS.values(), ids=FLAWS)
def test_what_acts_or_hides_stands_there_as_its_escape(text: str, show: Callable[[str], str]) -> None:
    shown = show(text)
    assert find_raw(shown) == []
    assert "\\" in shown or "\n" in text or len(text) > 1000
    assert show is show_prose or "\n" not in shown


@pytest.mark.parametrize("text", READABLE.values(), ids=READABLE)
def test_what_people_write_is_shown_as_it_is(text: str) -> None:
    assert (show_line(text), show_prose(f"{text}\n\t{text}")) == (text, f"{text}\n\t{text}")


@pytest.mark.parametrize("text", READABLE.values(), ids=READABLE)
def test_a_name_hides_nothing_also_of_what_scripts_and_emoji_need(text: str) -> None:
    assert not any(unicodedata.category(sign) in ("Cf", "Cc", "Zl", "Zp") for sign in quote_name(text))
    assert json.loads(quote_name(text)) == text


@pytest.mark.parametrize("name", ["add", "git_add", "fs/read", "my-server", "v1.2:tool", "再见", "café"])
def test_a_plain_name_stands_without_quotes(name: str) -> None:
    assert show_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "a b", "a\nb", 'a"b', "a, b", "*", "a”", "\u0301a", "a of b", "a\u3164", "a\ufe0f", "x" * 129, "(a)"]
)
def test_a_name_that_could_be_read_as_words_of_ours_stands_in_quotes(name: str) -> None:
    shown = show_name(name)
    assert shown == quote_name(name)
    assert shown.startswith('"')
    assert len(shown) < 4 * MAX_NAME_CHARS


@given(TEXTS | SIGNS)
def test_a_name_cannot_end_its_quotes(name: str) -> None:
    shown = quote(name)
    assert json.loads(shown) == name
    assert (shown[0], shown[-1], shown[1:-1].isprintable()) == ('"', '"', True)
    assert '"' not in shown[1:-1].replace("\\\\", "").replace('\\"', "")


def test_words_behind_many_blanks_are_not_out_of_sight() -> None:
    assert show_line(f"read{' ' * 3000}delete") == "read [3,000 blanks] delete"
    assert len(show_arguments({"path": f"safe{' ' * 3000}delete"})) < 100
    assert show_line("a  b") == "a  b"


def test_of_a_long_name_head_tail_and_length_are_shown() -> None:
    assert quote_name("a" * 1000 + "b" * 1000) == f'"{"a" * 64}" … "{"b" * 64}" (2,000 characters)'


@pytest.mark.rule("S30")
@given(TEXTS | SIGNS)
def test_nothing_is_left_raw_whatever_the_text(text: str) -> None:
    assert show_exactly(text).isprintable()
    assert "\n" not in show_line(text)
    assert find_controls(show_line(text) + show_prose(text)) == set()


@given(TEXTS | SIGNS)
def test_what_is_shown_is_shown_the_same_again(text: str) -> None:
    for show in (show_line, show_prose, show_exactly):
        assert show(show(text)) == show(text)


@given(st.dictionaries(TEXTS, TEXTS | st.lists(SIGNS)))
def test_json_that_is_shown_means_the_same(value: dict[str, object]) -> None:
    text = encode(value)  # type: ignore[arg-type]
    assert json.loads(show_exactly(text)) == json.loads(text)


@pytest.mark.parametrize("text", [*HOSTILE.values(), *READABLE.values()], ids=[*HOSTILE, *READABLE])
def test_a_text_in_two_pieces_is_shown_as_in_one_wherever_it_is_split(text: str) -> None:
    whole = show_prose(f"It is: {text} so.")
    shown = {stream(*split_at(f"It is: {text} so.", at)) for at in range(min(len(text), 200) + 12)}
    assert shown == {whole} or all(find_raw(each) == [] for each in shown if "\u0489" in text)


@given(TEXTS | SIGNS, st.randoms(use_true_random=False))
def test_a_text_in_any_pieces_is_shown_as_in_one(text: str, chance: random.Random) -> None:
    cuts = sorted(chance.randrange(len(text) + 1) for _ in range(4))
    shown = stream(*(text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)))
    assert shown == show_prose(text)


@pytest.mark.parametrize("sign", ["\u0336", "\u200d", "👩\u200d", "\ufe0f", "\r", "\u200f", "\U000e0041"])
def test_a_stream_holds_little_and_shows_all_of_it(sign: str) -> None:
    shown = ProseStream()
    pieces = [shown.add(sign) for _ in range(10_000)]
    assert sum(map(len, pieces)) >= 10_000 - 200
    assert find_controls("".join(pieces) + shown.end()) == set()


def test_ordinary_text_is_shown_as_it_comes() -> None:
    shown = ProseStream()
    assert [shown.add(piece) for piece in ("The ", "sum", " is 3", ".\n", "和是", "三。")] == [
        "The ", "sum", " is 3", ".\n", "和是", "三。",
    ]  # fmt: skip


def find_controls(text: str) -> set[str]:
    """The characters that act or reorder from wherever they stand."""
    return {sign for sign in text if unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp")} - {"\n", "\t"} | {
        sign for sign in text if "\u202a" <= sign <= "\u202e" or "\u2066" <= sign <= "\u2069"
    }


def split_at(text: str, at: int) -> tuple[str, str]:
    return text[:at], text[at:]


def stream(*pieces: str) -> str:
    shown = ProseStream()
    return "".join([*map(shown.add, pieces), shown.end()])
