"""Values in a text: what something is to be done with, such as an address or a quotation."""

import re

KINDS = {
    "quoted": r"\"[^\"\n]{1,1000}\"|`[^`]+`|“[^”]+”|「[^」]+」|《[^》]+》|\B'[^']+'\B",
    "email": r"[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64})+",
    "url": r"https?://[^\s\"'<>,。;)，；）]+|\b[\w-]+(?:\.[\w-]+)*\.(?:com|org|net|io|dev|cn)\b",
    "date": r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?)?",
    "time": r"\d{1,2}:\d\d",
    "timezone": r"\b[A-Z][a-z]+/[A-Z]\w+|\bUTC\b",
    "path": r"(?:~|\.{1,2}|(?<![\w/]))/[\w./-]*\w|\b\w[\w./-]{0,99}\.[A-Za-z]\w{0,4}\b",
    "code": r"\b[A-Z]+(?:-\d+|\d{5,})[\w-]*",
}
"""Kinds of values; the first that fits is the one."""


def compile_kinds(kinds: dict[str, str]) -> re.Pattern[str]:
    """All kinds as one pattern, whose `lastgroup` is the kind that was found."""
    return re.compile("(?a)" + "|".join(f"(?P<{kind}>{pattern})" for kind, pattern in kinds.items()))
