"""Tokens that end: renewed once for everybody, in all processes, and never at the cost of the sign-in."""

from functools import partial
from pathlib import Path

import anyio
import pytest

from bridge.errors import NeedsSignIn, SignInFailed
from bridge.hub.sign_in.kept import forget
from bridge.hub.transports.need import FOLDER
from bridge.state import StateFolder
from tests.fakes.authority import Authority
from tests.fakes.bridges import OpenBridge, open_bridge
from tests.fakes.clock import PATIENCE_S, until
from tests.fakes.items import call
from tests.fakes.signed import INITIALIZE, Visitor, client, other_process

pytestmark = pytest.mark.anyio

LIMITS = {"max_turn_calls": 100, "max_tool_calls": 200, "max_parallel": 64}


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MCP_RESPONSES_BRIDGE_STATE", str(tmp_path))
    return tmp_path


def open_signed(authority: Authority):  # type: ignore[no-untyped-def]
    entry = {"url": authority.url, "type": "http", "require_approval": "never"}
    return open_bridge({"s": entry}, limits=LIMITS)


async def echo(bridge: OpenBridge, count: int) -> list[str]:
    return (await bridge.use(*(call("s__echo", {"text": str(number)}) for number in range(count)))).outputs


async def test_calls_do_not_wait_for_each_others_responses(tmp_path: Path) -> None:
    async with Authority() as authority:
        await Visitor(authority, tmp_path).sign_in()
        authority.met.expected = 8
        async with open_signed(authority) as bridge:
            with anyio.fail_after(PATIENCE_S):
                outcome = await bridge.use(*[call("s__meet", {"who": str(number)}) for number in range(8)])
        assert outcome.outputs == [str(number) for number in range(8)]


@pytest.mark.external
@pytest.mark.parametrize("how", ["it was refused", "its time was over"])
async def test_sixty_four_calls_that_find_the_token_at_its_end_renew_it_once(tmp_path: Path, how: str) -> None:
    async with Authority() as authority:
        visitor = Visitor(authority, tmp_path)
        await visitor.sign_in()
        async with open_signed(authority) as bridge:
            await echo(bridge, 1)
            authority.expire()
            if how == "its time was over":
                visitor.age()
            assert await echo(bridge, 64) == [str(number) for number in range(64)]
        assert authority.counts["refresh_token"] == 1
        assert authority.executed["echo"] == 65


@pytest.mark.external
async def test_two_processes_renew_it_once_and_neither_loses_the_sign_in(tmp_path: Path) -> None:
    async with Authority() as authority:
        visitor = Visitor(authority, tmp_path)
        await visitor.sign_in()
        async with other_process(visitor, 16) as one, other_process(visitor, 16) as other:
            authority.expire()
            await one.go()
            await other.go()
            assert await one.read() == await other.read() == " ".join(["200"] * 16)
        assert authority.counts["refresh_token"] == 1
        assert visitor.kept.tokens
        async with client(visitor) as http:
            assert (await http.post(authority.url, json=INITIALIZE)).status_code == 200


@pytest.mark.external
@pytest.mark.parametrize("rotates", [True, False])
async def test_killed_in_a_renewal_it_is_signed_in_or_asked_for_again(tmp_path: Path, *, rotates: bool) -> None:
    async with Authority(rotates=rotates) as authority:
        visitor = Visitor(authority, tmp_path)
        await visitor.sign_in()
        authority.is_asked, authority.hold = anyio.Event(), anyio.Event()
        async with other_process(visitor, 1) as other:
            authority.expire()
            await other.go()
            with anyio.fail_after(PATIENCE_S):
                await authority.is_asked.wait()
            other.kill()
            await other.process.wait()
        authority.hold.set()
        with anyio.fail_after(PATIENCE_S):
            async with client(visitor) as http:
                if rotates:
                    with pytest.raises(NeedsSignIn, match="login s"):
                        await http.post(authority.url, json=INITIALIZE)
                    await visitor.sign_in()
                assert (await http.post(authority.url, json=INITIALIZE)).status_code == 200


async def test_a_call_that_is_given_up_in_a_renewal_does_not_lose_it(tmp_path: Path) -> None:
    async with Authority() as authority:
        visitor = Visitor(authority, tmp_path)
        await visitor.sign_in()
        authority.expire()
        authority.is_asked, authority.hold = anyio.Event(), anyio.Event()
        async with client(visitor) as http:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(partial(http.post, authority.url, json=INITIALIZE))
                await authority.is_asked.wait()
                tasks.cancel_scope.cancel()
                authority.hold.set()
            assert (await http.post(authority.url, json=INITIALIZE)).status_code == 200
        assert authority.counts["refresh_token"] == 1


async def test_a_server_that_refuses_each_new_token_has_one_asked_for_and_no_more(tmp_path: Path) -> None:
    async with Authority() as authority:
        visitor = Visitor(authority, tmp_path)
        await visitor.sign_in()
        authority.knows_none = True
        for _ in range(3):  # each as if in a process of its own
            async with client(visitor) as http:
                for _ in range(2):
                    with pytest.raises(NeedsSignIn, match="it refuses the token"):
                        await http.post(authority.url, json=INITIALIZE)
        assert authority.counts["refresh_token"] == 1
        authority.knows_none = False
        async with client(visitor) as http:
            assert (await http.post(authority.url, json=INITIALIZE)).status_code == 200
            authority.expire()
            assert (await http.post(authority.url, json=INITIALIZE)).status_code == 200
        assert authority.counts["refresh_token"] == 2, "it is renewed as ever"


async def test_a_server_that_has_refused_good_tokens_for_a_while_comes_back_by_itself(tmp_path: Path) -> None:
    async with Authority() as authority:
        await Visitor(authority, tmp_path).sign_in()
        authority.knows_none = True
        async with open_signed(authority) as bridge:
            member = next(member for member in bridge.hub.members if member.key == "s")
            with anyio.fail_after(PATIENCE_S):
                await until(lambda: member.state == "needs sign-in")
                await anyio.sleep(0.5)
                assert authority.counts["refresh_token"] == 1
                authority.knows_none = False
                await until(lambda: member.state == "ready")
            assert await echo(bridge, 1) == ["0"]


async def test_a_clock_that_is_ahead_does_not_cost_a_sign_in_that_cannot_be_renewed(tmp_path: Path) -> None:
    async with Authority(refreshes=False) as authority:
        visitor = Visitor(authority, tmp_path)
        await visitor.sign_in()
        visitor.age()
        async with client(visitor) as http:
            assert (await http.post(authority.url, json=INITIALIZE)).status_code == 200
            authority.revoke()
            with pytest.raises(NeedsSignIn, match="login s"):
                await http.post(authority.url, json=INITIALIZE)


@pytest.mark.parametrize("what", ["out", "in"])
async def test_who_signs_out_or_in_during_a_renewal_is_not_signed_in_as_before(tmp_path: Path, what: str) -> None:
    async with Authority() as authority:
        visitor = Visitor(authority, tmp_path)
        await visitor.sign_in()
        authority.expire()
        authority.is_asked, authority.hold = anyio.Event(), anyio.Event()
        async with client(visitor) as http, anyio.create_task_group() as tasks:
            tasks.start_soon(partial(http.post, authority.url, json=INITIALIZE))
            await authority.is_asked.wait()
            signed = visitor.kept.model_copy(update={"asked": "another account"})
            forget("s", StateFolder(tmp_path, FOLDER))
            if what == "in":
                visitor.file.write(signed)
            authority.hold.set()
        if what == "in":
            assert visitor.kept == signed
        else:
            assert visitor.file.read() is None


async def test_an_authority_that_is_down_is_told_in_a_sentence_and_asked_again_later(tmp_path: Path) -> None:
    async with Authority() as authority:
        visitor = Visitor(authority, tmp_path)
        await visitor.sign_in()
        authority.expire()
        authority.habits.down.add("token")
        async with client(visitor) as http:
            for _ in range(2):
                with pytest.raises(
                    SignInFailed, match=r'the sign-in to "?s"? cannot be renewed now: .*HTTP 503'
                ) as told:
                    await http.post(authority.url, json=INITIALIZE)
                assert told.value.is_transient
            authority.habits.down.clear()
            assert (await http.post(authority.url, json=INITIALIZE)).status_code == 200


async def test_a_sign_in_that_was_taken_back_needs_the_person_and_costs_one_question_for_all(tmp_path: Path) -> None:
    async with Authority() as authority:
        visitor = Visitor(authority, tmp_path)
        await visitor.sign_in()
        async with open_signed(authority) as bridge:
            await echo(bridge, 1)
            authority.revoke()
            outputs = await echo(bridge, 8)
        assert all("mcp-responses-bridge login s" in str(output) for output in outputs)
        assert authority.counts["refresh_token"] == 1
        assert authority.executed["echo"] == 1


async def test_a_call_that_needs_another_scope_says_which_and_the_next_sign_in_asks_for_it(tmp_path: Path) -> None:
    async with Authority() as authority:
        visitor = Visitor(authority, tmp_path)
        await visitor.sign_in()
        async with open_signed(authority) as bridge:
            [output] = (await bridge.use(call("s__admin"))).outputs
            assert "it wants the scope admin for this call: `mcp-responses-bridge login s` asks for it" in str(output)
            assert bridge.member("s").state == "ready"
            await visitor.sign_in()
            assert set(authority.asked[-1]["scope"].split()) == {"read", "admin"}
            assert (await bridge.use(call("s__admin"))).outputs == ["done"]
        assert authority.executed["admin"] == 1


async def test_a_call_that_needs_a_scope_without_a_name_fails_alone_and_nothing_is_asked_for(tmp_path: Path) -> None:
    async with Authority(names_scope=False) as authority:
        visitor = Visitor(authority, tmp_path)
        await visitor.sign_in()
        async with open_signed(authority) as bridge:
            [output] = (await bridge.use(call("s__admin"))).outputs
            assert "a scope that it does not name; ask who runs the server" in str(output)
            assert bridge.member("s").state == "ready"
        await visitor.sign_in()
        assert authority.asked[-1]["scope"] == "read"


async def test_a_scope_that_was_not_granted_is_not_asked_for_again(tmp_path: Path) -> None:
    async with Authority(grants=("read",)) as authority:
        visitor = Visitor(authority, tmp_path)
        await visitor.sign_in()
        async with open_signed(authority) as bridge:
            await bridge.use(call("s__admin"))
            await visitor.sign_in()
            [output] = (await bridge.use(call("s__admin"))).outputs
        assert "without the scope admin, which was asked for and not granted" in str(output)


async def test_where_somebody_can_be_asked_the_call_is_repeated_after_the_sign_in(tmp_path: Path) -> None:
    async with Authority() as authority:
        visitor = Visitor(authority, tmp_path)
        await visitor.sign_in()
        needs: list[str | None] = []

        async def ask(need: NeedsSignIn) -> bool:
            needs.append(need.scope)
            await visitor.sign_in()
            return True

        async with client(visitor, ask) as http:
            opened = await http.post(authority.url, json=INITIALIZE)
            session = {"mcp-session-id": opened.headers["mcp-session-id"]}
            done = {"jsonrpc": "2.0", "method": "notifications/initialized"}
            await http.post(authority.url, json=done, headers=session)
            body = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "admin"}}
            answer = await http.post(authority.url, json=body, headers=session)
            assert "done" in answer.text
        assert needs == ["admin"]
        assert authority.executed["admin"] == 1


async def test_a_token_goes_to_the_server_it_was_made_for_and_nowhere_else(tmp_path: Path) -> None:
    async with Authority() as authority, Authority() as elsewhere:
        visitor = Visitor(authority, tmp_path)
        await visitor.sign_in()
        async with client(visitor) as http:
            assert (await http.post(elsewhere.url, json=INITIALIZE)).status_code == 401
        moved = Visitor(elsewhere, tmp_path)  # the same name, and another URL in the config
        async with client(moved) as http:
            assert (await http.post(elsewhere.url, json=INITIALIZE)).status_code == 401
        assert elsewhere.seen == []


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
async def test_a_file_that_others_can_read_is_not_used(tmp_path: Path, mode: int) -> None:
    async with Authority() as authority:
        visitor = Visitor(authority, tmp_path)
        await visitor.sign_in()
        visitor.file.path.chmod(mode)
        async with client(visitor) as http:
            with pytest.raises(SignInFailed, match=r"by others; sign in anew: `logout s`, then `login s`"):
                await http.post(authority.url, json=INITIALIZE)
        assert authority.seen == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1}', '{"version": 1, "server": "s", "url": "x"}'])
async def test_a_file_that_is_damaged_is_not_used(tmp_path: Path, text: str) -> None:
    async with Authority() as authority:
        visitor = Visitor(authority, tmp_path)
        await visitor.sign_in()
        visitor.file.path.write_text(text, encoding="utf-8")
        async with client(visitor) as http:
            with pytest.raises(SignInFailed, match="sign in anew"):
                await http.post(authority.url, json=INITIALIZE)
