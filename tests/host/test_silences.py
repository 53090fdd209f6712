"""Questions that nobody answers: which hosts are not asked again, what, and for how long.

As anthropics/claude-code#88901 and #85442, anthropics/claude-ai-mcp#1046: some hosts never show a question. But a
person who let one question pass has not given up all others, here and elsewhere.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias

import pytest
from mcp.server.mcpserver import Context, MCPServer
from pydantic import BaseModel

from bridge.app import Bridge
from bridge.questions import NO, YES
from bridge.run.asking import SILENT_S
from tests.fakes.bridges import ERAS, open_without_host
from tests.fakes.clock import VirtualClock, until
from tests.fakes.httphost import HttpHost, http_host
from tests.fakes.items import Json
from tests.fakes.rawhost import RawHost, raw_host
from tests.fakes.service import serving
from tests.fakes.upstream import Request, ScriptedUpstream, call, message, responds

pytestmark = pytest.mark.anyio

CAN_ASK: Json = {"elicitation": {}}
Host: TypeAlias = AbstractAsyncContextManager[RawHost]


class Name(BaseModel):
    """A form."""

    name: str


class Place:
    """A bridge whose model calls the tool that the prompt names: `desk__write` and `shelf__write` need a yes, and
    `desk__rename` and `shelf__rename` ask something themselves. `done` is what was executed."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.done: list[str] = []
        self.bridge: Bridge

    def build_server(self, key: str) -> MCPServer:
        server = MCPServer(key)

        @server.tool()
        async def write() -> str:
            self.done.append(f"{key} write")
            return "written"

        @server.tool()
        async def rename(ctx: Context) -> str:
            answer = await ctx.elicit("Which name?", Name)
            self.done.append(f"{key} {answer.action}")
            return "renamed"

        return server

    def host(self, mode: str = "legacy", answer: Json | None = None) -> Host:
        """A host whose person gives this answer to everything, or none."""
        return raw_host(self.bridge.server, mode, capabilities=CAN_ASK, answer=lambda _: answer)

    async def pass_over(self, host: RawHost, tool: str = "desk__write") -> Json:
        """A run whose one question nobody answers."""
        before = len(host.asked)
        number = await host.call("respond", {"input": tool})
        await until(lambda: len(host.asked) > before)
        await self.clock.advance(45)
        receipt = await host.receipt(number)
        return await host.receipt(await host.call("respond_wait", {"run_id": receipt["run_id"]}))

    async def is_asked(self, host: RawHost, tool: str = "desk__write", **arguments: Any) -> bool:
        """Whether a run with this tool comes to a question; without one it says why not."""
        before = len(host.asked)
        number = await host.call("respond", {"input": tool, **arguments})
        await until(lambda: len(host.asked) > before or host.has_result(number))
        return len(host.asked) > before


def use(request: Request) -> Any:
    prompt, *rest = request.json["input"]
    return responds(message("done")) if rest else responds(call(str(prompt["content"])))


@asynccontextmanager
async def place() -> AsyncIterator[Place]:
    at = Place(VirtualClock())
    entry = {"protocol": "legacy", "tools": {"ask": ["write"], "allow": ["rename"]}}
    servers = {key: {"command": at.build_server(key), **entry} for key in ("desk", "shelf")}
    limits = {"call_timeout_s": 9999, "timeout_s": 9999}
    async with (
        ScriptedUpstream(use) as upstream,
        open_without_host(upstream, servers, clock=at.clock, limits=limits) as at.bridge,
    ):
        yield at


ACCEPTED: Json = {"action": "accept", "content": {"answer": YES}}
ANSWERS: dict[str, Json] = {
    "yes": ACCEPTED,
    "no": {"action": "accept", "content": {"answer": NO}},
    "decline": {"action": "decline"},
    "cancel": {"action": "cancel"},
}


async def test_a_host_that_let_a_question_pass_is_asked_again_after_ten_minutes() -> None:
    async with place() as at, at.host() as host:
        receipt = await at.pass_over(host)
        assert "this host is not asked again for ten minutes, unless" in receipt["notices"][0]["message"]
        assert not await at.is_asked(host), "at once"
        await at.clock.advance(SILENT_S - 46)
        assert not await at.is_asked(host), "after almost ten minutes"
        await at.clock.advance(46)
        assert await at.is_asked(host)


async def test_what_is_not_asked_says_for_how_long() -> None:
    async with place() as at, at.host() as host:
        await at.pass_over(host)
        receipt = await host.receipt(await host.call("respond", {"input": "desk__write"}))
    assert "left an earlier question unanswered, so it is not asked such a question for ten minutes" in str(receipt)


async def test_an_approval_that_was_passed_over_leaves_servers_their_own_questions() -> None:
    async with place() as at, at.host() as host:
        await at.pass_over(host)
        assert await at.is_asked(host, "desk__rename")


async def test_a_servers_question_that_was_passed_over_leaves_approvals_and_other_servers_alone() -> None:
    async with place() as at, at.host() as host:
        await at.pass_over(host, "desk__rename")
        assert not await at.is_asked(host, "desk__rename")
        assert await at.is_asked(host, "shelf__rename")
        assert await at.is_asked(host, "desk__write")
        assert await at.is_asked(host, "shelf__write")


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_who_answers_anything_is_asked_everything_again(answer: Json) -> None:
    """In another run, and of another kind."""
    async with place() as at, at.host() as host:
        await at.pass_over(host)
        async with at.host(answer=answer) as same:
            await same.receipt(await same.call("respond", {"input": "desk__rename"}))
        assert await at.is_asked(host)


async def test_one_question_that_passes_while_another_is_answered_is_held_against_nobody() -> None:
    """The host shows questions, and the person is there: in another run."""
    async with place() as at, at.host() as host:
        number = await host.call("respond", {"input": "desk__write"})
        await until(lambda: bool(host.asked))
        async with at.host(answer=ACCEPTED) as same:
            await at.clock.advance(10)
            await same.receipt(await same.call("respond", {"input": "shelf__write"}))
        await at.clock.advance(35)
        receipt = await host.receipt(number)
        receipt = await host.receipt(await host.call("respond_wait", {"run_id": receipt["run_id"]}))
        assert "the question was not answered in time. To allow it" in receipt["notices"][0]["message"]
        assert await at.is_asked(host)


async def test_what_is_no_answer_shows_nobody() -> None:
    async with place() as at, at.host() as host:
        await at.pass_over(host)
        async with at.host(answer={"action": "perhaps"}) as same:
            await same.receipt(await same.call("respond", {"input": "desk__rename"}))
        assert not await at.is_asked(host)


async def test_an_answer_that_comes_too_late_shows_that_somebody_is_there() -> None:
    async with place() as at, at.host("auto") as host:
        question = await host.result(await host.call("respond", {"input": "desk__write"}))
        await at.clock.advance(46)
        [key] = question["inputRequests"]
        state = {"inputResponses": {key: ACCEPTED}, "requestState": question["requestState"]}
        receipt = await host.receipt(await host.call("respond", {"input": "desk__write"}, **state))
        assert (receipt["status"], at.done) == ("completed", []), "it approves nothing any more"
        again = await host.result(await host.call("respond", {"input": "desk__write"}))
    assert "inputRequests" in again


async def ask_over_http(host: HttpHost) -> Json:
    return await (await host.call("desk__write")).result()


@pytest.mark.parametrize("differs", ["name", "token"])
async def test_the_silence_of_one_host_or_person_is_not_that_of_another(differs: str) -> None:
    others: dict[str, Json] = {"name": {"name": "another"}, "token": {"token": "another token of the tests"}}
    async with (
        place() as at,
        serving(at.bridge, clock=at.clock, no_auth=True) as served,
        http_host(served.port, "auto", capabilities=CAN_ASK) as host,
        http_host(served.port, "auto", capabilities=CAN_ASK) as same,
        http_host(served.port, "auto", capabilities=CAN_ASK, **others[differs]) as other,
    ):
        assert "inputRequests" in await ask_over_http(host)
        await at.clock.advance(46)
        assert "rejoined" in str(await ask_over_http(host))
        assert "inputRequests" not in await ask_over_http(same)
        assert "inputRequests" in await ask_over_http(other)


@pytest.mark.parametrize("mode", ERAS)
async def test_one_who_answers_in_time_is_never_taken_for_silent(mode: str) -> None:
    async with place() as at, at.host(mode, ACCEPTED) as host:
        for _ in range(3):
            result = await host.result(await host.call("respond", {"input": "desk__write"}))
            if "inputRequests" in result:
                [key] = result["inputRequests"]
                state = {"inputResponses": {key: ACCEPTED}, "requestState": result["requestState"]}
                await host.receipt(await host.call("respond", {"input": "desk__write"}, **state))
            await at.clock.advance(60)
    assert at.done == ["desk write"] * 3
