"""What an upstream has made and then refuses to take back: the conversation goes on, and every call runs once.

Each variant is one conversation with real tools behind, streamed and in JSON. The public reports are named beside them.
"""

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pytest
from mcp.server.mcpserver import MCPServer
from pydantic import Field, create_model

from tests.fakes.bridges import ask, open_bridge, outputs_of
from tests.fakes.clock import VirtualClock
from tests.fakes.items import Json, call, message, reasoning
from tests.fakes.servers import adding_server
from tests.fakes.upstream import Reply, Request, api_error, http_error, responds

pytestmark = pytest.mark.anyio

LEGAL = re.compile(r"[A-Za-z0-9_-]{1,64}")
Refuse = Callable[[Json], Reply | None]
ADD = {"a": 1, "b": 2}


@dataclass(frozen=True)
class Case:
    """A conversation: what the model says turn by turn (then "done"), and what its upstream refuses."""

    turns: Sequence[Sequence[Json]]
    refuses: Refuse = lambda _: None
    requests: int = 0
    """0: one for each turn, and no refusal."""
    executed: int = 0
    told: str = ""
    """In the notices."""
    shown: str = ""
    """In the output of the first call."""
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])


async def play(case: Case, *, as_json: bool) -> list[Json]:
    """Play a conversation to its end; returns the bodies that were sent."""
    server, executed = adding_server()

    @server.tool()
    async def ping(count: int = 1) -> str:
        executed.append((count, 0))
        return "pong"

    said = iter([*case.turns, [message("done")]])

    def answer(request: Request) -> Reply:
        return case.refuses(request.json) or responds(*next(said), as_json=as_json)

    clock = VirtualClock(autojump=True)
    settings = {**case.settings, **({"stream": "never"} if as_json else {})}
    receipt, requests = await ask(answer, {"c": server}, case.arguments, clock=clock, upstream=settings)
    bodies = [request.json for request in requests]
    assert (receipt["status"], receipt["output_text"]) == ("completed", "done"), receipt
    assert len(executed) == case.executed
    assert len(bodies) == (case.requests or len(case.turns) + 1), [body["input"] for body in bodies]
    notices = " ".join(notice["message"] for notice in receipt["notices"])
    assert case.told in notices if case.told else not receipt["notices"], notices
    if case.shown:
        assert case.shown in outputs_of(requests[-1])[0]
    check_pairs(bodies[-1])
    return bodies


def check_pairs(body: Json) -> None:
    """Every call has a legal name and an id of its own, and one output after it."""
    made = [item for item in body["input"] if item.get("type") == "function_call"]
    answered = [item["call_id"] for item in body["input"] if item.get("type") == "function_call_output"]
    ids = [item["call_id"] for item in made]
    assert all(LEGAL.fullmatch(name) for item in made for name in (item["name"], item["call_id"])), made
    assert len(set(ids)) == len(ids)
    assert "previous_response_id" in body or sorted(ids) == sorted(answered)


def calls_of(body: Json) -> list[Json]:
    return [item for item in body["input"] if item.get("type") == "function_call"]


def refuses_where(found: Callable[[Json], bool], words: str | Json, status: int = 400, **error: Any) -> Refuse:
    """Refuses a request in which something is found."""
    reply = http_error(status, words) if isinstance(words, dict) else api_error(status, words, **error)
    return lambda body: reply if found(body) else None


def streams_where(found: Callable[[Json], bool], words: str) -> Refuse:
    """The same in the stream."""
    event = {"type": "error", "code": "invalid_request_error", "message": words, "param": None}
    return lambda body: responds(events=[event], as_sse=True) if found(body) else None


# Arguments


def is_malformed(body: Json) -> bool:
    return any(not is_object(item["arguments"]) for item in calls_of(body))


def is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict) and "NaN" not in text
    except ValueError:
        return False


PING = [call("c__ping", "")]
BLANK = {
    "empty": Case([PING], refuses_where(is_malformed, "no"), executed=1),
    "blank": Case([[call("c__ping", " \n\t")]], refuses_where(is_malformed, "no"), executed=1),
    "null": Case([[call("c__ping", "null")]], refuses_where(is_malformed, "no"), executed=1),
    "null with space": Case([[call("c__ping", " null ")]], refuses_where(is_malformed, "no"), executed=1),
    "empty in the second turn": Case([[call("c__add", ADD)], PING], refuses_where(is_malformed, "no"), executed=2),
    "null where some are required": Case(
        [[call("c__add", "null")]], refuses_where(is_malformed, "no"), shown="invalid_arguments"
    ),
    "two at once": Case(
        [[call("c__ping", ""), call("c__ping", "null")]], refuses_where(is_malformed, "no"), executed=2
    ),
}


def bad(arguments: str, words: str | Json, status: int = 400, requests: int = 3, **error: Any) -> Case:
    return Case(
        [[call("c__add", arguments)]],
        refuses_where(is_malformed, words, status, **error),
        requests,
        told="no JSON object",
        shown=json.dumps(arguments[:40])[1:-1],
    )


BAD_ARGUMENTS = {
    "vllm-project/vllm#33268": bad('{"a": 1, "b"', "Expecting value: line 1 column 13 (char 12)"),
    "vllm-project/vllm#19419": bad('{"a": "1', "Unterminated string starting at: line 1 column 7 (char 6)"),
    "extra data": bad('{"a": 1}{"b": 2}', "Extra data: line 1 column 9 (char 8)"),
    "aliyun": bad("a=1", "The function.arguments parameter of the code model must be in JSON format."),
    "sgl-project/sglang#28035": bad('[{"a": 1}]', "'list object' has no attribute 'items'"),
    "invalid tool call arguments": bad('{"a": 1,,}', "invalid tool call arguments", status=422),
    "by its place": bad("7", "Invalid 'input[1].arguments': expected a JSON object"),
    "Anthropic": bad('"x"', "messages.1.content.0.tool_use.input: Input should be a valid dictionary"),
    "pydantic": bad("[1]", {"detail": [{"loc": ["body", "input", 1, "arguments"], "msg": "Input should be a valid"}]}),
    "Gemini": bad("true", "Invalid value at 'contents[1].parts[0].function_call.args' (type.googleapis.com/Struct)"),
    "Go": bad("{a: 1}", "invalid character 'a' looking for beginning of object key string"),
    "without a reason": bad('{"a": NaN}', "Bad Request"),
    "as an error of the server": bad("{'a': 1}", "Expecting property name enclosed in double quotes", 500, 5),
    "in the second turn": Case(
        [[call("c__add", ADD)], [call("c__add", '{"a":')], [call("c__add", ADD)]],
        refuses_where(is_malformed, "Expecting value: line 1 column 6 (char 5)"),
        5,
        executed=2,
        told="no JSON object",
    ),
    "cut off": Case(
        [[call("c__add", '{"a":', status="incomplete")]],
        refuses_where(is_malformed, "unexpected end of JSON input"),
        3,
        told="no JSON object",
    ),
    "in the stream": Case(
        [[call("c__add", '{"a":')]],
        streams_where(is_malformed, "Failed to parse arguments"),
        3,
        told="no JSON object",
    ),
}


# Names

MADE_UP = {
    "a dot": "c.add",
    "a prefix": "functions.c__add",
    "a space": "c add",
    "nothing": "",
    "130 characters": "x" * 130,
    "another script": "加法",
    "a colon": "c:add:0",
    "a slash": "c/add",
    "markup": "c__add<|channel|>json",
    "several at once": "multi_tool_use.parallel",
}


def has_illegal_names(body: Json) -> bool:
    return any(not LEGAL.fullmatch(item["name"]) for item in calls_of(body))


def made_up(name: str) -> Case:
    refuse = refuses_where(has_illegal_names, "Invalid 'input[1].name': string does not match pattern.")
    return Case([[call(name, ADD)], [call("c__add", ADD)]], refuse, executed=1, shown="unknown_tool")


NAMES = {words: made_up(name) for words, name in MADE_UP.items()}


# Ids


def has_illegal_ids(body: Json) -> bool:
    ids = [item["call_id"] for item in calls_of(body)]
    return len(set(ids)) < len(ids) or not all(map(LEGAL.fullmatch, ids))


def with_ids(*ids: str) -> Case:
    turns = [[call("c__add", {"a": n, "b": n}, call_id=call_id)] for n, call_id in enumerate(ids)]
    return Case(turns, refuses_where(has_illegal_ids, "Invalid 'input[1].call_id'"), executed=len(ids))


CALL_IDS = {
    "openai/gpt-oss#309": with_ids("call_0", "call_0"),
    "three times the same": with_ids("call_0", "call_0", "call_0"),
    "the next is taken": with_ids("a", "a_2", "a"),
    "900 characters": with_ids("call_" + "x" * 900),
    "900 characters that begin alike": with_ids("x" * 900, "x" * 901),
    "64 characters twice": with_ids("x" * 64, "x" * 64),
    "dots and a colon": with_ids("functions.c__add:0", "functions.c__add:1"),
    "other characters that come to the same": with_ids("a.b", "a:b", "a_b"),
    "a signature": with_ids("call_1__thought__" + "Qw+/=" * 40),
    "at once": Case(
        [[call("c__add", ADD, call_id="a b"), call("c__add", ADD, call_id="a.b")]],
        refuses_where(has_illegal_ids, "Invalid 'input[1].call_id'"),
        executed=2,
    ),
}


# Fields of items


def holds(name: str, *kinds: str) -> Callable[[Json], bool]:
    """Finds a field in items of these kinds, or of any."""
    return lambda body: any(
        name in item for item in body["input"] if "type" in item and (not kinds or item["type"] in kinds)
    )


SEARCH: Json = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}}
THOUGHT = reasoning("hm", status="completed")
CALLED = [call("c__add", ADD)]


def unknown(items: Sequence[Json], name: str, words: str | Json, *kinds: str, requests: int = 3) -> Case:
    found = holds(name, *kinds)
    executed = sum(item["type"] == "function_call" for item in items)
    return Case([items], refuses_where(found, words), requests, executed, f"{name} was left out")


FIELDS = {
    "of reasoning": unknown([THOUGHT, *CALLED], "status", "Unknown parameter: 'input[1].status'.", "reasoning"),
    "of calls": unknown(CALLED, "status", "Unknown parameter: 'input[1].status'.", "function_call"),
    "of searches": unknown([SEARCH, *CALLED], "status", "Unknown parameter: 'input[1].status'.", "web_search_call"),
    "of messages": unknown(
        [message("Let me see"), *CALLED], "status", "Unknown parameter: 'input[1].status'.", "message"
    ),
    "phase": unknown(
        [message("Let me see", phase="commentary"), *CALLED], "phase", "Unknown parameter: 'input[1].phase'."
    ),
    "namespace": unknown([CALLED[0] | {"namespace": "c"}], "namespace", "Unknown parameter: 'input[1].namespace'."),
    "by its name alone": unknown(CALLED, "status", 'json: unknown field "status"'),
    "by zod": unknown([message("Hm", phase="commentary"), *CALLED], "phase", "Unrecognized key(s) in object: 'phase'"),
    "by a JSON schema": unknown(CALLED, "status", "Additional properties are not allowed ('status' was unexpected)"),
    "with dots": unknown(CALLED, "status", "input.1.status: Extra inputs are not permitted"),
    "by pydantic": unknown(
        CALLED,
        "status",
        {
            "detail": [
                {"type": "extra_forbidden", "loc": ["body", "input", 1, "FunctionCall", "status"], "msg": "Extra"}
            ]
        },
    ),
    "as a pointer": unknown(CALLED, "status", "/input/1/status: unknown property"),
    "of a message as the relay counts": unknown(CALLED, "status", "messages.3.status: Extra inputs are not permitted"),
    "its value": unknown(CALLED, "status", "Invalid value at 'input[1].status': null"),
}


def has_logprobs(body: Json) -> bool:
    return "logprobs" in json.dumps(body["input"])


FIELDS["in the parts of a message"] = Case(
    [[message("Hm"), *CALLED]],
    refuses_where(has_logprobs, "Unknown parameter: 'input[1].content[0].logprobs'."),
    3,
    1,
    "content.logprobs was left out",
)


def refuses_each_status(body: Json) -> Reply | None:
    """One item at a time, as OpenAI does."""
    places = [place for place, item in enumerate(body["input"]) if "type" in item and "status" in item]
    return api_error(400, f"Unknown parameter: 'input[{places[0]}].status'.") if places else None


def double_ids(body: Json) -> list[str]:
    ids = [item["id"] for item in body["input"] if "id" in item]
    return [item_id for item_id in ids if ids.count(item_id) > 1]


def refuses_double_ids(body: Json) -> Reply | None:
    double = double_ids(body)
    return api_error(400, f"Duplicate item found with id {double[0]}. Remove it and try again.") if double else None


COMMENT = message("Hm", id="msg_1")
FIELDS |= {
    "of all items, one by one": Case(
        [[THOUGHT, message("Hm"), *CALLED], CALLED], refuses_each_status, 5, 2, "input[].status was left out"
    ),
    "message ids that repeat": Case(
        [[COMMENT, *CALLED], [COMMENT, call("c__add", ADD)]], refuses_double_ids, 4, 2, "sent back without ids"
    ),
    "reasoning ids that repeat": Case(
        [[reasoning("hm", id="rs_1"), *CALLED], [reasoning("hm", id="rs_1"), call("c__add", ADD)]],
        refuses_double_ids,
        4,
        2,
        "input[reasoning].id was left out",
    ),
    "ids that are too long": Case(
        [[call("c__add", ADD, id="fc_" + "x" * 900)]],
        refuses_where(holds("id", "function_call"), "Invalid 'input[1].id': string too long."),
        3,
        1,
        "sent back without ids",
    ),
}


# Include


def asks_for_sealed(body: Json) -> bool:
    return "reasoning.encrypted_content" in body.get("include", [])


INCLUDE_WORDS = [
    "Encrypted content is not supported with this model.",
    "Invalid value: 'reasoning.encrypted_content'. Supported values are: 'file_search_call.results'.",
    "Unsupported parameter: 'include'",
    "include[0]: unknown value",
    "'reasoning.encrypted_content' is only supported for reasoning models",
    "Reasoning is not supported by this model",
    "body.include: Extra inputs are not permitted",
]
INCLUDE = {
    words: Case([CALLED], refuses_where(asks_for_sealed, words), 3, 1, "left out", arguments={"store": False})
    for words in INCLUDE_WORDS
} | {
    "added for the upstream": Case(
        [CALLED],
        refuses_where(asks_for_sealed, INCLUDE_WORDS[0]),
        3,
        1,
        "include.reasoning.encrypted_content was left out",
        settings={"store": False},
    ),
}


# Reasoning and compactions


def has(kind: str) -> Callable[[Json], bool]:
    return lambda body: any(item.get("type") == kind for item in body["input"])


SEALED = reasoning("hm", encrypted="gAAAA", id="rs_1")
REASONING_WORDS: dict[str, tuple[int, str]] = {
    "another model": (400, "The encrypted content was generated by a different model."),
    "another account": (400, "Encrypted content organization_id did not match the target organization."),
    "could not decrypt": (400, "could not decrypt"),
    "its content is too long": (
        400,
        "Invalid 'input[1].content': array too long. Expected an array with maximum length 0, but got 1.",
    ),
    "nothing follows it": (400, "Item 'rs_1' of type 'reasoning' was provided without its required following item."),
    "a type that is unknown": (422, "unknown variant `reasoning`, expected one of `message`, `function_call`"),
    "a value that is unknown": (400, "Invalid value: 'reasoning'. Supported values are: 'message'."),
    "by its place alone": (400, "input[1] is not valid"),
    "a signature": (400, "messages.1.content.0: Invalid `signature` in `thinking` block"),
    "it is not found": (404, "Item with id 'rs_1' not found."),
    "an item that is not supported": (400, "Input item type 'reasoning' is not supported"),
}
REASONING = {
    name: Case(
        [[SEALED, *CALLED]],
        refuses_where(has("reasoning"), words, status),
        3,
        1,
        "Reasoning was not sent back",
        arguments={"reasoning_effort": "low"},
    )
    for name, (status, words) in REASONING_WORDS.items()
} | {
    "while it is asked for too": Case(
        [[SEALED, *CALLED]],
        refuses_where(has("reasoning"), "Encrypted content is not supported."),
        3,
        1,
        "Reasoning was not sent back",
        arguments={"store": False},
    ),
    "as an error of the server": Case(
        [[SEALED, *CALLED]],
        refuses_where(has("reasoning"), "Could not decrypt the provided encrypted_content", 500),
        5,
        1,
        "Reasoning was not sent back",
    ),
    "in the second turn": Case(
        [CALLED, [SEALED, call("c__add", ADD)]],
        refuses_where(has("reasoning"), "could not decrypt"),
        4,
        2,
        "Reasoning was not sent back",
    ),
    "in the stream": Case(
        [[SEALED, *CALLED]],
        streams_where(has("reasoning"), "could not decrypt"),
        3,
        1,
        "Reasoning was not sent back",
    ),
}


def refuses_both(body: Json) -> Reply | None:
    """The second compaction, and then the first."""
    begun, text = body["input"][0], json.dumps(body["input"])
    is_refused = "cmp_2" in text or (begun.get("id") == "cmp_1" and "c__ping" in text)
    return api_error(400, "could not decrypt") if is_refused else None


BLOB: Json = {"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAAA"}
COMPACTION = {
    words: Case(
        [CALLED, [BLOB, call("c__add", ADD)]], refuses_where(has("compaction"), words, status), 4, 2, "compaction"
    )
    for status, words in [
        (400, "The encrypted content could not be decrypted"),
        (400, "Invalid 'input[0]': unknown item"),
        (400, "compaction items are not supported"),
        (404, "Item with id 'cmp_1' not found."),
        (422, "unknown variant `compaction`, expected one of `message`, `function_call`"),
    ]
} | {
    "two of them": Case(
        [CALLED, [BLOB, call("c__add", ADD)], [BLOB | {"id": "cmp_2"}, call("c__ping")]],
        refuses_both,
        6,
        3,
        "compaction",
    ),
    "beside reasoning": Case(
        [CALLED, [BLOB, SEALED, call("c__add", ADD)]],
        lambda body: api_error(400, "could not decrypt") if "gAAAA" in str(body) else None,
        6,
        2,
        "compaction",
    ),
}


# A response that is lost

LOST = {"state": "previous_response_id"}


def goes_on(body: Json) -> bool:
    return "previous_response_id" in body


STATE = {
    words: Case([CALLED], refuses_where(goes_on, words, status, type=kind), 3, 1, "whole history", settings=LOST)
    for words, status, kind in [
        ("Response with id 'resp_1' not found.", 404, "invalid_request_error"),
        ("No tool output found for function call call_1.", 400, "invalid_request_error"),
        ("No tool call found for function call output with call_id call_1.", 400, "invalid_request_error"),
        ("Could not find the prediction history node", 400, "invalid_request_error"),
        ("It is gone", 400, "not_found_error"),
        ("No.", 404, "invalid_request_error"),
        ("The conversation has expired", 400, "invalid_request_error"),
        ("previous response cannot be used", 400, "invalid_request_error"),
    ]
} | {
    "as an error of the server": Case(
        [CALLED],
        refuses_where(goes_on, "Prediction history node is missing", 500),
        5,
        1,
        "whole history",
        settings=LOST,
    ),
    "in the stream": Case(
        [CALLED], streams_where(goes_on, "Response with id 'resp_x' not found"), 3, 1, "whole history", settings=LOST
    ),
}

CASES: dict[str, Case] = {
    f"{kind}: {name.strip()[:80] or 'nothing'}": case
    for kind, cases in {
        "blank arguments": BLANK,
        "malformed arguments": BAD_ARGUMENTS,
        "a made-up name (NousResearch/hermes-agent#31666)": NAMES,
        "call ids (decolua/9router#393)": CALL_IDS,
        "a field of an item": FIELDS,
        "`include`": INCLUDE,
        "reasoning (musistudio/claude-code-router#1783)": REASONING,
        "a compaction": COMPACTION,
        "a lost response (lmstudio-ai/lmstudio-bug-tracker#1188)": STATE,
    }.items()
    for name, case in cases.items()
}


BEGIN, END = "<!-- sent back -->\n", "\n<!-- end of sent back -->"


def render() -> str:
    rows = ["| what is refused | outcome | requests |", "|---|---|---|"]
    rows += [f"| {name} | answered | {case.requests or len(case.turns) + 1} |" for name, case in CASES.items()]
    return "\n".join(rows)


def test_the_page_shows_the_table(repository: Path) -> None:
    page = (repository / "docs" / "track-record.md").read_text(encoding="utf-8")
    assert page.partition(BEGIN)[2].partition(END)[0] == render()


@pytest.mark.rule("R5", "R17", "R40")
@pytest.mark.parametrize("as_json", [False, True], ids=["stream", "json"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_what_an_upstream_does_not_take_back_costs_at_most_a_request(case: Case, as_json: bool) -> None:
    await play(case, as_json=as_json)


async def test_what_wraps_several_calls_is_answered_with_the_names_of_the_tools() -> None:
    uses: list[Json] = [{"recipient_name": "functions.c__add", "parameters": ADD}, {"recipient_name": "c.ping"}]
    wrapper = call("multi_tool_use.parallel", {"tool_uses": uses})
    bodies = await play(Case([[wrapper], CALLED], executed=1, shown="call each tool directly"), as_json=False)
    output = json.loads(bodies[1]["input"][-1]["output"])
    assert {"c__add", "c__ping"} <= set(output["near_names"])
    assert "multi_tool_use.parallel" in output["message"]


# The caller's own functions

MINE: Json = {"type": "function", "name": "mine", "parameters": {"type": "object", "properties": {}}, "strict": False}


@pytest.mark.parametrize("call_id", ["functions.mine:0", "x" * 100, "a b", "call_0"])
async def test_a_caller_answers_by_the_ids_that_it_was_shown(call_id: str) -> None:
    script = [
        responds(call("mine", call_id=call_id)),
        responds(call("mine", call_id=call_id)),
        responds(message("done")),
    ]
    async with open_bridge(script=script) as bridge:
        receipt = await bridge.respond(tools=[MINE])
        for _ in range(2):
            (pending,) = receipt["pending"]
            assert pending["call_id"] == call_id
            answer = {"type": "function_call_output", "call_id": pending["call_id"], "output": "7"}
            receipt = await bridge.respond([answer], run_id=receipt["run_id"], tools=[MINE])
    assert receipt["output_text"] == "done"
    sent = bridge.requests[-1].json
    check_pairs(sent)
    made = [item["call_id"] for item in sent["input"] if item.get("type") == "function_call"]
    assert made == [item["call_id"] for item in sent["input"] if item.get("type") == "function_call_output"]


async def test_a_history_that_the_caller_gives_is_legal_too() -> None:
    history = [
        {"role": "user", "content": "Hi"},
        call("functions.x", "", call_id="a b"),
        {"type": "function_call_output", "call_id": "a b", "output": "?"},
    ]
    async with open_bridge(script=[responds(message("done"))]) as bridge:
        await bridge.respond(history)
    sent = bridge.requests[0].json
    check_pairs(sent)
    assert calls_of(sent)[0]["arguments"] == "{}"


async def test_the_name_of_a_callers_own_function_stays_whatever_it_is() -> None:
    script = [responds(call("my.own")), responds(message("done"))]
    mine = MINE | {"name": "my.own"}
    async with open_bridge(script=script) as bridge:
        receipt = await bridge.respond(tools=[mine])
        answer = {"type": "function_call_output", "call_id": receipt["pending"][0]["call_id"], "output": "7"}
        await bridge.respond([answer], run_id=receipt["run_id"], tools=[mine])
    assert calls_of(bridge.requests[1].json)[0]["name"] == "my.own"


async def test_a_compaction_that_the_caller_gives_and_nobody_takes_is_left_out() -> None:
    refusal = api_error(400, "The encrypted content could not be decrypted")
    async with open_bridge(script=[refusal, responds(message("done"))]) as bridge:
        receipt = await bridge.respond([BLOB, {"role": "user", "content": "Hi"}])
    assert receipt["output_text"] == "done"
    assert bridge.requests[1].json["input"] == [{"role": "user", "content": "Hi"}]
    assert "compaction" in receipt["notices"][0]["message"]


async def test_a_refused_effort_is_no_refusal_of_reasoning() -> None:
    words = "Unsupported value: 'reasoning.effort' does not support 'low' with this model. Reasoning takes 'high'."
    script = [responds(SEALED, *CALLED), api_error(400, words)]
    receipt, requests = await ask(script, None, {"reasoning_effort": "low"}, builtin_tools=True)
    assert (receipt["status"], len(requests)) == ("failed", 2)


# Tools


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"parallel_tool_calls": True}, "'parallel_tool_calls' is only allowed when 'tools' are specified."),
        ({"parallel_tool_calls": False}, "parallel_tool_calls requires tools"),
        ({"tool_choice": "auto"}, "When using `tool_choice`, `tools` must be set."),
        ({"tool_choice": "auto"}, "Tool choice: tool_choice may only be specified while providing tools."),
        ({"tool_choice": "none"}, "tool_choice is only allowed when 'tools' are specified."),
        ({"tool_choice": "none"}, "Invalid value for 'tool_choice': no tools were given."),
        ({"extra": {"max_tool_calls": 3}}, "Unsupported parameter: max_tool_calls"),
    ],
)
async def test_what_is_learned_without_tools_holds_only_there(arguments: Json, words: str) -> None:
    (name,) = arguments.get("extra", arguments)

    def answer(request: Request) -> Reply:
        is_refused = name in request.json and "tools" not in request.json
        return api_error(400, words) if is_refused else responds(message("done"))

    async with open_bridge(script=answer, builtin_tools=True) as bridge:
        without = [await bridge.respond(tools=[], **arguments) for _ in range(2)]
        receipt = await bridge.respond(**arguments)
    assert [name in request.json for request in bridge.requests] == [True, False, False, True]
    assert [len(receipt["notices"]) for receipt in without] == [1, 1]
    assert receipt["notices"] == []


def with_key(key: str, *, deep: bool) -> MCPServer:
    server = MCPServer("k")
    top = Annotated[str, Field(alias=key)]
    inner = create_model("Inner", value=(str, Field(alias=key)))

    @server.tool()
    async def good(text: str) -> str:
        return text

    async def odd(value: Any) -> str:
        return str(value)

    odd.__annotations__["value"] = inner if deep else top
    server.add_tool(odd)
    return server


@pytest.mark.parametrize("deep", [False, True], ids=["at the top", "inside"])
@pytest.mark.parametrize("key", ["filter[x]", "a b", "$top", "x" * 65, "名"])
@pytest.mark.parametrize(
    "words",
    [
        "tools.{n}.custom.input_schema.properties: Property keys should match pattern '^[a-zA-Z0-9_.-]{{1,64}}$'",
        "tools[{n}]: property names must match the pattern ^[a-zA-Z0-9_.-]{{1,64}}$",
        "Property keys should match pattern '^[a-zA-Z0-9_.-]{{1,64}}$'",
    ],
)
async def test_a_tool_with_a_key_that_is_refused_is_left_out_alone(key: str, deep: bool, words: str) -> None:
    def answer(request: Request) -> Reply:
        names = [tool["name"] for tool in request.json["tools"]]
        if "k__odd" in names:
            return api_error(400, words.format(n=names.index("k__odd")))
        return responds(message("done"))

    receipt, requests = await ask(answer, {"k": with_key(key, deep=deep)})
    assert receipt["output_text"] == "done"
    offered = [[tool["name"] for tool in request.json["tools"]] for request in requests]
    assert offered == [["k__good", "k__odd", "read_output"], ["k__good", "read_output"]]
    assert receipt["notices"][0]["message"].startswith("k__odd was left out of the tools")


if __name__ == "__main__":
    sys.stdout.write(render() + "\n")
