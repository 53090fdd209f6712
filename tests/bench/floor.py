"""The floor: the requests and `tools/call` messages of a bridge with nothing in between.

Bodies are built beforehand, replies are not parsed, the calls are hard-coded, through `mcp.Client` over stdio.
`python -m tests.bench.floor BASE_URL WORKLOAD SERVER...` is one run in a process of its own.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import httpx2
from mcp import Client, StdioServerParameters, types

from tests.bench.workloads import BY_KEY, Workload, build_function

Hear = Callable[[bytes], object]
LIMITS = httpx2.Limits(max_connections=None, max_keepalive_connections=64)
HEADERS = {"Content-Type": "application/json"}


class Floor:
    """One HTTP client, one MCP client, and the bodies of each workload."""

    def __init__(self, url: str, http: httpx2.AsyncClient, client: Client, tools: list[types.Tool]) -> None:
        self._url, self._http, self._client = url, http, client
        functions = [build_function(tool.name, tool.description, tool.input_schema) for tool in tools]
        self._bodies = {key: workload.build_bodies(functions) for key, workload in BY_KEY.items()}

    async def run(self, workload: Workload, hear: Hear | None = None) -> None:
        """One run; `hear` gets each chunk of a reply."""
        *turns, last = self._bodies[workload.key]
        for body in turns:
            await self._post(body, hear or len)
            await asyncio.gather(*(self._client.call_tool(name, arguments) for name, arguments in workload.calls))
        await self._post(last, hear or len)

    async def _post(self, body: bytes, hear: Hear) -> None:
        async with self._http.stream("POST", self._url, content=body, headers=HEADERS) as reply:
            async for chunk in reply.aiter_raw():
                hear(chunk)


@asynccontextmanager
async def open_floor(base_url: str, *servers: StdioServerParameters) -> AsyncIterator[Floor]:
    """A floor whose calls go to the first of `servers`; all are connected, one after the other."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Client(server)) for server in servers]
        http = await stack.enter_async_context(httpx2.AsyncClient(limits=LIMITS))
        yield Floor(f"{base_url}/responses", http, clients[0], (await clients[0].list_tools()).tools)


async def _main(base_url: str, key: str, *scripts: str) -> None:
    async with open_floor(base_url, *(StdioServerParameters(command=sys.executable, args=[s]) for s in scripts)) as it:
        await it.run(BY_KEY[key])


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
