"""A whole bridge in this process: a host's client in front, a model that does as it is told, and servers behind it.

async with open_bridge({"rogue": rogue("good")}) as bridge:
    outcome = await bridge.use(call("rogue__echo", {"text": "hello"}))
    assert outcome.outputs == ["hello"]

Where the model's own words matter, a script says what it answers, request by request:

async with open_bridge(script=[responds(message("Hi."))]) as bridge:
    receipt = await bridge.respond("Hello")
    assert bridge.requests[0].json["input"] == "Hello"

Servers and settings are those of a config file: `mcpServers` entries by key, and the other sections by name. In an
entry a server of this process may stand where `command` does, or in place of the whole entry: then none of its tools
needs a yes.
"""

import itertools
import json
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import httpx2
from mcp import Client
from mcp.client.client import ConnectMode
from mcp.client.session import MessageHandlerFnT
from mcp.types import CallToolResult, TextContent

from bridge.app import Bridge
from bridge.call_options import CallOptions
from bridge.cli.watchers import open_audit
from bridge.clock import Clock
from bridge.config.load import load
from bridge.config.settings import Config
from bridge.hub.catalogue import Catalogue
from bridge.hub.health import State
from bridge.hub.hub import Hub
from bridge.hub.member import InProcess, Member
from bridge.items import OWN_NAMES, Call, CallOutput
from bridge.questions import Ask, say_yes
from bridge.run.observers import Observer, Tracing
from bridge.run.store import choice as store
from bridge.telemetry import Redactor
from tests.fakes.audited import wanted
from tests.fakes.clock import until
from tests.fakes.forgetful import choose_engine
from tests.fakes.items import Json
from tests.fakes.upstream import Answer, Reply, Request, ScriptedUpstream, message, responds

ERAS: tuple[ConnectMode, ...] = ("auto", "legacy")
"""How a host may speak: the modern revision, and the handshake era's."""

Script = Sequence[Answer] | Callable[[Request], Reply]
Servers = Mapping[str, Json | InProcess]


def configure(servers: Mapping[str, Json], **sections: Any) -> Config:
    """The config of a file with these `mcpServers` and sections, read as any other."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "config.json")
        file.write_text(json.dumps({"mcpServers": servers, **sections}), encoding="utf-8")
        file.chmod(0o600)
        return load(file, environ={}).model_copy(update={"path": None})


@dataclass(frozen=True)
class Outcome:
    """What a run came to: `outputs` as the model read them, in call order, and `respond`'s own result."""

    outputs: list[Any]
    receipt: Json
    offered: list[str]
    """The model names of the tools of the first request, without the run's own."""

    @property
    def output(self) -> Any:
        """The only one; JSON is read."""
        [output] = self.outputs
        return json.loads(output) if isinstance(output, str) and output.startswith("{") else output

    @property
    def notices(self) -> list[str]:
        return [notice["message"] for notice in self.receipt["notices"]]


class OpenBridge:
    """A bridge between its host and its model. `requests` are what the model was sent, run after run; `server`
    is the bridge's MCP face."""

    def __init__(self, bridge: Bridge, client: Client, upstream: ScriptedUpstream, model: "_Model") -> None:
        self.hub = bridge.hub
        self.engine = bridge.engine
        self.server = bridge.server
        self.client = client
        self.upstream = upstream
        self._model = model
        self._numbers = itertools.count(1)

    @property
    def requests(self) -> list[Request]:
        return self.upstream.requests

    def member(self, key: str) -> Member:
        return next(member for member in self.hub.members if member.key == key)

    async def reached(self, key: str, state: State) -> None:
        """Until the server is in this state."""
        await until(lambda: self.member(key).state == state)

    async def respond(self, input: str | list[Json] = "Hello", **arguments: Any) -> Json:
        """What `respond` comes to: its structured content."""
        return await respond(self.client, input, **arguments)

    async def use(self, *calls: Json, **arguments: Any) -> Outcome:
        """One run, in whose first turn the model makes these calls, and in whose second it answers."""
        return await self.run([calls] if calls else [], **arguments)

    async def run(self, turns: Sequence[Sequence[Json]], **arguments: Any) -> Outcome:
        """One run, in which the model makes these calls turn by turn, and then answers."""
        prompt = f"run {next(self._numbers)}"
        self._model.turns[prompt] = [*turns, []]
        receipt = await self.respond(prompt, **arguments)
        requests = [request for request in self.requests if _prompt_of(request) == prompt]
        tools = [tool["name"] for tool in requests[0].json.get("tools", [])] if requests else []
        offered = [name for name in tools if name not in OWN_NAMES]
        return Outcome(outputs_of(requests[-1]) if requests else [], receipt, offered)


@asynccontextmanager
async def open_bridge(
    servers: Servers | None = None,
    *,
    script: Script | None = None,
    mode: ConnectMode = "auto",
    hear: MessageHandlerFnT | None = None,
    ask: Ask | None = say_yes,
    **options: Any,
) -> AsyncIterator[OpenBridge]:
    """A bridge with all its sides. Without a script the model makes the calls that `use` and `run` tell it; `mode` and
    `hear` are the host's era and what it does with notifications; `options` as for `open_without_host`."""
    model = _Model()
    async with (
        ScriptedUpstream(model.answer if script is None else script) as upstream,
        open_without_host(upstream, servers, ask=ask, **options) as bridge,
        Client(bridge.server, mode=mode, message_handler=hear) as client,
    ):
        yield OpenBridge(bridge, client, upstream, model)
    assert not upstream.errors, upstream.errors


@asynccontextmanager
async def open_without_host(
    model: ScriptedUpstream | None,
    servers: Servers | None = None,
    *,
    clock: Clock | None = None,
    ask: Ask | None = None,
    redact: Redactor | None = None,
    environ: Mapping[str, str] = os.environ,
    is_service: bool = False,
    observers: Sequence[Observer] = (),
    tracing: Tracing | None = None,
    transport: httpx2.AsyncBaseTransport | None = None,
    **sections: Any,
) -> AsyncIterator[Bridge]:
    """The bridge alone, for tests with a host of their own, or several. `sections` are those of the config file; an
    `upstream` among them is added to where the model is, and None is no upstream at all."""

    if wanted:
        sections["serve"] = {**sections.get("serve", {}), "audit": str(wanted[-1].file)}

    def assemble(**later: Any) -> Callable[..., Bridge]:
        given = {"servers": servers, **sections, **later}
        config, inside = _read(model, **given)
        return partial(
            Bridge,
            config,
            environ=environ,
            clock=clock,
            ask=ask,
            redact=redact,
            observers=[*observers, *wanted[-1:]],
            audit=open_audit(config, redact or Redactor()),
            in_process=inside,
            is_service=is_service,
            tracing=tracing,
            transport=transport,
        )

    build_engine = choose_engine(assemble)
    config, _ = _read(model, servers, **sections)
    if config.runs.store:
        build_engine = store.choose_engine(config, environ, default="memory", is_service=is_service)
    async with assemble()(build_engine=build_engine) as bridge:
        yield bridge


def _read(
    model: ScriptedUpstream | None, servers: Servers | None, **sections: Any
) -> tuple[Config, dict[str, InProcess]]:
    """The config with these servers and sections, and those of the servers that are of this process."""
    entries = {key: _entry(server) for key, server in (servers or {}).items()}
    inside = {key: entry["command"] for key, entry in entries.items() if not isinstance(entry.get("command", ""), str)}
    written = entries | {key: entries[key] | {"command": "in this process"} for key in inside}
    upstream = _upstream(model, sections.get("upstream", {}))
    return configure(written, **{"builtin_tools": False, **sections, "upstream": upstream}), inside


async def respond(client: Client, input: str | list[Json] = "Hello", **arguments: Any) -> Json:
    """What `respond` comes to: its structured content."""
    result = await client.call_tool("respond", {"input": input, **arguments})
    assert result.structured_content is not None
    assert result.is_error == (result.structured_content["status"] in ("failed", "cancelled"))
    return result.structured_content


async def ask(
    script: Script,
    servers: Servers | None = None,
    arguments: Mapping[str, Any] | None = None,
    **options: Any,
) -> tuple[Json, list[Request]]:
    """One `respond` call, with its arguments besides `input`: what it comes to, and the requests that were sent."""
    async with open_bridge(servers, script=script, **options) as bridge:
        receipt = await bridge.respond(**(arguments or {}))
        bridge.upstream.assert_complete()
    return receipt, bridge.requests


async def use_hub(hub: Hub, made: Call, terms: CallOptions, catalogue: Catalogue | None = None) -> CallOutput:
    """What one call comes to that no run makes; it is asked for by `terms.ask`."""
    send = await hub.prepare(catalogue or hub.snapshot(), made, terms.ask)
    return await send(terms) if callable(send) else send


def outputs_of(request: Request) -> list[Any]:
    """The call outputs in a request's input, in order."""
    return [item["output"] for item in request.json["input"] if str(item.get("type")).endswith("_call_output")]


def text_of(result: CallToolResult, index: int = 0) -> str:
    """A text that a host without structured content shows: 0 is the answer, 1 what is needed to go on from it."""
    return [block.text for block in result.content if isinstance(block, TextContent)][index]


class _Model:
    """Makes the calls that it was told, and then answers. `turns` are those to come, by the prompt of their run."""

    def __init__(self) -> None:
        self.turns: dict[str, list[Sequence[Json]]] = {}

    def answer(self, request: Request) -> Reply:
        planned = self.turns.get(_prompt_of(request))
        calls = planned.pop(0) if planned else []
        return responds(*calls) if calls else responds(message("done"))


def _prompt_of(request: Request) -> str:
    asked = request.json["input"]
    return asked if isinstance(asked, str) else str(asked[0]["content"])


def _entry(server: Json | InProcess) -> Json:
    if isinstance(server, Mapping):
        return cast(Json, server)
    return {"command": server, "require_approval": "never"}


def _upstream(model: ScriptedUpstream | None, section: Json | None) -> Json:
    if model is None or section is None:
        return section or {}
    return {"base_url": model.base_url, "model": "gpt-4.1", **section}
