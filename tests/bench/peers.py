"""Libraries with a tool loop of their own as further arms, where they are installed: openai-agents and pydantic-ai.

They do more in a run than is asked here (traces, typed history): the ratio says what a run costs, not who is better.
"""

import importlib.util
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from tests.bench.arms import Arm
from tests.bench.floor import Hear
from tests.bench.workloads import Setup, Workload

MAX_TURNS = 20


@asynccontextmanager
async def open_peers(setup: Setup, base_url: str, script: list[str]) -> AsyncIterator[dict[str, Arm]]:
    """An arm for each that is installed, with a server of its own: Python with these arguments. None where text is
    streamed: what they make of a delta is another thing."""
    async with AsyncExitStack() as stack:
        found = [name for name in PEERS if setup != "sse" and importlib.util.find_spec(MODULES[name])]
        yield {name: await stack.enter_async_context(PEERS[name](base_url, script)) for name in found}


@asynccontextmanager
async def _open_agents(base_url: str, script: list[str]) -> AsyncIterator[Arm]:
    from agents import Agent, OpenAIResponsesModel, Runner, set_tracing_disabled
    from agents.mcp import MCPServerStdio
    from openai import AsyncOpenAI

    set_tracing_disabled(True)
    server = MCPServerStdio(
        {"command": sys.executable, "args": script}, cache_tools_list=True, client_session_timeout_seconds=60
    )
    async with AsyncOpenAI(base_url=base_url, api_key="none") as client, server:

        async def run(workload: Workload, hear: Hear | None = None) -> None:  # noqa: ARG001
            model = OpenAIResponsesModel(workload.key, client)
            agent = Agent(name="bench", model=model, mcp_servers=[server])
            await Runner.run(agent, _read_input(workload), max_turns=MAX_TURNS)

        yield run


@asynccontextmanager
async def _open_pydantic_ai(base_url: str, script: list[str]) -> AsyncIterator[Arm]:
    from openai import AsyncOpenAI
    from pydantic_ai import Agent
    from pydantic_ai.mcp import MCPToolset, StdioTransport
    from pydantic_ai.models.openai import OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider

    toolset = MCPToolset(StdioTransport(command=sys.executable, args=script))
    async with AsyncOpenAI(base_url=base_url, api_key="none") as client, toolset as tools:
        provider = OpenAIProvider(openai_client=client)

        async def run(workload: Workload, hear: Hear | None = None) -> None:  # noqa: ARG001
            model = OpenAIResponsesModel(workload.key, provider=provider)
            await Agent(model, toolsets=[tools]).run(_read_input(workload))

        yield run


PEERS: dict[str, Callable[[str, list[str]], AbstractAsyncContextManager[Arm]]] = {
    "openai-agents": _open_agents,
    "pydantic-ai": _open_pydantic_ai,
}
MODULES = {"openai-agents": "agents", "pydantic-ai": "pydantic_ai"}


def _read_input(workload: Workload) -> str:
    given = workload.arguments["input"]
    return given if isinstance(given, str) else str(given[-1]["content"])
