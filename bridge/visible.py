"""Text of other programs, made safe for people to look at: nothing in it acts on a terminal, hides or changes places.

The model, and programs that read JSON, get texts as they are.
"""

import re

_INVISIBLE = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef"
"""Letters and marks that show nothing, though Python counts them as printable (Unicode, Default_Ignorable_Code_Point;
U+2800 is a blank pattern of Braille)."""
_SPOKEN = "\n\t\u200c\u200d\u200e\u200f\u061c\ufe0f\u00a0\u3000\u2009\u202f"
"""What prose needs though it is not printable: line ends, joiners and marks of direction of many scripts, the choice of
an emoji's colour, and spaces of other widths."""
_SUSPECT = re.compile(rf"[^\x20-\x7e]|[{_INVISIBLE}]")
MAX_MARKS = 3
"""Combining marks on one letter: more of them cover the lines above and below."""
_PILES = re.compile(r"(?:(?!\ufe0f)[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f])+")
_ACTS = re.compile(rf"[{_INVISIBLE}]")


def show_line(text: str) -> str:
    """Put a text on one line of visible characters, in their order; every other one stands there as its escape."""
    return _SUSPECT.sub(_escape, _PILES.sub(_thin, text)) if not text.isascii() or not text.isprintable() else text


def show_prose(text: str) -> str:
    """Keep a text of many lines as it is, but for the characters that act on a terminal, hide or reorder others."""
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return _SUSPECT.sub(lambda match: match[0] if match[0] in _SPOKEN else _escape(match), _PILES.sub(_thin, text))


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    if character.isprintable() and not _ACTS.match(character):
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _thin(match: re.Match[str]) -> str:
    """Leave so many marks on their letter, and show the others as escapes."""
    marks = match[0]
    return marks[:MAX_MARKS] + "".join(f"\\u{ord(mark):04x}" for mark in marks[MAX_MARKS:])
