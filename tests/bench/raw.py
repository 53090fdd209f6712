"""A client of `/mcp` that writes its own requests: a thousand of the SDK's would measure themselves."""

import asyncio
import json
from typing import Any

from mcp.client.client import ConnectMode

from tests.fakes.service import TOKEN

Json = dict[str, Any]
REVISIONS = {"auto": "2026-07-28", "legacy": "2025-11-25"}
INFO: Json = {"name": "raw", "version": "1"}
NOTHING: Json = {}
META: Json = {
    "_meta": {
        "io.modelcontextprotocol/protocolVersion": REVISIONS["auto"],
        "io.modelcontextprotocol/clientInfo": INFO,
        "io.modelcontextprotocol/clientCapabilities": NOTHING,
    }
}
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class RawClient:
    """One client. Each of its requests has a connection of its own."""

    def __init__(self, port: int, mode: ConnectMode) -> None:
        self._port = port
        self._mode = mode
        self._session = ""
        self._stream: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> "RawClient":
        if self._mode == "legacy":
            hello = {"protocolVersion": REVISIONS["legacy"], "capabilities": NOTHING, "clientInfo": INFO}
            await self._post({"id": 0, "method": "initialize", "params": hello})
            await self._post({"method": "notifications/initialized"})
            _, self._stream = await self._send("GET", b"")  # as the SDKs do, for news
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._stream:
            self._stream.close()

    async def call(self, name: str, arguments: Json) -> Json:
        """Call a tool; its structured content."""
        params: Json = {"name": name, "arguments": arguments} | (META if self._mode == "auto" else {})
        answer = await self._post({"id": 1, "method": "tools/call", "params": params}, name)
        content: Json = answer["result"]["structuredContent"]
        return content

    async def begin(self, arguments: Json) -> asyncio.StreamWriter:
        """Call `respond`, and leave the answer to whoever wants it."""
        params: Json = {"name": "respond", "arguments": arguments} | META
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
        _, writer = await self._send("POST", body, "respond")
        return writer

    async def _post(self, message: Json, tool: str = "") -> Json:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        reader, writer = await self._send("POST", body, tool)
        try:
            head, _, answer = (await reader.read()).partition(b"\r\n\r\n")
        finally:
            writer.close()
        for line in head.decode().split("\r\n"):
            name, _, value = line.partition(": ")
            if name.lower() == "mcp-session-id":
                self._session = value
        return read_answer(answer)

    async def _send(
        self, method: str, body: bytes, tool: str = ""
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        headers = {
            "Host": f"127.0.0.1:{self._port}",
            "Authorization": f"Bearer {TOKEN}",
            "Accept": "application/json, text/event-stream",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "MCP-Protocol-Version": REVISIONS[self._mode],
            "Connection": "close",
        }
        if self._session:
            headers["Mcp-Session-Id"] = self._session
        if tool and self._mode == "auto":
            headers |= {"Mcp-Method": "tools/call", "Mcp-Name": tool}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 20)
        writer.write(f"{method} /mcp HTTP/1.1\r\n{head}\r\n".encode() + body)
        return reader, writer


def read_answer(body: bytes) -> Json:
    """The message with an answer in a whole body: JSON, or events, in chunks or not; nothing where there is none."""
    for line in body.splitlines():
        found = line.removeprefix(b"data: ")
        if found.startswith(b"{"):
            answer: Json = json.loads(found)
            if "result" in answer or "error" in answer:
                return answer
    return {}
