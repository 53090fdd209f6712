"""A host on mcp 1.x, which asks a bridge to use each of its servers: `python host.py`, and a plan as JSON on stdin.

The plan: `{"hosts": [{"name", "revision", "url" | "command"}], "servers": [KEY, ...], "token", "env"}`. Prints
`[name, server, facts]` as JSON, a line each. Runs in an environment of its own (`.ci/peers`).
"""

import contextlib
import json
import re
import sys
from datetime import timedelta

import anyio
from mcp import ClientSession, McpError, StdioServerParameters, types
from mcp.client.sse import sse_client
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamablehttp_client

PATIENCE_S = 150
"""Longer than a server that changes its tools often is left alone before it is listed again, which is a minute."""


class OldHost:
    """One connection to a bridge."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.changed = anyio.Event()
        self.session: ClientSession

    async def hear(self, message) -> None:
        root = getattr(message, "root", None)
        if isinstance(root, types.ToolListChangedNotification):
            self.changed.set()
            self.changed = anyio.Event()

    async def ask(self, *calls):
        """What the calls came to, as the model heard it; and the lines of progress."""
        lines = []

        async def note(_progress, _total, message) -> None:
            lines.append(message)

        result = await self.session.call_tool("respond", {"input": json.dumps(calls)}, progress_callback=note)
        answer, *_ = result.content[0].text.split("\n[")  # notices follow
        return json.loads(answer), lines, result

    async def count_tools(self, key: str) -> int:
        [respond, *_] = (await self.session.list_tools()).tools
        found = re.search(re.escape(key) + r" \((\d+) tools\)", respond.description)
        return int(found[1]) if found else 0

    async def use(self, key: str) -> dict:
        """All that a host can do with one server."""
        outputs, lines, result = await self.ask(
            [f"{key}__echo", {"text": "hello"}], [f"{key}__draw", {}], [f"{key}__fail", {}], [f"{key}__steps", {}]
        )
        await self.give_up(key)
        [given_up], *_ = await self.ask([f"{key}__given_up", {"key": self.name}])
        return {
            "outputs": outputs,
            "heard of progress": any("on the way" in (line or "") for line in lines),
            "structured": result.structuredContent is not None,
            "given up": given_up,
            "heard of a change": await self.grow(key),
        }

    async def give_up(self, key: str) -> None:
        """Call `wait`, and cancel that once it has begun: mcp 1.x leaves the notification to its user."""
        calls = json.dumps([[f"{key}__{tool}", {"key": self.name}] for tool in ("wait", "waiting")])
        params = types.CallToolRequestParams(name="respond", arguments={"input": calls})
        request = types.ClientRequest(types.CallToolRequest(params=params))
        number = self.session._request_id

        async def cancel(_progress, _total, message) -> None:
            if f"✓ {key}__waiting" in (message or ""):  # a call that has not reached its server is not sent
                note = types.CancelledNotification(params=types.CancelledNotificationParams(requestId=number))
                await self.session.send_notification(types.ClientNotification(note))
                tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            await self.session.send_request(request, types.CallToolResult, progress_callback=cancel)

    async def grow(self, key: str) -> bool:
        before = await self.count_tools(key)
        changed = self.changed
        await self.ask([f"{key}__grow", {}])
        with anyio.fail_after(PATIENCE_S):
            while True:
                await changed.wait()
                changed = self.changed
                if await self.count_tools(key) > before:
                    return True


def connect(host: dict, plan: dict):
    headers = {"Authorization": f"Bearer {plan['token']}"}
    if "command" in host:
        return stdio_client(
            StdioServerParameters(command=host["command"][0], args=host["command"][1:], env=plan["env"])
        )
    if host["url"].endswith("/sse"):
        return sse_client(host["url"], headers=headers)
    return streamablehttp_client(host["url"], headers=headers)


async def visit(host: dict, plan: dict) -> None:
    types.LATEST_PROTOCOL_VERSION = host["revision"]
    old = OldHost(host["name"])
    async with (
        connect(host, plan) as (incoming, outgoing, *_),
        ClientSession(incoming, outgoing, timedelta(seconds=PATIENCE_S), message_handler=old.hear) as session,
    ):
        old.session = session
        agreed = (await session.initialize()).protocolVersion
        unknown = None
        try:
            await session.call_tool("unknown", {})
        except McpError as error:
            unknown = error.error.code

        async def report(key: str) -> None:
            facts = await old.use(key)
            facts |= {"revision": agreed, "unknown tool": unknown}
            print(json.dumps([host["name"], key, facts]), flush=True)  # noqa: T201

        async with anyio.create_task_group() as tasks:
            for key in plan["servers"]:
                tasks.start_soon(report, key)


async def main() -> None:
    plan = json.load(sys.stdin)
    for host in plan["hosts"]:
        with contextlib.suppress(BrokenPipeError):
            await visit(host, plan)


if __name__ == "__main__":
    anyio.run(main)
