"""Tokens that are not let in, over real HTTP: each differs from a good one in one thing."""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from bridge.host.issuer.claims import LEEWAY_S, LONGEST_LIFE_S, LONGEST_NAME
from bridge.host.issuer.token import MOST_CHARS
from bridge.host.principals import UNAUTHORIZED
from tests.fakes.bridges import open_without_host
from tests.fakes.issuer import (
    AUDIENCE,
    PUBLIC_URL,
    SCOPE,
    ScriptedIssuer,
    encode,
    make_key,
    scripted_issuer,
    write_token,
)
from tests.fakes.service import Reply, Served, serving

pytestmark = pytest.mark.anyio

ENDPOINTS = (("POST", "/mcp"), ("GET", "/sse"), ("POST", "/messages/?session_id=1"), ("GET", "/healthz"))
PARAMS: dict[str, Any] = {"protocolVersion": "2025-11-25", "capabilities": {}}
PARAMS |= {"clientInfo": {"name": "x", "version": "1"}}
BEGIN = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": PARAMS}).encode()
KINDS = [("Content-Type", "application/json"), ("Accept", "application/json, text/event-stream")]

Headers = list[tuple[str, str | bytes]]


@dataclass(frozen=True)
class Place:
    """The service, its issuer, and a server of the attacker's that tells whether anybody has asked it."""

    served: Served
    issuer: ScriptedIssuer
    attacker: ScriptedIssuer

    async def send(self, tried: "Try", method: str, target: str) -> Reply:
        host: Headers = [("Host", f"127.0.0.1:{self.served.port}"), *([] if tried.body else KINDS)]
        mark = "&" if "?" in target else "?"
        aim = target + (mark + tried.query if tried.query else "")
        body = tried.body or (BEGIN if method == "POST" else b"")
        return await self.served.send(method, aim, [*host, *tried.headers], body)


@dataclass(frozen=True)
class Try:
    """What is sent."""

    headers: Headers
    query: str = ""
    body: bytes = b""


@pytest.fixture(scope="module")
async def place() -> AsyncIterator[Place]:
    small, sealed = make_key("small", bits=1024), make_key("sealed")
    others = [small.public, sealed.public | {"use": "enc"}, {"kty": "oct", "kid": "shared", "k": encode(b"secret" * 8)}]
    keys = [make_key("one"), make_key("two", "ES256"), make_key("three", "EdDSA"), make_key("four")]
    async with scripted_issuer(keys=keys, others=others) as issuer, scripted_issuer() as attacker:
        oauth = {"issuer": issuer.url, "public_url": PUBLIC_URL, "scopes": [SCOPE]}
        async with open_without_host(None) as bridge, serving(bridge, oauth=oauth) as served:
            yield Place(served, issuer, attacker)


def bearer(token: str | bytes) -> Try:
    return Try([("Authorization", b"Bearer " + (token if isinstance(token, bytes) else token.encode()))])


def keyed(secret: bytes) -> Callable[[bytes], bytes]:
    return lambda data: hmac.new(secret, data, hashlib.sha256).digest()


ONE, TWO, EVIL = make_key("one"), make_key("two", "ES256"), make_key("evil")
HEAD: dict[str, Any] = {"alg": "RS256", "typ": "at+jwt", "kid": "one"}
Make = Callable[[ScriptedIssuer, ScriptedIssuer], Try]


def claims(**changes: Any) -> Make:
    return lambda issuer, _: bearer(issuer.sign(**changes))


def head(changes: dict[str, Any], **options: Any) -> Make:
    return lambda issuer, _: bearer(issuer.sign(changes, **options))


def changed(change: Callable[[str], str | bytes]) -> Make:
    return lambda issuer, _: bearer(change(issuer.sign()))


def parts(change: Callable[[list[str]], list[str]]) -> Make:
    return changed(lambda token: ".".join(change(token.split("."))))


def headers(make: Callable[[str], Headers]) -> Make:
    return lambda issuer, _: Try(make(issuer.sign()))


def claims_of_iss(change: Callable[[str], object]) -> Make:
    return lambda issuer, _: bearer(issuer.sign(iss=change(issuer.url)))


def text(change: Callable[[str], str | bytes], head: dict[str, Any] | bytes = HEAD) -> Make:
    """The claims as a text that is written otherwise, with a good signature."""

    def make(issuer: ScriptedIssuer, _: ScriptedIssuer) -> Try:
        made = change(json.dumps(issuer.claims()))
        return bearer(issuer.write(head, made if isinstance(made, bytes) else made.encode()))

    return make


def unsigned(header: dict[str, Any], sign: Callable[[bytes], bytes] = lambda _: b"") -> Make:
    return lambda issuer, _: bearer(write_token(header, issuer.claims(), sign))


FAR = 10**11
LATER = 4_000_000_000
AUDIENCES: Mapping[str, Make] = {
    "no audience": claims(aud=None),
    "an empty audience": claims(aud=""),
    "no audience in a list": claims(aud=[]),
    "another audience": claims(aud="https://other.example.com/mcp"),
    "other audiences": claims(aud=["https://other.example.com", "account"]),
    "the beginning of ours": claims(aud=AUDIENCE[:-1]),
    "ours and more": claims(aud=AUDIENCE + "x"),
    "ours with a slash": claims(aud=AUDIENCE + "/"),
    "ours in capitals": claims(aud=AUDIENCE.upper()),
    "ours without TLS": claims(aud=AUDIENCE.replace("https", "http")),
    "ours of another host": claims(aud=AUDIENCE.replace(".com", ".com.evil.example")),
    "a list in a list": claims(aud=[[AUDIENCE]]),
    "an object with ours": claims(aud={AUDIENCE: AUDIENCE}),
    "ours in a text of several": claims(aud=f"account {AUDIENCE}"),
    "a client's audience": claims(aud="a-client"),
    "a number": claims(aud=1),
}
ISSUERS: Mapping[str, Make] = {
    "no issuer": claims(iss=None),
    "another issuer": claims(iss="https://other.example.com"),
    "the issuer with a slash": claims_of_iss(lambda url: f"{url}/"),
    "the issuer in capitals": claims_of_iss(str.upper),
    "the issuer and a path": claims_of_iss(lambda url: f"{url}/realms/other"),
    "the beginning of the issuer": claims_of_iss(lambda url: url[:-1]),
    "the issuer in a list": claims_of_iss(lambda url: [url]),
    "the attacker's own token": lambda _, attacker: bearer(attacker.sign()),
    "mixed-up issuers": lambda issuer, attacker: bearer(attacker.sign(key=EVIL, iss=issuer.url)),
}
SIGNATURES: Mapping[str, Make] = {
    "no signature": parts(lambda token: [*token[:2], ""]),
    "no third part": parts(lambda token: token[:2]),
    "one part alone": parts(lambda token: token[:1]),
    "a signature cut short": changed(lambda token: token[:-8]),
    "an altered signature": parts(lambda token: [*token[:2], token[2][9:] + token[2][:9]]),
    "a signature and more": changed(lambda token: token + "AAAA"),
    "altered claims": lambda issuer, _: bearer(
        ".".join([*(old := issuer.sign().split("."))[:1], issuer.sign(sub="root").split(".")[1], old[2]])
    ),
    "another's key under our name": head({"kid": "one"}, key=EVIL),
    "another key of the issuer's": head({"kid": "four"}, key=ONE),
    "a signature of zeros": unsigned(HEAD, lambda _: bytes(256)),
    "a key that is too small": head({}, key=make_key("small", bits=1024)),
    "a key that is for sealing": head({}, key=make_key("sealed")),
}
ALGORITHMS: Mapping[str, Make] = {
    "none": unsigned(HEAD | {"alg": "none"}),
    "None": unsigned(HEAD | {"alg": "None"}),
    "NONE with a signature": unsigned(HEAD | {"alg": "NONE"}, ONE.sign),
    "none with a good signature": unsigned(HEAD | {"alg": "none"}, ONE.sign),
    "no algorithm": unsigned({"typ": "JWT", "kid": "one"}, ONE.sign),
    "an empty algorithm": unsigned(HEAD | {"alg": ""}, ONE.sign),
    "null": unsigned(HEAD | {"alg": None}, ONE.sign),
    "a list of algorithms": unsigned(HEAD | {"alg": ["RS256"]}, ONE.sign),
    "in small letters": unsigned(HEAD | {"alg": "rs256"}, ONE.sign),
    "with a blank": unsigned(HEAD | {"alg": "RS256 "}, ONE.sign),
    "the public key as a secret": unsigned(HEAD | {"alg": "HS256"}, keyed(ONE.pem)),
    "the public key without its last line end": unsigned(HEAD | {"alg": "HS256"}, keyed(ONE.pem.strip())),
    "the shown key as a secret": unsigned(HEAD | {"alg": "HS256"}, keyed(json.dumps(ONE.public).encode())),
    "a shared key": unsigned({"alg": "HS256", "kid": "shared"}, keyed(b"secret" * 8)),
    "an empty secret": unsigned(HEAD | {"alg": "HS256"}, keyed(b"")),
    "PS256 by a key for RS256": unsigned(HEAD | {"alg": "PS256"}, lambda data: ONE.sign(data, "PS256")),
    "PS256 that is RS256": unsigned(HEAD | {"alg": "PS256"}, ONE.sign),
    "RS512 by a key for RS256": unsigned(HEAD | {"alg": "RS512"}, lambda data: ONE.sign(data, "RS512")),
    "RS256 by the name of an elliptic key": unsigned(HEAD | {"kid": "two"}, ONE.sign),
    "ES256 by the name of an RSA key": unsigned(HEAD | {"alg": "ES256"}, TWO.sign),
    "ES384 by a key for ES256": unsigned(HEAD | {"alg": "ES384", "kid": "two"}, TWO.sign),
    "an elliptic signature of zeros": unsigned({"alg": "ES256", "kid": "two"}, lambda _: bytes(64)),
    "EdDSA by the name of an RSA key": unsigned(HEAD | {"alg": "EdDSA"}, make_key("three", "EdDSA").sign),
    "an algorithm for sealing": unsigned(HEAD | {"alg": "RSA-OAEP"}, ONE.sign),
}
TIMES: Mapping[str, Make] = {
    "expired": claims(exp=1_000_000_000),
    "expired just now": lambda issuer, _: bearer(issuer.sign(exp=issuer.claims()["iat"] - LEEWAY_S - 1)),
    "no expiry": claims(exp=None),
    "an expiry as text": claims(exp=str(LATER)),
    "an expiry that is true": claims(exp=True),
    "an expiry in a list": claims(exp=[LATER]),
    "an expiry below zero": claims(exp=-LATER),
    "an expiry too far away": lambda issuer, _: bearer(issuer.sign(exp=issuer.claims()["iat"] + LONGEST_LIFE_S + 60)),
    "an expiry without an end": claims(exp=FAR),
    "a huge expiry": claims(exp=10**300),
    "an expiry of more digits than are read": text(lambda text: text.replace('"exp": ', '"exp": ' + "9" * 5000)),
    "an expiry that is NaN": claims(exp=float("nan")),
    "an expiry that is infinite": claims(exp=float("inf")),
    "an expiry of 1e999": text(lambda text: text.replace('"exp": 1', '"exp": 1e999, "x": 1')),
    "not yet": claims(nbf=LATER),
    "not yet, as text": claims(nbf="0"),
    "made in the future": claims(iat=LATER),
    "made at NaN": claims(iat=float("nan")),
    "made at no number": claims(iat={}),
}
NAMES_OF_KEYS: Mapping[str, Make] = {
    "no name of the key": head({"kid": None}),
    "an unknown name": head({"kid": "nobody"}),
    "an empty name": head({"kid": ""}),
    "a path": head({"kid": "../../../../dev/null"}, key=EVIL),
    "a path to a key of zeros": unsigned(HEAD | {"alg": "HS256", "kid": "/dev/null"}, keyed(b"")),
    "SQL": head({"kid": "x' UNION SELECT 'key' --"}, key=EVIL),
    "a command": head({"kid": "one; curl evil.example"}, key=EVIL),
    "an address": lambda issuer, attacker: bearer(issuer.sign({"kid": f"{attacker.root}/keys"}, key=EVIL)),
    "a number as a name": unsigned(HEAD | {"kid": 1}, ONE.sign),
    "a list as a name": unsigned(HEAD | {"kid": ["one"]}, ONE.sign),
    "an object as a name": unsigned(HEAD | {"kid": {"one": 1}}, ONE.sign),
    "a long name": head({"kid": "one" * 1000}, key=EVIL),
    "the name in capitals": head({"kid": "ONE"}),
}
KEYS_THAT_ARE_BROUGHT_ALONG: Mapping[str, Make] = {
    f"{where} with {kid}": (
        lambda issuer, attacker, where=where, kid=kid: bearer(
            issuer.sign({"kid": kid, **BROUGHT[where](attacker.root)}, key=EVIL)
        )
    )
    for where in ("jku", "x5u", "jwk", "x5c")
    for kid in ("evil", "one")
}
BROUGHT: Mapping[str, Callable[[str], dict[str, Any]]] = {
    "jku": lambda root: {"jku": f"{root}/keys"},
    "x5u": lambda root: {"x5u": f"{root}/certificate"},
    "jwk": lambda _: {"jwk": EVIL.public},
    "x5c": lambda _: {"x5c": [encode(EVIL.pem)]},
}
HEADERS_OF_TOKENS: Mapping[str, Make] = {
    "what must be understood": head({"crit": ["exp"]}),
    "nothing that must be understood": head({"crit": []}),
    "claims that are not encoded": head({"b64": False, "crit": ["b64"]}),
    "claims that are not encoded, unsaid": head({"b64": False}),
    "a token in a token": head({"cty": "JWT"}),
    "compressed claims": head({"zip": "DEF"}),
    "the type of a logout": head({"typ": "logout+jwt"}),
    "the type of a proof": head({"typ": "dpop+jwt"}),
    "the type of an event": head({"typ": "secevent+jwt"}),
    "a type that is a number": head({"typ": 1}),
    "sealed": lambda _issuer, _attacker: bearer(
        ".".join([encode(b'{"alg":"RSA-OAEP","enc":"A256GCM"}'), *["AAAA"] * 4])
    ),
    "an algorithm twice": text(str, b'{"alg":"none","alg":"RS256","kid":"one"}'),
    "an algorithm twice, the other way round": text(str, b'{"alg":"RS256","alg":"none","kid":"one"}'),
    "a header that is a list": text(str, b'["RS256"]'),
    "a header that is no JSON": text(str, b'{"alg":"RS256"'),
    "a header in another encoding": text(str, json.dumps(HEAD).encode("utf-16")),
}
CLAIMS: Mapping[str, Make] = {
    "an audience twice": text(lambda text: text.replace('"aud"', '"aud": "https://other.example.com", "aud"')),
    "an expiry twice": text(lambda text: text.replace("}", ', "exp": 4000000000}')),
    "somebody twice": text(lambda text: text.replace('"sub"', '"sub": "root", "sub"')),
    "claims that are a list": text(lambda text: f"[{text}]"),
    "claims that are a token": text(lambda text: json.dumps(text)),
    "claims that are no JSON": text(lambda text: text[:-1]),
    "claims and more": text(lambda text: text + "{}"),
    "claims in another encoding": text(lambda text: text.encode("utf-16")),
    "claims that are no UTF-8": text(lambda text: text.replace("alice", "\xff").encode("latin-1")),
    "claims after a mark": text(lambda text: text.encode("utf-8-sig")),
    "claims that are too deep": text(lambda text: text.replace("}", ', "x": ' + "[" * 3000 + "]" * 3000 + "}")),
    "no claims": text(lambda _: ""),
}
TEXTS: Mapping[str, Make] = {
    "padding": parts(lambda token: [part + "=" * (-len(part) % 4) for part in token]),
    "a blank within": changed(lambda token: f"{token[:20]} {token[20:]}"),
    "a quoted token": changed(lambda token: f'"{token}"'),
    "a fourth part": changed(lambda token: token + ".AAAA"),
    "a dot before": changed(lambda token: "." + token),
    "in capitals": changed(str.upper),
    "not ASCII": changed(lambda token: token.encode() + b"\xc3\xbc"),
    "a NUL at the end": changed(lambda token: token + "%00"),
    "another alphabet": parts(lambda token: [token[0], token[1], "+/" + token[2][2:]]),
    "a token as JSON": changed(
        lambda token: json.dumps(dict(zip(("protected", "payload", "signature"), token.split("."), strict=True)))
    ),
    "longer than is read": claims(x="x" * MOST_CHARS),
    "no token": lambda _issuer, _attacker: bearer("..."),
}
SENT_OTHERWISE: Mapping[str, Make] = {
    "in the query": lambda issuer, _: Try([], query=f"access_token={issuer.sign()}"),
    "in the query as a bearer": lambda issuer, _: Try([], query=f"authorization=Bearer%20{issuer.sign()}"),
    "in a cookie": headers(lambda token: [("Cookie", f"access_token={token}; Authorization={token}")]),
    "in a form": lambda issuer, _: Try(
        [("Content-Type", "application/x-www-form-urlencoded")], body=f"access_token={issuer.sign()}".encode()
    ),
    "in a header for a proxy": headers(lambda token: [("Proxy-Authorization", f"Bearer {token}")]),
    "in a header of our own making": headers(lambda token: [("X-Forwarded-Authorization", f"Bearer {token}")]),
    "in a header for websockets": headers(lambda token: [("Sec-WebSocket-Protocol", f"bearer, {token}")]),
    "twice": headers(lambda token: [("Authorization", f"Bearer {token}")] * 2),
    "beside a wrong one": headers(lambda token: [("Authorization", "Bearer x"), ("Authorization", f"Bearer {token}")]),
    "before a wrong one": headers(lambda token: [("Authorization", f"Bearer {token}"), ("authorization", "Bearer x")]),
    "by Basic": headers(lambda token: [("Authorization", f"Basic {token}")]),
    "by DPoP": headers(lambda token: [("Authorization", f"DPoP {token}")]),
    "without a scheme": headers(lambda token: [("Authorization", token)]),
    "with a colon": headers(lambda token: [("Authorization", f"Bearer: {token}")]),
    "after two blanks": headers(lambda token: [("Authorization", f"Bearer  {token}")]),
    "after a tab": headers(lambda token: [("Authorization", f"Bearer\t{token}")]),
    "in a list": headers(lambda token: [("Authorization", f"Bearer {token}, Bearer {token}")]),
    "as a parameter": headers(lambda token: [("Authorization", f'Bearer token="{token}"')]),
}
OTHER_KINDS: Mapping[str, Make] = {
    "an ID token of Keycloak": claims(typ="ID"),
    "a refresh token of Keycloak": claims(typ="Refresh"),
    "an ID token with the hash of a token": claims(at_hash="x"),
    "an ID token with the hash of a code": claims(c_hash="x"),
    "a token of a logout": claims(events={"http://schemas.openid.net/event/backchannel-logout": {}}),
    "a token that needs a proof": claims(cnf={"jkt": "x"}),
    "a type that is a list": claims(typ=["Bearer"]),
}
PEOPLE: Mapping[str, Make] = {
    "nobody": claims(sub=None),
    "somebody without a name": claims(sub=""),
    "a blank": claims(sub=" "),
    "a number": claims(sub=1),
    "several": claims(sub=["alice", "bob"]),
    "a name that is too long": claims(sub="a" * (LONGEST_NAME + 1)),
}
SCOPES: Mapping[str, Make] = {
    "no scope": claims(scope=None),
    "another scope": claims(scope="openid profile"),
    "the beginning of ours": claims(scope=SCOPE[:-1]),
    "ours and more": claims(scope=f"{SCOPE}s {SCOPE}:read"),
    "ours in capitals": claims(scope=SCOPE.upper()),
    "with commas": claims(scope=f"openid,{SCOPE}"),
    "an object": claims(scope={SCOPE: True}),
    "true": claims(scope=True),
    "a list in a list": claims(scope=None, scp=[[SCOPE]]),
    "another in a list": claims(scope=None, scp=["openid"]),
    "a line end between": claims(scope=f"openid\n{SCOPE}"),
}
WRONG: Mapping[str, Mapping[str, Make]] = {
    "audience": AUDIENCES,
    "issuer": ISSUERS,
    "signature": SIGNATURES,
    "algorithm": ALGORITHMS,
    "time": TIMES,
    "name of the key": NAMES_OF_KEYS,
    "key": KEYS_THAT_ARE_BROUGHT_ALONG,
    "header": HEADERS_OF_TOKENS,
    "claims": CLAIMS,
    "text": TEXTS,
    "way": SENT_OTHERWISE,
    "kind": OTHER_KINDS,
    "person": PEOPLE,
}


async def test_a_good_token_is_let_in_everywhere(place: Place) -> None:
    """Else the others would prove nothing."""
    good = bearer(place.issuer.sign())
    found = [await place.send(good, method, path) for method, path in ENDPOINTS if path != "/sse"]
    assert [reply.status for reply in found] == [200, 400, 200], "there is no such session"
    assert '"servers"' in found[-1].body


@pytest.mark.rule("S1")
@pytest.mark.parametrize("what", WRONG)
async def test_a_token_with_one_thing_wrong_is_refused_and_not_told_why(
    place: Place, what: str, record_testsuite_property: Any
) -> None:
    plain = {
        target: (await place.send(Try([]), method, target), await place.send(bearer("x"), method, target))
        for method, target in ENDPOINTS
    }
    let_in, told_more = list[Any](), list[Any]()
    for name, make in WRONG[what].items():
        tried = make(place.issuer, place.attacker)
        for method, target in ENDPOINTS:
            reply = await place.send(tried, method, target)
            if target == "/healthz" and not [each for each in tried.headers if each[0].lower() == "authorization"]:
                assert reply.body == '{"status":"ok"}', "as for everybody"
            elif reply.status != 401:
                let_in.append((name, method, target, reply))
            elif _bare(reply) not in map(_bare, plain[target]) or reply.body != UNAUTHORIZED:
                told_more.append((name, reply))
    record_testsuite_property(f"hostile tokens by {what}: refused", f"{len(WRONG[what])} of {len(WRONG[what])}")
    assert (let_in, told_more) == ([], [])
    assert place.attacker.asked == []


def _bare(reply: Reply) -> Reply:
    return replace(reply, headers={name: value for name, value in reply.headers.items() if name != "date"})


@pytest.mark.parametrize("what", SCOPES)
async def test_a_token_without_the_scope_is_told_which_it_needs(place: Place, what: str) -> None:
    for method, target in ENDPOINTS:
        reply = await place.send(SCOPES[what](place.issuer, place.attacker), method, target)
        assert reply.status == 403
        told = reply.headers["www-authenticate"]
        assert told.startswith(
            'Bearer error="insufficient_scope", resource_metadata="https://bridge.example.com/.well-'
        )
        assert f'scope="{SCOPE}"' in told


async def test_a_token_of_more_bytes_than_a_request_may_have_is_refused_unread(place: Place) -> None:
    assert (await place.send(bearer("e30." * 20_000), "POST", "/mcp")).status == 431


def test_how_many_there_are() -> None:
    assert len(SCOPES) + sum(map(len, WRONG.values())) >= 150
