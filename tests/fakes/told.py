"""A model that does as it is told: the prompt is the list of calls to make, the answer is what they came to."""

import json
from collections.abc import Mapping
from typing import Any

import anyio
from mcp import Client

from tests.fakes.upstream import Reply, Request, call, hang, message, responds

Told = tuple[str, Mapping[str, Any]]
"""A call: the model name of a tool, and arguments."""

SILENCE = "silence"
"""The prompt that is never answered."""


def do_as_told(request: Request) -> Reply:
    """For `ScriptedUpstream`; for any number of runs at once, as it remembers nothing."""
    items = request.json["input"]
    outputs = [item["output"] for item in items if item.get("type") == "function_call_output"]
    if outputs:
        return responds(message(json.dumps(outputs)))
    [prompt] = [item["content"] for item in items if item.get("role") == "user"]
    text = prompt if isinstance(prompt, str) else prompt[0]["text"]
    return hang() if text == SILENCE else responds(*(call(name, arguments) for name, arguments in json.loads(text)))


async def tell(client: Client, *calls: Told, started: anyio.Event | None = None) -> list[Any]:
    """The outputs of these calls, made in one turn of one run; `started` is set once one of them is on its way."""

    async def note(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001
        if started and "→" in (message or ""):
            started.set()

    result = await client.call_tool("respond", {"input": json.dumps(calls)}, progress_callback=note)
    assert result.structured_content
    assert not result.is_error, result.structured_content
    outputs: list[Any] = json.loads(result.structured_content["output_text"])
    return outputs
