"""Good inputs of each door, to be spoilt."""

from typing import Any

from tests.fakes.events import lifecycle
from tests.fakes.items import call, message, reasoning, tokens

Json = dict[str, Any]

ID = 987654321
"""The id of a sample reply, in whose place the right one is written."""
META = "io.modelcontextprotocol/"
MODERN: Json = {
    META + "protocolVersion": "2026-07-28",
    META + "clientInfo": {"name": "h", "version": "1"},
    META + "clientCapabilities": {},
}
INITIALIZE: Json = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"elicitation": {}},
    "clientInfo": {"name": "h", "version": "1"},
}
RESPOND: Json = {
    "input": "What is 2 + 3?",
    "instructions": "Be brief",
    "tools": ["math_*", "current_time"],
    "tool_choice": "auto",
    "max_turns": 2,
    "metadata": {"a": "b", "n": 1},
    "text": {"format": {"type": "text"}},
    "detail": "full",
    "extra": {"top_p": 0.5, "include": []},
}
ITEMS: list[Json] = [
    {"role": "user", "content": [{"type": "input_text", "text": "What time is it?"}]},
    {"type": "function_call", "call_id": "c1", "name": "current_time", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c1", "output": "noon"},
]


def _request(method: str, params: Json | None = None) -> Json:
    return {"jsonrpc": "2.0", "id": 5, "method": method, **({} if params is None else {"params": params})}


def _told(method: str, params: Json) -> Json:
    return {"jsonrpc": "2.0", "method": f"notifications/{method}", "params": params}


def _call(name: str, arguments: Json, **more: Any) -> Json:
    return _request("tools/call", {"name": name, "arguments": arguments, **more})


REQUESTS: list[Any] = [
    _request("initialize", INITIALIZE),
    _request("server/discover", {"_meta": MODERN}),
    _request("ping"),
    _request("tools/list", {}),
    _request("tools/list", {"cursor": "a", "_meta": MODERN}),
    _call("respond", RESPOND),
    _call("respond", {"input": ITEMS}, _meta={"progressToken": 7}),
    _call("respond", {"input": "What is 6 * 7?"}, _meta=MODERN),
    _call("respond", {"input": "Go on", "run_id": "run_1", "previous_response_id": "resp_1"}),
    _call("respond_wait", {"run_id": "run_1", "timeout_s": 1}),
    _call("respond_cancel", {"run_id": "run_1"}),
    _request("logging/setLevel", {"level": "error"}),
    _request("resources/list", {}),
    _request("prompts/get", {"name": "x", "arguments": {"a": "b"}}),
    _request(
        "completion/complete", {"ref": {"type": "ref/prompt", "name": "x"}, "argument": {"name": "a", "value": ""}}
    ),
    _request("subscriptions/listen", {"notifications": {"toolsListChanged": True}, "_meta": MODERN}),
    _told("initialized", {}),
    _told("cancelled", {"requestId": 5, "reason": "timed out"}),
    _told("progress", {"progressToken": 7, "progress": 1, "total": 2}),
    {"jsonrpc": "2.0", "id": 1, "result": {"action": "accept", "content": {"decision": "yes"}}},
    {"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "Method not found", "data": {"a": [1]}}},
    [_request("ping"), _request("tools/list", {})],
]
"""What a host says."""

CONFIGS: list[Any] = [
    {
        "upstream": {
            "base_url": "http://127.0.0.1:1/v1",
            "api_key": "${env:KEY:-sk-none}",
            "model": "m",
            "headers": {"X-A": "b"},
            "query": {"api-version": "1"},
            "stream": "auto",
            "idle_timeout_s": 5,
            "max_retries": 1,
            "defaults": {"temperature": 0.5},
            "drop": ["truncation"],
            "profile": "auto",
        },
        "mcpServers": {
            "git": {
                "command": "uvx",
                "args": ["mcp-server-git", "--repository", "/r"],
                "env": {"TOKEN": "${HOME}", "N": "1"},
                "cwd": "/tmp",
                "tools": {"allow": ["git_add"], "ask": ["git_commit"], "deny": ["git_*"], "strict": []},
                "require_approval": "writes",
                "serial": True,
                "call_timeout_s": 5,
                "protocol": "2025-11-25",
            },
            "web": {"type": "http", "url": "https://example.com/mcp?k=v", "headers": {"Authorization": "Bearer x"}},
        },
    },
    {
        "servers": {
            "a": {"type": "stdio", "command": "x", "env": {"T": "${input:token}"}},
            "b": {"url": "http://h/sse"},
        },
        "inputs": [{"id": "token", "type": "promptString", "default": "d", "password": True}],
        "limits": {"max_turns": 3, "timeout_s": 60.5, "tokens": 1000, "cost": 0.5, "output_bytes": 4096},
        "tool_search": {"pinned": ["git__*"], "first": 3, "found": 2, "hosted": False},
        "prices": {"m": {"input": 1, "cached_input": 0.1, "output": 2}},
        "serve": {"host": "127.0.0.1", "port": 0, "token": "a-token", "allowed_hosts": ["h:1"], "allowed_origins": []},
        "builtin_tools": False,
        "input_roots": ["~/files"],
    },
    {"mcpServers": {}},
]
"""What a config file says."""

RESPONSE: Json = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1756108120,
    "status": "completed",
    "error": None,
    "incomplete_details": None,
    "model": "gpt-4.1",
    "output": [
        reasoning("I add."),
        message("The sum is being computed."),
        call("math_calculator", {"operation": "add", "a": 2, "b": 3}),
        call("current_time", {}),
        message("Done \U0001f600."),
    ],
    "usage": tokens(10, 5),
    "tools": [],
}
CHAT: Json = {
    "id": "chatcmpl_1",
    "object": "chat.completion",
    "model": "m",
    "choices": [
        {
            "index": 0,
            "finish_reason": "tool_calls",
            "message": {
                "role": "assistant",
                "content": "Hi",
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "current_time", "arguments": "{}"}},
                ],
            },
        }
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
}
EVENTS: list[Json] = [event for event in lifecycle(RESPONSE) if isinstance(event, dict)]
BODIES: list[Any] = [RESPONSE, RESPONSE, CHAT, EVENTS[-1]]
"""What an upstream says."""
REFUSALS: list[Any] = [
    {
        "error": {
            "message": "Unknown parameter: 'top_p'.",
            "type": "invalid_request_error",
            "param": "top_p",
            "code": "x",
        }
    },
    {"error": {"message": "Rate limit reached. Try again in 2s.", "type": "rate_limit", "code": "rate_limit_exceeded"}},
    {"error": "the model is overloaded", "status": 503},
    {"detail": [{"loc": ["body", "input", 0], "msg": "field required", "type": "missing"}]},
    {"message": "This model's maximum context length is 4096 tokens", "code": 400},
]
"""What an upstream says of what it refuses."""


def _reply(result: Json) -> Json:
    return {"jsonrpc": "2.0", "id": ID, "result": result}


REPLIES: list[Any] = [
    _reply({"content": [{"type": "text", "text": "hello"}], "isError": False}),
    _reply({"content": [{"type": "text", "text": "5"}], "structuredContent": {"sum": 5, "parts": [2, 3]}}),
    _reply({"content": [{"type": "image", "data": "iVBORw0KGgo=", "mimeType": "image/png"}], "_meta": {"a": 1}}),
    _reply(
        {"content": [{"type": "resource", "resource": {"uri": "file:///a", "text": "a", "mimeType": "text/plain"}}]}
    ),
    _reply({"content": [{"type": "resource_link", "uri": "file:///a", "name": "a", "size": 3}], "isError": True}),
    _reply({"content": [{"type": "audio", "data": "AAAA", "mimeType": "audio/wav", "annotations": {"priority": 0.5}}]}),
    {"jsonrpc": "2.0", "id": ID, "error": {"code": -32602, "message": "wrong", "data": {"field": ["a"]}}},
    _told("progress", {"progressToken": ID, "progress": 0.5, "total": 1, "message": "half"}),
    _told("message", {"level": "info", "logger": "x", "data": {"said": ["hello"]}}),
    _told("tools/list_changed", {}),
    _told("cancelled", {"requestId": 1}),
    _request("ping"),
    _request("roots/list", {}),
    _request("sampling/createMessage", {"messages": [{"role": "user", "content": {"type": "text", "text": "a"}}]}),
    _request("elicitation/create", {"message": "Which?", "requestedSchema": {"type": "object", "properties": {}}}),
    [_reply({"content": []}), _told("message", {"level": "info", "data": 1})],
]
"""What a connected server says."""
