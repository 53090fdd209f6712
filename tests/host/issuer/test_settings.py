"""What is configured of an issuer: what is taken, and what one sentence says where it is not."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Scope

from bridge.config.load import load
from bridge.config.settings import ServeConfig
from bridge.errors import ConfigError
from bridge.host.http import listen
from bridge.host.principals import Verified
from tests.fakes.commands import run
from tests.fakes.issuer import scripted_issuer

RIGHT: dict[str, Any] = {"issuer": "https://login.example.com/realms/team", "public_url": "https://bridge.example.com"}
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"issuer": None}, "serve.oauth.issuer: "),
    ({"issuer": "login.example.com"}, "serve.oauth.issuer: expected a URL that begins with http:// or https://"),
    (
        {"issuer": "http://login.example.com"},
        "serve.oauth.issuer: an issuer must be https, unless",
    ),
    ({"issuer": "https://login.example.com/?a=1"}, "serve.oauth.issuer: an issuer has no query and no fragment"),
    (
        {"issuer": "https://me:word@login.example.com/"},
        "serve.oauth.issuer: a URL must not hold a user name",
    ),
    ({"public_url": "http://bridge.example.com"}, "serve.oauth.public_url: the address that clients use must be https"),
    (
        {"public_url": "https://bridge.example.com/mcp"},
        "serve.oauth.public_url: expected the address without /mcp",
    ),
    ({"public_url": "https://bridge.example.com/?x"}, "serve.oauth.public_url: expected the address that clients use"),
    ({"public_url": 'https://bridge.example.com/"'}, "serve.oauth.public_url: expected the address that clients use"),
    ({"scopes": ["openid bridge"]}, "serve.oauth.scopes: 'openid bridge' is no scope: one has no blanks, quotes"),
    ({"scopes": "bridge"}, "serve.oauth.scopes: expected a list, not a string"),
    ({"audiences": []}, 'serve.oauth.audiences: unknown key; the nearest known one is "audience"'),
    ({"others": "nobody"}, "serve: oauth.others: 'nobody' is not in serve.principals"),
    ({"principals": {"ada": "boss"}}, "serve: oauth.principals.ada: 'boss' is not in serve.principals"),
    ({"principals": {"ada": "default"}}, "serve: oauth.principals.ada: 'default' is whoever sends serve.token"),
    ({"jwks_uri": "https://x"}, "serve.oauth.jwks_uri: unknown key"),
]


@pytest.mark.parametrize(
    ("changes", "words"), WRONG, ids=[f"{next(iter(each))} {n}" for n, (each, _) in enumerate(WRONG)]
)
def test_what_is_wrong_with_it_is_one_sentence(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"serve": {"oauth": RIGHT | changes}}), encoding="utf-8")
    path.chmod(0o600)
    with pytest.raises(ConfigError) as caught:
        load(path, environ={})
    said = str(caught.value).removeprefix(f"{path}: ")
    assert said.startswith(words)
    assert "\n" not in said
    assert "word@" not in said


def serve(**changes: Any) -> ServeConfig:
    return ServeConfig.model_validate({"port": 0, "oauth": RIGHT, **changes})


async def admit(settings: ServeConfig, host: str) -> int:
    """The status that a request without a token gets, under this name."""
    listening = listen(settings, no_auth=False)
    scope: Scope = {"type": "http", "path": "/mcp", "headers": [(b"host", host.encode())]}
    try:
        found = await listening.access.admit(scope)
        return 200 if isinstance(found, Verified) else found.status_code
    finally:
        listening.socket.close()


@pytest.mark.anyio
async def test_the_public_name_is_accepted_and_no_other() -> None:
    for host in ("127.0.0.1", "0.0.0.0"):
        settings = serve(host=host)
        assert await admit(settings, "bridge.example.com") == 401
        assert await admit(settings, "evil.example.com") == 421


def test_no_token_is_made_where_there_is_an_issuer(capsys: pytest.CaptureFixture[str]) -> None:
    listening = listen(serve(), no_auth=False)
    listening.socket.close()
    assert (capsys.readouterr().err, listening.access.token, listening.access.is_open) == ("", None, False)


def test_an_open_service_is_not_one_with_an_issuer() -> None:
    with pytest.raises(ConfigError, match=re.escape("--no-auth: serve.oauth says who may use the service")):
        listen(serve(), no_auth=True)


@pytest.mark.anyio
async def test_check_asks_the_issuer_for_its_keys(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async with scripted_issuer() as issuer:
        file = tmp_path / "config.json"

        async def check(url: str) -> str:
            oauth = {"issuer": url, "public_url": "https://bridge.example.com"}
            file.write_text(json.dumps({"builtin_tools": False, "serve": {"oauth": oauth}}), encoding="utf-8")
            file.chmod(0o600)
            return (await run(capfd, "check", "--config", str(file))).stdout

        assert f"issuer: {issuer.url}, 1 key" in " ".join((await check(issuer.url)).split())
        said = " ".join((await check(f"{issuer.url}/")).split())
    assert f'it calls itself "{issuer.url}"; write serve.oauth.issuer exactly so' in said


def test_the_example_is_what_the_docs_show(repository: Path) -> None:
    file = repository / "configs" / "bridge.keycloak.json"
    shown = (repository / "docs" / "service.md").read_text(encoding="utf-8").split("```json\n")[1:]
    documents = [json.loads(block.partition("```")[0]) for block in shown]
    assert json.loads(file.read_text(encoding="utf-8"))["serve"] in [document.get("serve") for document in documents]
    config = load(file, environ={"OPENAI_API_KEY": "sk-x"})
    assert config.serve.oauth
    assert config.serve.oauth.others == "staff"


@pytest.mark.parametrize("word", ["admit", "refuse"])
def test_a_principal_is_not_mistaken_for_a_rule_of_the_same_name(word: str) -> None:
    principals = {word: {"token": "a-token-of-somebody"}}
    with pytest.raises(ValueError, match=f"'{word}' is in serve.principals too; give that one another name"):
        serve(oauth=RIGHT | {"others": word}, principals=principals)
    serve(oauth=RIGHT | {"others": "admit" if word == "refuse" else "refuse"}, principals=principals)
