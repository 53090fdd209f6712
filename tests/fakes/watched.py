"""A service that people look at: two who use it under their names, and an operator."""

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.app import Bridge
from bridge.clock import Clock
from tests.fakes.bridges import Servers, open_without_host
from tests.fakes.browser import Browser, browser
from tests.fakes.httphost import http_host
from tests.fakes.items import Json
from tests.fakes.service import Reply, Served, connect, serving
from tests.fakes.upstream import ScriptedUpstream, message, responds

ANN, BOB, OLE = "anns-own-token-of-the-tests", "bobs-own-token-of-the-tests", "oles-own-token-of-the-tests"
PEOPLE: Mapping[str, Json] = {"ann": {"token": ANN}, "bob": {"token": BOB}, "ole": {"token": OLE, "operator": True}}


@dataclass
class Watched:
    """The service, and what is behind it."""

    served: Served
    bridge: Bridge
    upstream: ScriptedUpstream

    def host(self, token: str, mode: Any = "auto", **options: Any) -> Any:
        """An MCP client of somebody's."""
        return connect(self.served.port, "/mcp", mode, token=token, **options)

    def slow_host(self, token: str, **options: Any) -> Any:
        """A host that need not wait for its calls."""
        return http_host(self.served.port, "auto", token=token, **options)

    def browser(self, token: str | None = None) -> Any:
        """A browser, signed in where it has a token."""
        return browser(self.served.port, token)

    async def ask(self, token: str, input: str = "Hello", **arguments: Any) -> Json:
        """One whole run of somebody's: its result."""
        async with self.host(token) as client:
            result = await client.call_tool("respond", {"input": input, **arguments})
            return result.structured_content or {}

    async def send(self, method: str, path: str, *headers: tuple[str, str], body: bytes = b"") -> Reply:
        """A request with exactly these headers, and the right Host."""
        return await self.served.send(method, path, [self.served.right[0], *headers], body)


def answer(_: Any) -> Any:
    return responds(message("The answer."))


@asynccontextmanager
async def watched(
    model: Any = answer,
    servers: Servers | None = None,
    *,
    people: Mapping[str, Json] = PEOPLE,
    clock: Clock | None = None,
    state: Path | None = None,
    no_auth: bool = False,
    hosts: Sequence[str] = (),
    **sections: Any,
) -> AsyncIterator[Watched]:
    """The service. Without `people` there is the one token for all; `hosts` are further names that it is known by."""
    environ = {**os.environ, **({"MCP_RESPONSES_BRIDGE_STATE": str(state)} if state else {})}
    serve: Json = {"principals": dict(people)} if people and not no_auth else {}
    serve |= {"allowed_hosts": list(hosts)}
    async with (
        ScriptedUpstream(model) as upstream,
        open_without_host(
            upstream, servers, environ=environ, clock=clock, is_service=True, serve=serve, **sections
        ) as bridge,
        serving(bridge, environ=environ, clock=clock, no_auth=no_auth, **serve) as served,
    ):
        yield Watched(served, bridge, upstream)


__all__ = ["ANN", "BOB", "OLE", "PEOPLE", "Browser", "Watched", "watched"]
