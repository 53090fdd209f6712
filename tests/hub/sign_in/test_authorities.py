"""Authorities that differ as real ones do: somebody is signed in, or reads one sentence that says what to change."""

import ipaddress
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from bridge.config.settings import ServerConfig
from bridge.errors import SignInFailed
from bridge.hub.sign_in.guard import Guard, classify
from tests.fakes.authority import Authority, Habits, find_way_back
from tests.fakes.signed import INITIALIZE, Visitor, client

pytestmark = pytest.mark.anyio

SIGNED_IN = None
SECRET = {"clients": {"ours": "s3cret-of-ours"}}
OURS = {"client_id": "ours", "client_secret": "s3cret-of-ours"}

AUTHORITIES: dict[str, tuple[dict[str, Any], dict[str, Any], str | None]] = {
    "a well-behaved one": ({}, {}, SIGNED_IN),
    "an issuer with a path": ({"issuer_path": "/tenant/one"}, {}, SIGNED_IN),
    "OpenID's metadata": ({"metadata_at": "openid"}, {}, SIGNED_IN),
    "OpenID's metadata before the issuer's path": (
        {"metadata_at": "openid", "issuer_path": "/realms/x"},
        {},
        SIGNED_IN,
    ),
    "OpenID's metadata behind the issuer's path": (
        {"metadata_at": "appended", "issuer_path": "/realms/x"},
        {},
        SIGNED_IN,
    ),
    "the server's metadata only at the path of the server": ({"named_in": "path"}, {}, SIGNED_IN),
    "the server's metadata only at the root": ({"named_in": "root"}, {}, SIGNED_IN),
    "no metadata of the server, as in 2025-03-26": ({"named_in": "nowhere"}, {}, SIGNED_IN),
    "no metadata at all": ({"named_in": "nowhere", "metadata_at": "none", "says_iss": False}, {}, SIGNED_IN),
    "no challenge": ({"challenge": False, "named_in": "path"}, {}, SIGNED_IN),
    "400 instead of 401": ({"refuses_with": 400}, {}, SIGNED_IN),
    "403 instead of 401": ({"refuses_with": 403}, {}, SIGNED_IN),
    "metadata that has moved within its origin": ({"moved": True}, {}, SIGNED_IN),
    "no scope in its answer": ({"says_scope": False}, {}, SIGNED_IN),
    "no life in its answer": ({"life_s": None}, {}, SIGNED_IN),
    "a life that is text": ({"life_s": "3600"}, {}, SIGNED_IN),
    "a short life": ({"life_s": 1}, {}, SIGNED_IN),
    "no refresh token": ({"refreshes": False}, {}, SIGNED_IN),
    "a refresh token that stays": ({"rotates": False}, {}, SIGNED_IN),
    "extra fields": ({"extra": {"id_token": "x.y.z", "user": {"id": 7}, "ext_expires_in": "no"}}, {}, SIGNED_IN),
    "201 instead of 200": ({"token_status": 201}, {}, SIGNED_IN),
    "no iss": ({"says_iss": False}, {}, SIGNED_IN),
    "no scopes to ask for": ({"scopes": ()}, {}, SIGNED_IN),
    "fewer scopes than were asked for": ({"grants": ("read",)}, {"scopes": ["read", "admin"]}, SIGNED_IN),
    "a secret for the registered client, in the form": ({"secret_method": "client_secret_post"}, {}, SIGNED_IN),
    "a secret for the registered client, in a header": ({"secret_method": "client_secret_basic"}, {}, SIGNED_IN),
    "a client that was registered by hand": ({"registers": False, **SECRET}, OURS, SIGNED_IN),
    "one whose secret goes into the form": (
        {"registers": False, "methods": ("client_secret_post",), **SECRET},
        OURS,
        SIGNED_IN,
    ),
    "a public client that was registered by hand": (
        {"registers": False, "clients": {"ours": None}},
        {"client_id": "ours"},
        SIGNED_IN,
    ),
    "client credentials": (SECRET, {"grant": "client_credentials", **OURS, "issuer": "ISSUER"}, SIGNED_IN),
    "another name for the server": (
        {"resource": "http://127.0.0.1:1/other"},
        {"resource": "http://127.0.0.1:1/other"},
        SIGNED_IN,
    ),
    "a server that names no authority": ({"named_in": "broken"}, {"issuer": "ISSUER"}, SIGNED_IN),
    "no registration": (
        {"registers": False},
        {},
        r"register one there.*http://localhost:\d+/callback.*oauth.client_id",
    ),
    "metadata that is no JSON": ({"metadata_at": "broken"}, {}, r"tells nothing that can be read.*oauth\.issuer"),
    "metadata that is a page": ({"metadata_at": "html"}, {}, r"tells nothing that can be read.*oauth\.issuer"),
    "no metadata of the authority": ({"metadata_at": "none"}, {}, r"tells nothing that can be read.*HTTP 404"),
    "metadata of another issuer": ({"metadata_at": "other issuer"}, {}, r"issuer mismatch"),
    "metadata of another server": (
        {"resource": "http://127.0.0.1:1/other"},
        {},
        r"its metadata is about .*oauth\.resource",
    ),
    "an answer that says it is from another issuer": ({"iss": "https://other.example"}, {}, r"iss mismatch"),
    "no answer's iss where it promised one": ({"iss": ""}, {}, r"missing iss|iss mismatch"),
    "a person who says no": ({"denies": True}, {}, r"the authority refuses: access_denied the person said no"),
    "the wrong secret": (SECRET, {**OURS, "client_secret": "wrong-secret-of-ours"}, r"401.*invalid_client"),
    "down: the server's metadata": ({"down": {"prm"}}, {}, r"HTTP 503"),
    "down: the metadata": ({"down": {"metadata"}}, {}, r"tells nothing that can be read.*HTTP 503"),
    "down: the registration": ({"down": {"register"}}, {}, r"503"),
    "down: the tokens": ({"down": {"token"}}, {}, r"503.*temporarily_unavailable"),
    "one that cannot be reached": ({"issuer": "http://127.0.0.1:1"}, {}, r"127\.0\.0\.1:1 cannot be reached"),
    "one in a private network": ({"issuer": "https://10.1.2.3"}, {}, r"private network \(10\.1\.2\.3\).*oauth\.issuer"),
    "one where a cloud keeps its secrets": ({"issuer": "https://169.254.169.254"}, {}, r"is no place for one"),
    "one that is not encrypted": ({"issuer": "http://auth.example"}, {}, r"is not reached over https"),
    "a server that wants none": ({"is_open": True, "named_in": "nowhere"}, {}, r"wants no sign-in"),
}


@pytest.mark.parametrize("name", AUTHORITIES)
async def test_somebody_is_signed_in_or_reads_what_to_change(tmp_path: Path, name: str) -> None:
    habits, oauth, sentence = AUTHORITIES[name]
    async with Authority(Habits(**habits)) as authority:
        oauth = {key: authority.issuer if value == "ISSUER" else value for key, value in oauth.items()}
        visitor = Visitor(authority, tmp_path, **oauth)
        if sentence is not None:
            with pytest.raises(SignInFailed) as told:
                await visitor.sign_in()
            assert re.search(sentence, told.value.message), told.value.message
            assert "\n" not in told.value.message
            assert not any(secret in told.value.message for secret in authority.secrets)
            assert visitor.file.stamp() is None
            return
        await visitor.sign_in()
        async with client(visitor) as http:
            assert (await http.post(authority.url, json=INITIALIZE)).status_code == 200
        assert authority.seen == list(authority.tokens)[-1:]


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ({"command": "x"}, "is a command of this machine; only a server with url can be signed in to"),
        ({"url": "URL", "headers": {"authorization": "Bearer x"}}, "has an Authorization in its headers"),
        ({"url": "URL/elsewhere"}, "has no MCP at its url .HTTP 404.; correct the url"),
        ({"url": "http://192.168.7.7/mcp"}, "is not reached over https"),
        ({"url": "http://127.0.0.1:1/mcp"}, "cannot be reached: connection refused"),
    ],
)
async def test_a_server_that_nobody_can_sign_in_to_says_why(tmp_path: Path, entry: Any, sentence: str) -> None:
    async with Authority() as authority:
        visitor = Visitor(authority, tmp_path)
        given = entry | ({"url": entry["url"].replace("URL", authority.url)} if "url" in entry else {})
        visitor.server = ServerConfig(key="s", **given)
        with pytest.raises(SignInFailed, match=sentence):
            await visitor.sign_in()


async def test_a_port_that_is_in_use_is_named_with_the_setting(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with Authority() as authority:
            visitor = Visitor(authority, tmp_path, callback_port=port)
            with pytest.raises(SignInFailed, match=rf"port {port} is in use .* change oauth\.callback_port"):
                await visitor.sign_in()


async def test_the_client_of_an_earlier_sign_in_is_used_again(tmp_path: Path) -> None:
    async with Authority() as authority:
        visitor = Visitor(authority, tmp_path)
        await visitor.sign_in()
        await visitor.sign_in()
        assert authority.counts["register"] == 1


# -- what comes back, and from whom ------------------------------------------------------------------------------------


async def visit(place: str) -> int:
    async with httpx2.AsyncClient(trust_env=False) as browser:
        return (await browser.get(place.replace("//localhost", "//127.0.0.1", 1))).status_code


async def test_only_the_answer_to_this_very_sign_in_counts(tmp_path: Path) -> None:
    forged: dict[str, Callable[[str], str]] = {
        "no state": lambda back: re.sub(r"state=[^&]*", "", back),
        "another state": lambda back: re.sub(r"state=[^&]*", "state=forged", back),
        "two states": lambda back: f"{back}&state=forged",
        "two codes": lambda back: f"{back}&code=forged",
        "no code": lambda back: re.sub(r"code=[^&]*", "", back),
        "another path": lambda back: back.replace("/callback", "/other"),
        "a refusal with another state": lambda back: f"{back.partition('?')[0]}?error=access_denied&state=x",
    }
    statuses: dict[str, int] = {}

    async def show(url: str) -> None:
        back = await find_way_back(url)
        for name, forge in forged.items():
            statuses[name] = await visit(forge(back))
        statuses["right"] = await visit(back)

    async with Authority() as authority:
        visitor = Visitor(authority, tmp_path)
        await visitor.sign_in(show)
        assert statuses.pop("right") == 200
        assert set(statuses.values()) <= {400, 404}
        assert visitor.kept.tokens


async def test_nobody_who_comes_leaves_it_waiting_only_so_long(tmp_path: Path) -> None:
    async def show(_: str) -> None:
        pass

    async with Authority() as authority:
        visitor = Visitor(authority, tmp_path)
        with pytest.raises(SignInFailed, match="nobody signed in"):
            await visitor.sign_in(show, timeout_s=0.05)


# -- where a server may lead to ----------------------------------------------------------------------------------------

ADDRESSES = {
    "8.8.8.8": "public",
    "2606:4700::1111": "public",
    "127.0.0.1": "loopback",
    "127.9.9.9": "loopback",
    "::1": "loopback",
    "::ffff:127.0.0.1": "loopback",
    "64:ff9b::7f00:1": "loopback",
    "2002:7f00:1::": "loopback",
    "10.0.0.1": "private",
    "172.16.0.1": "private",
    "192.168.1.1": "private",
    "100.64.0.1": "private",
    "fd00::1": "private",
    "::ffff:10.0.0.1": "private",
    "64:ff9b::a00:1": "private",
    "169.254.169.254": "never",
    "::ffff:169.254.169.254": "never",
    "64:ff9b::a9fe:a9fe": "never",
    "fe80::1": "never",
    "fd00:ec2::254": "never",
    "100.100.100.200": "never",
    "168.63.129.16": "never",
    "0.0.0.0": "never",
    "::": "never",
    "224.0.0.1": "never",
    "ff02::1": "never",
    "240.0.0.1": "never",
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_is_what_it_leads_to(address: str) -> None:
    assert classify(ipaddress.ip_address(address)) == ADDRESSES[address]


PUBLIC = ServerConfig(key="s", url="https://mcp.example/mcp")


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "javascript:alert(1)",
        "ms-settings:x",
        "http://auth.example/",
        "https://user:pass@auth.example/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://localhost/",
        "https://[::ffff:10.0.0.1]/",
        "https://169.254.169.254/latest",
        "https://[fd00:ec2::254]/",
        "https://",
        "https://[::1",
        "//auth.example",
        "",
    ],
)
def test_no_address_of_another_kind_is_opened_or_visited(url: str) -> None:
    with pytest.raises(SignInFailed, match="leads to"):
        Guard(PUBLIC).check_url(url)


@pytest.mark.parametrize(
    ("leads_to", "sentence"),
    [
        (["10.1.1.1"], r"private network \(10\.1\.1\.1\)"),
        (["8.8.8.8", "192.168.0.9"], r"private network \(192\.168\.0\.9\)"),
        (["::ffff:169.254.169.254"], "no place for one"),
        (["0.0.0.0"], "no place for one"),
    ],
)
async def test_a_name_is_judged_by_where_it_leads_when_it_is_connected_to(
    tmp_path: Path, leads_to: list[str], sentence: str
) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        assert port
        return leads_to if host == "auth.example" else [host]

    async with Authority(issuer="https://auth.example") as authority:
        with pytest.raises(SignInFailed, match=sentence):
            await Visitor(authority, tmp_path).sign_in(resolve=resolve)


@pytest.mark.parametrize("leads_to", [["127.0.0.1"], ["8.8.8.8", "::1"], ["169.254.169.254"]])
async def test_a_public_server_that_leads_to_this_machine_is_not_visited(tmp_path: Path, leads_to: list[str]) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        assert (host, port) == ("mcp.example", 443)
        return leads_to

    async with Authority() as authority:
        visitor = Visitor(authority, tmp_path)
        visitor.server = PUBLIC
        with pytest.raises(SignInFailed, match=r"on this machine|no place"):
            await visitor.sign_in(resolve=resolve)
