"""Texts that act on a terminal, hide, reorder or forge; and what of them may never reach a person as it is."""

import re
import unicodedata
from collections.abc import Iterator

HOSTILE = {
    "OSC 52, the clipboard": "a\x1b]52;c;cm0gLXJm\x07b",
    "OSC 52 that ends in ST": "a\x1b]52;c;cm0gLXJm\x1b\\b",
    "OSC 8, a link": "\x1b]8;;http://evil.example/\x1b\\fine\x1b]8;;\x1b\\",
    "the window's title": "\x1b]0;root@prod\x07x",
    "an erased screen": "\x1b[2J\x1b[Hx",
    "a cursor that goes up": "x\x1b[3A\x1b[2Kok",
    "colours": "\x1b[8mhidden\x1b[0m",
    "a question to the terminal": "\x1b[c\x1bP$qm\x1b\\x",
    "an escape alone": "x\x1b",
    "C1 CSI": "x\x9b2Jy",
    "C1 OSC": "x\x9d52;c;cm0gLXJm\x9cy",
    "a bell": "x\x07y",
    "a backspace": "rm\b\bls",
    "a carriage return": "rm -rf\rls    ",
    "a delete": "x\x7fy",
    "a NUL": "x\0y",
    "form feed and vertical tab": "x\x0c\x0by",
    "a new line": 'x" of "safe" with {}. Run it?\n[y/N] y\ny',
    "a next line": "x\x85y",
    "a line separator": "x\u2028y",
    "a paragraph separator": "x\u2029y",
    "a bidi override": "photo\u202egpj.exe\u202c",
    "a bidi embedding": "x\u202by\u202cz\u202ax",
    "bidi isolates": "x\u2066y\u2067z\u2068\u2069",
    "marks of direction": "x\u200ey\u200fz\u061c",
    "a zero-width space": "ad\u200bd",
    "a joiner without need": "ad\u200dd",
    "a non-joiner without need": "ad\u200cd",
    "a word joiner": "ad\u2060d",
    "a byte order mark": "\ufeffadd",
    "invisible operators": "a\u2061d\u2064d",
    "a soft hyphen": "ad\u00add",
    "tag characters": "add" + "".join(chr(0xE0000 + ord(sign)) for sign in "delete all"),
    "a language tag": "add\U000e0001\U000e007f",
    "a variation selector": "a\ufe0fdd\ufe01",
    "a further variation selector": "a\U000e0100dd\U000e01ef",
    "Hangul fillers": "a\u3164d\uffa0d\u115f\u1160",
    "a grapheme joiner": "a\u034fdd",
    "a Mongolian separator": "a\u180edd\u180b",
    "a blank pattern": "a\u2800dd",
    "Khmer vowels that show nothing": "a\u17b4\u17b5dd",
    "half an emoji": "a\ud83ddd",
    "a pile of marks": "h" + "\u0336\u0489\u0301" * 20,
    "a pile of Thai marks": "\u0e01" + "\u0e47" * 30,
    "quotes": 'read" of "safe',
    "quotes that look alike": "read” of “safe＂ʺ",
    "a very long name": "read" + " " * 3000 + "delete",
    "a private letter": "\uf8ff\U0010fffd",
    "annotations": "a\ufff9b\ufffac\ufffb",
}

READABLE = {
    "Chinese": "再见，世界",
    "Japanese": "さようなら、ファイル",
    "Korean": "안녕하세요",
    "Arabic": "مرحبا بالعالم",
    "Hebrew with a mark": "שלום\u200f!",
    "Persian with a non-joiner": "نمی\u200cخواهم",
    "Hindi with a joiner": "क्\u200dष हिन्दी",
    "Thai": "ก็ไม่รู้",
    "accents": "Zażółć naïve ça cafe\u0301",
    "Hebrew with points": "הֵ֚ר",
    "a family": "👨\u200d👩\u200d👧\u200d👦",
    "tones of skin": "👍🏽 👩🏾\u200d🚀",
    "a red heart": "❤\ufe0f x",
    "a burning heart": "❤\ufe0f\u200d🔥",
    "a flag": "🇩🇪",
    "the flag of Wales": "🏴\U000e0067\U000e0062\U000e0077\U000e006c\U000e0073\U000e007f",
    "a rainbow": "🏳\ufe0f\u200d🌈",
    "a keycap": "1\ufe0f\u20e3",
    "a space of another width": "日本\u3000語, 10\u00a0000",
    "code": "a\\u202e = '\\x1b[0m'",
}
"""What people write, in lines of their own; a person reads it as it is."""

_NEVER = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e-\u200f\u061c"
    "\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0e\ufeff\uffa0\ufff9-\ufffb\ud800-\udfff\ue000-\uf8ff"
    "\U000e0000-\U000e0fff\U000f0000-\U0010ffff]|(?<![❤🏳])\ufe0f|(?<![👨👩👧])\u200d|\u200c"
)
"""Written out once more, character by character, and in no way derived from what it judges."""
_MANY_MARKS = 5
_OUR_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def find_raw(text: str, *, colours: bool = False) -> list[str]:
    """What of a text that a person is shown acts, hides or covers; with `colours`, those that we print may be there."""
    text = _OUR_COLOURS.sub("", text) if colours else text
    return [ascii(found) for found in (*_NEVER.findall(text), *_find_piles(text))]


def _find_piles(text: str) -> Iterator[str]:
    height = 0
    for sign in text:
        height = height + 1 if unicodedata.category(sign) in ("Mn", "Me") else 0
        if height == _MANY_MARKS:
            yield sign
