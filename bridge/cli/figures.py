"""Figures of a move: the tools and tokens that a host's model is spared, against those of ours."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

import anyio
from mcp import types

from bridge.app import Bridge
from bridge.cli.setup import start_children
from bridge.config.settings import BUILTIN, Config, ServerConfig
from bridge.host.tools import list_tools
from bridge.hub.member import Member
from bridge.json_text import JsonObject, encode
from bridge.telemetry import Redactor
from bridge.texts import estimate_tokens
from bridge.visible import show_name

START_S = 30.0
"""How long a server may take to be ready: the first start of many downloads them."""


@dataclass(frozen=True)
class Weight:
    """The cost of one server to a host."""

    name: str
    tools: int = 0
    tokens: int = 0
    others: Mapping[str, int | None] = field(default_factory=dict[str, int | None])
    """Its prompts and resources, which the host would lose."""
    reason: str | None = None
    """Why it could not be counted."""


@dataclass(frozen=True)
class Figures:
    """The cost of all servers of a host, and of ours in their place."""

    weights: list[Weight]
    own_tools: int
    own_tokens: int

    @property
    def tools(self) -> int:
        return sum(weight.tools for weight in self.weights)

    @property
    def tokens(self) -> int:
        return sum(weight.tokens for weight in self.weights)


def weigh(config: Config, servers: list[ServerConfig], redact: Redactor) -> Figures:
    """Connect the servers, as the host would, and weigh what each shows it."""
    unpinned = tuple(server.model_copy(update={"pin": False}) for server in servers)
    limits = config.limits.model_copy(update={"connect_timeout_s": max(START_S, config.limits.connect_timeout_s)})
    return anyio.run(_weigh, config.model_copy(update={"servers": unpinned, "limits": limits}), redact)


async def _weigh(config: Config, redact: Redactor) -> Figures:
    children = start_children(config.servers)
    async with Bridge(config, environ=os.environ, redact=redact, children=children) as bridge:
        members = [member for member in bridge.hub.members if member.key != BUILTIN]
        for member in bridge.hub.members:
            await member.settled.wait()
        weights = [await _weigh_member(member) for member in members]
        ours = list_tools(bridge.describe(), config.limits.result_chars)
        return Figures(weights, len(ours), sum(map(count_tokens, ours)))


async def _weigh_member(member: Member) -> Weight:
    if member.state != "ready":
        return Weight(member.key, reason=member.reason or f"it is {member.state}")
    shown = [tool for tool in member.tools if member.server.tools.decision(tool.name) != "deny"]
    return Weight(member.key, len(shown), sum(map(count_tokens, shown)), await member.count_others())


def count_tokens(tool: types.Tool) -> int:
    """Estimate the tokens of a tool as a host shows it to its model: name, description and arguments."""
    schema = cast("JsonObject", tool.input_schema)
    return estimate_tokens(encode({"name": tool.name, "description": tool.description or "", "input_schema": schema}))


def describe_figures(figures: Figures, *, moves: bool) -> Iterator[str]:
    """Say in lines what each server costs, what the host's model is spared, and what the host would lose."""
    for weight in figures.weights:
        name = show_name(weight.name)
        yield f"  {name}: not counted: {weight.reason}" if weight.reason else f"  {name}: {_say_cost(weight)}"
    verb = "is spared" if moves else "would be spared, with --move,"
    yield (
        f"The host's model {verb} {_count(figures.tools, 'tool')} with about {figures.tokens:,} tokens; "
        f"our {_count(figures.own_tools, 'tool')} cost {figures.own_tokens:,}."
    )
    lost = [f"{show_name(weight.name)} ({_list_others(weight)})" for weight in figures.weights if weight.others]
    if lost:
        verb = "loses" if moves else "would lose"
        yield f"The host {verb} what is no tool: of {', '.join(lost)}."


def _say_cost(weight: Weight) -> str:
    others = f"; {_list_others(weight)}" if weight.others else ""
    return f"{_count(weight.tools, 'tool')}, about {weight.tokens:,} tokens{others}"


def _list_others(weight: Weight) -> str:
    return " and ".join(
        kind if count is None else _count(count, kind.removesuffix("s")) for kind, count in weight.others.items()
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
