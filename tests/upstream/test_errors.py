"""What becomes of a request that is refused, fails, is cut or hangs: what is tried again, what the caller hears."""

import base64
import json
import logging
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import httpx2
import pytest
from typing_extensions import override

from bridge.clock import Clock
from bridge.config.settings import UpstreamConfig
from bridge.errors import UpstreamError
from bridge.items import Turn
from bridge.telemetry import Redactor, configure_logging
from bridge.upstream.client import Upstream
from tests.fakes.bridges import ask, open_bridge, text_of
from tests.fakes.clock import PATIENCE_S, VirtualClock
from tests.fakes.upstream import (
    HEAD,
    Reply,
    api_error,
    call,
    cut,
    hang,
    html,
    http_error,
    message,
    raw,
    responds,
)

pytestmark = pytest.mark.anyio

KEY = 'sk-proj-"quoted"/+\\é🔑0123456789'
PLAIN_KEY = "sk-proj-0123456789abcdefghij"
DONE = responds(message("done"))
JSON_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"


def json_reply(body: bytes, status: bytes = b"200 OK") -> Reply:
    return raw(JSON_HEAD.replace(b"200 OK", status) % len(body) + body)


async def fail(*script: Reply, **options: Any) -> tuple[dict[str, Any], list[float], int]:
    """The error of a run against this script, the pauses that were made, and the number of requests."""
    clock = VirtualClock(autojump=True)
    receipt, requests = await ask(script, clock=clock, **options)
    assert receipt["status"] == "failed"
    return receipt["error"], clock.sleeps, len(requests)


# Refusals that no other try would change


@pytest.mark.rule("R21", "REL24")
@pytest.mark.parametrize(
    ("reply", "status", "code", "who", "words"),
    [
        (api_error(400, "Invalid value: 'x'", code="invalid_value"), 400, "invalid_value", "caller", "Invalid value"),
        (
            api_error(401, "No such key", code="invalid_api_key"),
            401,
            "invalid_api_key",
            "operator",
            "check the API key",
        ),
        (api_error(403, "Region"), 403, "invalid_request_error", "operator", "Region"),
        (
            api_error(404, "The model 'x' does not exist", code="model_not_found"),
            404,
            "model_not_found",
            "caller",
            "'x'",
        ),
        (http_error(404), 404, "http_404", "operator", "does this base URL offer /responses?"),
        (html(404), 404, "http_404", "operator", "<h1>404</h1>"),
        (http_error(404, {"detail": "Not Found"}), 404, "http_404", "operator", "Not Found"),
        (api_error(413, "Too large"), 413, "invalid_request_error", "caller", "Too large"),
        (http_error(422, {"detail": [{"loc": ["body"], "msg": "bad"}]}), 422, "http_422", "caller", "bad"),
        (http_error(400, {"error": "just words"}), 400, "http_400", "caller", "just words"),
        (http_error(400, {"code": 7, "message": "bare"}), 400, "7", "caller", "bare"),
        (http_error(400, {"error": {"code": 400, "type": "oops", "message": "m"}}), 400, "oops", "caller", "m"),
        (http_error(307, "", {"location": "https://elsewhere.invalid/"}), 307, "http_307", "operator", "elsewhere"),
        (json_reply(b'{"error":{"message":"200 but no","code":"odd"}}'), 200, "odd", "upstream", "200 but no"),
        (json_reply(b'{"error":"200 but no"}'), 200, "http_200", "upstream", "200 but no"),
        (json_reply(b"<html>login</html>"), 200, "unreadable_reply", "upstream", "<html>login</html>"),
        (json_reply(b""), 200, "unreadable_reply", "upstream", "(an empty body)"),
        (json_reply(b'{"hello": 1}'), 200, "unreadable_reply", "upstream", '{"hello": 1}'),
        (json_reply(b'{"output": [NaN]}'), 200, "unreadable_reply", "upstream", "NaN"),
        (json_reply(b'{"output": [1e999]}'), 200, "unreadable_reply", "upstream", "1e999"),
        (json_reply(b"[" * 200_000), 200, "unreadable_reply", "upstream", "[["),
        (json_reply(b"\xff\xfe\x00"), 200, "unreadable_reply", "upstream", "\ufffd"),
    ],
)
async def test_a_refusal_is_told_in_the_upstreams_own_words_and_not_tried_again(
    reply: Reply, status: int, code: str, who: str, words: str
) -> None:
    error, pauses, tries = await fail(reply)
    assert (error["status"], error["code"], error["who"]) == (status, code, who)
    assert f"status {status}" in error["message"]
    assert words in error["message"]
    assert (pauses, tries) == ([], 1)


@pytest.mark.rule("R28", "REL24")
async def test_the_request_id_and_everything_else_is_in_the_text_and_the_structure() -> None:
    reply = api_error(400, "Bad", {"x-request-id": "req_7"})
    async with open_bridge(script=[reply]) as bridge:
        result = await bridge.client.call_tool("respond", {"input": "x"})
    assert result.is_error
    assert result.structured_content is not None
    assert "req_" in result.structured_content["error"]["request_id"]
    assert text_of(result) == "[failed: The upstream answered with status 400: Bad]"


async def test_an_endless_error_message_is_cut() -> None:
    error, *_ = await fail(api_error(400, "x" * 100_000))
    assert len(error["message"]) < 2100


class Endless(httpx2.AsyncBaseTransport):
    """Answers every request with this status and a body that has no end; counts what is taken of it."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.taken = 0

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(self.status, headers={"content-type": "text/plain"}, content=self._send())

    async def _send(self) -> AsyncIterator[bytes]:
        while True:
            self.taken += 1 << 16
            yield b"no " * (1 << 16)


async def test_of_a_refusal_without_end_only_the_beginning_is_read() -> None:
    endless = Endless(500)
    config = UpstreamConfig(base_url="http://endless.invalid/v1", max_retries=0)
    async with Upstream(config, clock=Clock(), transport=endless) as upstream:
        with pytest.raises(UpstreamError, match="answered with status 500: no no no") as caught:
            await upstream.create(Turn({"model": "m"}, ("{}",), ()), deadline=1e12, on_event=lambda _: None)
    assert len(caught.value.message) < 2100
    assert endless.taken <= 2 << 20


@pytest.mark.rule("R23")
@pytest.mark.parametrize(
    "fields",
    [
        {"code": "insufficient_quota"},
        {"type": "insufficient_quota"},
        {"type": "insufficient_quota", "code": 429},
        {"type": "insufficient_quota", "code": "rate_limit_exceeded"},
        {"code": "credit_balance_exhausted"},
        {"code": "project_spend_limit_exceeded"},
    ],
    ids=str,
)
async def test_an_account_without_credit_is_not_asked_again(fields: dict[str, Any]) -> None:
    error, pauses, tries = await fail(api_error(429, "You have run out", {"x-should-retry": "true"}, **fields))
    assert error["who"] == "operator"
    assert "no credit left" in error["message"]
    assert (pauses, tries) == ([], 1)


# Failures that pass


@pytest.mark.rule("R23", "REL25")
@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 524, 529])
async def test_a_transient_status_is_tried_three_times_with_growing_pauses(status: int) -> None:
    error, (first, second), tries = await fail(*[api_error(status, "busy")] * 3)
    assert tries == 3
    assert 0.375 <= first <= 0.5
    assert 0.75 <= second <= 1.0
    assert error["status"] == status
    assert error["message"].endswith("busy (tried 3 times)")


@pytest.mark.parametrize(
    "reply",
    [
        html(502),
        cut(0, DONE),
        cut(0, DONE, reset=True),
        cut(10, DONE),
        cut(HEAD, DONE),
        cut("response.output_text.delta", DONE),
        cut("response.output_item.done", DONE, reset=True),
        cut(300, responds(message("x"), as_json=True)),
        raw(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"),
        raw(b"this is not HTTP\r\n\r\n"),
        raw(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 5\r\n\r\nplain"),
        responds(status="failed"),
        responds(status="failed", as_json=True),
        responds(message("x"), events=[{"type": "error", "code": "server_error", "message": "oops"}]),
    ],
)
async def test_a_failure_that_passes_is_not_noticed(reply: Reply) -> None:
    receipt, requests = await ask([reply, DONE], clock=VirtualClock(autojump=True))
    assert receipt["output_text"] == "done"
    assert requests[0].body == requests[1].body


async def test_as_many_retries_are_made_as_configured() -> None:
    assert (await fail(html(502), upstream={"max_retries": 0}))[2] == 1
    assert (await fail(*[html(502)] * 6, upstream={"max_retries": 5}))[2] == 6


@pytest.mark.rule("R23")
@pytest.mark.parametrize(
    ("headers", "pause"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": "-3"}, 0),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9),
        ({"retry-after": "120"}, 120),
    ],
    ids=str,
)
async def test_the_pause_that_the_upstream_asks_for_is_made(headers: dict[str, str], pause: float) -> None:
    clock = VirtualClock(autojump=True)
    await ask([api_error(429, "slow down", headers), DONE], clock=clock)
    assert clock.sleeps == [pause]


async def test_a_pause_until_a_date_is_made() -> None:
    clock = VirtualClock(autojump=True)
    until = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    await ask([api_error(503, "down", {"retry-after": until}), DONE], clock=clock)
    assert 50 < clock.sleeps[0] <= 60


async def test_an_unreadable_pause_is_the_usual_one() -> None:
    clock = VirtualClock(autojump=True)
    await ask([api_error(503, "down", {"retry-after": "later, perhaps"}), DONE], clock=clock)
    assert 0.375 <= clock.sleeps[0] <= 0.5


@pytest.mark.rule("R23")
@pytest.mark.parametrize("pause", ["121", "1e9", "inf"])
async def test_too_long_a_pause_is_not_waited_for_and_the_caller_hears_of_it(pause: str) -> None:
    error, pauses, tries = await fail(api_error(429, "come back", {"retry-after": pause}))
    assert (pauses, tries) == ([], 1)
    assert "come back (it asks for a pause of " in error["message"]


@pytest.mark.rule("REL25")
async def test_a_pause_beyond_the_end_of_the_run_is_not_waited_for() -> None:
    _, pauses, tries = await fail(api_error(429, "x", {"retry-after": "60"}), limits={"timeout_s": 30})
    assert (pauses, tries) == ([], 1)


@pytest.mark.rule("R23")
async def test_the_upstreams_own_word_on_retrying_counts_most() -> None:
    assert (await fail(api_error(500, "x", {"x-should-retry": "false"})))[2] == 1
    receipt, _ = await ask([api_error(400, "x", {"x-should-retry": "true"}), DONE], clock=VirtualClock(autojump=True))
    assert receipt["status"] == "completed"


async def test_a_response_that_failed_for_good_keeps_its_output_and_is_not_asked_for_again() -> None:
    reply = responds(message("half a"), status="failed", error={"code": "invalid_prompt", "message": "No."})
    receipt, requests = await ask([reply])
    assert (receipt["status"], receipt["output_text"]) == ("failed", "half a")
    assert receipt["error"]["code"] == "invalid_prompt"
    assert len(requests) == 1


async def test_a_response_that_failed_for_good_is_not_asked_for_again() -> None:
    reply = responds(status="failed", error={"code": "invalid_prompt", "message": "No."})
    error, pauses, tries = await fail(reply)
    assert (error["code"], error["message"], pauses, tries) == ("invalid_prompt", "No.", [], 1)


# Nobody there, and silence


@pytest.mark.rule("R28")
async def test_an_upstream_that_refuses_connections_is_named() -> None:
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        where = f"http://127.0.0.1:{taken.getsockname()[1]}"
        clock = VirtualClock(autojump=True)
        async with open_bridge(clock=clock, upstream={"base_url": f"{where}/v1"}) as bridge:
            receipt = await bridge.respond()
    assert receipt["error"]["code"] == "unreachable"
    assert receipt["error"]["who"] == "operator"
    assert receipt["error"]["message"].startswith(f"{where} cannot be reached: ")
    assert receipt["error"]["message"].endswith("(tried 3 times)")
    assert len(clock.sleeps) == 2


@pytest.mark.rule("R26")
async def test_a_connection_that_is_never_accepted_times_out_and_says_so() -> None:
    with socket.socket() as full:  # its queue is full: further connections are not answered
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.create_connection(full.getsockname(), 1)]
        url = f"http://127.0.0.1:{full.getsockname()[1]}/v1"
        async with open_bridge(upstream={"base_url": url, "connect_timeout_s": 0.1, "max_retries": 0}) as bridge:
            receipt = await bridge.respond()
        waiting[0].close()
    assert receipt["error"]["code"] == "connect_timeout"
    assert "within 0.1 s" in receipt["error"]["message"]


@pytest.mark.rule("R26")
@pytest.mark.parametrize("after", [0, HEAD, "response.created"])
async def test_a_silent_upstream_times_out_and_says_so(after: int | str) -> None:
    async with open_bridge(script=[hang(after)], upstream={"idle_timeout_s": 0.1, "max_retries": 0}) as bridge:
        receipt = await bridge.respond()
        await bridge.upstream.disconnects.wait()
    assert receipt["error"]["code"] == "idle_timeout"
    assert "sent nothing for 0.1 s" in receipt["error"]["message"]


async def test_what_the_run_had_done_is_in_the_result_of_a_failure() -> None:
    script = [responds(call("current_time")), api_error(400, "Bad")]
    async with open_bridge(script=script, builtin_tools=True) as bridge:
        result = await bridge.client.call_tool("respond", {"input": "x", "detail": "full"})
    receipt = result.structured_content
    assert result.is_error
    assert receipt is not None
    assert (receipt["status"], receipt["turns"], receipt["usage"]["total_tokens"]) == ("failed", 1, 15)
    assert [made["name"] for made in receipt["tool_calls"]] == ["current_time"]
    assert [item["type"] for item in receipt["output"]] == ["function_call", "function_call_output"]
    assert text_of(result).splitlines() == [
        "[failed: The upstream answered with status 400: Bad]",
        "[done so far: current_time]",
    ]


# Secrets


def forms(key: str) -> dict[str, str]:
    return {
        "plain": key,
        "url": quote(key, safe=""),
        "json": json.dumps(key)[1:-1],
        "utf-8 json": json.dumps(key, ensure_ascii=False)[1:-1],
        "base64": base64.b64encode(key.encode()).decode(),
        "base64 url": base64.urlsafe_b64encode(key.encode()).decode(),
        "inside base64": base64.b64encode(f"user:{key}:x".encode()).decode(),
        "inside base64 too": base64.b64encode(f"ab{key}".encode()).decode(),
    }


@pytest.mark.rule("S13")
@pytest.mark.parametrize("form", forms(KEY).values(), ids=forms(KEY))
def test_a_secret_is_blanked_in_every_form(form: str) -> None:
    shown = Redactor([KEY])(f"before {form} after")
    assert shown.startswith("before ")
    assert shown.endswith(" after")
    assert "***" in shown
    assert len(shown) < 40, shown


def test_short_secrets_and_none_at_all_leave_other_words_alone() -> None:
    assert Redactor(["", "a"])("bcd YQ") == "bcd YQ"
    assert Redactor()("anything") == "anything"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log file that everything is written to, as with `--log-file` and `--log-level debug`."""
    configure_logging("debug", tmp_path / "log", Redactor([PLAIN_KEY]))
    return tmp_path / "log"


def read(log: Path) -> str:
    return log.read_text(encoding="utf-8")


@pytest.mark.rule("R27", "S10")
@pytest.mark.parametrize("configured", [True, False], ids=["with a redactor", "without"])
@pytest.mark.parametrize("form", forms(PLAIN_KEY).values(), ids=forms(PLAIN_KEY))
async def test_the_key_is_in_no_error_no_result_no_progress_and_no_log(form: str, configured: bool, log: Path) -> None:
    echo = f"Incorrect API key provided: {form}."
    script = [
        api_error(401, echo, code=f"bad_{form}"),
        responds(status="failed", error={"code": "bad", "message": echo}),
        responds(events=[{"type": "error", "code": "bad", "message": echo}]),
        json_reply(echo.encode()),
        api_error(503, echo, {"retry-after": "0"}),
        api_error(503, echo, {"x-should-retry": "false"}),
        api_error(400, f"stream is not supported: {echo}"),
        responds(message("fine")),
    ]
    redact = Redactor([PLAIN_KEY]) if configured else None
    heard: list[str | None] = []

    async def listen(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001
        heard.append(message)

    async with open_bridge(script=script, redact=redact, upstream={"api_key": PLAIN_KEY}) as bridge:
        results = [await bridge.client.call_tool("respond", {"input": "x"}, progress_callback=listen) for _ in range(6)]
        bridge.upstream.assert_complete()
    assert [result.is_error for result in results] == [True] * 5 + [False]
    assert bridge.requests[0].headers["authorization"] == f"Bearer {PLAIN_KEY}"
    told = [*(result.model_dump_json() for result in results), *map(str, heard), read(log)]
    assert sum("***" in text for text in told) >= 7
    core = form.rstrip("=")[4:-4]
    assert [text for text in told if core in text or PLAIN_KEY in text] == []


@pytest.mark.rule("S30")
def test_a_traceback_in_the_log_is_one_line_without_the_key(log: Path) -> None:
    try:
        raise ValueError(f"{PLAIN_KEY}\nsecond line \x1b[31m")
    except ValueError:
        logging.getLogger("bridge.test").exception("it broke")
    (line,) = read(log).splitlines()
    assert PLAIN_KEY not in line
    assert "\\x1b" in line


# Retries and time


@pytest.mark.rule("L3")
async def test_the_run_ends_in_time_though_the_upstream_fails_forever() -> None:
    clock = VirtualClock(autojump=True)
    with anyio.fail_after(PATIENCE_S):
        receipt, requests = await ask(
            lambda _: api_error(503, "down"), clock=clock, limits={"timeout_s": 1}, upstream={"max_retries": 1000}
        )
    assert clock.now() <= 1.5
    assert len(requests) <= 3
    assert (receipt["status"], receipt["incomplete_details"]) == ("incomplete", {"reason": "timeout"})
