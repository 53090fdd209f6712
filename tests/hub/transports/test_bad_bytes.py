"""A server that writes what it should not costs the call at hand, at once, and no other."""

import json
from collections.abc import Callable

import pytest

from bridge.jsonrpc.messages import MENDED_WORDS
from tests.fakes.bridges import open_bridge
from tests.fakes.servers import rogue
from tests.fakes.upstream import call

pytestmark = pytest.mark.anyio


@pytest.mark.rule("REL7")
async def test_bad_replies_are_read_where_they_can_be_and_fail_at_once_where_not(
    record_testsuite_property: Callable[[str, object], None],
) -> None:
    modes = ["bad_utf8", "bad_json", "surrogate", "deep=100000", "digits=5000", "huge=3", "banner"]
    servers = {"bad": rogue(*modes), "fair": rogue("deep=240", "digits=4000", "huge=1")}
    async with open_bridge(servers, limits={"message_bytes": 2 << 20}) as bridge:
        outcome = await bridge.run(
            [
                [call(f"bad__{tool}") for tool in ("bad_json", "huge", "deep", "digits", "bad_utf8", "surrogate")],
                [call(f"fair__{tool}") for tool in ("deep", "digits", "huge")],
                [call("bad__echo", {"text": "as ever"}), call("fair__read")],
            ]
        )
    broken, partly, readable = outcome.outputs[:2], outcome.outputs[2:4], outcome.outputs[4:6]
    fair, ever = outcome.outputs[6:9], outcome.outputs[9:]
    for output in map(json.loads, broken):
        assert output["error"] == "unreadable_result"
        assert "bad sent a result that cannot be read" in output["message"]
        assert "it may have been executed" in output["message"]
    assert "3,145,938 bytes is over the limit" in broken[1]
    assert readable == [f"caf\ufffd\n[{MENDED_WORDS}]", f"half an emoji: \ufffd\n[{MENDED_WORDS}]"]
    assert [output.partition("\n")[0] for output in [*partly, *fair[:2]]] == ["look"] * 4
    assert ever == ["as ever", "nothing has changed"]
    slowest = max(made["duration_ms"] for made in outcome.receipt["tool_calls"][:6])
    record_testsuite_property("slowest failure of a bad reply, ms", slowest)
    assert slowest < 2000  # the promise is 100 ms


@pytest.mark.rule("S16")
async def test_text_that_was_replaced_is_said_to_the_model_and_once_a_call_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_bridge({"bad": rogue("bad_utf8", "surrogate")}) as bridge:
        outputs = (await bridge.use(call("bad__bad_utf8"), call("bad__surrogate"), call("bad__echo"))).outputs
    assert [output.count(MENDED_WORDS) for output in outputs] == [1, 1, 0]
    said = [record.getMessage() for record in caplog.records if MENDED_WORDS in record.getMessage()]
    assert sorted(said) == [f"bad: in a result of {tool}, {MENDED_WORDS}" for tool in ("bad_utf8", "surrogate")]


@pytest.mark.rule("R36", "L13")
async def test_a_long_output_keeps_its_head_and_tail() -> None:
    async with open_bridge({"big": rogue("huge=8")}) as bridge:
        [output] = (await bridge.use(call("big__huge"))).outputs
    assert output.startswith(
        "x" * 32768 + "\n[… 8,323,072 of 8,388,608 bytes left out here, from offset 32768 on; "
        "read_output with id 1 has all of it …]\n"
    )
    assert output.endswith("\n" + "x" * 32768)
