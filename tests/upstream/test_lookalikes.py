"""Refusals in the words of other ones: nothing is given up but what was refused."""

from typing import Any

import pytest

from tests.fakes.bridges import ask, outputs_of
from tests.fakes.items import Json
from tests.fakes.servers import image_server
from tests.fakes.upstream import Request, api_error, call, message, reasoning, responds

pytestmark = pytest.mark.anyio

DONE = responds(message("done"))
DRAW = responds(call("image__draw"))
THOUGHT = responds(reasoning("hm", encrypted="gAAAA"), call("image__draw"))


def kinds_of(request: Request) -> list[str]:
    items: list[Json] = request.json["input"]
    return [str(item.get("type", item.get("role"))) for item in items]


async def test_an_unknown_error_that_passes_does_not_cost_the_responses_that_the_upstream_keeps() -> None:
    tired = responds(status="failed", error={"code": "server_error", "message": "An unknown error occurred"})
    upstream = {"state": "previous_response_id", "max_retries": 1}
    receipt, requests = await ask([DRAW, tired, tired], {"image": image_server()}, upstream=upstream)
    assert (receipt["status"], receipt["error"]["code"]) == ("failed", "server_error")
    assert ["previous_response_id" in request.json for request in requests] == [False, True, True]


@pytest.mark.parametrize(
    "words",
    [
        "Invalid 'temperature': must be <= 1 for kimi-k2-thinking",
        "no healthy deployment for kimi-k2-thinking",
    ],
)
async def test_the_name_of_a_model_is_no_reason_to_leave_out_its_reasoning(words: str) -> None:
    upstream = {"model": "kimi-k2-thinking", "max_retries": 0}
    script = [THOUGHT, api_error(400, words)]
    receipt, requests = await ask(script, {"image": image_server()}, upstream=upstream)
    assert words in receipt["error"]["message"]
    assert ["reasoning" in kinds_of(request) for request in requests] == [False, True]


async def test_supported_values_include_is_not_about_the_parameter_include() -> None:
    words = "Invalid role: 'developer'. Supported values include 'system' and 'user'."
    arguments: dict[str, Any] = {"store": False, "input": [{"role": "developer", "content": "Be brief."}]}
    _, (refused, taken) = await ask([api_error(400, words), DONE], arguments=arguments)
    assert (kinds_of(refused), kinds_of(taken)) == (["developer"], ["system"])
    assert taken.json["include"] == refused.json["include"] == ["reasoning.encrypted_content"]


@pytest.mark.parametrize(
    "words",
    [
        "Invalid schema for function 'f': 'type' must be string, not array",
        "Invalid type for 'max_output_tokens': expected an integer, but got a string instead.",
    ],
)
async def test_strings_and_arrays_of_something_else_do_not_cost_the_pictures_in_outputs(words: str) -> None:
    receipt, requests = await ask([DRAW, api_error(400, words)], {"image": image_server()})
    assert words in receipt["error"]["message"]
    assert [type(output) for request in requests for output in outputs_of(request)] == [list]


async def test_a_limit_without_a_digit_is_no_number() -> None:
    receipt, _ = await ask([api_error(400, "context length limit: ,,,,")])
    assert receipt["incomplete_details"] == {"reason": "context"}
