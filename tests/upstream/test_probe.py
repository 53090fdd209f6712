"""What a probe finds out about an upstream, from every kind of answer."""

import socket

import pytest

from bridge.clock import Clock
from bridge.config.settings import UpstreamConfig
from bridge.telemetry import Redactor
from bridge.upstream.client import Upstream
from bridge.upstream.probe import Verdict
from tests.fakes.upstream import (
    Reply,
    Request,
    ScriptedUpstream,
    api_error,
    cut,
    html,
    http_error,
    message,
    raw,
    responds,
)

pytestmark = pytest.mark.anyio

KEY = "sk-of-the-tests"
REFUSED = api_error(400, "input must not be empty")
MODELS = http_error(200, {"object": "list", "data": [{"id": "m"}, {"id": "n"}]})
NO_MODEL = api_error(404, "The model `m` does not exist", code="model_not_found")


async def look(answer: Reply, models: Reply = MODELS, *, model: str | None = "m") -> tuple[Verdict, list[Request]]:
    def choose(request: Request) -> Reply:
        return models if request.path.endswith("/models") else answer

    async with ScriptedUpstream(choose) as server:
        config = UpstreamConfig(base_url=server.base_url, api_key=KEY, model=model)
        async with Upstream(config, clock=Clock(), redact=Redactor([KEY])) as upstream:
            return await upstream.probe(), server.requests


@pytest.mark.parametrize(
    "answer",
    [REFUSED, api_error(422, "input: too short"), responds(message("what?")), responds(message("what?"), as_sse=True)],
    ids=["400", "422", "a response", "a stream"],
)
async def test_an_upstream_that_answers_and_lists_the_model_is_right(answer: Reply) -> None:
    verdict, requests = await look(answer)
    assert verdict == ("ok", "reachable, key accepted, m known", None)
    assert [(request.method, request.path) for request in requests] == [
        ("POST", "/v1/responses"),
        ("GET", "/v1/models"),
    ]
    assert requests[0].json == {"model": "m", "input": []}, "it asks for nothing, so that it costs nothing"
    assert {request.headers["authorization"] for request in requests} == {f"Bearer {KEY}"}


async def test_a_model_that_is_not_listed_is_a_warning_that_names_the_others() -> None:
    verdict, _ = await look(REFUSED, model="gpt-9")
    assert verdict == ("warning", "reachable, key accepted; gpt-9 is not among its models", "it lists: m, n")


@pytest.mark.parametrize(
    "models",
    [
        http_error(404),
        http_error(200, "not JSON"),
        http_error(200, {"data": []}),
        http_error(200, {"data": None}),
        http_error(200, {"data": [1]}),
        http_error(200, "[]"),
        cut(40, MODELS),
    ],
    ids=["404", "no JSON", "empty", "null", "no objects", "a list", "cut"],
)
async def test_an_upstream_without_a_list_of_models_is_right_too(models: Reply) -> None:
    (level, text, hint), _ = await look(REFUSED, models)
    assert (level, hint) == ("ok", None)
    assert "so m is not looked up" in text


@pytest.mark.parametrize("answer", [REFUSED, NO_MODEL], ids=["400", "404"])
async def test_no_configured_model_is_a_warning(answer: Reply) -> None:
    verdict, _ = await look(answer, model=None)
    assert verdict[0] == "warning"
    assert verdict[2] == "set upstream.model or OPENAI_MODEL"


@pytest.mark.parametrize(
    ("answer", "words", "hint"),
    [
        (api_error(401, f"Incorrect API key provided: {KEY}"), "key provided: ***", "set the key"),
        (http_error(403, "no"), "status 403: no", "set the key"),
        (http_error(404, "no such page"), "status 404: no such page", "give base_url up to"),
        (html(404), "status 404", "give base_url up to"),
        (html(405), "status 405", "give base_url up to"),
        (http_error(308, "", {"location": "https://elsewhere.example/"}), "status 308", "give base_url up to"),
        (NO_MODEL, "The model `m` does not exist", "set upstream.model"),
        (api_error(400, "The model `m` is unknown", code="model_not_found"), "is unknown", "set upstream.model"),
        (api_error(429, "no money", code="insufficient_quota"), "no credit left", "try again later"),
        (html(502), "status 502", "try again later"),
        (html(200), "nothing that is a response: <html>", "give base_url up to"),
        (http_error(200, ""), "nothing that is a response", "give base_url up to"),
        (raw(b""), "was cut", "check the address"),
        (raw(b"SSH-2.0-OpenSSH\r\n"), "cut", "check the address"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_whatever_is_wrong_is_an_error_with_what_to_do(answer: Reply, words: str, hint: str) -> None:
    (level, text, advice), _ = await look(answer)
    assert level == "error"
    assert words in text
    assert advice
    assert advice.startswith(hint)
    assert KEY not in text


async def test_an_upstream_that_nobody_listens_at_is_named() -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{unheard.getsockname()[1]}"
        async with Upstream(UpstreamConfig(base_url=f"http://{place}/v1", model="m"), clock=Clock()) as upstream:
            level, text, hint = await upstream.probe()
    assert level == "error"
    assert text.startswith(f"http://{place} cannot be reached")
    assert hint
