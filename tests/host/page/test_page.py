"""The page of the service: what it shows of runs, to whom."""

import pytest

from tests.fakes.bridges import open_without_host
from tests.fakes.browser import browser
from tests.fakes.items import message
from tests.fakes.service import TOKEN, serving
from tests.fakes.upstream import ScriptedUpstream, responds

pytestmark = pytest.mark.anyio


async def test_somebody_signs_in_and_sees_a_run_with_all_that_is_in_it() -> None:
    async with (
        ScriptedUpstream([responds(message("The answer."))]) as upstream,
        open_without_host(upstream) as bridge,
        serving(bridge) as served,
        served.client() as host,
        browser(served.port, TOKEN) as page,
    ):
        await host.call_tool("respond", {"input": "What is it?"})
        listed = await page.see("runs")
        [line] = listed["runs"]
        assert (line["prompt"], line["status"], line["questions"], line["turns"]) == ("What is it?", "completed", 0, 1)
        whole = await page.see(f"runs/{line['run_id']}")
        assert (whole["input"], whole["answer"]["text"]) == ({"text": "What is it?", "chars": 11}, "The answer.")
        [turn] = whole["timeline"]
        assert (turn["kind"], turn["turn"], turn["index"], turn["tokens"] > 0) == ("turn", 1, None, True)
