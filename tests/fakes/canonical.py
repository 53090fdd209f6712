"""The canonical run: two servers are started and listed, a model calls each twice in each of two turns, and answers.

It is run once for every plan of faults; `judge` is the oracle that must have nothing to say afterwards.
"""

import asyncio
import json
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.lowlevel
import httpx2
from mcp import Client
from mcp.server.mcpserver import MCPServer
from mcp.types import ToolAnnotations

from bridge.app import Bridge
from bridge.cli.watchers import open_audit
from bridge.config.settings import Config, Limits, ServeConfig, ServerConfig, UpstreamConfig
from bridge.hub.transports.connect import Connectors
from bridge.telemetry import Redactor
from tests.fakes.audited import wanted
from tests.fakes.clock import VirtualClock
from tests.fakes.items import call, message, new_id, tokens
from tests.fakes.peers import DELAY_S, MemoryHttp, Peer, Trouble, start_peers

Json = dict[str, Any]
Plan = Callable[[int, str], Trouble | None]

TRANSPORTS: dict[str, Json] = {
    "stdio": {"command": "peer", "transport": "stdio", "protocol": "legacy"},
    "stdio modern": {"command": "peer", "transport": "stdio", "protocol": "2026-07-28"},
    "http": {"url": "http://{key}/mcp", "transport": "http", "protocol": "2026-07-28"},
    "http framed": {"url": "http://{key}/mcp", "transport": "http", "protocol": "legacy"},
    "sse": {"url": "http://{key}/sse", "transport": "sse", "protocol": "legacy"},
    "in process": {"command": "in this process", "transport": "stdio"},
}
LIMITS = Limits(soft_deadline_s=1000)
"""A host that waits for the end: what is told before it is tested elsewhere."""
CANARY = "canary-4f1c9a77"
LIMIT_S = 400.0
"""Virtual seconds for one run: two turns, each with a connect timeout, a call timeout and some backoff."""
END_S = 1.8
"""Virtual seconds for the end of the bridge: hosts kill it after two."""
RECOVERY_S = 260.0
"""Virtual seconds until all is well again: a start without end is given up after 120, and two may follow each other."""


@dataclass
class Report:
    """What happened: enough for the oracle to judge."""

    subject: Peer
    neighbour: Peer
    runs: list[Json] = field(default_factory=list[Json])
    """The results of `respond`."""
    asked: list[list[Json]] = field(default_factory=list[list[Json]])
    """By run, the input items of its last request."""
    took_s: list[float] = field(default_factory=list[float])
    states: list[str] = field(default_factory=list[str])
    end_s: float = 0
    leaks: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])

    @property
    def output_texts(self) -> list[dict[str, str]]:
        """By run, what the model read by the mark of the call."""
        return [
            {item["call_id"]: str(item["output"]) for item in items if item.get("type") == "function_call_output"}
            for items in self.asked
        ]


async def run_canonical(transport: str, plan: Plan) -> Report:
    """One run under the plan and one after it, on the same bridge, and its end."""
    clock = VirtualClock()
    peers = {
        "subject": Peer("subject", clock, find_modes(transport), plan),
        "neighbour": Peer("neighbour", clock, find_modes(transport)),
    }
    report = Report(peers["subject"], peers["neighbour"])
    tasks, fds = len(asyncio.all_tasks()), count_fds()
    async with open_hub(transport, peers, clock, report) as client:
        await _respond(client, clock, report, "first")
        with anyio.CancelScope():
            await _respond(client, clock, report, "second", rest_s=RECOVERY_S)
    for _ in range(20):
        await anyio.lowlevel.checkpoint()
    report.leaks |= {"tasks": (tasks, len(asyncio.all_tasks())), "descriptors": (fds, count_fds())}
    return report


@asynccontextmanager
async def open_hub(
    transport: str, peers: Mapping[str, Peer], clock: VirtualClock, report: Report
) -> AsyncIterator[Client]:
    """A host's client of a bridge with these peers behind it, and a scripted model in memory."""
    servers = tuple(describe_server(key, transport) for key in peers)
    config = Config(
        upstream=UpstreamConfig(base_url="http://up/v1", model="m", stream="never"), servers=servers, limits=LIMITS
    )
    serve = ServeConfig(audit=str(wanted[-1].file) if wanted else None)
    config = config.model_copy(update={"builtin_tools": False, "serve": serve})
    http = MemoryHttp(peers, framed=peers if transport == "http framed" else ())
    in_process = {key: build_server(peer) for key, peer in peers.items()} if transport == "in process" else {}
    bridge = Bridge(
        config,
        environ={},
        clock=clock,
        observers=wanted[-1:],
        audit=open_audit(config, Redactor()),
        transport=httpx2.MockTransport(lambda request: _play_model(request, report)),
        in_process=in_process,
        connectors=Connectors(start_peers(peers), http),
    )
    ended = anyio.Event()
    async with anyio.create_task_group() as tasks:
        async with bridge, Client(bridge.server) as client:
            yield client
            report.states = [member.state for member in bridge.hub.members]
            began = clock.now()
            tasks.start_soon(clock.drive, ended.is_set, began + LIMIT_S)
        ended.set()
    report.end_s = clock.now() - began
    report.leaks["streams"] = (0, http.open_streams)


async def _respond(client: Client, clock: VirtualClock, report: Report, prompt: str, *, rest_s: float = 0) -> None:
    """One `respond`, driven through virtual time; before it, time for the servers to come back."""
    began = clock.now()
    if rest_s:
        await clock.advance(rest_s)
        began = clock.now()
    results: list[Json] = []

    async def ask() -> None:
        result = await client.call_tool("respond", {"input": prompt})
        results.append(result.structured_content or {})

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await clock.drive(lambda: bool(results), began + LIMIT_S)
    report.runs += results
    report.took_s.append(clock.now() - began)


def describe_server(key: str, transport: str) -> ServerConfig:
    """The config of a peer over this transport."""
    entry = {name: str(value).format(key=key) for name, value in TRANSPORTS[transport].items()}
    return ServerConfig.model_validate({"key": key, "env": {"TOKEN": CANARY}, "require_approval": "never", **entry})


def find_modes(transport: str) -> dict[str, str]:
    """What a peer over this transport is told: the era it speaks."""
    return {"legacy": ""} if TRANSPORTS[transport].get("protocol") == "legacy" else {"good": ""}


def _play_model(request: httpx2.Request, report: Report) -> httpx2.Response:
    """Two turns of four calls, then an answer."""
    asked = json.loads(request.content)["input"]
    items = [{"type": "message", "content": asked}] if isinstance(asked, str) else asked
    prompt = items[0]["content"]
    turn = sum(item.get("type") == "function_call" for item in items) // 4 + 1
    if turn > 2:
        report.asked.append(items)
    output = [message("done")] if turn > 2 else [_call(prompt, turn, server, tool) for server, tool in CALLS]
    usage = tokens(1, 1)
    body = {"id": new_id("resp"), "object": "response", "status": "completed", "output": output, "usage": usage}
    return httpx2.Response(200, json=body)


CALLS = [("subject", "echo"), ("subject", "read"), ("neighbour", "echo"), ("neighbour", "read")]


def _call(prompt: str, turn: int, server: str, tool: str) -> Json:
    mark = f"{prompt}_{turn}_{server}_{tool}"
    return call(f"{server}__{tool}", {"text": mark}, call_id=mark)


def build_server(peer: Peer) -> MCPServer:
    """A peer in this process: of the faults those that code can have."""
    server = MCPServer(peer.key)

    async def answer(text: str) -> str:
        trouble = peer.note("tools/call")
        peer.executed.append(text)
        match trouble:
            case Trouble("error"):
                raise OSError(f"the disk of {CANARY} is full")
            case Trouble("hang"):
                await anyio.sleep_forever()
            case Trouble("delay"):
                await peer.clock.sleep(DELAY_S)
            case Trouble("garbage" | "truncation"):
                return "\ud83d" + text
            case _:
                pass
        return text

    server.add_tool(answer, name="echo")
    server.add_tool(answer, name="read", annotations=ToolAnnotations(read_only_hint=True))
    return server


def count_fds() -> int:
    """The open descriptors of this process."""
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0  # noqa: PTH208, PTH112


def judge(report: Report) -> list[str]:
    """The oracle: every promise that was broken, as a sentence. Empty when all is well."""
    found = [
        f"I1: run {n} ended as {run['status']}" for n, run in enumerate(report.runs) if run["status"] != "completed"
    ]
    found += [f"I1: run {n} took {took:g} s" for n, took in enumerate(report.took_s) if took > LIMIT_S]
    found += [f"I1: the end took {report.end_s:g} s"] if report.end_s > END_S else []
    for prompt, items in zip(("first", "second"), report.asked, strict=True):
        found += _judge_items(prompt, items)
    found += [f"I3: {mark} was executed {n} times" for mark, n in _count(report).items() if n > _may_run(mark)]
    for prompt, texts in zip(("first", "second"), report.output_texts, strict=True):
        found += _judge_outputs(prompt, texts, waits_for_person=_waits_for_person(report))
    well = ("ready", "needs sign-in") if _waits_for_person(report) else ("ready",)
    found += [f"I5: the state is {state}" for state in report.states if state not in well]
    said = json.dumps([run.get("notices") for run in report.runs])
    found += ["I6: a notice shows the canary"] if CANARY in said else []
    found += [f"I7: {what} {before} -> {after}" for what, (before, after) in report.leaks.items() if after > before]
    return found


def _waits_for_person(report: Report) -> bool:
    """Tell whether the subject has asked for a sign-in: it knocks no more until a person comes, and none does."""
    return "sign-in" in report.subject.faults and report.states == ["needs sign-in", "ready"]


def _count(report: Report) -> Counter[str]:
    return Counter(report.subject.executed + report.neighbour.executed)


def _may_run(mark: str) -> int:
    return 2 if mark.endswith("read") else 1


def _judge_items(prompt: str, items: list[Json]) -> list[str]:
    asked = [item["call_id"] for item in items if item.get("type") == "function_call"]
    answered = [item["call_id"] for item in items if item.get("type") == "function_call_output"]
    return [] if asked == answered and len(asked) == 8 else [f"I2: {prompt}: {asked} were answered by {answered}"]


def _judge_outputs(prompt: str, texts: Mapping[str, str], *, waits_for_person: bool) -> list[str]:
    """The neighbour is never touched, and nobody is any more in the second run, but for one that waits for a person."""
    wrong: list[str] = []
    for mark, text in texts.items():
        if "neighbour" in mark or (prompt == "second" and not waits_for_person):
            right = mark if mark.endswith("echo") else "nothing has changed"
            wrong += [] if text in (right, mark) else [f"I4: {mark}: {text}"]
    return wrong
