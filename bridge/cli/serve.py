"""`serve`: be an MCP server, for the host that started this process or for clients on the network."""

import argparse
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from bridge.children import Child, end_on_signals, start_child
from bridge.cli.codes import COMPLETED, INTERRUPTED
from bridge.stdio import claim_stdio

if TYPE_CHECKING:
    import anyio

    from bridge.app import Bridge
    from bridge.settings import Config


def serve(options: argparse.Namespace) -> int:
    """Serve until the host closes stdin or a signal comes; no child is left behind.

    The order matters: the descriptors are taken before anything could write to them, signals are caught before the
    first child is started, and the children boot while the large imports run.
    """
    pipes = claim_stdio() if options.transport == "stdio" else None
    end_on_signals()
    from bridge.cli.setup import set_up

    config, redact = set_up(options)
    face = _prepare_stdio(*pipes, config) if pipes else _prepare_http(options, config)
    children = _start_children(config)
    import anyio

    from bridge.app import Bridge

    async def run() -> int:
        bridge = Bridge(config, environ=os.environ, offline=options.offline, children=children, redact=redact)
        stop, code = anyio.Event(), COMPLETED

        async def watch_signals() -> None:
            nonlocal code
            with anyio.open_signal_receiver(*_ending_signals()) as signals:
                async for number in signals:
                    code = INTERRUPTED if number == signal.SIGINT else COMPLETED
                    stop.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch_signals)
            async with bridge:
                await face(bridge, stop)
            tasks.cancel_scope.cancel()
        return code

    return anyio.run(run)


Face = Callable[["Bridge", "anyio.Event"], Awaitable[None]]
"""Serves until its clients are done or the event is set."""


def _prepare_stdio(source: int, sink: int, config: "Config") -> Face:
    async def face(bridge: "Bridge", stop: "anyio.Event") -> None:
        import anyio

        from bridge.host.stdio import serve_stdio

        async def cancel_on_stop() -> None:
            await stop.wait()
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cancel_on_stop)
            await serve_stdio(bridge.server, source, sink, message_bytes=config.limits.message_bytes)
            tasks.cancel_scope.cancel()

    return face


def _prepare_http(options: argparse.Namespace, config: "Config") -> Face:
    """Everything that can be refused is refused here, before a child is started."""
    from bridge.clock import Clock
    from bridge.host.http import listen, serve_http

    listening = listen(config.serve, no_auth=options.no_auth)

    async def face(bridge: "Bridge", stop: "anyio.Event") -> None:
        sys.stderr.write(f"Serving on {listening.url} (and /sse)\n")
        await serve_http(bridge.server, listening, Clock(), stop)

    return face


def _start_children(config: "Config") -> dict[str, Child]:
    children: dict[str, Child] = {}
    for server in config.servers:
        if server.command:
            with suppress(OSError):  # its member tries again, and then has somebody to tell
                children[server.key] = start_child(server.command, server.args, server.env, server.cwd, os.environ)
    return children


def _ending_signals() -> list[signal.Signals]:
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    return [getattr(signal, name) for name in names if hasattr(signal, name)]
