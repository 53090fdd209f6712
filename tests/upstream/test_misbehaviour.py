"""Long runs on upstreams that misbehave in another way in each turn."""

from typing import Annotated, Any

import pytest
from mcp.server.mcpserver import MCPServer
from pydantic import Field

from tests.fakes.bridges import ask
from tests.fakes.clock import VirtualClock
from tests.fakes.misbehaviour import ANSWER, KEPT_KINDS, KINDS, Kind, Model

pytestmark = pytest.mark.anyio

ALL_KINDS = (*KINDS, *KEPT_KINDS)
LEARNED = {"arguments", "id", "twice", "part"}
"""Rules that a history may break once: what is sent back is changed when it was refused (R5)."""


async def play(model: Model, *, is_kept: bool = False) -> dict[str, Any]:
    """The receipt of a run, in which every call is executed once and every history is legal.

    `is_kept`: the upstream keeps responses, and each turn sends only what is new.
    """
    executed: list[tuple[int, str]] = []
    server = MCPServer("c")

    @server.tool()
    async def add(a: int, note: str) -> str:
        executed.append((a, note))
        return f"{a} {note}"

    @server.tool()
    async def find(query: Annotated[str, Field(alias="filter[x]")]) -> str:
        raise AssertionError(query)

    receipt, _ = await ask(
        model.answer,
        {"c": server},
        {"input": "Add", "store": is_kept},
        clock=VirtualClock(autojump=True),
        upstream={"stream": "always"} | ({"state": "previous_response_id"} if is_kept else {}),
        limits={"max_turns": 200, "max_tool_calls": 1000, "tokens": 100_000_000},
    )
    assert receipt["status"] == "completed", (
        receipt["error"],
        receipt["incomplete_details"],
        model.drawn,
        model.refused,
    )
    assert receipt["output_text"] == ANSWER
    assert sorted(executed) == model.expected, model.drawn
    assert set(model.refused) <= LEARNED, (model.refused, model.drawn)
    assert len(set(model.refused)) == len(model.refused), "what was refused once is not sent again"
    return receipt


@pytest.mark.rule("REL27")
@pytest.mark.parametrize("kind", ALL_KINDS, ids=lambda kind: kind.words)
async def test_an_upstream_that_misbehaves_in_one_way_costs_no_call(kind: Kind) -> None:
    await play(Model(1, [kind], turns=4), is_kept=kind in KEPT_KINDS)


@pytest.mark.parametrize("seed", range(10))
async def test_thirty_turns_of_misbehaviour_cost_no_call_and_no_illegal_history(seed: int) -> None:
    await play(Model(seed, KINDS))


@pytest.mark.external
@pytest.mark.parametrize("seed", range(10, 300))
async def test_thirty_turns_of_misbehaviour_cost_nothing_whatever_the_seed(seed: int) -> None:
    await play(Model(seed, KINDS))


@pytest.mark.parametrize("seed", range(3))
async def test_an_upstream_that_keeps_responses_may_misbehave_too(seed: int) -> None:
    await play(Model(seed, ALL_KINDS), is_kept=True)


@pytest.mark.external
@pytest.mark.parametrize("seed", range(3, 30))
async def test_an_upstream_that_keeps_responses_may_misbehave_whatever_the_seed(seed: int) -> None:
    await play(Model(seed, ALL_KINDS), is_kept=True)


def test_every_kind_has_a_name_of_its_own() -> None:
    assert len({kind.words for kind in ALL_KINDS}) == len(ALL_KINDS)
