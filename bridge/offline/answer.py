"""Answers a request: with the calls that its last user message asks for, then with a text of their outputs."""

import re

from bridge.json_text import JsonObject
from bridge.offline.rules import plan
from bridge.offline.wire import Refused, Request, Tool, build_function_call, build_message, read_text

_WHO = ("I am not a language model but the embedded rule-based upstream.", "我不是语言模型，而是内置的规则上游。")
_RESULTS = ("The tools answered:", "各工具的结果：")
_IDLE = ("No offered tool fits this request, so I called none.", "没有合适的工具可用，所以我没有调用任何工具。")


def answer(request: Request, history: list[JsonObject]) -> list[JsonObject]:
    """Return the output items: function calls while there is something to call, then one message."""
    last = max((index for index, item in enumerate(history) if item.get("role") == "user"), default=0)
    question, later = read_text(history[last].get("content")) if history else "", history[last:]
    done = sum(item.get("type") == "function_call" for item in later)
    end = done + 1 if request.parallel_tool_calls is False else None
    calls = plan(question, *_choose_tools(request))[done:end]
    return [build_function_call(*call) for call in calls] or [build_message(_compose(question, history, later))]


def _choose_tools(request: Request) -> tuple[list[Tool], bool]:
    """Return the functions that `tool_choice` allows, and whether one of them must be called."""
    functions, choice = [tool for tool in request.offered if tool.type == "function"], request.tool_choice or "auto"
    if isinstance(choice, str):
        return [] if choice == "none" else functions, choice == "required"
    named = choice.get("tools", [choice])
    names = [one.get("name") for one in named if isinstance(one, dict)] if isinstance(named, list) else []
    if not any(tool.name in names for tool in functions):
        raise Refused(f"Tool choice '{choice.get('type')}' not found in 'tools' parameter.", "tool_choice", None)
    return [tool for tool in functions if tool.name in names], choice.get("mode", "required") == "required"


def _compose(question: str, history: list[JsonObject], later: list[JsonObject]) -> str:
    who, results, idle = (texts[bool(re.search("[\u3400-\u9fff]", question))] for texts in (_WHO, _RESULTS, _IDLE))
    names = {str(item.get("call_id")): item.get("name") for item in history if item.get("type") == "function_call"}
    outputs = [item for item in later if item.get("type") == "function_call_output"]
    lines = [f"- {names[str(item['call_id'])]}: {' '.join(read_text(item.get('output')).split())}" for item in outputs]
    return "\n".join((who, results, *lines) if lines else (who, idle))
