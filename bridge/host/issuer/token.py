"""A token as it is written (RFC 7515, RFC 7519), read without believing any of it."""

import json
import re
from base64 import urlsafe_b64decode
from dataclasses import dataclass
from typing import NoReturn

from bridge.host.issuer.keys import ALGORITHMS
from bridge.json_text import Json, JsonObject, read_float

MOST_CHARS = 16_384
_SHAPE = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_KINDS = ("jwt", "at+jwt", "application/at+jwt")
"""What `typ` may be, if it is there. Other kinds of tokens (of logouts, of events, proofs) say so there."""
_REFUSED = ("crit", "b64", "cty", "enc", "zip")
"""Headers that change what a token means."""


class BadToken(Exception):
    """A token is not accepted; the message says why, for the operator alone: who sent it may learn nothing by it."""


@dataclass(frozen=True)
class Token:
    """A signed token whose signature nobody has checked yet."""

    text: str
    algorithm: str
    kid: str | None
    claims: JsonObject


def read_token(text: str) -> Token:
    """Read a token. Raises BadToken for what is none, or not of a kind that is accepted."""
    found = _SHAPE.fullmatch(text) if len(text) <= MOST_CHARS else None
    if found is None:
        raise BadToken("it is no signed JWT")
    header, claims = _read(found[1]), _read(found[2])
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise BadToken(f"its algorithm is none of {', '.join(sorted(ALGORITHMS))}")
    if kind is not None and not (isinstance(kind, str) and kind.lower() in _KINDS):
        raise BadToken("its typ is not that of an access token")
    if not isinstance(kid, str | None) or any(name in header for name in _REFUSED):
        raise BadToken("its header holds what is not accepted")
    return Token(text, algorithm, kid, claims)


def _read(part: str) -> JsonObject:
    try:
        value: Json = _DECODER.decode(urlsafe_b64decode(part + "=" * (-len(part) % 4)).decode())
    except (ValueError, RecursionError):
        raise BadToken("it is no signed JWT") from None
    if not isinstance(value, dict):
        raise BadToken("it is no signed JWT")
    return value


def _refuse(literal: str) -> NoReturn:
    raise ValueError(literal)


def _pair(pairs: list[tuple[str, Json]]) -> JsonObject:
    """Make an object, but of no name twice: readers differ in which one counts."""
    made = dict(pairs)
    return made if len(made) == len(pairs) else _refuse("a name twice")


_DECODER = json.JSONDecoder(object_pairs_hook=_pair, parse_constant=_refuse, parse_float=read_float)
