"""The keys of the issuer: where they are found, how often they are fetched, and what goes on without it.

Reports that are played here: coreos/go-oidc#482, cleanenergyexchange/fastapi-zitadel-auth#156 and Michad/tilegroxy#883
(a fetch for each token that names an unknown key), camunda/camunda#60462 (requests that wait for a fetch).
"""

import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from typing_extensions import override

from bridge.host.issuer.fetch import MOST_BYTES, TIMEOUT_S
from bridge.host.issuer.keyring import FRESH_S, KEPT_S, PAUSE_S
from tests.fakes.bridges import open_without_host
from tests.fakes.clock import VirtualClock, until
from tests.fakes.issuer import PLACES, PUBLIC_URL, ScriptedIssuer, make_key, scripted_issuer
from tests.fakes.ports import find_port
from tests.fakes.service import TOKEN, Reply, Served, serving

pytestmark = pytest.mark.anyio
KEYS = "/keys"


@dataclass
class Scene:
    """A service and its issuer; time moves only by `clock`."""

    issuer: ScriptedIssuer
    served: Served
    clock: VirtualClock

    async def try_token(self, token: str) -> Reply:
        host = ("Host", f"127.0.0.1:{self.served.port}")
        return await self.served.send("GET", "/healthz", [host, ("Authorization", f"Bearer {token}")])

    async def status(self, token: str | None = None) -> int:
        return (await self.try_token(token or self.issuer.sign())).status

    @property
    def fetches(self) -> int:
        """How often the keys were asked for."""
        return self.issuer.asked.count(self.issuer.path.rstrip("/") + KEYS)


@asynccontextmanager
async def scene(issuer: ScriptedIssuer | None = None, *, url: str = "", **knobs: Any) -> AsyncIterator[Scene]:
    """`url`: what is configured, if not what the issuer is."""
    clock = VirtualClock()
    async with contextlib.AsyncExitStack() as stack:
        issuer = issuer or await stack.enter_async_context(scripted_issuer(**knobs))
        bridge = await stack.enter_async_context(open_without_host(None))
        oauth = {"issuer": url or issuer.url, "public_url": PUBLIC_URL}
        served = await stack.enter_async_context(serving(bridge, clock=clock, oauth=oauth))
        yield Scene(issuer, served, clock)


# -- where they are ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("path", ["", "/", "/realms/team", "/application/o/bridge/"])
async def test_the_keys_are_found_wherever_the_metadata_is(path: str, place: str) -> None:
    """As Auth0's ("/"), Keycloak's and authentik's (with a slash at the end) are."""
    if place == PLACES[2] and path in ("", "/"):
        place = PLACES[1]  # the same
    async with scene(path=path, places=(place,)) as at:
        assert await at.status() == 200


async def test_metadata_without_keys_does_not_hide_the_one_that_has_them() -> None:
    def answer(request: Any) -> Response | None:
        is_first = request.url.path.endswith("oauth-authorization-server")
        return JSONResponse({"issuer": "", "x": 1}) if is_first else None

    async with scene(places=PLACES, answer=answer) as at:
        assert await at.status() == 200


@pytest.mark.parametrize("algorithm", ["RS256", "PS384", "ES256", "ES384", "ES512", "EdDSA"])
async def test_a_token_is_verified_by_each_usual_algorithm(algorithm: str) -> None:
    async with scene(keys=[make_key("any", algorithm)]) as at:
        assert await at.status() == 200


async def test_a_key_without_an_algorithm_is_for_all_of_its_kind_and_without_a_name_for_tokens_without_one() -> None:
    shown = {name: value for name, value in make_key("one").public.items() if name not in ("alg", "kid", "use")}
    async with scene(keys=[], others=[shown]) as at:
        for algorithm in ("RS256", "RS512", "PS256"):
            token = at.issuer.sign({"alg": algorithm, "kid": None}, key=make_key("one"))
            assert await at.status(token) == 200
        assert await at.status(at.issuer.sign(key=make_key("one"))) == 401, "it names a key that is not there"


async def test_a_private_half_that_the_issuer_shows_by_mistake_is_not_read() -> None:
    async with scene(keys=[], others=[make_key("one").public | {"d": "AAAA", "p": 1}]) as at:
        assert await at.status(at.issuer.sign(key=make_key("one"))) == 200


# -- how often ---------------------------------------------------------------------------------------------------------


@pytest.mark.rule("S1")
async def test_a_thousand_tokens_that_name_unknown_keys_cause_one_fetch(record_testsuite_property: Any) -> None:
    async with scene() as at:
        assert await at.status() == 200
        head, claims, signature = at.issuer.sign().split(".")
        await at.clock.advance(PAUSE_S)
        before, refused = at.fetches, list[int]()
        verify = at.served.listening.access.verifiers[-1].verify
        for number in range(1000):
            name = at.issuer.sign({"kid": str(number)}, key=make_key("evil", "ES256"))
            refused.append(await verify(name) is None)
        record_testsuite_property("fetches for 1,000 unknown keys", at.fetches - before)
        assert (all(refused), at.fetches - before) == (True, 1)
        assert await at.status(f"{head}.{claims}.{signature}") == 200, "and the known keys are still there"


async def test_a_new_key_is_fetched_when_a_token_names_it() -> None:
    async with scene() as at:
        assert await at.status() == 200
        at.issuer.keys = [make_key("two", "ES256"), *at.issuer.keys]
        assert await at.status() == 401, "just now the keys were fetched"
        await at.clock.advance(PAUSE_S)
        assert await at.status() == 200
        assert await at.status(at.issuer.sign(key=make_key("one"))) == 200
        assert at.fetches == 2


async def test_a_hundred_tokens_of_a_new_key_wait_for_one_fetch() -> None:
    async with scene() as at:
        assert await at.status() == 200
        at.issuer.keys, at.issuer.hold = [make_key("two", "ES256")], anyio.Event()
        token, found = at.issuer.sign(), list[int]()
        await at.clock.advance(PAUSE_S)

        async def ask() -> None:
            found.append(await at.status(token))

        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(ask)
            await until(lambda: at.fetches == 2)
            at.issuer.hold.set()
        assert (found, at.fetches) == ([200] * 100, 2)


async def test_a_key_that_is_withdrawn_counts_no_longer_than_ten_minutes() -> None:
    async with scene(keys=[make_key("one"), make_key("two", "ES256")]) as at:
        token = at.issuer.sign()
        assert await at.status(token) == 200
        at.issuer.keys = at.issuer.keys[1:]
        await at.clock.advance(FRESH_S + 1)
        await at.status(token)
        await until(lambda: at.fetches == 2)
        await until(lambda: not at.served.listening.issuer._keyring._is_busy)  # type: ignore[union-attr]
        assert await at.status(token) == 401


async def test_nobody_waits_while_old_keys_are_fetched_again() -> None:
    async with scene() as at:
        assert await at.status() == 200
        await at.clock.advance(FRESH_S + 1)
        at.issuer.hold = anyio.Event()
        assert [await at.status() for _ in range(3)] == [200] * 3
        await until(lambda: at.fetches == 2)
        at.issuer.hold.set()


# -- without the issuer ------------------------------------------------------------------------------------------------


async def test_the_keys_are_used_for_an_hour_while_the_issuer_is_down_and_then_it_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with scene() as at:
        assert await at.status() == 200
        at.issuer.answer = lambda _: PlainTextResponse("down", 503)
        for _ in range(int((KEPT_S - 1) / FRESH_S)):
            await at.clock.advance(FRESH_S)
            assert await at.status() == 200
        await at.clock.advance(KEPT_S)
        reply = await at.try_token(at.issuer.sign())
        assert (reply.status, reply.headers["retry-after"]) == (503, "10")
        assert "cannot be asked" in reply.body
        assert await at.status(TOKEN) == 200, "the service's own token needs no issuer"
        assert caplog.text.count("cannot be checked") == 2, "once that the keys, once that the metadata is not there"
        at.issuer.answer = lambda _: None
        await at.clock.advance(PAUSE_S)
        assert await at.status() == 200
        assert "can be checked again" in caplog.text


async def test_a_service_starts_before_its_issuer_and_says_what_to_change(caplog: pytest.LogCaptureFixture) -> None:
    port = find_port()
    issuer = ScriptedIssuer(root=f"http://127.0.0.1:{port}")
    async with scene(issuer) as at:
        assert await at.status() == 503
        assert await at.status(TOKEN) == 200
    (said,) = [record.message for record in caplog.records if "cannot be checked" in record.message]
    assert said.startswith(f"serve.oauth.issuer: tokens of http://127.0.0.1:{port} cannot be checked: http")
    assert "refused" in said


@pytest.mark.parametrize("times", [1, 5])
async def test_tokens_without_keys_do_not_make_the_service_ask_again_and_again(times: int) -> None:
    async with scene(places=()) as at:
        assert [await at.status() for _ in range(20)] == [503] * 20
        before = len(at.issuer.asked)
        for _ in range(times):
            await at.clock.advance(PAUSE_S)
            assert [await at.status() for _ in range(20)] == [503] * 20
        assert len(at.issuer.asked) == before * (1 + times)


async def test_an_issuer_that_is_silent_is_given_up_after_some_seconds(caplog: pytest.LogCaptureFixture) -> None:
    async with scene(hold=anyio.Event()) as at:
        found = list[int]()

        async def ask() -> None:
            found.append(await at.status())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await until(lambda: at.fetches == 1)
            await at.clock.advance(TIMEOUT_S)
        assert found == [503]
        at.issuer.hold.set()  # type: ignore[union-attr]
    assert "did not answer within 5 s" in caplog.text


# -- what the issuer may say -------------------------------------------------------------------------------------------


def _at_keys(answer: Any) -> dict[str, Any]:
    return {"answer": lambda request: answer() if request.url.path == KEYS else None}


async def _pour() -> AsyncIterator[bytes]:
    for _ in range(2 * MOST_BYTES // 65_536):
        yield b" " * 65_536


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "an issuer that calls itself otherwise": ({"name": "https://other.example.com"}, 'it calls itself "https://other'),
    "no issuer in it": ({"metadata": {"issuer": None}}, "names no issuer"),
    "no keys in it": ({"metadata": {"jwks_uri": None}}, "names no jwks_uri"),
    "keys without TLS": ({"metadata": {"jwks_uri": "http://keys.example.com/"}}, "names a jwks_uri that is not https"),
    "keys in a file": ({"metadata": {"jwks_uri": "file:///etc/passwd"}}, "names a jwks_uri that is not https"),
    "keys that are no address": ({"metadata": {"jwks_uri": "http://[/"}}, "names a jwks_uri that is not https"),
    "no metadata": ({"places": ()}, "answered 404"),
    "a page": (_at_keys(lambda: PlainTextResponse("<html>")), "did not answer with JSON"),
    "a list": (_at_keys(lambda: JSONResponse([1])), "did not answer with a JSON object"),
    "no list of keys": (_at_keys(lambda: JSONResponse({"keys": {"a": 1}})), "it has no key that verifies any of"),
    "keys for sealing alone": ({"keys": [], "others": [make_key("one").public | {"use": "enc"}]}, "it has no key that"),
    "damaged keys": (
        {"keys": [], "others": [{"kty": "RSA", "n": "!", "e": "AQAB"}, 1, {"kty": "EC"}]},
        "no key",
    ),
    "a shared key": ({"keys": [], "others": [{"kty": "oct", "k": "AAAA", "alg": "HS256"}]}, "it has no key that"),
    "too much": (_at_keys(lambda: StreamingResponse(_pour())), f"answered with more than {MOST_BYTES >> 10} KiB"),
    "what is compressed": (
        _at_keys(lambda: Response(b"\x1f\x8b", headers={"Content-Encoding": "gzip"})),
        "compressed body",
    ),
    "a redirect to another origin": (
        _at_keys(lambda: RedirectResponse("http://localhost:1/keys")),
        "redirects to another origin",
    ),
    "a redirect to what is no address": (_at_keys(lambda: RedirectResponse("http://[/")), "no possible URL"),
    "a redirect without an end": (_at_keys(lambda: RedirectResponse("/keys")), "redirects more than 3 times"),
    "an error": (_at_keys(lambda: PlainTextResponse("", 500)), "answered 500"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_metadata_and_keys_of_no_use_are_one_clear_sentence(fault: str, caplog: pytest.LogCaptureFixture) -> None:
    knobs, words = FAULTS[fault]
    async with scene(**knobs) as at:
        assert await at.status(at.issuer.sign(key=make_key("one"))) == 503
        assert await at.status(TOKEN) == 200
    said = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == 1
    assert said[0].startswith("serve.oauth.issuer: tokens of ")
    assert words in said[0]


@pytest.mark.parametrize(("real", "written"), [("/", ""), ("", "/"), ("/realms/a", "/realms/a/")])
async def test_a_slash_too_many_or_too_few_is_told_of(
    real: str, written: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As modelcontextprotocol/python-sdk#1919 and anomalyco/opencode#50036: the same issuer to people, and not to
    programs."""
    async with scripted_issuer(path=real, places=PLACES) as issuer, scene(issuer, url=issuer.root + written) as at:
        assert await at.status() == 401, "it is not of the issuer that is configured"
        await until(lambda: f'it calls itself "{issuer.url}"; write serve.oauth.issuer exactly so' in caplog.text)


async def test_a_redirect_within_the_origin_is_followed() -> None:
    def answer(request: Any) -> Response | None:
        return RedirectResponse("/there" + KEYS) if request.url.path == KEYS else None

    async with scene(metadata={}, answer=answer) as at:
        at.issuer.answer = lambda request: (
            JSONResponse({"keys": [make_key("one").public]}) if request.url.path == "/there" + KEYS else answer(request)
        )
        assert await at.status() == 200


class SkewedClock(VirtualClock):
    """A clock that is wrong by some seconds."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self._by = by

    @override
    def time(self) -> float:
        return super().time() + self._by


@pytest.mark.parametrize(("by", "status"), [(-50, 200), (-120, 401), (340, 200), (420, 401)])
async def test_clocks_may_differ_by_a_minute_and_more_is_told_of(
    by: float, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """As jpadilla/pyjwt#847 and descope/python-sdk#231: a token seems to be of the future, now and then. Tokens
    here are good for 300 s."""
    clock = SkewedClock(by)
    async with scripted_issuer() as issuer, open_without_host(None) as bridge:
        oauth = {"issuer": issuer.url, "public_url": PUBLIC_URL}
        async with serving(bridge, clock=clock, oauth=oauth) as served:
            assert await Scene(issuer, served, clock).status() == status
    if status == 401:
        assert ("do the clocks of the issuer and of this machine agree?" if by < 0 else "has expired") in caplog.text
