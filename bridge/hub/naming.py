"""The name under which the model sees a tool: legal for the API, unique, the same after every restart."""

import hashlib
import re

MAX_CHARS = 64
"""The Responses API documents 128; live errors and most compatible upstreams say 64 (chatboxai/chatbox#2400), and some
relays less (BerriAI/litellm#26733: 60), which is what `upstream.name_chars` is for."""

_ILLEGAL = re.compile(r"[^A-Za-z0-9_-]")
_LOOKS_CHANGED = re.compile(r"_[0-9a-f]{8}\Z")


def name_tool(key: str, tool: str, *, prefix: bool, taken: frozenset[str], max_chars: int = MAX_CHARS) -> str:
    """The model name of `tool` on the server `key`: `<key>__<tool>`, or the plain name when `prefix` is False.

    It depends on these two words and on the configuration alone (`taken` are names that it reserves), never on who else
    is connected or what they offer. What the API refuses becomes `_`; a name that had to be changed, is too long or is
    taken ends in 8 hex digits of the SHA-256 of key and tool, and no other name ends so: two different tools never
    share one.
    """
    wanted = f"{key}__{tool}" if prefix else tool
    legal = _ILLEGAL.sub("_", wanted)
    is_good = legal == wanted and 0 < len(legal) <= max_chars and not _LOOKS_CHANGED.search(legal)
    if is_good and legal not in taken and not _is_ambiguous(key if prefix else tool):
        return legal
    digest = hashlib.sha256(f"{key}\0{tool}".encode("utf-8", "replace")).hexdigest()[:8]
    return f"{legal[: max_chars - 9]}_{digest}"


def _is_ambiguous(word: str) -> bool:
    """A key (or a plain name) with the separator in it reads in two ways: `a__b` + `c` is also `a` + `b__c`."""
    return "__" in word or word.endswith("_")
