"""Texts of other programs are safe to look at."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.visible import show_line, show_prose

HIDDEN = {
    "an escape": "\x1b]52;c;cm0gLXJm\x07",
    "a C1 control": "\x9b2J",
    "a carriage return": "safe\rrm -rf",
    "a backspace": "rm\b\bls",
    "a delete": "\x7f",
    "a bidi override": "\u202egpj.exe",
    "a bidi isolate": "\u2066x\u2069",
    "a zero-width space": "ad\u200bd",
    "a word joiner": "ad\u2060d",
    "a byte order mark": "\ufeffadd",
    "a soft hyphen": "ad\u00add",
    "a tag character": "add\U000e0041",
    "a Hangul filler": "add\u3164",
    "a grapheme joiner": "a\u034fdd",
    "a variation selector": "a\ufe01dd",
    "a further variation selector": "a\U000e0100dd",
    "a blank pattern": "a\u2800dd",
    "a line separator": "add\u2028yes",
    "a private letter": "\ue000",
    "half an emoji": "\ud83d",
}


@pytest.mark.parametrize("text", HIDDEN.values(), ids=HIDDEN)
def test_what_acts_or_hides_stands_there_as_its_escape(text: str) -> None:
    for shown in (show_line(text), show_prose(text)):
        assert "\\u" in shown or "\\U" in shown
        assert shown.isprintable()


@pytest.mark.parametrize(
    "text", ["a\nb", "a\tb", "\u3000", "نمی\u200cخواهم", "👨\u200d👩\u200d👧", "❤\ufe0f", "שלום\u200f!"]
)
def test_prose_keeps_what_scripts_and_emoji_need_and_a_line_does_not(text: str) -> None:
    assert show_prose(text) == text
    assert show_line(text) != text


@pytest.mark.parametrize("text", ["add", "再见 😀", "naïve", "ça va", "Zażółć", "हिन्दी", "ไทย", "قلب", "a\\u202e"])
def test_ordinary_text_of_any_script_is_shown_as_it_is(text: str) -> None:
    assert (show_line(text), show_prose(text)) == (text, text)


def test_a_letter_under_a_pile_of_marks_does_not_cover_its_neighbours() -> None:
    shown = show_line("h" + "\u0336\u0489" * 20)
    assert sum(unicodedata.combining(sign) > 0 or unicodedata.category(sign) == "Me" for sign in shown) <= 3


@given(st.text(st.characters()))
def test_a_line_is_printable_whatever_the_text(text: str) -> None:
    assert show_line(text).isprintable()
    assert show_prose(text).replace("\n", "").count("\x1b") == 0
