"""What a server and its authority may say to lead a sign-in astray, and what another program of this machine may do.

Nothing of it gets a token, a code or a secret, leads anywhere it must not, or is answered by more than one sentence.
"""

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response

from tests.fakes import mischief, person
from tests.fakes.commands import Done, run
from tests.fakes.trap import CANARIES, CODE, REFRESH, SECRET, TOKEN, Trap, read_form, trap

pytestmark = pytest.mark.anyio

Lie: TypeAlias = Callable[[Trap, Trap], None]
"""Lays the trap; the second is of a stranger, whom nothing must reach."""

FORBIDDEN = {
    "the metadata of a cloud": "http://169.254.169.254/latest",
    "the same over https": "https://169.254.169.254/latest",
    "the same within IPv6": "https://[::ffff:169.254.169.254]/latest",
    "the same as one number": "http://2852039166/latest",
    "the same in hex": "https://0xa9fea9fe/latest",
    "a private network": "https://10.0.0.1/as",
    "another private network": "https://192.168.1.1/as",
    "a link-local address": "https://[fe80::1]/as",
    "a network of a provider": "https://100.64.0.1/as",
    "no address": "https://0.0.0.0/as",
    "plain http": "http://as.example.com/",
    "a user in the address": "https://user:pass@127.0.0.1/as",
}
NO_PAGES = {
    "a script": "javascript:alert(1)",
    "a file": "file:///etc/passwd",
    "data": "data:text/html,<script>alert(1)</script>",
    "another program": "vscode://open?x=1",
    "an option": "--version",
    "a user": "https://user:pass@127.0.0.1/authorize",
    "plain http elsewhere": "http://as.example.com/authorize",
    "the metadata of a cloud": "http://169.254.169.254/authorize",
}


def name_authority(url: str) -> Lie:
    return lambda laid, _: laid.resource.update(authorization_servers=[url])


def name_endpoint(name: str, url: str) -> Lie:
    return lambda laid, _: laid.metadata.update({name: url})


def challenge(url: str) -> Lie:
    return lambda laid, _: setattr(laid, "challenge", f'Bearer resource_metadata="{url}"')


def send_to_stranger(path: str, status: int) -> Lie:
    def lay(laid: Trap, stranger: Trap) -> None:
        laid.replies[path] = lambda _: RedirectResponse(f"{stranger.root}{path}", status)

    return lay


def reply(path: str, answer: Callable[[Request], Response]) -> Lie:
    return lambda laid, _: laid.replies.update({path: answer})


def say(path: str, text: str | bytes, status: int = 200) -> Lie:
    return reply(path, lambda _: Response(text, status, media_type="application/json"))


RESOURCE, METADATA = "/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-authorization-server"
ESCAPES = "\x1b]0;owned\x07\x1b[2J\u202eevil\r\nsigned in"


def repeat(*secrets: str) -> Response:
    """A refusal of an authority that repeats what it was sent, or has given."""
    return JSONResponse({"error": "invalid_grant", "error_description": " ".join(secrets)}, 400)


LIES: dict[str, Lie] = {
    **{f"authority: {name}": name_authority(url) for name, url in FORBIDDEN.items()},
    **{f"token endpoint: {name}": name_endpoint("token_endpoint", url) for name, url in FORBIDDEN.items()},
    **{f"registration: {name}": name_endpoint("registration_endpoint", url) for name, url in FORBIDDEN.items()},
    **{f"page: {name}": name_endpoint("authorization_endpoint", url) for name, url in NO_PAGES.items()},
    "the code goes elsewhere by 307": send_to_stranger("/token", 307),
    "the code goes elsewhere by 308": send_to_stranger("/token", 308),
    "the code goes elsewhere by 302": send_to_stranger("/token", 302),
    "the registration goes elsewhere": send_to_stranger("/register", 307),
    "redirects without an end": reply("/token", lambda _: RedirectResponse("/token", 307)),
    "metadata without an end": reply(METADATA, lambda _: RedirectResponse(METADATA, 307)),
    "metadata of another issuer": lambda laid, stranger: laid.metadata.update(issuer=stranger.root),
    "metadata about another server": lambda laid, stranger: laid.resource.update(resource=stranger.url),
    "metadata about a neighbour": lambda laid, _: laid.resource.update(resource=f"{laid.root}/mcp/other"),
    "an answer of another issuer": lambda laid, stranger: laid.answered.update(iss=stranger.root),
    "an answer of an issuer with a slash": lambda laid, _: laid.answered.update(iss=f"{laid.root}/"),
    "metadata that is huge": say(METADATA, b'{"issuer": "' + b"x" * 30_000_000),
    "metadata that is deep": say(METADATA, "[" * 100_000),
    "metadata that is no JSON": say(METADATA, ESCAPES),
    "metadata that is a list": say(METADATA, "[]"),
    "metadata that is no text": say(METADATA, b"\xff\xfe\x00"),
    "tokens that are a page": reply("/token", lambda _: HTMLResponse("<h1>hello</h1>")),
    "tokens that are huge": say("/token", b'{"access_token": "' + b"x" * 30_000_000),
    "tokens of another kind": lambda laid, _: laid.granted.update(token_type="mac"),
    "a token with a line break": lambda laid, _: laid.granted.update(access_token="x\r\nX-Evil: 1"),
    "a token that is no ASCII": lambda laid, _: laid.granted.update(access_token="t\u00f6ken"),
    "a token of nothing": lambda laid, _: laid.granted.update(access_token=""),
    "a token that is a list": lambda laid, _: laid.granted.update(access_token=["x"]),
    "a refusal that repeats what was sent": reply("/token", lambda _: repeat(CODE, SECRET)),
    "a refusal that acts on the terminal": reply("/token", lambda _: PlainTextResponse(ESCAPES, 400)),
    "a refusal that is no text": reply("/token", lambda _: Response(b"\xff\xfe\x80", 400)),
    "a registration that is refused": reply("/register", lambda _: PlainTextResponse(ESCAPES, 403)),
    "a registration that is huge": say("/register", b'{"client_id": "' + b"x" * 30_000_000),
    "a registration without an id": lambda laid, _: laid.registered.update(client_id=None),
    "a person who says no": lambda laid, _: laid.answered.update(code=None, error="access_denied"),
    "a no that acts on the terminal": lambda laid, _: laid.answered.update(code=None, error=ESCAPES),
}


@pytest.fixture
async def laid() -> AsyncIterator[Trap]:
    async with trap() as laid:
        yield laid


@pytest.fixture
async def stranger() -> AsyncIterator[Trap]:
    async with trap() as laid:
        yield laid


class Desk:
    """A person who signs in at a computer of their own."""

    def __init__(self, folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen = folder / "seen.txt"
        self.state = folder / "state"
        self._config = folder / "config.json"
        self._capfd = capfd
        self._monkeypatch = monkeypatch
        monkeypatch.setenv("SEEN", str(self.seen))
        monkeypatch.setenv("MCP_RESPONSES_BRIDGE_STATE", str(self.state))
        self.browse("tests.fakes.person")

    def browse(self, module: str) -> None:
        self._monkeypatch.setenv("BROWSER", person.name_browser(module))

    async def type(self, *words: str, url: str, **entry: object) -> Done:
        server = {"url": url, "require_approval": "never", **entry}
        self._config.write_text(json.dumps({"mcpServers": {"s": server}, "builtin_tools": False}), encoding="utf-8")
        self._config.chmod(0o600)
        return await run(self._capfd, *words, "--config", str(self._config))

    @property
    def opened(self) -> list[str]:
        """The addresses that the browser was told to open."""
        lines = self.seen.read_text(encoding="utf-8").splitlines() if self.seen.exists() else []
        return [line.partition(" ")[2] for line in lines if line.startswith("open ")]

    @property
    def kept(self) -> str:
        """All that is in the state folder."""
        files = [file for file in self.state.rglob("*") if file.is_file()]
        return "\n".join(file.read_text(encoding="utf-8", errors="replace") for file in files)


@pytest.fixture
def desk(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(tmp_path, capfd, monkeypatch)


def check_canaries(done: Done) -> None:
    """Nothing that must not be shown is."""
    said = done.stdout + done.stderr
    assert [canary for canary in CANARIES if canary in said] == []
    assert [sign for sign in said if sign in "\x1b\x07\u202e"] == []
    assert "Traceback" not in said


def check_words(done: Done) -> None:
    """One sentence for the person, and nothing that must not be shown."""
    check_canaries(done)
    last = (done.stdout + done.stderr).strip().splitlines()[-1]
    assert last.startswith("mcp-responses-bridge: ")
    assert 20 < len(last) < 700, last


@pytest.mark.parametrize("lie", LIES)
async def test_a_lie_gets_nothing(lie: str, laid: Trap, stranger: Trap, desk: Desk) -> None:
    LIES[lie](laid, stranger)
    done = await desk.type("login", "s", url=laid.url)
    assert done.code != 0, done.stdout
    check_words(done)
    assert stranger.asked == []
    assert [address for address in desk.opened if address != f"{laid.root}/authorize"] == []
    assert [canary for canary in CANARIES if canary in desk.kept] == []


@pytest.mark.parametrize("deed", mischief.DEEDS)
async def test_another_program_cannot_come_between(
    deed: str, laid: Trap, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISCHIEF", deed)
    desk.browse("tests.fakes.mischief")
    done = await desk.type("login", "s", url=laid.url)
    assert done.code == 0, done.stderr
    [asked] = laid.requests("/token")
    assert read_form(asked)["code"] == CODE


@pytest.fixture
async def signed_in(laid: Trap, desk: Desk) -> Desk:
    """A desk whose person has signed in to the server."""
    done = await desk.type("login", "s", url=laid.url)
    assert done.code == 0, done.stderr
    laid.asked.clear()
    return desk


def find_tokens(laid: Trap) -> set[str]:
    """What was sent as `Authorization`, and wherever else a token was."""
    return {
        canary for canary in CANARIES for asked in laid.asked if canary in f"{asked.headers}{asked.body}{asked.query}"
    }


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_of_the_server_takes_no_token_with_it(
    status: int, laid: Trap, stranger: Trap, signed_in: Desk
) -> None:
    laid.replies["/mcp"] = lambda _: RedirectResponse(stranger.url, status)
    done = await signed_in.type("tools", url=laid.url)
    check_canaries(done)
    assert find_tokens(laid) == {TOKEN}
    assert find_tokens(stranger) == set()


async def test_a_sign_in_is_not_used_for_another_url(laid: Trap, stranger: Trap, signed_in: Desk) -> None:
    await signed_in.type("tools", url=stranger.url)
    assert stranger.requests("/mcp"), "it was asked"
    assert find_tokens(stranger) == set()
    await signed_in.type("tools", url=f"{laid.root}/other")
    assert find_tokens(laid) == set()


def share(file: Path) -> None:
    file.chmod(0o644)


def link(file: Path) -> None:
    file.rename(file.with_suffix(".other"))
    file.symlink_to(file.with_suffix(".other"))


def cut(file: Path) -> None:
    file.write_text(file.read_text(encoding="utf-8")[:-20], encoding="utf-8")


def change_url(file: Path) -> None:
    kept = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(kept | {"url": "https://elsewhere.example.com/mcp"}), encoding="utf-8")


def empty(file: Path) -> None:
    file.write_text("", encoding="utf-8")


def enlarge(file: Path) -> None:
    with file.open("a", encoding="utf-8") as opened:
        opened.truncate(70 << 20)


def make_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


DAMAGES = [share, link, cut, change_url, empty, enlarge, make_folder]


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_file_that_cannot_be_relied_on_is_not_used(
    damage: Callable[[Path], None], laid: Trap, signed_in: Desk
) -> None:
    [file] = signed_in.state.rglob("signins/*.json")
    damage(file)
    done = await signed_in.type("tools", url=laid.url)
    check_canaries(done)
    assert find_tokens(laid) == set()
    assert "login s" in done.stdout + done.stderr


async def test_a_server_that_refuses_every_token_gets_few(laid: Trap, signed_in: Desk) -> None:
    laid.tokens.clear()
    done = await signed_in.type("tools", url=laid.url)
    check_canaries(done)
    assert 1 <= len(laid.requests("/token")) <= 4
    assert len(laid.requests("/mcp")) <= 8
    assert len(signed_in.opened) == 1, "nobody is asked but by login"


async def test_a_scope_that_is_never_granted_is_asked_for_once(laid: Trap, signed_in: Desk) -> None:
    wanted = 'Bearer error="insufficient_scope", scope="everything"'
    laid.replies["/mcp"] = lambda _: PlainTextResponse("", 403, {"WWW-Authenticate": wanted})
    for _ in range(4):
        await signed_in.type("tools", url=laid.url)
        await signed_in.type("login", "s", url=laid.url)
    scopes = [asked.query.get("scope") for asked in laid.requests("/authorize")]
    assert len(scopes) <= 8
    assert len(laid.requests("/mcp")) <= 60


async def test_a_renewal_that_repeats_what_was_sent_shows_nothing(laid: Trap, signed_in: Desk) -> None:
    laid.tokens.clear()
    laid.replies["/token"] = lambda _: repeat(TOKEN, REFRESH, SECRET)
    done = await signed_in.type("tools", url=laid.url)
    check_canaries(done)
    assert "login s" in done.stdout + done.stderr


async def test_a_renewal_is_not_sent_elsewhere(laid: Trap, stranger: Trap, signed_in: Desk) -> None:
    laid.tokens.clear()
    laid.replies["/token"] = lambda _: RedirectResponse(f"{stranger.root}/token", 307)
    done = await signed_in.type("tools", url=laid.url)
    check_canaries(done)
    assert stranger.asked == []
