"""Errors as relays tell them: inside a 200, behind another message, as no event at all; what is tried again of them."""

import json
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest

from tests.fakes.bridges import ask, outputs_of
from tests.fakes.clock import VirtualClock
from tests.fakes.faults import ANSWER, bare, turns
from tests.fakes.items import Json
from tests.fakes.servers import adding_server
from tests.fakes.upstream import Reply, Request, api_error, call, http_error, message, raw, responds, validate_request

pytestmark = pytest.mark.anyio

CONNECT_TIMEOUT_S = 10
"""The wait for a server's start, which is on the same clock."""
Tell = Callable[[Json], Reply]
"""A reply that tells this error in one way."""


async def converse(
    *bad: Reply, at: int = 0, **options: Any
) -> tuple[Json, list[Request], list[tuple[int, int]], list[float]]:
    """The conversation of three turns, with these replies before that of the turn `at`; or until they end it.

    Comes to the result, the requests, the executions of the tool and the pauses that were made.
    """
    server, executed = adding_server()

    good = [responds(*turn) for turn in turns()]
    script = iter([*good[:at], *bad, *good[at:]])
    clock = VirtualClock(autojump=True)
    options = {"limits": {"soft_deadline_s": 1000}, **options}
    receipt, requests = await ask(lambda _: next(script), {"c": server}, clock=clock, **options)
    for request in requests:
        validate_request(request.json)
    if receipt["status"] == "completed":
        assert receipt["output_text"] == ANSWER
        assert sorted(executed) == [(1, 2), (3, 4), (5, 6)]
        assert outputs_of(requests[-1]) == ["3", "7", "11"]
    return receipt, requests, executed, [pause for pause in clock.sleeps if pause != CONNECT_TIMEOUT_S]


async def fail(reply: Reply, *, at: int = 0, **options: Any) -> Json:
    """The error of a conversation that ends at once with this reply."""
    receipt, requests, executed, pauses = await converse(reply, at=at, **options)
    assert receipt["status"] == "failed", receipt
    assert (len(requests), pauses) == (at + 1, [])
    assert len(executed) == 2 * at
    return receipt["error"]


# How an error is told inside a 200


def begun(events: list[Any]) -> list[Any]:
    return events[:2]


def half(events: list[Any]) -> list[Any]:
    """With a call that is whole: it must not be run twice."""
    return events[:-1]


def streamed(*told: Any, before: Callable[[list[Any]], list[Any]] = begun) -> Reply:
    """These events after others of a true response."""
    return responds(*turns()[0], as_sse=True, events=lambda events: [*before(events), *told])


TOLD: dict[str, Tell] = {
    "an error event": lambda error: streamed({"type": "error", **{"code": None, **error}}),
    "a nested error event": lambda error: streamed({"type": "error", "error": error}),
    "an error event behind a call": lambda error: streamed({"type": "error", "error": error}, before=half),
    "an error event first": lambda error: streamed({"type": "error", "error": error}, before=lambda _: []),
    "response.error": lambda error: streamed({"type": "response.error", "error": error}),
    "response.failed": lambda error: streamed(failed(error)),
    "response.failed behind a call": lambda error: streamed(failed(error, turns()[0]), before=half),
    "response.failed with an error beside": lambda error: streamed({"type": "response.failed", "error": error}),
    "an error without a type": lambda error: streamed(f"data: {json.dumps({'error': error})}\n\n"),
    "a type only on the line": lambda error: streamed(f"event: error\ndata: {json.dumps(error)}\n\n"),
    "JSON": lambda error: http_error(200, {"error": error}),
    "JSON of a response": lambda error: responds(status="failed", error=error, as_json=True),
}


def failed(error: Json, items: Sequence[Json] = ()) -> Json:
    response = {"id": "resp_1", "object": "response", "status": "failed", "output": list(items), "error": error}
    return {"type": "response.failed", "response": response}


PASSING: dict[str, Json] = {
    "server_error": {"code": "server_error", "message": "Oops"},
    "router-for-me/CLIProxyAPI#2712": {
        "code": "server_is_overloaded",
        "message": "Our servers are currently overloaded.",
    },
    "anomalyco/opencode#26129": {
        "type": "service_unavailable_error",
        "code": "server_is_overloaded",
        "message": "Our servers are currently overloaded.",
    },
    "overloaded_error": {"type": "overloaded_error", "message": "Overloaded"},
    "rate_limit_error": {"type": "rate_limit_error", "message": "Slow down"},
    "rate_limit_exceeded": {"code": "rate_limit_exceeded", "type": "tokens", "message": "Limit"},
    "too_many_requests": {"code": "too_many_requests", "type": "invalid_request_error", "message": "Limit"},
    "upstream_error": {"type": "upstream_error", "message": "Upstream request failed"},
    "internal_server_error": {"code": "internal_server_error", "message": "Internal"},
    "internal_error": {"type": "internal_error", "message": "Internal"},
    "service_unavailable_error": {"type": "service_unavailable_error", "message": "Down"},
    "engine overloaded": {"type": "engine_overloaded_error", "message": "Busy"},
    "429 as a number": {"code": 429, "message": "Provider returned error"},
    "429 as a text": {"code": "429", "message": "No"},
    "502": {"code": 502, "message": "Network connection lost."},
    "503 as a text": {"code": "503", "type": "new_api_error", "message": "No channel"},
    "504": {"code": 504, "message": "aborted"},
    "529": {"code": 529, "message": "no"},
    "a word of Google's": {"code": 503, "status": "UNAVAILABLE", "message": "The model is busy"},
    "in camels": {"code": "ThrottlingException", "message": "Rate exceeded"},
    "conversation_locked": {"code": "conversation_locked", "message": "Another process is using it"},
    "a timeout": {"type": "timeout_error", "message": "It took too long"},
    "only words": {"message": "The engine is currently overloaded, please try again later"},
    "words of OpenAI's": {"message": "An error occurred while processing your request. You can retry your request"},
}


@pytest.mark.rule("R24")
@pytest.mark.parametrize("at", [0, 1], ids=["at once", "in the second turn"])
@pytest.mark.parametrize("tell", TOLD.values(), ids=TOLD)
async def test_an_error_that_passes_is_not_noticed_however_it_is_told(tell: Tell, at: int) -> None:
    error = {"code": "server_is_overloaded", "message": "Our servers are currently overloaded."}
    receipt, requests, _, pauses = await converse(tell(error), tell(error), at=at)
    assert receipt["status"] == "completed", receipt
    assert (len(requests), len(pauses)) == (5, 2)


@pytest.mark.rule("R23")
@pytest.mark.parametrize("tell", ["a nested error event", "response.failed behind a call", "JSON"])
@pytest.mark.parametrize("error", PASSING.values(), ids=PASSING)
async def test_an_error_that_passes_is_known_by_its_code_or_its_words(error: Json, tell: str) -> None:
    receipt, requests, _, pauses = await converse(TOLD[tell](error), at=1)
    assert receipt["status"] == "completed", receipt
    assert (len(requests), len(pauses)) == (4, 1)


LASTING: dict[str, Json] = {
    "a bad request": {"code": "invalid_value", "type": "invalid_request_error", "message": "Try again without 'x'"},
    "a number": {"code": 400, "message": "No"},
    "403": {"code": 403, "message": "Moderated"},
    "a prompt": {"code": "invalid_prompt", "message": "No."},
    "a policy": {"code": "bio_policy", "message": "No."},
    "words": {"message": "The model is tired"},
    "a quota and 429": {"code": 429, "type": "insufficient_quota", "message": "You exceeded your current quota"},
    "earendil-works/pi#4172": {"type": "usage_limit_reached", "message": "The usage limit has been reached"},
    "billing": {"code": "billing_hard_limit_reached", "message": "Billing hard limit has been reached"},
    "402": {"code": 402, "message": "This request requires more credits"},
    "an inner reason": {
        "code": 502,
        "message": "Provider returned error",
        "metadata": {"raw": '{"error":{"type":"invalid_request_error","message":"Bad value"}}'},
    },
}


@pytest.mark.parametrize("tell", ["an error event", "a nested error event", "response.failed", "JSON"])
@pytest.mark.parametrize("error", LASTING.values(), ids=LASTING)
async def test_an_error_that_lasts_is_told_at_once(error: Json, tell: str) -> None:
    told = await fail(TOLD[tell](error), at=1)
    assert str(error["message"]) in told["message"]


HOSTED = [
    {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "x"}},
    {"type": "code_interpreter_call", "id": "ci_1", "status": "completed", "code": "1", "container_id": "c"},
    {"type": "mcp_call", "id": "mcp_1", "server_label": "s", "name": "pay", "arguments": "{}", "output": "paid"},
    {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "aGk="},
]


@pytest.mark.rule("R24")
@pytest.mark.parametrize("hosted", HOSTED, ids=lambda item: item["type"])
async def test_what_a_hosted_tool_has_done_is_not_done_twice(hosted: Json) -> None:
    error = {"code": "server_error", "message": "Oops"}
    event = responds(hosted, events=lambda events: [*events[:-1], {"type": "error", **error}])
    assert (await fail(event))["code"] == "server_error"
    whole = responds(hosted, message("half a"), status="failed", error=error)
    assert (await fail(whole))["code"] == "server_error"


async def test_of_a_response_that_keeps_failing_the_last_is_what_there_is() -> None:
    error = {"code": "overloaded_error", "message": "Overloaded"}
    replies = [responds(message("half a"), status="failed", error=error)] * 3
    receipt, requests, *_ = await converse(*replies)
    assert (receipt["status"], receipt["output_text"], len(requests)) == ("failed", "half a", 3)
    assert receipt["error"]["message"] == "Overloaded (tried 3 times)"


# Pauses that are told in words


@pytest.mark.rule("R23")
@pytest.mark.parametrize(
    ("words", "pause"),
    [
        ("Rate limit reached for m on TPM: Limit 30000, Used 29000. Please try again in 6.4s. Visit x", 6.4),
        ("Please try again in 350ms.", 0.35),
        ("Please try again in 1m30s.", 90),
        ("Please try again in 1m3.5s", 63.5),
        ("Please retry after 20 seconds.", 20),
        ("Too many requests, try again after 20 seconds", 20),
        ("Please wait 5 seconds before retrying", 5),
        ("Please retry in 39.547s.", 39.547),
        ("Try again in about 1 minute and 5 seconds", 65),
        ("retry-after: 7", 7),
        ("It is available again in 2 minutes", 120),
        ("请在 20 秒后重试", 20),
    ],
)
async def test_a_pause_told_in_words_is_made(words: str, pause: float) -> None:
    error = {"code": "rate_limit_exceeded", "message": words}
    for reply in (TOLD["response.failed"](error), TOLD["JSON"](error), api_error(429, words)):
        receipt, _, _, pauses = await converse(reply, at=1)
        assert (receipt["status"], pauses) == ("completed", [pytest.approx(pause)])


@pytest.mark.parametrize(
    ("fields", "pause"),
    [
        ({"retry_after": 7}, 7),
        ({"retry_after": "7.5"}, 7.5),
        ({"retry_after_ms": 1500}, 1.5),
        ({"resets_in_seconds": 30}, 30),
        ({"details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "39s"}]}, 39),
        ({"metadata": {"headers": {"Retry-After": "12"}}}, 12),
        ({"headers": {"retry-after": 12}, "status_code": 429}, 12),
    ],
    ids=str,
)
async def test_a_pause_told_in_a_field_is_made(fields: Json, pause: float) -> None:
    error = {"code": 429, "message": "Slow down"} | fields
    for tell in ("a nested error event", "response.failed", "JSON"):
        receipt, _, _, pauses = await converse(TOLD[tell](error), at=1)
        assert (receipt["status"], pauses) == ("completed", [pytest.approx(pause)])


@pytest.mark.parametrize("words", ["in 6m0s", "in 2 hours", "in 3 days", "after 99999999 seconds"])
async def test_too_long_a_pause_in_words_is_not_waited_for(words: str) -> None:
    error = {"code": "rate_limit_exceeded", "message": f"Limit. Please try again {words}."}
    assert "is not waited for" in (await fail(TOLD["response.failed"](error), at=1))["message"]


async def test_a_pause_in_words_beyond_the_end_of_the_run_is_not_waited_for() -> None:
    error = {"code": "rate_limit_exceeded", "message": "Limit. Please try again in 60s."}
    await fail(TOLD["JSON"](error), at=1, limits={"timeout_s": 30})


async def test_a_header_counts_more_than_words() -> None:
    reply = api_error(429, "Please try again in 60s", {"retry-after": "2"})
    assert (await converse(reply))[3] == [2]


@pytest.mark.parametrize(
    ("status", "fields"),
    [(425, {}), (499, {}), (400, {"code": "conversation_locked"}), (409, {"code": "conversation_locked"})],
    ids=str,
)
async def test_a_refusal_that_passes_is_tried_again(status: int, fields: Json) -> None:
    receipt, requests, *_ = await converse(api_error(status, "Not now", **fields), at=1)
    assert (receipt["status"], len(requests)) == ("completed", 4)


# Who must act


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (http_error(402, {"error": {"message": "Insufficient credits", "code": 402}}), "no credit left"),
        (http_error(402, ""), "no credit left"),
        (http_error(403, {"error": {"code": "insufficient_user_quota", "message": "x"}}), "no credit left"),
        (http_error(403, {"error": {"type": "new_api_error", "message": "用户额度不足"}}), "no credit left"),
        (http_error(403, {"error": {"message": "token quota is not enough"}}), "no credit left"),
        (api_error(400, "Your credit balance is too low to access the API"), "no credit left"),
        (api_error(429, "Billing hard limit", code="billing_hard_limit_reached"), "no credit left"),
        (http_error(403, {"error": {"message": "Country not supported"}}), "check the API key"),
        (http_error(429, {"error": {"type": "usage_limit_reached", "message": "x"}}), "usage limit"),
        (TOLD["response.failed"]({"code": "insufficient_quota", "message": "x"}), "no credit left"),
        (TOLD["an error event"]({"code": "insufficient_quota", "message": "x"}), "no credit left"),
        (TOLD["JSON"]({"code": 401, "message": "No such key"}), "check the API key"),
    ],
)
async def test_what_only_the_operator_can_mend_says_so(reply: Reply, words: str) -> None:
    error = await fail(reply, at=1)
    assert error["who"] == "operator"
    assert words in error["message"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"resets_in_seconds": 12_300}, "it resets in 3 h 25 min"),
        ({"resets_in_seconds": 90}, "it resets in 1 min 30 s"),
        ({"resets_at": 4_102_444_800}, "at 2100-01-01 00:00 UTC"),
        ({"resets_at": 4_102_444_800_000}, "at 2100-01-01 00:00 UTC"),
        ({"resets_at": "2100-01-01T00:00:00Z"}, "at 2100-01-01 00:00 UTC"),
    ],
    ids=str,
)
async def test_a_used_up_limit_says_when_it_resets(fields: Json, words: str) -> None:
    error = {"type": "usage_limit_reached", "message": "The usage limit has been reached", "plan_type": "plus"} | fields
    for reply in (TOLD["response.failed"](error), TOLD["JSON"](error), http_error(429, {"error": error})):
        told = await fail(reply, at=1)
        assert (told["code"], told["who"]) == ("usage_limit_reached", "operator")
        assert words in told["message"]


@pytest.mark.parametrize("resets", ["soon", -1, 1e300, True, [], {}, 10**30, "9999-99-99"], ids=str)
async def test_a_time_that_cannot_be_read_is_no_time(resets: Any) -> None:
    error = {"type": "usage_limit_reached", "message": "No more", "resets_at": resets, "resets_in_seconds": resets}
    assert "No more" in (await fail(http_error(429, {"error": error})))["message"]


@pytest.mark.rule("S9")
@pytest.mark.parametrize(
    ("status", "location", "words"),
    [
        (301, "https://new.invalid/api/v1/responses", "set base_url to https://new.invalid/api/v1)"),
        (302, "https://login.invalid/sso?next=x", "redirects to https://login.invalid/sso"),
        (307, "/openai/v1/responses", "/openai/v1)"),
        (308, "https://me:pw@new.invalid/v1/responses/?k=s3cret", "set base_url to https://new.invalid/v1)"),
        (303, "//new.invalid/v1/responses", "set base_url to http://new.invalid/v1)"),
        (301, "https://[broken", "status 301"),
        (301, None, "status 301"),
    ],
)
async def test_a_redirect_says_where_to_and_what_to_set(status: int, location: str | None, words: str) -> None:
    error = await fail(http_error(status, "", {"location": location} if location else {}))
    assert (error["who"], error["status"]) == ("operator", status)
    assert words in error["message"]
    assert "s3cret" not in error["message"]
    assert "pw@" not in error["message"]


# The reason behind the message

INNER = "Unsupported parameter: 'max_output_tokens'"
RAW = {"error": {"message": INNER, "type": "invalid_request_error", "param": "max_output_tokens", "code": None}}
OUTER: Json = {"message": "Provider returned error", "code": 400}
BEHIND: dict[str, Json] = {
    "diegosouzapw/OmniRoute#3044": {"error": OUTER | {"metadata": {"raw": json.dumps(RAW), "provider_name": "Acme"}}},
    "JSON": {"error": OUTER | {"metadata": {"raw": RAW, "provider_name": "Acme"}}},
    "open-webui/computer#293": {"error": OUTER | {"metadata": {"raw": INNER, "provider_name": "Acme"}}},
    "beside the error": {"error": OUTER, "metadata": {"raw": json.dumps(RAW), "provider_name": "Acme"}},
    "a list": {"error": OUTER | {"metadata": {"raw": [RAW], "provider_name": "Acme"}}},
    "an event": {"error": OUTER | {"metadata": {"raw": f"data: {json.dumps(RAW)}\n\n", "provider_name": "Acme"}}},
    "twice over": {"error": OUTER | {"metadata": {"raw": json.dumps({"error": json.dumps(RAW)})}}},
    "a detail": {"error": OUTER | {"metadata": {"raw": json.dumps({"detail": INNER})}}},
    "in the words of litellm": {"error": {"message": f"OpenAIException - {json.dumps(RAW)}", "code": "400"}},
    "a message of JSON": {"error": {"message": json.dumps(RAW), "type": "new_api_error"}},
    "an object as message": {"error": {"message": RAW, "code": 400}},
    "a list of errors": {"errors": [{"message": INNER}]},
    "a detail that is an object": {"detail": RAW},
    "an error that is JSON": {"error": json.dumps(RAW)},
    "escaped": {"error": {"message": "\\u4e0d: " + INNER}},
}


@pytest.mark.parametrize("at", [0, 1], ids=["at once", "in the second turn"])
@pytest.mark.parametrize("told", BEHIND.values(), ids=BEHIND)
async def test_a_reason_behind_the_message_teaches(told: Json, at: int) -> None:
    ways = [http_error(400, told), http_error(200, told), streamed(f"data: {json.dumps(told)}\n\n")]
    ways += [streamed({"type": "error", **told})] if "error" in told else []
    for reply in ways:
        receipt, requests, *_ = await converse(reply, at=at, arguments={"max_output_tokens": 9})
        assert receipt["status"] == "completed", receipt
        assert "max_output_tokens" in requests[at].json
        assert [request for request in requests[at + 1 :] if "max_output_tokens" in request.json] == []
        assert INNER in " ".join(notice["message"] for notice in receipt["notices"])


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (BEHIND["JSON"], "Provider returned error (Acme): Unsupported parameter: "),
        ({"error": OUTER | {"metadata": {"provider_name": "Acme"}}}, "Provider returned error (Acme)"),
        ({"error": OUTER | {"metadata": {"raw": "ERROR", "provider_name": "Acme"}}}, "error (Acme): ERROR"),
        ({"error": OUTER | {"metadata": {"raw": "Provider returned error"}}}, ": Provider returned error"),
        ({"error": OUTER | {"metadata": {"raw": {"odd": 1}}}}, 'Provider returned error: {"odd":1}'),
        ({"error": {"message": "\\u7528\\u6237\\ud83d\\ude00 no"}}, ": 用户😀 no"),
        ({"error": {"message": "a\\u001b[31m"}}, "a\\u001b[31m"),
        ({"error": {"message": "half \\ud83d"}}, "half \\ud83d"),
        ({"error": {"message": 'not JSON: {"a": } or {b}'}}, 'not JSON: {"a": } or {b}'),
        ({"error": "invalid_grant", "error_description": "It is over"}, ": It is over"),
        ({"error": "Bad Request", "message": ["a must be set", "b too"], "statusCode": 400}, "a must be set"),
        ({"success": False, "msg": "模型不存在"}, ": 模型不存在"),
        ({"title": "Bad", "detail": "Because"}, ": Because"),
    ],
)
async def test_the_reason_is_shown(told: Json, words: str) -> None:
    assert words in (await fail(http_error(400, told)))["message"]


async def test_a_reason_nested_without_end_is_told_as_far_as_it_goes() -> None:
    deep: Any = "bottom"
    for _ in range(50):
        deep = {"error": {"message": deep}}
    assert "status 400" in (await fail(http_error(400, deep)))["message"]


# No event at all


def events_of(text: str) -> Reply:
    return bare(text.encode("utf-8", "surrogateescape"), "text/event-stream")


NAMED = {"code": "bad_thing", "message": "The model is tired"}
UNREAD: dict[str, str] = {
    "JSON": json.dumps({"error": NAMED}),
    "JSON in lines": json.dumps({"error": NAMED}, indent=2),
    "JSON with blank lines": json.dumps({"error": NAMED}).replace("{", "{\n\n"),
    "JSON behind a comment": f": PROCESSING\n\n{json.dumps({'error': NAMED})}",
    "JSON right behind a comment": f": PROCESSING\n{json.dumps({'error': NAMED})}\n",
    "an error field": f"error: {json.dumps(NAMED)}\n\n",
    "an error field of words": "error: The model is tired\n\n",
    "an error field that nests": f"error:{json.dumps({'error': NAMED})}\n\n",
    "an error event, flat": f"event: error\ndata: {json.dumps(NAMED)}\n\n",
    "an error event of words": "event: error\ndata: The model is tired\n\n",
    "an error event of another type": f"event: error\ndata: {json.dumps(NAMED | {'type': 'tired_error'})}\n\n",
    "an error event of detail": f"event: error\ndata: {json.dumps({'detail': 'The model is tired'})}\n\n",
    "a detail": 'data: {"detail": "The model is tired"}\n\n',
    "a bare message": f"data: {json.dumps(NAMED)}\n\ndata: [DONE]\n\n",
    "JSON of detail": '{"detail": "The model is tired"}',
    "response.error": f"data: {json.dumps({'type': 'response.error', 'error': NAMED})}\n\n",
    "response.error on the line": f"event: response.error\ndata: {json.dumps({'error': NAMED})}\n\n",
    "response.failed on the line": "event: response.failed\ndata: "
    + json.dumps({"response": {"status": "failed", "error": NAMED}})
    + "\n\n",
    "an error inside a response": f"data: {json.dumps({'type': 'error', 'response': {'error': NAMED}})}\n\n",
    "Wei-Shaw/sub2api#1471": 'data: {"type":"response.completed","resp\ndata: '
    + json.dumps({"type": "error", "error": NAMED})
    + "\n\n",
    "behind another event that had not ended": 'data: {"type":"response.output_text.delta","del\ndata: '
    + json.dumps({"type": "error", "error": NAMED})
    + "\n\n",
    "a type of its own": f"data: {json.dumps({'type': 'tired_error', 'message': 'The model is tired'})}\n\n",
}


@pytest.mark.parametrize("at", [0, 1], ids=["at once", "in the second turn"])
@pytest.mark.parametrize("body", UNREAD.values(), ids=UNREAD)
async def test_an_error_that_is_no_event_is_told(body: str, at: int) -> None:
    error = await fail(events_of(body), at=at)
    assert "The model is tired" in error["message"]
    assert "ended before" not in error["message"]
    if "bad_thing" in body:
        assert error["code"] == "bad_thing"


@pytest.mark.parametrize("body", UNREAD.values(), ids=UNREAD)
async def test_one_that_passes_is_tried_again(body: str) -> None:
    text = body.replace("bad_thing", "overloaded").replace("The model is tired", "Overloaded, try again in 3s")
    receipt, requests, _, pauses = await converse(events_of(text), at=1)
    assert (receipt["status"], len(requests), pauses) == ("completed", 4, [3])


WHOLE = {
    "as JSON": "{}",
    "with blank lines": "\n\n{}\n\n",
    "behind a comment": ": PROCESSING\n\n{}\n",
    "as data": "data: {}\n\n",
    "as data, and DONE": "data: {}\n\ndata: [DONE]\n\n",
    "in an event": '{"type": "response.completed", "response": {}}',
    "with the type on the line": 'event: response.completed\ndata: {"response": {}}\n\n',
    "with the type on the line, and null in it": 'event: response.completed\ndata: {"type": null, "response": {}}\n\n',
}


@pytest.mark.rule("R20")
@pytest.mark.parametrize("form", WHOLE.values(), ids=WHOLE)
async def test_a_whole_response_that_is_no_event_is_read(form: str) -> None:
    bodies = [json.dumps({"object": "response", "status": "completed", "output": items}) for items in turns()]
    receipt, requests, *_ = await converse(*(events_of(form.replace("{}", body)) for body in bodies))
    assert (receipt["status"], len(requests)) == ("completed", 3)


@pytest.mark.rule("R19")
async def test_types_only_on_the_event_lines_are_read() -> None:
    def write(events: list[Any]) -> Iterable[str]:
        for event in events:
            body = {key: value for key, value in event.items() if key != "type"}
            yield f"event: {event['type']}\ndata: {json.dumps(body)}\n\n"

    receipt, requests, *_ = await converse(*(responds(*items, events=write) for items in turns()))
    assert (receipt["status"], len(requests)) == ("completed", 3)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("<html><body>Down for maintenance</body></html>", "Down for maintenance"),
        ('{"object":"response","out', '{"object":"response","out'),
        ("data: hello\n\n", "hello"),
        ('{"hello": 1}', '{"hello": 1}'),
        ("", "ended before the response did"),
        ("data: h\udce9llo\n\n", "h\ufffdllo"),
        (": PROCESSING\n\n" * 3, "ended before the response did"),
        ('data: {"type":"ping"}\n\n', "ended before the response did"),
    ],
)
async def test_what_cannot_be_read_is_a_stream_that_was_cut_and_is_quoted(body: str, words: str) -> None:
    receipt, requests, *_ = await converse(*[events_of(body)] * 3)
    assert (receipt["error"]["code"], len(requests)) == ("stream_cut", 3)
    assert words in receipt["error"]["message"]
    assert "PROCESSING" not in receipt["error"]["message"]


@pytest.mark.rule("R21")
@pytest.mark.parametrize(
    ("told", "code"),
    [
        ({"detail": "The model is tired"}, "http_200"),
        (NAMED, "bad_thing"),
        ({"type": "error", "error": NAMED}, "bad_thing"),
        ({"success": False, "message": "The model is tired", "code": "bad_thing"}, "bad_thing"),
        ({"errors": [NAMED]}, "bad_thing"),
        ({"error": NAMED, "choices": []}, "bad_thing"),
        (failed(NAMED), "bad_thing"),
        ({"response": {"error": NAMED}}, "bad_thing"),
    ],
    ids=str,
)
async def test_json_that_is_an_error_of_any_shape_is_told(told: Json, code: str) -> None:
    error = await fail(http_error(200, told), at=1)
    assert error["code"] == code
    assert "The model is tired" in error["message"]


async def test_events_in_a_refusal_are_read() -> None:  # DeliciousBuding/new-api#142
    body = f"event:error\ndata:{json.dumps(NAMED)}\n\ndata: [DONE]\n\n"
    error = await fail(http_error(400, body, {"content-type": "text/event-stream"}))
    assert error["code"] == "bad_thing"
    assert error["message"] == "The upstream answered with status 400: The model is tired"


# Bodies and numbers


def encoded(coding: str, body: bytes, status: str = "200 OK", kind: str = "application/json") -> Reply:
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-encoding: {coding}\r\ncontent-length: {len(body)}"
    return raw(f"{head}\r\n\r\n".encode() + body, close=False)


COMPRESSED = b"\x8b\xff\x00" + zlib.compress(b"xyz" * 9)


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request"])
@pytest.mark.parametrize(("coding", "package"), [("br", "brotli"), ("zstd", "zstd"), ("gzip, br", "brotli")])
async def test_a_body_that_cannot_be_decoded_is_named(coding: str, package: str, status: str, kind: str) -> None:
    error = await fail(encoded(coding, COMPRESSED, status, kind), at=1)
    assert error["who"] == "operator"
    assert f"compressed with {coding.split()[-1]}" in error["message"]
    assert package in error["message"]
    assert error["status"] == int(status[:3])
    assert "\ufffd" not in error["message"]


@pytest.mark.parametrize("coding", ["br", "zstd", "utf-8"])
async def test_a_body_that_is_only_said_to_be_encoded_is_read(coding: str) -> None:
    bodies = [json.dumps({"object": "response", "status": "completed", "output": items}) for items in turns()]
    receipt, *_ = await converse(*(encoded(coding, body.encode()) for body in bodies))
    assert receipt["status"] == "completed"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("form", ["json", "stream", "chat"])
async def test_a_number_that_is_none_costs_the_usage_and_not_the_answer(number: str, form: str) -> None:
    usage = f'"usage":{{"input_tokens":{number},"output_tokens":5,"details":{{"cost":{number}}}}}'
    texts = [json.dumps({"object": "response", "status": "completed", "output": items})[:-1] for items in turns()]
    bodies = [f"{text},{usage}}}" for text in texts]
    if form == "chat":
        choice = '{"choices":[{"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],'
        receipt, _ = await ask([bare(f"{choice}{usage}}}".encode())])
        assert receipt["output_text"] == "hi"
        return
    if form == "stream":
        replies = [events_of(f'data: {{"type":"response.completed","response":{body}}}\n\n') for body in bodies]
    else:
        replies = [bare(body.encode()) for body in bodies]
    receipt, requests, *_ = await converse(*replies)
    assert (receipt["status"], len(requests)) == ("completed", 3)


async def test_a_call_is_run_once_though_its_response_failed_and_was_asked_for_again() -> None:
    made = call("c__add", {"a": 1, "b": 2})
    error = {"code": "overloaded_error", "message": "Overloaded"}
    receipt, requests, executed, _ = await converse(responds(made, status="failed", error=error))
    assert receipt["status"] == "completed"
    assert (len(requests), len(executed)) == (4, 3)
