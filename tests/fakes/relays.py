"""Relays and local servers as they are known to be: what each refuses and in which words, and how it answers.

None of them was asked; the sources are their documentation, their code and public issues, as in `bridge/upstream`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.faults import as_chat
from tests.fakes.items import Json, call, message, reasoning
from tests.fakes.legality import find_faults
from tests.fakes.upstream import Reply, Request, api_error, http_error, responds

ANSWER = "一个 pixel, and 7 😀"
GO_ON, LAST_ANSWER = "And 5 and 6?", "11, 再见"
Refuse = Callable[[Json], Reply | None]


@dataclass(frozen=True)
class Relay:
    """`requests` are those of the conversation's three turns where the preset is named, and where it is not."""

    preset: str
    refuses: tuple[Refuse, ...] = ()
    replies: Callable[[list[Json]], Reply] = lambda items: responds(*items)
    requests: tuple[int, int] = (3, 3)
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """That it wants to see."""

    def answer(self, request: Request) -> Reply:
        """Its reply to a request of the conversation: by how many calls have been answered."""
        return self.refuse(request) or self.replies(turns()[_find_turn(request.json)])

    def greet(self, request: Request) -> Reply:
        """Its reply to a request that needs no tool."""
        return self.refuse(request) or self.replies([message(ANSWER)])

    def refuse(self, request: Request) -> Reply | None:
        """Its refusal of what it does not bear, or of a request that lacks what it demands."""
        if any(request.headers.get(name) != value for name, value in self.headers.items()):
            return api_error(401, "Access denied due to invalid subscription key")
        body = request.json
        refusals = (refuse(body) for refuse in self.refuses)
        return next((refusal for refusal in refusals if refusal), None)


def _find_turn(body: Json) -> int:
    """Which turn it is. Every call has its output, or the API would refuse the request."""
    made = [item["call_id"] for item in body["input"] if item.get("type") == "function_call"]
    answered = [item["call_id"] for item in body["input"] if item.get("type") == "function_call_output"]
    assert sorted(made) == sorted(answered), "a call without an output, or an output without a call"
    goes_on = any(item.get("content") == GO_ON for item in body["input"])
    return {0: 0, 2: 1, 3: 3 if goes_on else 2, 4: 4}[len(answered)]


def turns() -> list[list[Json]]:
    """A thought and two calls at once, one of which comes to an image; one more; the answer. Then, in a second run that
    goes on from it, another call and the last answer."""
    thought = reasoning("hm", encrypted="gAAAA")
    return [
        [thought, call("image__draw", call_id="call_1"), call("c__add", {"a": 1, "b": 2}, call_id="call_2")],
        [call("c__add", {"a": 3, "b": 4}, call_id="call_3")],
        [message(ANSWER)],
        [call("c__add", {"a": 5, "b": 6}, call_id="call_4")],
        [message(LAST_ANSWER)],
    ]


def refuses(name: str, *words: str) -> Refuse:
    """A parameter, whatever its value."""
    said = words[0] if words else f"Unsupported parameter: {name}"
    return lambda body: http_error(400, {"detail": said}) if name in body else None


def needs(name: str, value: Any, words: str) -> Refuse:
    """One value of a parameter, and no other."""
    return lambda body: None if body.get(name) == value else http_error(400, {"detail": words})


def _needs_instructions(body: Json) -> Reply | None:
    return None if body.get("instructions") else http_error(400, {"detail": "Instructions are required"})


def _needs_a_list(body: Json) -> Reply | None:
    return None if isinstance(body["input"], list) else http_error(400, {"detail": "Input must be a list"})


def _takes_no_system_messages(body: Json) -> Reply | None:
    if any(item.get("role") == "system" for item in body["input"]):
        return http_error(400, {"detail": "System messages are not allowed"})
    return None


def _knows_no_response(body: Json) -> Reply | None:
    if "previous_response_id" in body:
        return api_error(404, "Response not found", type="not_found_error")
    return None


def _stores(body: Json) -> Reply | None:
    error: Json = {"code": 400, "message": "store: Invalid literal value, expected false", "metadata": {}}
    return http_error(400, {"error": error}) if body.get("store") else None


def _lists_outputs(body: Json) -> Reply | None:
    lists = any(isinstance(item.get("output"), list) for item in body["input"])
    return api_error(400, "'output' of a tool call must be a string") if lists else None


def _takes_no_images(body: Json) -> Reply | None:
    return api_error(400, "this model does not support image input") if "input_image" in str(body["input"]) else None


def _wants_the_system_first(body: Json) -> Reply | None:
    late = any(item.get("role") in ("developer", "system") for item in body["input"])
    words = "Jinja Exception: System message must be at the beginning."
    return http_error(500, {"error": {"code": 500, "message": words, "type": "server_error"}}) if late else None


def _knows_no_developer(body: Json) -> Reply | None:
    if any(item.get("role") == "developer" for item in body["input"]):
        return api_error(400, "Unexpected message role.")
    return None


def _asks_another_account(body: Json) -> Reply | None:
    if any(item.get("type") == "reasoning" for item in body["input"]):
        words = "The encrypted content gAAA... could not be verified. (request id: 20261122)"
        return api_error(400, words, type="new_api_error", code="invalid_encrypted_content")
    return None


def _makes_other_ids(body: Json) -> Reply | None:
    if any("id" in item for item in body["input"] if item.get("type") == "function_call"):
        return api_error(400, "Invalid 'input[3].id': 'call_1'. Expected an ID that begins with 'fc'.")
    return None


def _extra(name: str) -> Refuse:
    detail = [{"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted", "input": 1}]
    return lambda body: http_error(422, {"detail": detail}) if name in body else None


def _keeps_to_the_documentation(body: Json) -> Reply | None:
    found = next(find_faults(body), None)
    return api_error(400, found[1], param="input") if found else None


def _takes_no_pictures_at_all(body: Json) -> Reply | None:
    words = "At most 0 image(s) may be provided in one prompt."
    return api_error(400, words, type="BadRequestError") if "input_image" in str(body["input"]) else None


def _wants_outputs_behind_their_calls(body: Json) -> Reply | None:
    """As Anthropic's API: the outputs of all calls that were made at once follow at once."""
    waiting: list[str] = []
    for item in body["input"]:
        if item.get("type") == "function_call":
            waiting.append(item["call_id"])
        elif item.get("type") == "function_call_output" and item["call_id"] in waiting:
            waiting.remove(item["call_id"])
        elif waiting:
            words = "`tool_use` ids were found without `tool_result` blocks immediately after"
            return api_error(400, f"messages.1: {words}: {waiting[0]}")
    return None


def _knows_no_signature(body: Json) -> Reply | None:
    if any(item.get("type") == "reasoning" for item in body["input"]):
        return api_error(400, "messages.1.content.0: Invalid `encrypted_content`: it could not be verified")
    return None


def without_ids(items: list[Json]) -> Reply:
    return responds(*({key: value for key, value in item.items() if key != "id"} for item in items))


CODEX: tuple[Refuse, ...] = (
    _needs_instructions,
    _needs_a_list,
    _takes_no_system_messages,
    needs("store", False, "Store must be set to false"),
    needs("stream", True, "Stream must be set to true"),
    refuses("max_output_tokens"),
    refuses("previous_response_id"),
)

RELAYS: dict[str, Relay] = {
    "OpenAI": Relay("openai"),
    "Azure": Relay("azure", headers={"api-key": "sk-1"}),
    "Codex backend": Relay("codex", CODEX, requests=(3, 6)),
    "OpenRouter": Relay(
        "openrouter",
        (_stores,),
        lambda items: responds(*items, events=lambda events: [": OPENROUTER PROCESSING\n\n", *events]),
        (3, 4),
    ),
    "vLLM": Relay("vllm", (_extra("metadata"),), requests=(4, 4)),
    "Ollama": Relay("ollama", (refuses("truncation"),), requests=(3, 4)),
    "LM Studio": Relay("lmstudio", (_takes_no_images,), requests=(4, 4)),
    "llama.cpp": Relay("llama.cpp", (_wants_the_system_first, _lists_outputs), without_ids, (3, 7)),
    "a local template": Relay("litellm", (_knows_no_developer,), requests=(4, 4)),
    "new-api over several accounts": Relay("new-api", (_asks_another_account,), requests=(4, 4)),
    "a pool of Codex accounts": Relay(
        "codex",
        (*CODEX, _makes_other_ids),
        requests=(4, 7),
    ),
    "xAI": Relay("xai", (refuses("service_tier"),), requests=(3, 4)),
    "Upstage": Relay("upstage", (_stores,), requests=(3, 4)),
    "Bedrock": Relay("bedrock", (refuses("background"),)),
    "DashScope": Relay("dashscope", (_takes_no_images,), requests=(4, 4)),
    "DeepSeek": Relay("deepseek", (_stores, refuses("previous_response_id")), requests=(3, 4)),
    "DigitalOcean": Relay("digitalocean", (_knows_no_response,)),
    "Furiosa": Relay("furiosa", (_knows_no_response,)),
    "Groq": Relay("groq", (refuses("previous_response_id"), refuses("service_tier")), requests=(4, 4)),
    "Hugging Face": Relay("huggingface", (refuses("previous_response_id"),), without_ids),
    "one-api over several accounts": Relay("one-api", (_asks_another_account,), requests=(4, 4)),
    "Sarvam": Relay("sarvam", (_stores, refuses("previous_response_id")), requests=(3, 4)),
    "Together": Relay("together", (refuses("previous_response_id"),)),
    "strict as OpenAI's documentation": Relay("auto", (_keeps_to_the_documentation,)),
    "strict as vLLM": Relay(
        "vllm",
        (_extra("metadata"), _extra("prompt"), _knows_no_developer, _takes_no_pictures_at_all, _knows_no_response),
        without_ids,
        (6, 6),
    ),
    "strict as a relay to Anthropic": Relay(
        "auto",
        (
            _keeps_to_the_documentation,
            _wants_outputs_behind_their_calls,
            _knows_no_signature,
            _wants_the_system_first,
            refuses("truncation", "truncation: Extra inputs are not permitted"),
            _knows_no_response,
        ),
        requests=(8, 8),
    ),
    "a relay of chat completions": Relay("auto", (), as_chat),
    "a relay that only streams": Relay("auto", (), lambda items: responds(*items, as_sse=True)),
    "a relay that never streams": Relay("auto", (), lambda items: responds(*items, as_json=True)),
}
