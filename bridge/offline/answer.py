"""Answers a request: the calls its last user message asks for, else words made from the outputs of those calls."""

import re

from bridge.items import Json, JsonObject
from bridge.offline.checks import objects
from bridge.offline.rules import plan
from bridge.offline.wire import function_call, message, plain

_ENGLISH = (
    "I am not a language model but the embedded rule-based upstream.",
    "The tools answered:",
    "No offered tool fits this request, so I called none.",
)
_CHINESE = ("我不是语言模型，而是内置的规则上游。", "各工具的结果：", "没有合适的工具可用，所以我没有调用任何工具。")


def answer(body: JsonObject, tools: list[JsonObject], history: list[JsonObject]) -> list[JsonObject]:
    """The output items: function calls while there is something to call, then one message."""
    asked = max((i for i, item in enumerate(history) if item.get("role") == "user"), default=-1)
    question, later = plain(history[asked].get("content")) if history else "", history[asked + 1 :]
    offered, forced = _offered(tools, body.get("tool_choice"))
    done = sum(item.get("type") == "function_call" for item in later)
    calls = plan(question, offered, forced=forced)
    if body.get("parallel_tool_calls") is False:
        calls = calls[done : done + 1]
    elif done:
        calls = []
    return [function_call(call.name, call.arguments) for call in calls] or [message(_compose(question, later))]


def _offered(tools: list[JsonObject], choice: Json) -> tuple[list[JsonObject], bool]:
    """The functions that `tool_choice` leaves, and whether one of them has to be called."""
    functions = [tool for tool in tools if tool.get("type") == "function"]
    if not isinstance(choice, dict):
        return [] if choice == "none" else functions, choice == "required"
    names = [one.get("name") for one in objects(choice.get("tools", choice), "tool_choice")]
    return [tool for tool in functions if tool["name"] in names], choice.get("mode", "required") == "required"


def _compose(question: str, later: list[JsonObject]) -> str:
    who, answered, nothing = _CHINESE if re.search(r"[\u3400-\u9fff]", question) else _ENGLISH
    names = {item.get("call_id"): item.get("name") for item in later if item.get("type") == "function_call"}
    outputs = [item for item in later if item.get("type") == "function_call_output"]
    told = [(names.get(str(item.get("call_id"))), plain(item.get("output")).split()) for item in outputs]
    lines = [f"- {name}: {' '.join(output)}" for name, output in told]
    return "\n".join((who, answered, *lines) if lines else (who, nothing))
