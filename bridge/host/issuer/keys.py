"""The issuer's public keys (RFC 7517), of which only those count that can verify a signature."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jwt

from bridge.host.issuer.fetch import IssuerFault
from bridge.json_text import Json, JsonObject

if TYPE_CHECKING:
    from jwt.algorithms import AllowedPublicKeys

MOST_KEYS = 100
RSA_BITS = range(2048, 8193)
_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_KINDS: dict[tuple[str, str | None], tuple[Sequence[str], Sequence[str]]] = {
    ("RSA", None): (_RSA, ("n", "e")),
    ("EC", "P-256"): (("ES256",), ("x", "y")),
    ("EC", "P-384"): (("ES384",), ("x", "y")),
    ("EC", "P-521"): (("ES512",), ("x", "y")),
    ("OKP", "Ed25519"): (("EdDSA",), ("x",)),
}
"""Of each kind of key and curve, the algorithms that it verifies, and the members that are its public part."""
ALGORITHMS = frozenset(name for names, _ in _KINDS.values() for name in names)
"""All that are accepted: none that a public key could be the secret of, and not "none"."""


@dataclass(frozen=True)
class Key:
    """One public key."""

    kid: str | None
    algorithms: frozenset[str]
    """What it verifies: never what a token says of itself alone."""
    public: "AllowedPublicKeys"


def read_keys(document: JsonObject) -> tuple[Key, ...]:
    """Read a set of keys; those of no use here are passed over. Raises IssuerFault where none is left."""
    listed = document.get("keys")
    found = tuple(_read_each(listed[:MOST_KEYS] if isinstance(listed, list) else ()))
    if not found:
        raise IssuerFault(f"it has no key that verifies any of {', '.join(sorted(ALGORITHMS))}")
    return found


def _read_each(listed: Iterable[Json]) -> Iterator[Key]:
    for entry in listed:
        if isinstance(entry, dict) and (key := _read_key(entry)):
            yield key


def _read_key(entry: JsonObject) -> Key | None:
    kid, kind, curve, wanted = (entry.get(name) for name in ("kid", "kty", "crv", "alg"))
    operations = entry.get("key_ops", ["verify"])
    is_for_signatures = entry.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations
    known = _KINDS.get((str(kind), str(curve) if curve is not None else None))
    if not is_for_signatures or known is None or not isinstance(kid, str | None):
        return None
    algorithms = [name for name in known[0] if wanted in (None, name)]
    public: dict[str, object] = {name: entry.get(name) for name in ("kty", "crv", *known[1]) if name in entry}
    if not algorithms or not all(isinstance(value, str) for value in public.values()):
        return None
    with suppress(jwt.PyJWTError, ValueError, TypeError, KeyError, OverflowError):
        made = jwt.PyJWK(public, algorithms[0]).key
        if kind != "RSA" or made.key_size in RSA_BITS:
            return Key(kid, frozenset(algorithms), made)
    return None
