"""The names and tokens of those who use the service, checked: each is told from all others."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Annotated, Protocol

from pydantic import AfterValidator

from bridge.config.values import check_credential

DEFAULT = "default"
"""The name of whoever sends `serve.token`."""
PERSON = "issuer~"
"""How the name of somebody begins who is known by an issuer alone."""
MIN_TOKEN_CHARS = 16
"""A shorter token of somebody's own is refused: it can be guessed. Those that `tokens add` makes have 43."""
NAME_RULE = "letters, digits and . _ @ + - only, at most 64, the first of them a letter or digit"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
_HASH = re.compile(r"[0-9a-fA-F]{64}")


class Entry(Protocol):
    """Fields of an entry that are checked together."""

    @property
    def token(self) -> str | None: ...
    @property
    def token_sha256(self) -> str | None: ...


def hash_token(token: str) -> str:
    """Return the SHA-256 of a token, as it is kept."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def name_person(issuer: str, value: str) -> str:
    """Name somebody whom an issuer calls by any text, as nobody in the config can be named; the same each time."""
    return f"{PERSON}{hashlib.sha256(json.dumps([issuer, value]).encode()).hexdigest()[:32]}"


def is_name(name: str) -> bool:
    """Tell whether somebody can be called so."""
    return bool(_NAME.fullmatch(name))


def is_hash(text: str) -> bool:
    """Tell whether a text can be the SHA-256 of a token."""
    return bool(_HASH.fullmatch(text))


def _check_token(token: str | None) -> str | None:
    token = check_credential(token)
    if token and len(token) < MIN_TOKEN_CHARS:
        raise ValueError(f"too short for a token, at least {MIN_TOKEN_CHARS} characters; `tokens add NAME` makes one")
    return token


def _check_hash(value: str | None) -> str | None:
    if value is not None and not is_hash(value.strip()):
        raise ValueError("expected the SHA-256 of a token, 64 hexadecimal digits; the token itself goes into `token`")
    return value and value.strip().lower()


def check_names(names: Iterable[str]) -> None:
    """Raise ValueError for a name that is none, or that only its case tells from another."""
    for name in names:
        if not is_name(name):
            raise ValueError(f"principals: {name!r} cannot be a name: {NAME_RULE}")
    for one, other in pairwise(sorted(names, key=str.lower)):
        if one.lower() == other.lower():
            raise ValueError(f"principals: {one} and {other} differ in their case only; rename one of them")


def check_tokens(token: str | None, principals: Mapping[str, Entry]) -> None:
    """Raise ValueError where a token is not one principal's: `token` is that of `serve.token`."""
    owners = {hash_token(token): "serve.token"} if token else {}
    for name, entry in principals.items():
        place = f"serve.principals.{name}"
        if entry.token and entry.token_sha256:
            raise ValueError(f"principals.{name}: give `token` or `token_sha256`, not both")
        for found in list_hashes(entry):
            if name == DEFAULT:
                raise ValueError(f"principals.{DEFAULT}: its token is serve.token; leave it out here")
            if owners.setdefault(found, place) != place:
                raise ValueError(f"principals.{name}: its token is also that of {owners[found]}; give each its own")


def list_hashes(entry: Entry) -> Iterator[str]:
    """List the hash of the token that an entry names, if it does."""
    if entry.token:
        yield hash_token(entry.token)
    if entry.token_sha256:
        yield entry.token_sha256


PersonalToken = Annotated[str | None, AfterValidator(_check_token)]
TokenHash = Annotated[str | None, AfterValidator(_check_hash)]
