"""Who gets in to the page, and what everybody else learns: nothing.

As MakazhanAlpamys/Soup#687 (routes that only read ask for no token), tig/mcec#179 and bilieebiliee1-design/SOMCP#121
(any page of the web sends what changes something), oryx-labs/oryxos#89 (behind a proxy with TLS the cookie is not
Secure, and who signs in anew leaves the old session alive), migadu/alps#37 and onetimesecret/onetimesecret#3837 (there,
every change is refused for its origin).
"""

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from bridge.host.kept_tokens import KIND, KeptToken, KeptTokens
from bridge.host.page.door import MOST_OF_ONE, SESSION_S
from bridge.host.page.slowness import FREE, MOST_WAITING, PAUSE_S, WINDOW_S
from bridge.state import StateFolder
from tests.fakes.bridges import open_without_host
from tests.fakes.browser import browser
from tests.fakes.clock import VirtualClock, until
from tests.fakes.issuer import PUBLIC_URL, SCOPE, scripted_issuer
from tests.fakes.service import TOKEN, connect, serving
from tests.fakes.upstream import ScriptedUpstream
from tests.fakes.watched import ANN, BOB, OLE, Watched, answer, watched

pytestmark = pytest.mark.anyio

READ = ["session", "runs", "runs/run_1", "runs/run_1/texts/input", "news", "servers", "usage", "nothing", "../mcp", ""]
CHANGED = [("DELETE", "session"), ("POST", "runs/run_1/answer"), ("POST", "runs/run_1/cancel"), ("POST", "nothing")]
JSON = ("Content-Type", "application/json")


def pick(reply: Any) -> tuple[int, str]:
    """What a reply tells."""
    return (reply.status, reply.body) if hasattr(reply, "status") else (reply.status_code, reply.text)


def cookie_of(at: Watched, value: str = "x" * 43) -> tuple[str, str]:
    return "Cookie", f"bridge_page_{at.served.port}={value}"


async def test_whoever_is_not_signed_in_gets_the_document_and_one_answer_to_all_else() -> None:
    async with watched() as at:
        run_id = (await at.ask(ANN))["run_id"]
        page = await at.send("GET", "/")
        assert page.status == 200
        assert str(run_id) not in page.body
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
        assert page.headers["x-frame-options"] == "DENY"
        told = set[tuple[int, str]]()
        for headers in (
            (),
            (cookie_of(at),),
            (("Authorization", "Bearer wrong"),),
            (("Authorization", f"Bearer {ANN}"),),
        ):
            for path in (*READ, f"runs/{run_id}"):
                told.add(pick(await at.send("GET", f"/page/{path}", *headers)))
            for method, path in CHANGED:
                told.add(pick(await at.send(method, f"/page/{path}", *headers, JSON, body=b"{}")))
        assert told == {(401, '{"error":{"code":"signed_out","message":"Sign in first."}}')}
        assert (await at.send("POST", "/", JSON, body=b"{}")).status == 405


async def test_the_cookie_opens_the_page_and_nothing_else() -> None:
    async with watched() as at, at.browser(ANN) as ann:
        assert ann.said | {"csrf": ""} == {
            "csrf": "",
            "principal": "ann",
            "operator": False,
            "may_answer": True,
            "version": ann.said["version"],
        }
        assert await ann.see("session") == ann.said
        for path in ("/mcp", "/sse", "/messages/"):
            assert (await ann.http.post(path, json={}, headers={"X-CSRF": ann.csrf})).status_code == 401
        assert "servers" not in (await ann.http.get("/healthz")).json()


async def test_the_cookie_is_for_browsers_alone_and_for_tls_where_the_page_came_over_it() -> None:
    async with watched() as at:
        body = b'{"token": "%s"}' % ANN.encode()
        plain = await at.send("POST", "/page/session", JSON, body=body)
        assert (plain.status, plain.headers["set-cookie"].partition("; ")[2]) == (
            200,
            "Path=/; Max-Age=43200; HttpOnly; SameSite=Strict",
        )
        host = f"127.0.0.1:{at.served.port}"
        for origin in (f"https://{host}", f"HTTPS://{host}"):  # a proxy passes on the host, and speaks plainly to us
            behind = await at.send("POST", "/page/session", JSON, ("Origin", origin), body=body)
            assert (behind.status, behind.headers["set-cookie"].endswith("; Secure")) == (200, True)


async def test_whoever_signs_in_anew_ends_the_session_before() -> None:
    async with watched() as at, at.browser(ANN) as ann:
        before = ann.http.cookies[f"bridge_page_{at.served.port}"]
        assert (await ann.sign_in(ANN)).status_code == 200
        assert (await at.send("GET", "/page/session", cookie_of(at, before))).status == 401
        assert (await ann.get("session")).status_code == 200


async def test_a_session_ends_after_its_time_and_when_somebody_signs_out() -> None:
    clock = VirtualClock()
    async with watched(clock=clock) as at, at.browser(ANN) as ann, at.browser(ANN) as other:
        assert (await ann.change("DELETE", "session")).status_code == 200
        assert (await ann.get("runs")).status_code == 401
        await clock.advance(SESSION_S - 1)
        assert (await other.get("runs")).status_code == 200
        await clock.advance(2)
        assert (await other.get("runs")).status_code == 401


async def test_a_token_that_is_taken_away_ends_its_sessions_and_streams_at_once(tmp_path: Path) -> None:
    kept = KeptTokens(StateFolder(tmp_path, KIND))
    token = KeptToken("eve", hashlib.sha256(b"eves-token-of-the-tests").hexdigest(), time.time())
    kept.add(token)
    clock = VirtualClock()
    async with (
        watched(clock=clock, state=tmp_path, people={"eve": {}, "ann": {"token": ANN}}) as at,
        at.browser("eves-token-of-the-tests") as eve,
    ):
        assert (await eve.get("runs")).status_code == 200
        async with eve.listening() as stream:
            kept.remove(token)
            assert (await eve.get("runs")).status_code == 401
            await clock.advance(60)
            assert await stream.next() is None


async def test_a_principal_has_few_sessions_and_the_oldest_ends_for_a_new_one() -> None:
    async with watched() as at, at.browser(ANN) as first, at.browser(BOB) as bob:
        for _ in range(MOST_OF_ONE):
            async with at.browser(ANN) as last:
                assert (await last.get("runs")).status_code == 200
        assert (await first.get("runs")).status_code == 401
        assert (await bob.get("runs")).status_code == 200


async def test_wrong_tokens_are_slowed_down_and_a_right_one_gets_in_all_the_same() -> None:
    clock = VirtualClock(autojump=True)
    async with watched(clock=clock) as at, at.browser() as page:
        for _ in range(FREE):
            refused = await page.sign_in("wrong")
            assert (refused.status_code, refused.json()["error"]["code"]) == (401, "wrong_token")
        assert PAUSE_S not in clock.sleeps
        assert (await page.sign_in("wrong")).status_code == 401
        assert clock.sleeps.count(PAUSE_S) == 1
        assert (await page.sign_in(ANN)).status_code == 200
        assert clock.sleeps.count(PAUSE_S) == 1
        await clock.advance(WINDOW_S)
        assert (await page.sign_in("wrong")).status_code == 401
        assert clock.sleeps.count(PAUSE_S) == 1


async def test_wrong_tokens_without_end_keep_nobody_out() -> None:
    """Behind a proxy, and through a tunnel, all come from one address."""
    clock = VirtualClock()
    async with (
        watched(clock=clock) as at,
        at.browser() as page,
        at.browser() as other,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(FREE + MOST_WAITING):
            tasks.start_soon(page.sign_in, "wrong")
        await until(lambda: clock.sleeps.count(PAUSE_S) == MOST_WAITING)
        assert (await other.sign_in("wrong")).status_code == 503
        assert (await other.sign_in(ANN)).status_code == 200
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("token", ["", " ", "\ud800", "x" * 20_000, 7, None, ["x"], "ä€"])
async def test_what_is_no_token_is_refused(token: Any) -> None:
    async with watched() as at, at.browser() as page:
        body = json.dumps({"token": token})
        reply = await page.http.post("/page/session", content=body, headers={"Content-Type": "application/json"})
        assert reply.status_code in (400, 401)


async def test_what_the_page_itself_has_not_sent_changes_nothing() -> None:
    """Neither from another site, nor from another port of this host, nor without the proof or with another's."""
    async with watched() as at, at.browser(ANN) as ann, at.browser(ANN) as other:
        run_id = (await at.ask(ANN))["run_id"]
        path = f"runs/{run_id}/cancel"
        for proof in ("", "x", other.csrf):
            refused = await ann.change("POST", path, {}, **{"X-CSRF": proof})
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "not_ours")
        assert (await ann.change("DELETE", "session", **{"X-CSRF": ""})).status_code == 403
        for origin in ("https://evil.example", f"http://127.0.0.1:{at.served.port + 1}", "null"):
            assert (await ann.change("POST", path, {}, Origin=origin)).status_code == 403
            assert (await ann.get("runs", headers={"Origin": origin})).status_code == 403
        for site in ("cross-site", "same-site"):
            for asked in ("runs", "news", f"runs/{run_id}"):
                assert (await ann.get(asked, headers={"Sec-Fetch-Site": site})).status_code == 401
            body = {"token": ANN}
            signed = await ann.http.post("/page/session", json=body, headers={"Sec-Fetch-Site": site})
            assert signed.status_code == 403
        plain = {"X-CSRF": ann.csrf, "Content-Type": "text/plain"}
        assert (await ann.http.post(f"/page/{path}", content=b"{}", headers=plain)).status_code == 400
        simple = await ann.http.post("/page/session", content=b'{"token": "x"}', headers={"Content-Type": "text/plain"})
        assert simple.status_code == 400
        ours = {"Origin": f"http://127.0.0.1:{at.served.port}", "Sec-Fetch-Site": "same-origin"}
        assert (await ann.change("POST", path, {}, **ours)).status_code == 409  # it has ended: it got there


async def test_another_host_name_is_refused_as_everywhere() -> None:
    async with watched() as at:
        for path in ("/", "/page/session"):
            reply = await at.served.send("GET", path, [("Host", "evil.example")])
            assert (reply.status, reply.body) == (421, "Unknown host")


async def test_a_run_of_somebody_else_and_none_get_the_same_answer() -> None:
    async with watched() as at, at.browser(BOB) as bob:
        run_id = (await at.ask(ANN))["run_id"]
        for path in ("", "/texts/input", "/texts/answer"):
            yours, none = await bob.get(f"runs/{run_id}{path}"), await bob.get(f"runs/run_{'0' * 32}{path}")
            assert pick(yours) == pick(none) == (404, none.text)
        for path in ("answer", "cancel"):
            body = {"question": "question-1", "yes": True}
            yours = await bob.change("POST", f"runs/{run_id}/{path}", body)
            none = await bob.change("POST", f"runs/run_{'0' * 32}/{path}", body)
            assert pick(yours) == pick(none) == (404, none.text)
        assert await bob.see("runs") == {"runs": [], "before": None, "news": (await bob.see("runs"))["news"]}


async def test_an_operator_sees_everybody_and_changes_nothing_of_theirs() -> None:
    async with watched() as at, at.browser(OLE) as ole:
        runs = [(await at.ask(token))["run_id"] for token in (ANN, BOB, OLE)]
        assert ole.said["operator"] is True
        assert [run["run_id"] for run in (await ole.see("runs"))["runs"]] == runs[::-1]
        assert [run["who"] for run in (await ole.see("runs", who="bob"))["runs"]] == ["bob"]
        assert (await ole.see(f"runs/{runs[0]}"))["answer"]["text"] == "The answer."
        for path in ("answer", "cancel"):
            refused = await ole.change("POST", f"runs/{runs[0]}/{path}", {"question": "question-1", "yes": True})
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "may_not")
        assert [used["name"] for used in (await ole.see("usage"))["principals"]] == ["ann", "bob", "ole"]


async def test_without_tokens_all_is_seen_and_nothing_can_be_done() -> None:
    async with watched(no_auth=True) as at, at.browser() as page:
        async with connect(at.served.port, "/mcp", "auto", token=None) as host:
            await host.call_tool("respond", {"input": "Hello"})
        said = await page.see("session")
        assert (said["principal"], said["may_answer"]) == (None, False)
        [run] = (await page.see("runs"))["runs"]
        assert (await page.see(f"runs/{run['run_id']}"))["answer"]["text"] == "The answer."
        for path in ("answer", "cancel"):
            refused = await page.change("POST", f"runs/{run['run_id']}/{path}", {"question": "question-1", "yes": True})
            assert refused.status_code == 403
        assert (await page.get("runs", headers={"Sec-Fetch-Site": "cross-site"})).status_code == 401


async def see_own(port: int, token: str, asks: str) -> list[str]:
    """What somebody asked over MCP and sees on the page."""
    async with connect(port, "/mcp", "auto", token=token) as host:
        await host.call_tool("respond", {"input": asks})
    async with browser(port, token) as page:
        return [run["prompt"] for run in (await page.see("runs"))["runs"]]


async def test_a_visitor_is_the_principal_of_the_requests_with_the_same_token() -> None:
    """For the one token of all, also while others have names, and for names; a person of an issuer is one of these."""
    async with watched(people={}) as at:
        assert await see_own(at.served.port, TOKEN, "mine") == ["mine"]
    async with watched() as at:
        for name, token in (("ann's", ANN), ("bob's", BOB), ("anybody's", TOKEN)):
            assert await see_own(at.served.port, token, name) == [name]
    async with scripted_issuer() as issuer, ScriptedUpstream(answer) as upstream:
        serve: Any = {"oauth": {"issuer": issuer.url, "public_url": PUBLIC_URL, "scopes": [SCOPE]}}
        async with open_without_host(upstream, serve=serve) as bridge, serving(bridge, **serve) as served:
            ada, bob = issuer.sign(sub="ada"), issuer.sign(sub="bob")
            assert await see_own(served.port, ada, "ada's") == ["ada's"]
            async with browser(served.port, bob) as page:
                assert (await page.see("runs"))["runs"] == []
            async with browser(served.port, issuer.sign(sub="ada", jti="another")) as page:
                assert len((await page.see("runs"))["runs"]) == 1
            late = issuer.sign(sub="ada", exp=int(time.time()) - 600)
            async with browser(served.port) as page:
                assert (await page.sign_in(late)).status_code == 401
