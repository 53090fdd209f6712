"""The MCP server on stdin and stdout, until the host closes them."""

import anyio

from bridge.host.server import BridgeServer
from bridge.jsonrpc.pipes import open_pipes


async def serve_stdio(server: BridgeServer, source: int, sink: int, *, message_bytes: int) -> OSError | None:
    """Serve one host on two descriptors; return at the end of `source`, once the requests before it are answered.

    Returns why `sink` could not be written to, if that is not because the host has gone.
    """
    faults = list[OSError]()
    async with (
        open_pipes(
            "the host",
            source,
            sink,
            limit=message_bytes,
            on_end=lambda: None,
            answer_bad=True,
            on_fault=faults.append,
        ) as (incoming, outgoing),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(server.tell_changes)
        await server.run(incoming, outgoing, server.create_initialization_options())
        tasks.cancel_scope.cancel()
    return faults[0] if faults else None
