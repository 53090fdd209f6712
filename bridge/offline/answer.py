"""Answers a request: the calls its last user message asks for, else words made from the outputs of those calls."""

import re

from bridge.items import Json, JsonObject
from bridge.offline.rules import Call, best, plan
from bridge.offline.wire import function_call, message

_READ = 4000
"""Characters of a question that the rules read: they cost more than linear time."""

_WORDS = {
    False: (
        "I am not a language model but the embedded rule-based upstream.",
        "The tools answered:",
        "No offered tool fits this request, so I called none.",
    ),
    True: ("我不是语言模型,而是内置的规则上游。", "各工具的结果:", "没有合适的工具可用,所以我没有调用任何工具。"),
}


def answer(body: JsonObject, tools: list[JsonObject], history: list[JsonObject]) -> list[JsonObject]:
    """The output items: function calls while there is something to call, then one message."""
    asked = max((i for i, item in enumerate(history) if item.get("role") == "user"), default=-1)
    question, later = _text(history[asked].get("content")) if history else "", history[asked + 1 :]
    calls = _calls(body, question, tools, sum(item.get("type") == "function_call" for item in later))
    return [function_call(call.name, call.arguments) for call in calls] or [message(_compose(question, later))]


def _calls(body: JsonObject, question: str, tools: list[JsonObject], done: int) -> list[Call]:
    offered, forced = _offered(tools, body.get("tool_choice"))
    calls = plan(question[:_READ], offered)
    serial = body.get("parallel_tool_calls") is False
    calls = calls[done : done + 1] if serial else calls[: 0 if done else None]
    return calls or ([best(question[:_READ], offered)] if forced and offered else [])


def _offered(tools: list[JsonObject], choice: Json) -> tuple[list[JsonObject], bool]:
    """The functions that `tool_choice` leaves, and whether one of them has to be called."""
    functions = [tool for tool in tools if tool.get("type") == "function"]
    if choice == "none":
        return [], False
    if not isinstance(choice, dict) or choice.get("type") not in ("function", "allowed_tools"):
        return functions, choice == "required"
    allowed = choice.get("tools", [choice])
    names = [one.get("name") for one in allowed if isinstance(one, dict)] if isinstance(allowed, list) else []
    return [tool for tool in functions if tool["name"] in names], choice.get("mode", "required") == "required"


def _compose(question: str, later: list[JsonObject]) -> str:
    who, answered, nothing = _WORDS[bool(re.search(r"[\u3400-\u9fff]", question))]
    names = {str(item.get("call_id")): item.get("name") for item in later if item.get("type") == "function_call"}
    outputs = [item for item in later if item.get("type") == "function_call_output"]
    told = [(names.get(str(item.get("call_id"))), _text(item.get("output")).split()) for item in outputs]
    lines = [f"- {name}: {' '.join(output)}" for name, output in told]
    return "\n".join((who, answered, *lines) if lines else (who, nothing))


def _text(content: Json) -> str:
    """The text of a message's or an output's content; parts that are not text are named."""
    if not isinstance(content, list):
        return str(content or "")
    return "\n".join(str(part.get("text", f"[{part.get('type')}]")) for part in content if isinstance(part, dict))
