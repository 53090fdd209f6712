"""An issuer of tokens on loopback: its metadata, its keys, which change when a test says so, and whatever it signs.

async with scripted_issuer() as issuer:
    token = issuer.sign(aud="https://bridge.example.com/mcp")
"""

import functools
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tests.fakes.items import Json
from tests.fakes.service import serving_app

PUBLIC_URL = "https://bridge.example.com"
AUDIENCE = f"{PUBLIC_URL}/mcp"
SCOPE = "bridge"
PLACES = ("oauth-authorization-server", "openid-configuration", "appended openid-configuration")
"""Where metadata may be."""
_HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
_CURVES: dict[str, tuple[str, ec.EllipticCurve, int]] = {
    "ES256": ("P-256", ec.SECP256R1(), 32),
    "ES384": ("P-384", ec.SECP384R1(), 48),
    "ES512": ("P-521", ec.SECP521R1(), 66),
}


def encode(data: bytes) -> str:
    """Base64 as tokens have it."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _encode_number(number: int, length: int | None = None) -> str:
    return encode(number.to_bytes(length or (number.bit_length() + 7) // 8, "big"))


@functools.cache
def make_key(kid: str, algorithm: str = "RS256", bits: int = 2048) -> "SigningKey":
    """A key of this name and algorithm, the same each time: keys of RSA take a while."""
    if algorithm in _CURVES:
        return SigningKey(kid, algorithm, ec.generate_private_key(_CURVES[algorithm][1]))
    if algorithm == "EdDSA":
        return SigningKey(kid, algorithm, ed25519.Ed25519PrivateKey.generate())
    return SigningKey(kid, algorithm, rsa.generate_private_key(65537, bits))


@dataclass(frozen=True)
class SigningKey:
    """A pair of keys."""

    kid: str
    algorithm: str
    private: Any

    @property
    def public(self) -> Json:
        """The public half as a set of keys shows it."""
        shown: Json = {"kid": self.kid, "use": "sig", "alg": self.algorithm}
        if self.algorithm in _CURVES:
            name, _, length = _CURVES[self.algorithm]
            numbers = self.private.public_key().public_numbers()
            point = {"x": _encode_number(numbers.x, length), "y": _encode_number(numbers.y, length)}
            return shown | {"kty": "EC", "crv": name} | point
        if self.algorithm == "EdDSA":
            raw = self.private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
            return shown | {"kty": "OKP", "crv": "Ed25519", "x": encode(raw)}
        numbers = self.private.public_key().public_numbers()
        return shown | {"kty": "RSA", "n": _encode_number(numbers.n), "e": _encode_number(numbers.e)}

    @property
    def pem(self) -> bytes:
        """The public half as a file."""
        return self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def sign(self, data: bytes, algorithm: str | None = None) -> bytes:
        """A signature, also by an algorithm that is not the key's."""
        name = algorithm or self.algorithm
        if name == "EdDSA":
            return self.private.sign(data)
        hashed = _HASHES[name[2:]]
        if name.startswith("RS"):
            return self.private.sign(data, padding.PKCS1v15(), hashed)
        if name.startswith("PS"):
            return self.private.sign(data, padding.PSS(padding.MGF1(hashed), hashed.digest_size), hashed)
        r, s = utils.decode_dss_signature(self.private.sign(data, ec.ECDSA(hashed)))
        length = _CURVES[name][2]
        return r.to_bytes(length, "big") + s.to_bytes(length, "big")


def write_token(header: Json | bytes, claims: Json | bytes, sign: Callable[[bytes], bytes]) -> str:
    """A token of exactly this header and these claims."""
    parts = [encode(part if isinstance(part, bytes) else json.dumps(part).encode()) for part in (header, claims)]
    return ".".join([*parts, encode(sign(".".join(parts).encode()))])


@dataclass
class ScriptedIssuer:
    """What the issuer answers. Whatever is assigned here holds from the next request on."""

    root: str = ""
    path: str = ""
    keys: list[SigningKey] = field(default_factory=lambda: [make_key("one")])
    places: tuple[str, ...] = (PLACES[0],)
    name: str | None = None
    """What it calls itself, if not what it is."""
    metadata: Json = field(default_factory=dict[str, Any])
    """Of its metadata what is not as usual."""
    answer: Callable[[Request], Response | None] = lambda _: None
    """Answers a request in its place."""
    hold: anyio.Event | None = None
    """Until when its keys are not answered."""
    asked: list[str] = field(default_factory=list[str])
    """The path of each request."""

    @property
    def url(self) -> str:
        """Its identifier."""
        return f"{self.root}{self.path}"

    def claims(self, **changes: object) -> Json:
        """The claims of a token that is accepted, with changes; None takes one away."""
        now = int(time.time())
        usual: Json = {"iss": self.url, "aud": AUDIENCE, "sub": "alice", "scope": f"openid {SCOPE}"}
        changed = usual | {"iat": now, "exp": now + 300, "client_id": "a-client"} | changes
        return {name: value for name, value in changed.items() if value is not None}

    def sign(self, header: Json | None = None, *, key: SigningKey | None = None, **changes: object) -> str:
        """A token that it signs with a key of its own, or another."""
        used = key or self.keys[0]
        usual: Json = {"alg": used.algorithm, "typ": "at+jwt", "kid": used.kid}
        head = {name: value for name, value in (usual | (header or {})).items() if value is not None}
        return write_token(head, self.claims(**changes), lambda data: used.sign(data, head.get("alg")))

    def write(self, header: Json | bytes, claims: Json | bytes, *, key: SigningKey | None = None) -> str:
        """A token of exactly this header and these claims, with a good signature."""
        return write_token(header, claims, (key or self.keys[0]).sign)

    def build(self) -> Starlette:
        """The application."""
        return Starlette(routes=[Route("/{path:path}", self._reply, methods=["GET", "POST"])])

    async def _reply(self, request: Request) -> Response:
        path = request.url.path
        self.asked.append(path)
        if answered := self.answer(request):
            return answered
        if path == f"{self.path.rstrip('/')}/keys":
            if self.hold:
                await self.hold.wait()
            return JSONResponse({"keys": [key.public for key in self.keys]})
        found = {
            PLACES[0]: f"/.well-known/oauth-authorization-server{self.path.rstrip('/')}",
            PLACES[1]: f"/.well-known/openid-configuration{self.path.rstrip('/')}",
            PLACES[2]: f"{self.path.rstrip('/')}/.well-known/openid-configuration",
        }
        if path in [found[place] for place in self.places]:
            return JSONResponse(self.describe())
        return PlainTextResponse("Not Found", 404)

    def describe(self) -> Json:
        """Its metadata."""
        base = self.url.rstrip("/")
        usual = {"issuer": self.name or self.url, "jwks_uri": f"{base}/keys", "response_types_supported": ["code"]}
        usual |= {name: f"{base}/{name}" for name in ("authorization_endpoint", "token_endpoint")}
        return usual | self.metadata


@asynccontextmanager
async def scripted_issuer(**knobs: Any) -> AsyncIterator[ScriptedIssuer]:
    """An issuer that runs."""
    issuer = ScriptedIssuer(**knobs)
    async with serving_app(issuer.build()) as issuer.root:
        yield issuer
