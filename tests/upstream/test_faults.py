"""Every fault of an upstream that is known by name, and what comes of it. The table is in docs/track-record.md."""

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.bridges import ask, outputs_of
from tests.fakes.clock import VirtualClock
from tests.fakes.faults import ANSWER, Fault, script
from tests.fakes.faults import FAULTS as NAMED
from tests.fakes.servers import adding_server
from tests.fakes.witnesses import WITNESSES

pytestmark = pytest.mark.anyio

FAULTS = NAMED + WITNESSES
BEGIN, END = "<!-- faults -->\n", "\n<!-- end -->"


def render() -> str:
    rows = ["| fault | outcome | requests |", "|---|---|---|"]
    rows += [f"| {fault.words} | {fault.outcome} | {fault.requests} |" for fault in FAULTS]
    return "\n".join(rows)


@pytest.mark.rule("REL26")
@pytest.mark.external
@pytest.mark.parametrize("fault", FAULTS, ids=[fault.words for fault in FAULTS])
async def test_every_fault_is_survived_or_told_in_one_clear_error(fault: Fault) -> None:
    server, executed = adding_server()

    receipt, requests = await ask(
        script(fault), {"c": server}, clock=VirtualClock(autojump=True), upstream=fault.settings
    )
    assert outcome_of(receipt) == fault.outcome, receipt
    assert len(requests) == fault.requests
    assert sorted(executed) == list(fault.executed), "each call is executed once"
    if fault.outcome == "answered":
        assert receipt["output_text"] == ANSWER
        assert len(outputs_of(requests[-1])) == 3
    if executed:
        assert outputs_of(requests[-1]) == ["3", "7", "11"]
    assert "\n" not in (receipt["error"] or {}).get("message", "")


def outcome_of(receipt: dict[str, Any]) -> str:
    if receipt["status"] == "completed":
        return "answered"
    return (receipt["error"] or {}).get("code") or receipt["incomplete_details"]["reason"]


def test_there_are_many_and_each_has_a_name() -> None:
    assert len({fault.words for fault in FAULTS}) == len(FAULTS) >= 30


def test_the_page_shows_the_table(repository: Path) -> None:
    page = (repository / "docs" / "track-record.md").read_text(encoding="utf-8")
    assert page.partition(BEGIN)[2].partition(END)[0] == render()


if __name__ == "__main__":
    sys.stdout.write(render() + "\n")
