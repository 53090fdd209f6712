"""`offline`: serves the embedded upstream on a port, for any client of the Responses API."""

import argparse
import sys

import anyio

from bridge.cli.exits import COMPLETED, watch_signals
from bridge.host.web_server import build_web, open_socket
from bridge.offline.app import build_app


def serve_offline(options: argparse.Namespace) -> int:
    """Serve until a signal arrives. Raises ConfigError if the port cannot be listened on."""
    listening = open_socket(options.host, options.port)
    host, port = listening.getsockname()[:2]
    sys.stderr.write(f"The embedded upstream: OPENAI_BASE_URL=http://{host}:{port}/v1 OPENAI_MODEL=offline\n")

    async def run() -> int:
        web, code = build_web(build_app()), COMPLETED

        def end(with_code: int) -> None:
            nonlocal code
            code = with_code
            web.should_exit = True

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch_signals, end)
            await web.serve([listening])
            tasks.cancel_scope.cancel()
        return code

    return anyio.run(run)
