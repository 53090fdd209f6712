"""Secrets in what is written: each stands there as a marker, and is put back from today's configuration."""

import hashlib
import hmac
import re
from collections.abc import Iterable

from bridge.spellings import Spellings, spell
from bridge.telemetry import BLANK

EDGE = "\x01"
"""Begins and ends a marker: no JSON text has this character as it is, so nobody can write a marker into one."""
_MARKER = re.compile(f"{EDGE}([0-9a-f]{{20}}){EDGE}")


class Missing(Exception):
    """Raised where a text held a secret that the configuration does not have any more."""


class Seal:
    """Takes configured secrets out of JSON texts and puts them back, in whatever spelling they were there.

    A marker is a keyed hash: who has the file learns no secret from it.
    """

    def __init__(self, secrets: Iterable[str], salt: bytes) -> None:
        secrets = set(secrets)
        self._spellings = Spellings(secrets)
        self._salt = salt
        forms = {form for secret in secrets for form in spell(secret)}
        self._forms = {self._name(form): form for form in forms}

    def close(self, text: str) -> str:
        """Put a marker in place of each secret."""
        spans = self._spellings.find(text)
        if not spans:
            return text
        parts, end = list[str](), 0
        for first, last in spans:
            parts += [text[end:first], self._mark(text[first:last])]
            end = last
        return "".join([*parts, text[end:]])

    def open(self, text: str) -> str:
        """Put the secrets back. Raises Missing where one is not configured any more."""

        def put_back(marker: re.Match[str]) -> str:
            if marker[1] not in self._forms:
                raise Missing
            return self._forms[marker[1]]

        return _MARKER.sub(put_back, text) if EDGE in text else text

    def show(self, text: str) -> str:
        """Put back the secrets that are configured, and blank the others."""
        return _MARKER.sub(lambda marker: self._forms.get(marker[1], BLANK), text) if EDGE in text else text

    def _mark(self, form: str) -> str:
        name = self._name(form)
        return f"{EDGE}{name}{EDGE}" if name in self._forms else BLANK

    def _name(self, form: str) -> str:
        return hmac.new(self._salt, form.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:20]
