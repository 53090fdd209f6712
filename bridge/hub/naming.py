"""The names of tools as the model sees them: legal for the API, unique, the same after every restart."""

import hashlib
import re

MAX_CHARS = 64
"""The Responses API documents 128; live errors and most compatible upstreams say 64 (chatboxai/chatbox#2400), and some
relays less (BerriAI/litellm#26733: 60): `upstream.name_chars` is for those."""

_ILLEGAL = re.compile(r"[^A-Za-z0-9_-]")
_LOOKS_CHANGED = re.compile(r"_[0-9a-f]{8}\Z")


def name_tool(key: str, tool: str, *, prefix: bool, taken: frozenset[str], max_chars: int = MAX_CHARS) -> str:
    """Return the model name of `tool` on the server `key`: `<key>__<tool>`, or the plain name when `prefix` is False.

    The name depends only on key, tool and configuration (`taken` are the names it reserves), never on which other
    servers are connected or what they offer. Characters that the API refuses become `_`. A name that had to be changed,
    is too long or is taken ends in 8 hex digits of the SHA-256 of key and tool; no other name ends that way, so two
    different tools never share one.
    """
    wanted = f"{key}__{tool}" if prefix else tool
    legal = _ILLEGAL.sub("_", wanted)
    is_good = legal == wanted and 0 < len(legal) <= max_chars and not _LOOKS_CHANGED.search(legal)
    if is_good and legal not in taken and not _is_ambiguous(key if prefix else tool):
        return legal
    digest = hashlib.sha256(f"{key}\0{tool}".encode("utf-8", "replace")).hexdigest()[:8]
    return f"{legal[: max_chars - 9]}_{digest}"


def _is_ambiguous(word: str) -> bool:
    """Tell whether a key or plain name contains the separator: `a__b` + `c` could also be `a` + `b__c`."""
    return "__" in word or word.endswith("_")
