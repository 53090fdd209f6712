"""What a host hears while it waits: when, in which order, and in which words."""

import anyio
import anyio.lowlevel
import pytest
from mcp.client.client import ConnectMode
from mcp.server.mcpserver import Context, MCPServer

from tests.fakes.bridges import ERAS, open_bridge
from tests.fakes.clock import PATIENCE_S, VirtualClock
from tests.fakes.servers import ordered_server
from tests.fakes.upstream import HEAD, api_error, call, cut, gated, message, responds

pytestmark = pytest.mark.anyio

TEXT = {"mcp-responses-bridge/text": True}
DONE = responds(message("done"))


class Ear:
    """A progress callback that keeps what it hears."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.steps: list[float] = []

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        assert total is None
        self.steps.append(progress)
        self.messages.append(message or "")


@pytest.mark.rule("R39")
@pytest.mark.parametrize("mode", ERAS)
async def test_each_turn_each_call_start_and_each_call_end_is_told_before_the_result(mode: ConnectMode) -> None:
    ear, ordered = Ear(), ordered_server()
    ordered.release("a", "b")
    calls = [call("o__answer", {"key": "a"}), call("o__answer", {"key": "b"}), call("gone", {})]
    async with open_bridge({"o": ordered.server}, script=[responds(*calls), DONE], mode=mode) as bridge:
        await bridge.client.call_tool("respond", {"input": "x"}, progress_callback=ear)
        heard = list(ear.messages)
    assert heard[0] == "turn 1: asking gpt-4.1 (2 tools)"
    assert heard[-1] == "turn 2: asking gpt-4.1 (2 tools)"
    assert sorted(line for line in heard if "→" in line) == [
        "  → gone()",
        "  → o__answer(key=a) on o",
        "  → o__answer(key=b) on o",
    ]
    assert sum("✓ o__answer" in line for line in heard) == 2
    assert sum("✗ gone" in line for line in heard) == 1
    assert ear.steps == [*range(1, len(heard) + 1)], "progress always increases"


@pytest.mark.parametrize("mode", ERAS)
async def test_something_is_said_at_least_every_ten_seconds(mode: ConnectMode) -> None:
    ear, clock, gate = Ear(), VirtualClock(), anyio.Event()
    async with (
        open_bridge(script=[gated(DONE, gate, after=HEAD)], clock=clock, mode=mode) as bridge,
        anyio.create_task_group() as tasks,
    ):

        async def run() -> None:
            await bridge.client.call_tool("respond", {"input": "x"}, progress_callback=ear)

        tasks.start_soon(run)
        await bridge.upstream.arrivals.wait()
        for _ in range(3):
            await clock.advance(10)
        heard = list(ear.messages)
        gate.set()
    assert heard[1:] == [f"turn 1: asking gpt-4.1 (0 tools) … {seconds} s" for seconds in (10, 20, 30)]


async def test_text_is_told_only_to_who_asks_for_it_in_order_and_gathered() -> None:
    story = "Once upon a time there was a bridge. " * 20
    ear, deaf = Ear(), Ear()
    async with open_bridge(script=[responds(message(story))] * 2) as bridge:
        await bridge.client.call_tool("respond", {"input": "x"}, progress_callback=ear, meta=TEXT)
        await bridge.client.call_tool("respond", {"input": "x"}, progress_callback=deaf, meta={"x/text": True})
    assert "".join(ear.messages[1:]) == story
    assert len(ear.messages) < 20, "93 deltas were gathered"
    assert deaf.messages == ["turn 1: asking gpt-4.1 (0 tools)"]


async def test_text_is_told_ten_times_a_second_and_the_rest_of_it_at_the_end() -> None:
    clock, ear, first, second = VirtualClock(), Ear(), anyio.Event(), anyio.Event()
    reply = gated(responds(message("aaaaaaaabbbbbbbbcccccccc")), first, after="aaaaaaaa")
    async with (
        open_bridge(script=[gated(reply, second, after="bbbbbbbb")], clock=clock) as bridge,
        anyio.create_task_group() as tasks,
    ):

        async def run() -> None:
            await bridge.client.call_tool("respond", {"input": "x"}, progress_callback=ear, meta=TEXT)

        tasks.start_soon(run)
        with anyio.fail_after(PATIENCE_S):
            while len(ear.messages) < 2:
                await anyio.lowlevel.checkpoint()
        first.set()
        for _ in range(9):
            await clock.advance(0.01)
        assert ear.messages[1:] == ["aaaaaaaa"]
        second.set()
    assert ear.messages[1:] == ["aaaaaaaa", "bbbbbbbbcccccccc"]


async def test_without_a_progress_token_nothing_is_sent() -> None:
    async with open_bridge(script=[DONE]) as bridge:
        result = await bridge.client.call_tool("respond", {"input": "x"}, meta=TEXT)
    assert not result.is_error


async def test_a_pause_before_another_try_is_told_and_the_text_begins_anew_after_it() -> None:
    ear, clock = Ear(), VirtualClock(autojump=True)
    story = responds(message("A story in several pieces"))
    script = [api_error(429, "slow down", headers={"retry-after": "7"}), cut("several", story), story]
    async with open_bridge(script=script, clock=clock) as bridge:
        await bridge.client.call_tool("respond", {"input": "x"}, progress_callback=ear, meta=TEXT)
    first, again = (number for number, line in enumerate(ear.messages) if line.startswith("  ! asking again in "))
    assert ear.messages[first] == "  ! asking again in 7.0 s: The upstream answered with status 429: slow down"
    assert "A story in several pieces".startswith("".join(ear.messages[first + 1 : again]))
    assert "".join(ear.messages[again + 1 :]) == "A story in several pieces"


async def test_the_progress_of_a_call_is_passed_on() -> None:
    server, ear = MCPServer("s"), Ear()

    @server.tool()
    async def dig(ctx: Context) -> str:
        await ctx.report_progress(1, 2, "half way")
        return "gold"

    async with open_bridge({"s": server}, script=[responds(call("s__dig")), DONE]) as bridge:
        await bridge.client.call_tool("respond", {"input": "x"}, progress_callback=ear)
    assert "  · s__dig: half way (50%)" in ear.messages


async def test_messages_are_single_lines_whatever_the_model_and_the_tools_say() -> None:
    server, ear = MCPServer("s"), Ear()
    evil = "one\ntwo\r\x1b[31mred\x07 \u202eover\u2028line \ud83d"

    @server.tool()
    async def echo(ctx: Context) -> str:
        await ctx.report_progress(1, 2, evil.replace("\ud83d", ""))
        return evil.replace("\ud83d", "")

    calls = [call("s__echo", {}), call(evil, {"a": evil}), call("x", evil)]
    async with open_bridge({"s": server}, script=[responds(*calls), DONE]) as bridge:
        await bridge.client.call_tool("respond", {"input": "x", "model": evil}, progress_callback=ear)
    assert len(ear.messages) >= 9
    assert [line for line in ear.messages if not line.isprintable()] == []


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ((1, 3, None), "33%"),
        ((7, None, None), "7"),
        ((7, 0, "pages"), "pages (7)"),
        ((5, 2, None), "250%"),
        ((-0.5, None, ""), "-0.5"),
    ],
)
async def test_how_far_a_call_has_come_is_shown_in_one_measure(
    told: tuple[float, float | None, str], shown: str
) -> None:
    server, ear = MCPServer("s"), Ear()

    @server.tool()
    async def dig(ctx: Context) -> str:
        await ctx.report_progress(*told)
        return "gold"

    async with open_bridge({"s": server}, script=[responds(call("s__dig")), DONE]) as bridge:
        await bridge.client.call_tool("respond", {"input": "x"}, progress_callback=ear)
    assert f"  · s__dig: {shown}" in ear.messages


async def test_a_call_that_talks_without_end_is_passed_on_once_a_second_and_its_last_word_by_the_heartbeat() -> None:
    server, ear, clock, done = MCPServer("s"), Ear(), VirtualClock(), anyio.Event()

    @server.tool()
    async def dig(ctx: Context) -> str:
        for step in range(1, 1001):
            await ctx.report_progress(step, 1000)
        await done.wait()
        return "gold"

    async with (
        open_bridge({"s": server}, script=[responds(call("s__dig")), DONE], clock=clock) as bridge,
        anyio.create_task_group() as tasks,
    ):

        async def run() -> None:
            await bridge.client.call_tool("respond", {"input": "x"}, progress_callback=ear)

        tasks.start_soon(run)
        with anyio.fail_after(PATIENCE_S):
            while not any("→" in line for line in ear.messages):
                await anyio.lowlevel.checkpoint()
        await clock.advance(10)
        heard = [line for line in ear.messages if "s__dig:" in line]
        done.set()
    assert len(heard) == 2
    assert heard[0] == "  · s__dig: 0%"
    assert heard[1].startswith("· s__dig: 100% … ")
