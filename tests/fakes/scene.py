"""A whole bridge in this process: a host's client in front, a model that does as it is told, and servers behind it.

async with scene({"rogue": rogue("good")}) as bridge:
    outcome = await bridge.use(call("rogue__echo", {"text": "hello"}))
    assert outcome.outputs == ["hello"]
"""

import itertools
import json
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
from mcp import Client
from mcp.client.session import MessageHandlerFnT

from bridge.app import Bridge
from bridge.clock import Clock
from bridge.config.load import load
from bridge.config.settings import Config
from bridge.hub.health import State
from bridge.hub.member import Member
from bridge.items import OWN_NAMES
from bridge.questions import Ask, say_yes
from tests.fakes.clock import PATIENCE_S
from tests.fakes.upstream import Reply, Request, ScriptedUpstream, message, responds

Json = dict[str, Any]


def configure(servers: Mapping[str, Json], **sections: Any) -> Config:
    """The config of a file with these `mcpServers` and sections, read as any other."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "config.json")
        file.write_text(json.dumps({"mcpServers": servers, **sections}), encoding="utf-8")
        file.chmod(0o600)
        return load(file, environ={}).model_copy(update={"path": None})


async def until(condition: Callable[[], bool]) -> None:
    """Until it holds; TimeoutError after PATIENCE_S. For what no event tells of."""
    with anyio.fail_after(PATIENCE_S):
        while not condition():
            await anyio.lowlevel.checkpoint()


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


class Scene:
    """A bridge and its host. `requests` are what the upstream was sent, run after run."""

    def __init__(self, bridge: Bridge, client: Client, upstream: ScriptedUpstream, turns: dict[str, list[Any]]) -> None:
        self.bridge = bridge
        self.client = client
        self._upstream = upstream
        self._turns = turns
        self._numbers = itertools.count(1)

    @property
    def requests(self) -> list[Request]:
        return self._upstream.requests

    def member(self, key: str) -> Member:
        return next(member for member in self.bridge.hub.members if member.key == key)

    async def reached(self, key: str, state: State) -> None:
        """Until the server is in this state."""
        await until(lambda: self.member(key).state == state)

    async def use(self, *calls: Json, **arguments: Any) -> Outcome:
        """One run, in whose first turn the model makes these calls, and in whose second it answers."""
        return await self.run([calls] if calls else [], **arguments)

    async def run(self, turns: Sequence[Sequence[Json]], **arguments: Any) -> Outcome:
        """One run, in which the model makes these calls turn by turn, and then answers."""
        prompt = f"run {next(self._numbers)}"
        self._turns[prompt] = [*turns, []]
        result = await self.client.call_tool("respond", {"input": prompt, **arguments})
        receipt = result.structured_content
        assert receipt is not None
        requests = [request.json for request in self.requests if _prompt_of(request) == prompt]
        outputs = [item["output"] for item in requests[-1]["input"] if "output" in item] if requests else []
        tools = [tool["name"] for tool in requests[0].get("tools", [])] if requests else []
        offered = [name for name in tools if name not in OWN_NAMES]
        return Outcome(outputs, receipt, offered)


@asynccontextmanager
async def scene(
    servers: Mapping[str, Json],
    *,
    clock: Clock | None = None,
    ask: Ask = say_yes,
    builtin_tools: bool = False,
    hear: MessageHandlerFnT | None = None,
    mode: str = "auto",
    environ: Mapping[str, str] = os.environ,
    **sections: Any,
) -> AsyncIterator[Scene]:
    """A bridge with these `mcpServers`, and other sections of the config file by name."""
    turns: dict[str, list[Any]] = {}

    def answer(request: Request) -> Reply:
        planned = turns.get(_prompt_of(request))
        calls = planned.pop(0) if planned else []
        return responds(*calls) if calls else responds(message("done"))

    async with ScriptedUpstream(answer) as upstream:
        sections = {"upstream": {"base_url": upstream.base_url, "model": "m", "stream": "never"}, **sections}
        config = configure(servers, builtin_tools=builtin_tools, **sections)
        async with (
            Bridge(config, environ=environ, clock=clock, ask=ask) as bridge,
            Client(bridge.server, mode=mode, message_handler=hear) as client,
        ):
            yield Scene(bridge, client, upstream, turns)
        assert not upstream.errors, upstream.errors


def _prompt_of(request: Request) -> str:
    asked = request.json["input"]
    return asked if isinstance(asked, str) else str(asked[0]["content"])
