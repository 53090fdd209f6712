"""The names of tools as the model sees them: legal for the API, unique, the same after every restart."""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

MAX_CHARS = 64
"""The Responses API documents 128; live errors and most compatible upstreams say 64 (chatboxai/chatbox#2400), and some
relays less (BerriAI/litellm#26733: 60): `upstream.name_chars` is for those."""

_ILLEGAL = re.compile(r"[^A-Za-z0-9_-]")
_LOOKS_CHANGED = re.compile(r"_[0-9a-f]{8}\Z")


def choose_prefixes(keys: Iterable[str]) -> dict[str, str]:
    """Choose what the names of each server's tools begin with, by its key in the configuration.

    That is the key, if it is legal and unambiguous; else what can be read of it: `my server` becomes `my_server`,
    `café` becomes `cafe`, and a key in another script `server`. Where two keys come to the same, 8 hex digits follow.
    """
    keys = list(dict.fromkeys(keys))
    readable = {key: key if _is_clean(key) else _simplify(key) for key in keys}
    counts = Counter(readable.values())
    return {
        key: word if counts[word] == 1 or word == key else f"{word}_{_digest(key)}" for key, word in readable.items()
    }


def name_tool(key: str, tool: str, *, prefix: str | None, taken: frozenset[str], max_chars: int = MAX_CHARS) -> str:
    """Return the model name of `tool` on the server `key`: `<prefix>__<tool>`, or the plain name without a prefix.

    The name depends only on key, tool and configuration (`taken` are the names it reserves), never on which other
    servers are connected or what they offer. Characters that the API refuses become `_`. A name that had to be changed,
    is too long or is taken ends in 8 hex digits of the SHA-256 of key and tool; no other name ends that way, so two
    different tools never share one.
    """
    wanted = tool if prefix is None else f"{prefix}__{tool}"
    legal = _ILLEGAL.sub("_", wanted)
    is_good = legal == wanted and 0 < len(legal) <= max_chars and not _LOOKS_CHANGED.search(legal)
    if is_good and legal not in taken and not _is_ambiguous(tool if prefix is None else prefix):
        return legal
    return f"{legal[: max_chars - 9]}_{_digest(key, tool)}"


def _digest(*words: str) -> str:
    return hashlib.sha256("\0".join(words).encode("utf-8", "replace")).hexdigest()[:8]


def _is_clean(key: str) -> bool:
    return bool(key) and not _ILLEGAL.search(key) and not _is_ambiguous(key) and not _LOOKS_CHANGED.search(key)


def _simplify(key: str) -> str:
    """Write a key without accents, and with `_` for what is not legal; `server` where nothing is left."""
    plain = unicodedata.normalize("NFKD", key).encode("ascii", "ignore").decode()
    return re.sub(r"_{2,}", "_", _ILLEGAL.sub("_", plain)).strip("_-") or "server"


def _is_ambiguous(word: str) -> bool:
    """Tell whether a prefix or plain name contains the separator: `a__b` + `c` could also be `a` + `b__c`."""
    return "__" in word or word.endswith("_")
