"""Text of other programs, made safe for people to look at: nothing in it acts on a terminal, hides or changes places.

What would do so stands there as its escape, as JSON has it: JSON that is shown still means the same. The model, and
programs that read JSON, get texts as they are.
"""

import json
import re
import unicodedata
from functools import cache

MAX_MARKS = 4
"""Combining marks on one letter: more of them cover the lines above and below."""
MAX_HELD = 32
"""Characters of a stream that wait for what may join them; no emoji, and hardly a word, has as many."""
MAX_NAME_CHARS = 128
"""Characters of a name that are shown; MCP advises servers to use no more."""

_INVISIBLE = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef"
"""Letters and marks that show nothing, though Python counts them as printable (Unicode, Default_Ignorable_Code_Point;
U+2800 is a blank pattern of Braille)."""
_MARKS = ("Mn", "Me")
_MARKED = (
    *((0x300, 0x3100), (0xA600, 0xAC00), (0xFB00, 0xFF00)),
    *((0x10000, 0x12000), (0x16A00, 0x17000), (0x1BC00, 0x1F000)),
)
"""Where Unicode has combining marks."""
_PICTURES = (
    "\u00a9\u00ae\u203c\u2049\u2122\u2139\u2190-\u21ff\u2300-\u23ff\u24c2\u25a0-\u27bf\u2934\u2935\u2b00-\u2bff\u3030"
    "\u303d\u3297\u3299\U0001f000-\U0001faff"
)
"""Emoji, their modifiers, and those that a later version of Unicode will add beside them."""
_PICTURE = rf"[{_PICTURES}][\ufe0e\ufe0f]?[\U0001f3fb-\U0001f3ff]?"
_FLAGS = "|".join(
    "\U0001f3f4" + "".join(chr(0xE0000 + ord(sign)) for sign in place) + "\U000e007f"
    for place in ("gbeng", "gbsct", "gbwls")
)
_JOINED = "\u0620-\u06dc\u06de-\u070e\u0710-\u08e1\u08e3-\u109f\u1780-\u17b3\u17b6-\u17ff\u1820-\u18aa"
"""Scripts, from Arabic to Mongolian, in which a joiner between two letters chooses their shape."""
_RIGHT_TO_LEFT = "\u0590-\u061b\u061d-\u08ff\ufb1d-\ufdff\ufe70-\ufefc"
_NEEDED = (
    f"{_FLAGS}|{_PICTURE}(?:\u200d{_PICTURE})*|\ufe0f\u20e3"
    f"|(?<=[{_JOINED}])[\u200c\u200d](?=[{_JOINED}])|(?<=[{_RIGHT_TO_LEFT}])[\u200e\u200f\u061c]"
    "|[\u00a0\u2009\u202f\u3000]"
)
"""What shows nothing by itself and stays, where it does what it is for: in emoji and flags, between letters that join,
behind letters that are read from the right, and as a space of another width."""
_PLAIN = (
    "\\x20-\\x7e\u00c0-\u024f\u0400-\u0481\u048a-\u052f\u3001-\u3029\u3041-\u3096\u30a0-\u30ff\u4e00-\u9fff\uac00-\ud7a3"
    "\uff01-\uff60"
)
"""What is seen wherever it stands, and need not be looked at: the letters of most texts."""
_LIKE_QUOTES = "\u02ba\u02dd\u02ee\u201c-\u201f\u2033\u2036\u275d\u275e\u3003\u301d-\u301f\uff02"
_MANY_BLANKS = " " * 80
_SHORT = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}


def show_line(text: str) -> str:
    """Put a text on one line, on which every character that acts, hides or reorders others stands as its escape."""
    return count_blanks(_show(text, _PLAIN, strictly=False))


def count_blanks(line: str) -> str:
    """Say how many blanks there are in place of so many that what comes behind them would be out of sight."""
    if _MANY_BLANKS not in line:
        return line
    return _find(f"{_MANY_BLANKS}+").sub(lambda blanks: f" [{len(blanks[0]):,} blanks] ", line)


def show_prose(text: str) -> str:
    """Show a text of many lines as `show_line` does, with its line ends and tabs."""
    text = text.replace("\r\n", "\n") if "\r" in text else text
    if text.replace("\n", "").replace("\t", "").isprintable() and text.isascii():
        return text
    return _show(text, _PLAIN + "\n\t", strictly=False)


def show_exactly(text: str) -> str:
    """Put a text, such as JSON, on one line on which each character is seen: also those that emoji and scripts need."""
    return _show(text, _PLAIN, strictly=True)


def show_name(name: str) -> str:
    """Show a name in a sentence or a table: as it is, or in quotes where it could be read as anything else."""
    quoted = quote_name(name)
    is_plain = name.isidentifier() or _find(r"[\w./:@+-]+").fullmatch(name)
    return name if is_plain and quoted == f'"{name}"' else quoted


def quote_name(name: str) -> str:
    """Put a name in quotes that it cannot forge. Of one that is too long, head and tail are shown, and its length."""
    if len(name) <= MAX_NAME_CHARS:
        return quote(name)
    half = MAX_NAME_CHARS // 2
    return f"{quote(name[:half])} … {quote(name[-half:])} ({len(name):,} characters)"


def quote(text: str) -> str:
    """Write a text as JSON, in which every character is seen and none looks like the quotes around it."""
    if text and unicodedata.category(text[0]) in _MARKS:  # it would sit on the quote
        return f'"{_escape_always(text[0])}{quote(text[1:])[1:]}'
    shown = show_exactly(json.dumps(text, ensure_ascii=False))
    return shown if shown.isascii() else _find(f"[{_LIKE_QUOTES}]").sub(lambda match: _escape_always(match[0]), shown)


class ProseStream:
    """A text that arrives in pieces, shown as the whole would be: the end of a word, which more may join, is held back
    until the next piece. Words in ASCII, Chinese and other scripts in which nothing joins are shown at once."""

    def __init__(self) -> None:
        self._held = ""

    def add(self, piece: str) -> str:
        """Take a piece, and return what can be shown by now."""
        text = self._held + piece
        open_end = _find(rf"[^{_PLAIN}\n\t]*\Z").search(text, max(0, len(text) - MAX_HELD))
        assert open_end
        cut = open_end.start() if len(open_end[0]) < MAX_HELD else len(text)
        self._held = text[cut:]
        return show_prose(text[:cut])

    def end(self) -> str:
        """Return what was held."""
        held, self._held = self._held, ""
        return show_prose(held)


def _show(text: str, plain: str, *, strictly: bool) -> str:
    """Show a text: pass over what is plain, and look at the runs of other characters between."""
    if text.isascii() and text.isprintable():
        return text
    return _find(f"[^{plain}]+").sub(lambda run: _show_run(run[0], strictly=strictly), text)


def _show_run(run: str, *, strictly: bool) -> str:
    if run.isprintable() and not _find_suspect().search(run):
        return run
    return _find_parts(strictly).sub(_show_part, run)


def _show_part(match: re.Match[str]) -> str:
    if match.lastgroup == "needed":
        return match[0]
    if match.lastgroup == "marks":
        return match[0][:MAX_MARKS] + "".join(map(_escape_always, match[0][MAX_MARKS:]))
    return _escape(match[0])


@cache
def _find(pattern: str) -> re.Pattern[str]:
    """Compile a pattern when it is needed: most texts need none, and a host waits for our start."""
    return re.compile(pattern)


@cache
def _find_suspect() -> re.Pattern[str]:
    return re.compile(rf"[{_INVISIBLE}]|{_list_marks()}{{{MAX_MARKS + 1}}}")


@cache
def _find_parts(strictly: bool) -> re.Pattern[str]:
    needed = "" if strictly else f"(?P<needed>{_NEEDED})|"
    return re.compile(rf"{needed}(?P<marks>{_list_marks()}{{{MAX_MARKS + 1},}})|.", re.DOTALL)


@cache
def _list_marks() -> str:
    """List the combining marks that are seen; late, since that takes some milliseconds."""
    is_hidden = re.compile(f"[{_INVISIBLE}]").match
    signs = (chr(code) for block in _MARKED for code in range(*block))
    return f"[{''.join(sign for sign in signs if unicodedata.category(sign) in _MARKS and not is_hidden(sign))}]"


def _escape(sign: str) -> str:
    return sign if sign.isprintable() and not _find(f"[{_INVISIBLE}]").match(sign) else _escape_always(sign)


def _escape_always(sign: str) -> str:
    """Write a character as JSON's escape of it, of two halves beyond U+FFFF."""
    if sign in _SHORT:
        return _SHORT[sign]
    code = ord(sign)
    if code <= 0xFFFF:
        return f"\\u{code:04x}"
    return f"\\u{0xD800 + (code - 0x10000 >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
