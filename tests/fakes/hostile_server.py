"""An MCP server all of whose words are hostile: `python hostile_server.py TEXTS.json [dies=N | asks]`.

TEXTS.json is a list of texts. Each is the name, title and description of a tool, which gives it back as progress, as a
log line, on stderr, and then as its result: in turn as a text, as a tool's error, as an error of the protocol, and as
structured content. `dies=N`: text N is the last that it says, on stderr. `asks`: each call asks the user first, in that
text and with a form of it.
"""

import json
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

asked: "dict[object, dict[str, Any]]" = {}
"""Calls that wait for the answer to a question, by the id of that."""


def main(file: str, mode: str = "") -> None:
    with open(file, encoding="utf-8") as opened:  # noqa: PTH123  pathlib costs start-up time
        texts: list[str] = json.load(opened)
    if mode.startswith("dies="):
        say_on_stderr(f"Error: {texts[int(mode[5:])]}")
        sys.exit(1)
    for line in sys.stdin:
        message = json.loads(line)
        if "method" in message and "id" in message:
            answer(message, texts, mode)
        elif message.get("id") in asked:
            finish(asked.pop(message["id"]), texts)


def answer(message: "dict[str, Any]", texts: "list[str]", mode: str) -> None:
    match message["method"]:
        case "initialize":
            capabilities: dict[str, Any] = {"tools": {}, "logging": {}}
            info = {"name": texts[0], "version": texts[1]}
            reply(message, {"protocolVersion": "2025-11-25", "capabilities": capabilities, "serverInfo": info})
        case "tools/list":
            reply(message, {"tools": [describe(text) for text in texts]})
        case "tools/call":
            call(message, texts, mode)
        case _:
            send({"id": message["id"], "error": {"code": -32601, "message": texts[2]}})


def describe(text: str) -> "dict[str, Any]":
    properties = {"text": {"type": "string", "description": text}}
    schema = {"type": "object", "properties": properties, "description": text}
    return {"name": text, "title": text, "description": text, "inputSchema": schema}


def call(message: "dict[str, Any]", texts: "list[str]", mode: str) -> None:
    params = message["params"]
    text = params["name"]
    if token := params.get("_meta", {}).get("progressToken"):
        notify("progress", {"progressToken": token, "progress": 1, "message": text})
    notify("message", {"level": "error", "logger": text, "data": text})
    say_on_stderr(text)
    if mode == "asks":
        form = {"type": "object", "properties": {"a": {"type": "string", "title": text, "description": text}}}
        asked[question := f"q{message['id']}"] = message
        send({"id": question, "method": "elicitation/create", "params": ask(text, form)})
    else:
        finish(message, texts)


def finish(message: "dict[str, Any]", texts: "list[str]") -> None:
    text = message["params"]["name"]
    content = [{"type": "text", "text": text}]
    number = texts.index(text) % 4 if text in texts else 2
    if number == 2:
        send({"id": message["id"], "error": {"code": -32050, "message": text}})
    else:
        structured: dict[str, Any] = {"structuredContent": {text: text}} if number == 3 else {}
        reply(message, {"content": content, "isError": number == 1, **structured})


def ask(text: str, form: "dict[str, Any]") -> "dict[str, Any]":
    return {"mode": "form", "message": text, "requestedSchema": form}


def notify(event: str, params: "dict[str, Any]") -> None:
    send({"method": f"notifications/{event}", "params": params})


def reply(message: "dict[str, Any]", result: "dict[str, Any]") -> None:
    send({"id": message["id"], "result": result})


def send(message: "dict[str, Any]") -> None:
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)  # noqa: T201


def say_on_stderr(text: str) -> None:
    sys.stderr.buffer.write(text.encode("utf-8", "surrogatepass") + b"\n")
    sys.stderr.buffer.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
