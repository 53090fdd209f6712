"""More tools than a request may carry: it begins with the most useful ones, and the model finds the rest."""

import functools
import json
from typing import Any

import jsonschema_rs
import pytest
from mcp.server.mcpserver import MCPServer
from openai.types.responses import NamespaceToolParam, ToolSearchToolParam
from pydantic import TypeAdapter

from bridge.json_text import encode
from bridge.texts import estimate_tokens
from tests.fakes.bridges import ask, open_bridge, outputs_of
from tests.fakes.upstream import Request, call, message, responds
from tests.search.generated import SYSTEMS, generate_tools

pytestmark = pytest.mark.anyio

DONE = responds(message("done"))
SMALL: dict[str, Any] = {"max_tools": 20}
FIRST = {"first": 2}


def office(*systems: str) -> dict[str, MCPServer]:
    """Servers of the generated systems, all by default; every tool answers with its name."""
    return {system: build_server(system) for system in systems or SYSTEMS}


@functools.cache
def build_server(system: str) -> MCPServer:
    server = MCPServer(system)
    for tool in generate_tools(system):
        server.add_tool(answer_with(tool["name"]), name=tool["name"], description=tool["description"])
    return server


def answer_with(name: str) -> Any:
    def answer(id: str = "") -> str:
        return f"{name} {id}"

    return answer


def names(request: Request) -> list[str]:
    return [tool.get("name", tool["type"]) for tool in request.json["tools"]]


def notices(receipt: dict[str, Any], code: str) -> list[str]:
    return [notice["message"] for notice in receipt["notices"] if notice["code"] == code]


async def test_wishes_that_are_none_are_refused_in_few_words() -> None:
    wishes: list[Any] = ["x" * 10_000, 5, None]
    script = [responds(*(call("find_tools", {"query": wish}) for wish in wishes)), DONE]
    _, (_, again) = await ask(script, office("erp"), {"input": "Hello"}, limits=SMALL, tool_search=FIRST)
    told = [json.loads(output)["message"] for output in outputs_of(again)]
    assert [words.partition(": ")[0] for words in told] == ["query"] * 3
    assert max(map(len, told)) < 700


async def test_its_schema_is_compiled_for_one_run_at_the_most(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[Any] = []
    compile_schema = jsonschema_rs.validator_for

    def note(schema: Any, **options: Any) -> Any:
        compiled.extend(schema.get("properties", ()))
        return compile_schema(schema, **options)

    monkeypatch.setattr(jsonschema_rs, "validator_for", note)
    for _ in range(3):
        script = [responds(call("find_tools", {"query": "create an invoice"})), DONE]
        _, (_, again) = await ask(script, office("erp"), {"input": "Hello"}, limits=SMALL, tool_search=FIRST)
        assert "create_invoice" in outputs_of(again)[0]
    assert compiled.count("query") <= 1


@pytest.mark.rule("R13")
async def test_a_request_over_the_limit_carries_what_fits_the_input_and_a_way_to_the_rest() -> None:
    receipt, (asked,) = await ask(
        [DONE], office(), {"input": "Create an invoice for Ana"}, limits=SMALL, tool_search=FIRST
    )
    assert names(asked)[:2] == ["read_output", "find_tools"]
    assert "erp__create_invoice" in names(asked)
    assert len(names(asked)) == 4
    assert notices(receipt, "tools_searched")[0].startswith(
        "4 tools are offered at first, the model reaches 184 more with find_tools"
    )


async def test_tools_over_the_token_limit_are_searched_too() -> None:
    _, (asked,) = await ask([DONE], office("erp"), {"input": "invoices"}, limits={"tool_tokens": 800})
    assert "find_tools" in names(asked)
    assert sum(estimate_tokens(encode(tool)) for tool in asked.json["tools"]) <= 800


async def test_within_the_limits_everything_is_carried_and_nothing_said() -> None:
    receipt, (asked,) = await ask([DONE], office("erp"))
    assert len(names(asked)) == 25
    assert "find_tools" not in names(asked)
    assert receipt["notices"] == []


@pytest.mark.rule("R13")
async def test_found_tools_join_behind_all_others_and_stay_where_they_are() -> None:
    script = [
        responds(
            call("find_tools", {"query": "cancel the hotel reservation"}),
            call("find_tools", {"query": "list drivers"}),
        ),
        responds(call("hotel__delete_reservation", {"id": "7"})),
        responds(call("find_tools", {"query": "list all drivers"})),
        DONE,
    ]
    receipt, requests = await ask(script, office(), {"input": "invoices"}, limits={"max_tools": 30}, tool_search=FIRST)
    first, second, third, fourth = [[*map(json.dumps, request.json["tools"])] for request in requests]
    assert len(first) < len(second) == len(third) == len(fourth)
    assert second[: len(first)] == first
    assert second == third == fourth
    assert {"hotel__delete_reservation", "fleet__list_drivers"} <= {*names(requests[1])}
    assert outputs_of(requests[2])[-1] == "delete_reservation 7"
    assert {made["server"] for made in receipt["tool_calls"]} == {"bridge", "hotel"}
    assert len(set(names(requests[3]))) == len(names(requests[3]))


async def test_an_answer_names_the_tools_with_their_arguments_best_first() -> None:
    script = [responds(call("find_tools", {"query": "create an invoice"})), DONE]
    _, (_, asked) = await ask(script, office(), limits=SMALL)
    head, best, *_ = outputs_of(asked)[0].split("\n")
    assert head == "You can call these from now on, the best fit first:"
    assert best == "- erp__create_invoice(id?): Creates a invoice and returns its id"


async def test_where_nothing_fits_the_model_is_told_what_there_is() -> None:
    script = [responds(call("find_tools", {"query": "juggle with burning torches"})), DONE]
    receipt, (first, second) = await ask(script, office("erp", "bank"), limits=SMALL, tool_search=FIRST)
    assert outputs_of(second)[0] == (
        "No tool fits 'juggle with burning torches'. Connected are: erp (24), bank (18). Try other words, or go on "
        "without a tool."
    )
    assert names(first) == names(second)
    assert not receipt["tool_calls"][0]["is_error"]


async def test_where_nothing_clearly_fits_the_nearest_are_named_and_come_when_they_are_asked_for_by_name() -> None:
    script = [
        responds(call("find_tools", {"query": "the owner of the black cabriolet says an invoice is wrong somehow"})),
        responds(call("find_tools", {"names": ["update_invoice", "erp__get_invoice", "erp/no_invoice"]})),
        DONE,
    ]
    receipt, (first, second, third) = await ask(script, office(), limits=SMALL, tool_search=FIRST)
    named, offered = outputs_of(third)
    head, *lines = named.split("\n")
    assert head.startswith("Nothing clearly fits")
    assert len(lines) == 6
    assert any(line.startswith("- erp__update_invoice (erp): ") for line in lines)
    assert max(map(len, lines[:5])) < 120
    assert estimate_tokens(named) < 260
    assert names(second) == names(first)
    assert offered.split("\n")[1:3] == [
        "- erp__update_invoice(id?): Changes some fields of a invoice",
        "- erp__get_invoice(id?): Returns one invoice with all of its fields",
    ]
    assert "There is no tool 'erp/no_invoice'; similar: " in offered
    assert {*names(third)} - {*names(second)} == {"erp__update_invoice", "erp__get_invoice"}
    assert not any(made["is_error"] for made in receipt["tool_calls"])


async def test_a_search_for_nothing_is_told_what_it_needs() -> None:
    script = [responds(call("find_tools", {}), call("find_tools", {"query": " ", "names": []})), DONE]
    _, (_, again) = await ask(script, office("erp"), limits=SMALL, tool_search=FIRST)
    told = [json.loads(output)["message"] for output in outputs_of(again)]
    assert told == ["nothing to find: say what is to be done in `query`, or name tools in `names`"] * 2


async def test_all_names_are_in_front_as_far_as_they_are_cheap_and_are_the_same_in_every_run() -> None:
    runs = [await ask([DONE], office(), {"input": text}, limits=SMALL) for text in ("invoices", "my leave request")]
    first, second = (asked.json["tools"][1]["description"] for _, (asked,) in runs)
    assert first == second
    assert "All of them: erp: list_invoices, search_invoices, get_invoice" in first
    assert sum(name in first for name in ("get_student", "delete_video_clip", "create_room_rate")) == 3


async def test_more_names_than_that_are_told_by_server_with_what_they_are_about() -> None:
    _, (asked,) = await ask([DONE], office(), limits=SMALL, tool_search={**FIRST, "names_tokens": 100})
    described = asked.json["tools"][1]["description"]
    assert "They are of these servers: erp (24: invoice, " in described
    assert "bank (18: transfer, credit, card, loan)" in described
    assert "list_invoices" not in described


async def test_a_hidden_tool_that_is_called_by_its_exact_name_is_run_and_offered_from_then_on() -> None:
    script = [responds(call("school__get_student", {"id": "3"})), DONE]
    _, (first, second) = await ask(script, office(), {"input": "hello"}, limits=SMALL)
    assert "school__get_student" not in names(first)
    assert outputs_of(second) == ["get_student 3"]
    assert names(second) == [*names(first), "school__get_student"]


async def test_what_is_pinned_named_in_full_forced_or_called_before_is_always_carried() -> None:
    called = {"type": "function_call", "call_id": "c", "name": "bank__get_credit_card", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c", "output": "none"}
    arguments = {
        "input": [called, output, {"role": "user", "content": "hello"}],
        "tools": ["*", "fleet__list_drivers"],
        "tool_choice": {"type": "function", "name": "hr__get_payslip"},
    }
    _, (asked,) = await ask([DONE], office(), arguments, limits=SMALL, tool_search={"pinned": ["clinic__*_patient"]})
    patients = [f"clinic__{verb}_patient" for verb in ("get", "create", "update", "delete")]
    fixed = {*patients, "bank__get_credit_card", "fleet__list_drivers", "hr__get_payslip"}
    assert {*names(asked)} == {*fixed, "read_output", "find_tools"}


async def test_the_search_stays_within_the_callers_choice() -> None:
    script = [responds(call("find_tools", {"query": "create an invoice"}), call("erp__create_invoice")), DONE]
    arguments = {"input": "hello", "tools": ["bank__*", "hr__*"]}
    _, (_, asked) = await ask(script, office(), arguments, limits=SMALL)
    found, called = outputs_of(asked)
    assert "erp" not in found
    assert "unknown_tool" in called


async def test_what_there_is_no_room_for_is_named_and_can_still_be_called() -> None:
    script = [
        responds(call("find_tools", {"query": "delete the student"})),
        responds(call("school__delete_student", {"id": "3"})),
        DONE,
    ]
    limits = {"max_tools": 2}
    receipt, requests = await ask(script, office(), {"input": "hello"}, limits=limits)
    assert [len(names(request)) for request in requests] == [2, 2, 2]
    assert outputs_of(requests[2])[-1] == "delete_student 3"
    assert "school__delete_student" in notices(receipt, "tools_full")[0]
    assert "limits.max_tools" in notices(receipt, "tools_full")[0]


async def test_an_upstream_with_a_search_of_its_own_gets_all_tools_deferred() -> None:
    answered = {**call("erp__create_invoice", {"id": "9"}), "namespace": "erp"}
    script = [responds(answered), DONE]
    settings = {"hosted": True, "pinned": ["hr__get_employee"]}
    receipt, (first, second) = await ask(script, office(), limits=SMALL, tool_search=settings)
    assert names(first)[:3] == ["hr__get_employee", "read_output", "erp"]
    assert names(first)[-1] == "tool_search"
    for tool in first.json["tools"][2:-1]:
        TypeAdapter(NamespaceToolParam).validate_python(tool)
        assert all(function["defer_loading"] for function in tool["tools"])
    TypeAdapter(ToolSearchToolParam).validate_python(first.json["tools"][-1])
    assert sum(len(tool.get("tools", [])) for tool in first.json["tools"]) == 185
    assert first.json["tools"] == second.json["tools"]
    assert second.json["input"][1]["namespace"] == "erp"
    assert outputs_of(second) == ["create_invoice 9"]
    assert notices(receipt, "tools_searched")


async def test_a_server_whose_tool_is_called_find_tools_keeps_it_under_another_name() -> None:
    server = MCPServer("plain")
    server.add_tool(answer_with("theirs"), name="find_tools", description="Find tools in the toolbox")
    script = [responds(call("find_tools", {"query": "find tools in the toolbox"})), DONE]
    async with open_bridge(
        {"plain": {"command": server, "prefix": False}, **office()}, script=script, limits=SMALL
    ) as bridge:
        await bridge.respond("hello")
    found = outputs_of(bridge.requests[1])[0]
    assert "find_tools_" in found


async def test_searches_are_the_same_in_every_run_over_the_same_tools() -> None:
    async with open_bridge(office(), script=[DONE, DONE], limits=SMALL) as bridge:
        await bridge.respond("list the suppliers")
        await bridge.respond("find a student")
    one, other = (request.json["tools"] for request in bridge.requests)
    assert one[:2] == other[:2]
    assert one[1]["name"] == "find_tools"
    assert one[2:] != other[2:]


async def test_each_sentence_of_a_message_brings_its_tools() -> None:
    text = "Create an invoice for Ana. Then cancel the hotel reservation!\n再搜索学生"
    _, (asked,) = await ask([DONE], office(), {"input": text}, limits=SMALL, tool_search={"first": 6})
    assert {"erp__create_invoice", "hotel__delete_reservation", "school__search_students"} <= {*names(asked)}
