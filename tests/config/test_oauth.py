"""How to sign in to a server, as each host writes it; and what is said where it cannot come about."""

import json
from pathlib import Path
from typing import Any

import pytest

from bridge.config.load import load
from bridge.config.settings import Config

URL = "https://mcp.example/mcp"


def read(folder: Path, entry: dict[str, Any], **environ: str) -> Config:
    file = folder / "config.json"
    file.write_text(json.dumps({"mcpServers": {"s": entry}}), encoding="utf-8")
    file.chmod(0o600)
    return load(file, environ=environ)


WRITTEN: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "here": (
        {"oauth": {"issuer": "https://auth.example", "client_id": "abc", "scopes": ["read"], "callback_port": "8080"}},
        {"issuer": "https://auth.example", "client_id": "abc", "scopes": ("read",), "callback_port": 8080},
    ),
    "Claude Code": (
        {
            "oauth": {
                "clientId": "abc",
                "callbackPort": 8080,
                "scopes": "read write",
                "authServerMetadataUrl": "https://auth.example/.well-known/oauth-authorization-server/tenant",
            }
        },
        {
            "issuer": "https://auth.example/tenant",
            "client_id": "abc",
            "scopes": ("read", "write"),
            "callback_port": 8080,
        },
    ),
    "Cursor": (
        {"auth": {"CLIENT_ID": "abc", "CLIENT_SECRET": "${env:SECRET}", "scopes": ["read", "write"]}},
        {"client_id": "abc", "client_secret": "s3cret-of-ours", "scopes": ("read", "write")},
    ),
    "VS Code": ({"type": "http", "oauth": {"clientId": "abc"}}, {"client_id": "abc"}),
    "Codex": (
        {"oauth": {"client_id": "abc"}, "scopes": ["read"], "oauth_resource": "https://mcp.example"},
        {"client_id": "abc", "scopes": ("read",), "resource": "https://mcp.example"},
    ),
    "Gemini": (
        {
            "oauth": {
                "enabled": True,
                "clientId": "abc",
                "clientSecret": "s3cret-of-ours",
                "authorizationUrl": "https://auth.example/authorize",
                "tokenUrl": "https://auth.example/token",
                "redirectUri": "http://localhost:7777/oauth/callback",
                "scopes": ["read"],
                "audiences": ["https://mcp.example"],
            }
        },
        {
            "client_id": "abc",
            "client_secret": "s3cret-of-ours",
            "scopes": ("read",),
            "callback_port": 7777,
            "resource": "https://mcp.example",
        },
    ),
    "one that switches it off": ({"oauth": {"enabled": False, "clientId": "abc"}}, {}),
    "opencode, which switches it off": ({"oauth": False}, {}),
    "nobody": ({}, {}),
}


@pytest.mark.parametrize("host", WRITTEN)
def test_it_is_read_as_each_host_writes_it(tmp_path: Path, host: str) -> None:
    entry, expected = WRITTEN[host]
    config = read(tmp_path, {"url": URL, **entry}, SECRET="s3cret-of-ours")
    [server] = config.servers
    assert (server.oauth.model_dump(exclude_defaults=True) if server.oauth else {}) == expected
    assert ("s3cret-of-ours" in config.secrets()) == ("client_secret" in expected)
    assert "s3cret" not in repr(config)


def test_what_means_nothing_here_is_named(tmp_path: Path) -> None:
    entry, _ = WRITTEN["Gemini"]
    [notice] = read(tmp_path, {"url": URL, **entry}).notices
    assert "oauth.authorizationUrl" in notice["message"]
    assert "oauth.tokenUrl" in notice["message"]


CREDENTIALS = {"grant": "client_credentials", "client_id": "abc", "client_secret": "s3cret-of-ours"}
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"command": "x", "oauth": {"client_id": "abc"}}, "mcpServers.s.oauth: only a server with url can be signed in to"),
    (
        {"url": URL, "oauth": {"client_idd": "abc"}},
        'mcpServers.s.oauth.client_idd: unknown key; the nearest known one is "client_id"',
    ),
    (
        {"url": URL, "oauth": CREDENTIALS},
        'mcpServers.s.oauth.issuer: it is missing; the grant "client_credentials" needs it',
    ),
    (
        {"url": URL, "oauth": {"grant": "password"}},
        'mcpServers.s.oauth.grant: expected "authorization_code" or "client_credentials"',
    ),
    ({"url": URL, "oauth": {"callback_port": 0}}, "mcpServers.s.oauth.callback_port: must be at least 1"),
    ({"url": URL, "oauth": {"callback_port": 70000}}, "mcpServers.s.oauth.callback_port: must be at most 65535"),
    ({"url": URL, "oauth": {"issuer": "auth.example"}}, "mcpServers.s.oauth.issuer: expected a URL"),
    ({"url": URL, "oauth": {"scopes": [1]}}, "mcpServers.s.oauth.scopes[0]: expected a string"),
]


@pytest.mark.parametrize(("entry", "sentence"), WRONG, ids=[sentence for _, sentence in WRONG])
def test_what_cannot_come_about_is_told_with_its_place(tmp_path: Path, entry: dict[str, Any], sentence: str) -> None:
    config = read(tmp_path, entry)
    assert config.servers == ()
    assert config.left_out["s"].startswith(sentence), config.left_out["s"]


def test_an_authorization_of_ones_own_is_left_alone(tmp_path: Path) -> None:
    entry = {"url": URL, "headers": {"authorization": "Bearer own"}, "oauth": {"grant": "client_credentials"}}
    [server] = read(tmp_path, entry).servers
    assert server.headers == {"authorization": "Bearer own"}
