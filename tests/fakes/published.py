"""An MCP server with the tools of one that is published: `python published.py FILE`, a file of tests/data/published.

Standard library only, so that seven of them are up in no time. None of its tools can be called.
"""

import json
import sys
from pathlib import Path
from typing import Any


def answer(request: dict[str, Any], tools: list[dict[str, Any]]) -> dict[str, Any]:
    match request["method"]:
        case "initialize":
            version = request["params"]["protocolVersion"]
            info = {"name": "published", "version": "1"}
            return {"result": {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}}
        case "tools/list":
            return {"result": {"tools": tools}}
        case "ping":
            return {"result": {}}
        case method:
            return {"error": {"code": -32601, "message": f"Method not found: {method}"}}


def main() -> None:
    tools = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["tools"]
    for line in sys.stdin.buffer:
        request = json.loads(line)
        if "id" in request:
            reply = {"jsonrpc": "2.0", "id": request["id"], **answer(request, tools)}
            sys.stdout.buffer.write(json.dumps(reply).encode() + b"\n")
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
