"""How others may spell a secret when they repeat it: escaped for JSON, a URL, HTML or a shell, or as base64."""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

JSON_DEPTH = 4
"""How many times a secret may be encoded as JSON: JSON texts contain others, such as arguments in an item in an event.
"""
SHORTEST_FORM = 6
"""The shortest encoded form that is blanked, in characters: pieces of base64 of a short secret occur everywhere."""
SHORTEST_WITHIN = 8
"""A shorter secret is looked for as a word of its own, and only as it is: within words it would occur by chance."""
BEGIN_CHARS = 6
"""How much of a secret has to be left before an ellipsis to be blanked."""
_CUT = re.compile(r"\s*…")
_HEX = re.compile(r"%[0-9A-F]{2}")


def spell(secret: str) -> set[str]:
    """Return every form of a secret, itself included."""
    forms = {*_spell_in_url(secret), *_spell_in_base64(secret), *_spell_in_json(secret)}
    forms |= {*_spell_in_html(secret), secret.replace("'", "'\"'\"'"), repr(secret)[1:-1], " ".join(secret.split())}
    return {secret} | {form for form in forms if len(form) >= SHORTEST_FORM}


class Spellings:
    """All forms of some secrets, to be found in texts."""

    def __init__(self, secrets: Iterable[str]) -> None:
        secrets = set(filter(None, secrets))
        self._forms = {form for secret in secrets if len(secret) >= SHORTEST_WITHIN for form in spell(secret)}
        longest_first = sorted(self._forms, key=len, reverse=True)
        alone = [rf"(?<!\w){re.escape(secret)}(?!\w)" for secret in secrets if len(secret) < SHORTEST_WITHIN]
        self._whole = re.compile("|".join([*map(re.escape, longest_first), *alone])) if secrets else None
        self._begins = re.compile("|".join({re.escape(form[:BEGIN_CHARS]) for form in self._forms}))
        self._longest = max(map(len, self._forms), default=0)

    def find(self, text: str) -> list[tuple[int, int]]:
        """Find where they stand, in order; what overlaps is one span. A secret may be cut before an ellipsis."""
        if self._whole is None:
            return []
        found = list(self._find_whole(text, self._whole))
        if "…" in text and self._forms:
            found += self._find_cut(text)
        return list(_merge(sorted(found)))

    def _find_whole(self, text: str, whole: re.Pattern[str]) -> Iterator[tuple[int, int]]:
        """Yield where each stands, also where one begins within another."""
        match = whole.search(text)
        while match:
            yield match.span()
            match = whole.search(text, match.start() + 1)

    def _find_cut(self, text: str) -> Iterator[tuple[int, int]]:
        for cut in _CUT.finditer(text):
            for begin in self._begins.finditer(text, max(0, cut.start() - self._longest), cut.start()):
                if any(form.startswith(text[begin.start() : cut.start()]) for form in self._forms):
                    yield begin.start(), cut.start()


def _merge(spans: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    first, last = 0, 0
    for start, end in spans:
        if start >= last:
            if last:
                yield first, last
            first = start
        last = max(last, end)
    if last:
        yield first, last


def _spell_in_url(secret: str) -> Iterator[str]:
    for form in (quote(secret, safe=""), quote(secret), quote_plus(secret)):
        yield from (form, _HEX.sub(lambda match: match[0].lower(), form))


def _spell_in_html(secret: str) -> Iterator[str]:
    """Yield it with the characters escaped that HTML needs escaped. `html` would take 2 ms of each start."""
    form = secret.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    yield form
    form = form.replace('"', "&quot;")
    yield from (form.replace("'", "&#x27;"), form.replace("'", "&#39;"))


def _spell_in_json(secret: str) -> Iterator[str]:
    quoted = {secret}
    for _ in range(JSON_DEPTH):
        quoted = {json.dumps(form, ensure_ascii=is_ascii)[1:-1] for form in quoted for is_ascii in (True, False)}
        yield from quoted
        yield from (form.replace("/", "\\/") for form in quoted)  # as PHP does


def _spell_in_base64(secret: str) -> Iterator[str]:
    """Yield the characters that `secret` becomes within a longer base64 text, for each offset at which it may begin."""
    data = secret.encode("utf-8", "replace")
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for before in range(3):
            first, end = (
                -(-before * 8 // 6),
                (before + len(data)) * 8 // 6,
            )  # only the characters that no neighbouring byte affects
            yield encode(bytes(before) + data).decode()[first:end]
