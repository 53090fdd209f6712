"""`serve.principals`: what is wrong there is one sentence with the place, and no token is in it."""

import hashlib
import json
from pathlib import Path

import pytest

from bridge.config.load import load
from bridge.config.settings import Config
from bridge.errors import ConfigError

LONG, OTHER = "a-token-that-is-long-enough", "another-token-of-somebody-else"
HASH = hashlib.sha256(LONG.encode()).hexdigest()


def read(folder: Path, serve: str | dict[str, object], **environ: str) -> Config:
    file = folder / "config.json"
    file.write_text(f'{{"serve": {serve if isinstance(serve, str) else json.dumps(serve)}}}', encoding="utf-8")
    file.chmod(0o600)
    return load(file, environ=environ)


BAD: dict[str, tuple[object, str]] = {
    "no object": ({"principals": ["ann"]}, "serve.principals: expected an object, not a list"),
    "an unknown key": (
        {"principals": {"ann": {"modles": ["x"]}}},
        'serve.principals.ann.modles: unknown key; the nearest known one is "models"',
    ),
    "an unknown limit": (
        {"principals": {"ann": {"limits": {"max_turn": 1}}}},
        'serve.principals.ann.limits.max_turn: unknown key; the nearest known one is "max_turns"',
    ),
    "a limit of a wrong kind": (
        {"principals": {"ann": {"limits": {"max_turns": "many"}}}},
        "serve.principals.ann.limits.max_turns: expected a whole number, not a string",
    ),
    "a budget of nothing": (
        {"principals": {"ann": {"tokens_per_day": 0}}},
        "serve.principals.ann.tokens_per_day: must be at least 1",
    ),
    "a hash that is none": (
        {"principals": {"ann": {"token_sha256": LONG}}},
        "serve.principals.ann.token_sha256: expected the SHA-256 of a token, 64 hexadecimal digits; the token itself "
        "goes into `token`",
    ),
    "a token that can be guessed": (
        {"principals": {"ann": {"token": "secret"}}},
        "serve.principals.ann.token: too short for a token, at least 16 characters; `tokens add NAME` makes one",
    ),
    "both": (
        {"principals": {"ann": {"token": OTHER, "token_sha256": HASH}}},
        "serve: principals.ann: give `token` or `token_sha256`, not both",
    ),
    "one token for two": (
        {"principals": {"ann": {"token": LONG}, "bob": {"token_sha256": HASH.upper()}}},
        "serve: principals.bob: its token is also that of serve.principals.ann; give each its own",
    ),
    "everybody's token": (
        {"token": LONG, "principals": {"ann": {"token": LONG}}},
        "serve: principals.ann: its token is also that of serve.token; give each its own",
    ),
    "a token of the default's": (
        {"principals": {"default": {"token": LONG}}},
        "serve: principals.default: its token is serve.token; leave it out here",
    ),
    "no name": (
        {"principals": {"ann smith": {}}},
        "serve: principals: 'ann smith' cannot be a name: letters, digits and . _ @ + - only, at most 64, the first of "
        "them a letter or digit",
    ),
    "two spellings": (
        {"principals": {"ann": {}, "Ann": {}}},
        "serve: principals: ann and Ann differ in their case only; rename one of them",
    ),
    "a name twice": (
        '{"principals": {"ann": {}, "ann": {}}}',
        "serve.principals.ann: this key is given twice; keep one",
    ),
}


@pytest.mark.parametrize("fault", BAD)
def test_what_is_wrong_is_told_with_its_place_and_without_a_token(tmp_path: Path, fault: str) -> None:
    serve, words = BAD[fault]
    assert isinstance(serve, (str, dict))
    with pytest.raises(ConfigError) as raised:
        read(tmp_path, serve)
    assert raised.value.message == f"{tmp_path / 'config.json'}: {words}"
    assert not any(token in raised.value.message for token in (LONG, OTHER, "secret"))


def test_a_token_of_the_environment_is_nobody_elses(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"principals\.ann: its token is also that of serve\.token"):
        read(tmp_path, {"principals": {"ann": {"token": LONG}}}, MCP_RESPONSES_BRIDGE_TOKEN=LONG)


def test_a_token_may_stand_in_the_environment_and_is_a_secret(tmp_path: Path) -> None:
    config = read(tmp_path, {"principals": {"ann": {"token": "${env:ANN}"}}}, ANN=LONG)
    assert config.serve.principals["ann"].token == LONG
    assert LONG in config.secrets()
    assert LONG not in repr(config)


def test_a_file_that_others_can_read_is_told_of(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"serve": {"principals": {"ann": {"token": LONG}}}}), encoding="utf-8")
    file.chmod(0o644)
    [notice] = load(file, environ={}).notices
    assert "holds serve.principals.ann.token as plain text" in notice["message"]
