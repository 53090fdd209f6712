"""Output items and usage, as the API writes them."""

import itertools
import json
from typing import Any

Json = dict[str, Any]

_ids = itertools.count(1)


def new_id(kind: str) -> str:
    """An id that no other item of this process has: `fc_...`, `call_...`, `resp_...`."""
    return f"{kind}_{next(_ids):032x}"


def message(text: str, **fields: Any) -> Json:
    """An assistant's message; `fields` replace or add to it."""
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    item = {"type": "message", "id": new_id("msg"), "status": "completed", "role": "assistant", "content": [part]}
    return item | fields


def call(name: str, arguments: Json | str | None = None, *, call_id: str | None = None, **fields: Any) -> Json:
    """A function call; `arguments` as a dict or, to be exact or wrong, as the text itself."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)
    item = {"type": "function_call", "id": new_id("fc"), "status": "completed", "name": name, "arguments": text}
    return item | {"call_id": call_id or new_id("call")} | fields


def example_calls() -> list[Json]:
    """The four calls that the example request leads to."""
    return [
        call("random_generator", {"min": 1, "max": 100, "count": 3}),
        call("system_info", {}),
        call("math_calculator", {"operation": "add", "a": 123.5, "b": 456.7}),
        call("current_time", {}),
    ]


def reasoning(summary: str = "", *, encrypted: str | None = None, **fields: Any) -> Json:
    """A reasoning item, with a summary or a sealed content or both."""
    parts = [{"type": "summary_text", "text": summary}] if summary else []
    sealed: Json = {} if encrypted is None else {"encrypted_content": encrypted}
    return {"type": "reasoning", "id": new_id("rs"), "summary": parts} | sealed | fields


def tokens(input_tokens: int, output_tokens: int, *, cached: int = 0, thought: int = 0) -> Json:
    """A `usage` object."""
    return {
        "input_tokens": input_tokens,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": output_tokens,
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": input_tokens + output_tokens,
    }
