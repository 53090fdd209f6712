"""`serve`: be an MCP server for the host that started this process."""

import argparse
import os
import signal
from contextlib import suppress

from bridge.children import Child, end_on_signals, start_child
from bridge.stdio import claim_stdio


def serve(options: argparse.Namespace) -> int:
    """Serve on stdio until the host closes stdin or a signal comes; no child is left behind.

    The order matters: the descriptors are taken before anything could write to them, signals are caught before the
    first child is started, and the children boot while the large imports run.
    """
    source, sink = claim_stdio()
    end_on_signals()
    from bridge.cli.setup import set_up
    from bridge.config import Config

    config, redact = set_up(options)

    def start_early(config: Config) -> dict[str, Child]:
        children: dict[str, Child] = {}
        for server in config.servers:
            if server.command:
                with suppress(OSError):  # its member tries again, and then has somebody to tell
                    children[server.key] = start_child(server.command, server.args, server.env, server.cwd, os.environ)
        return children

    children = start_early(config)
    import anyio

    from bridge.app import Bridge
    from bridge.host.stdio import serve_stdio

    async def run() -> int:
        code = 0
        bridge = Bridge(config, environ=os.environ, offline=options.offline, children=children, redact=redact)

        async def watch_signals() -> None:
            nonlocal code
            with anyio.open_signal_receiver(*_ending_signals()) as signals:
                async for number in signals:
                    code = 130 if number == signal.SIGINT else 0
                    tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch_signals)
            async with bridge:
                await serve_stdio(bridge.server, source, sink, message_bytes=config.limits.message_bytes)
            tasks.cancel_scope.cancel()
        return code

    return anyio.run(run)


def _ending_signals() -> list[signal.Signals]:
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    return [getattr(signal, name) for name in names if hasattr(signal, name)]
