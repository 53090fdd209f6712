"""A service whose config file changes while it runs: SIGHUP, real processes, real servers, and runs that go on."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import psutil
import pytest
from mcp import MCPError, types

from tests.fakes.bridges import outputs_of, respond
from tests.fakes.clock import until
from tests.fakes.httphost import http_host
from tests.fakes.items import Json
from tests.fakes.living import free, living
from tests.fakes.servers import Gate
from tests.fakes.service import TOKEN, connect
from tests.fakes.upstream import Reply, Request, ScriptedUpstream, call, gated, message, responds

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.external,
    pytest.mark.filterwarnings("ignore:Exception ignored in.*MemoryObject:pytest.PytestUnraisableExceptionWarning"),
]


def prompt_of(request: Request) -> str:
    asked = request.json["input"]
    return asked if isinstance(asked, str) else str(asked[0]["content"])


def do_as_told(request: Request) -> Reply:
    """A prompt names the tools that are called one after the other; then it is answered."""
    tools = prompt_of(request).split()
    done = sum(item.get("type") == "function_call_output" for item in list_items(request))
    if done == len(tools) or "__" not in tools[done]:
        return responds(message("done"))
    return responds(call(tools[done], {"text": "x"} if tools[done].endswith("echo") else {}))


def list_items(request: Request) -> list[Json]:
    items = request.json["input"]
    return items if isinstance(items, list) else []


def offered(request: Request) -> list[str]:
    return [tool["name"] for tool in request.json.get("tools", [])]


async def ask(port: int, input: str, *, token: str = TOKEN, into: list[Json] | None = None) -> Json:
    async with connect(port, "/mcp", "auto", token=token) as client:
        receipt = await respond(client, input)
    if into is not None:
        into.append(receipt)
    return receipt


async def test_servers_come_go_and_change_while_a_run_is_in_mid_call(tmp_path: Path) -> None:
    """As anomalyco/opencode#37421: what is the same keeps its process, a run the catalogue that it began with."""
    told = list[Any]()

    async def hear(message: Any) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            told.append(message)

    async with Gate() as gate, ScriptedUpstream(do_as_told) as upstream, anyio.create_task_group() as tasks:
        servers = {
            "busy": free(f"waits={gate.port}", name="good"),
            "same": free(name="tool=same"),
            "old": free(name="tool=old"),
        }
        async with (
            living(tmp_path, upstream, servers) as (service, config),
            connect(service.port, "/mcp", "legacy", message_handler=hear) as host,
        ):
            before = await service.has_children("good", "tool=same", "tool=old")
            await respond(host, "hello")
            receipts = list[Json]()
            tasks.start_soon(lambda: ask(service.port, "busy__wait old__echo same__echo", into=receipts))
            await gate.reached()
            told.clear()
            rest = {"busy": servers["busy"], "same": {**servers["same"], "tools": {"deny": ["echo"]}}}
            said = await service.reload({**config, "mcpServers": {**rest, "new": free(name="tool=new")}})
            assert said == "reloaded: 1 server added (new), 1 server removed (old), 1 server adjusted (same)"
            after = await service.has_children("good", "tool=same", "tool=new")
            assert (after["good"], after["tool=same"]) == (before["good"], before["tool=same"])
            await respond(host, "new__echo")
            names = offered(upstream.requests[-1])
            assert "new__echo" in names
            assert not {"same__echo", "old__echo"} & set(names)
            gate.open()
            await until(lambda: bool(receipts))
            await until(lambda: bool(told))
        waited, gone, denied = outputs_of(upstream.requests[-1])
    assert (receipts[0]["status"], waited, len(told)) == ("completed", "waited", 1)
    assert json.loads(gone)["message"] == "old is not in the config any more"
    assert json.loads(denied)["error"] == "denied"


async def test_a_server_that_leaves_or_changes_answers_the_call_that_is_with_it(tmp_path: Path) -> None:
    """As anomalyco/opencode#37421 again: a connection that is replaced leaves no process behind."""
    async with Gate() as gate, ScriptedUpstream(do_as_told) as upstream, anyio.create_task_group() as tasks:
        servers = {name: free(f"waits={gate.port}", name=f"tool={name}") for name in ("leaves", "changes")}
        async with living(tmp_path, upstream, servers) as (service, config):
            before = await service.has_children("tool=leaves", "tool=changes")
            receipts = list[Json]()
            for name in servers:
                tasks.start_soon(lambda name=name: ask(service.port, f"{name}__wait {name}__echo", into=receipts))
            await until(lambda: gate.count == 2)
            changed = free(f"waits={gate.port}", name="tool=changed")
            said = await service.reload({**config, "mcpServers": {"changes": changed}})
            assert said == "reloaded: 1 server removed (leaves), 1 server restarted (changes)"
            now = await service.has_children("tool=leaves", "tool=changes", "tool=changed")
            assert {name: now[name] for name in before} == before
            gate.open()
            await until(lambda: len(receipts) == 2)
            assert (await service.has_children("tool=changed"))["tool=changed"] == now["tool=changed"]
        last = [outputs_of(request) for request in upstream.requests if len(outputs_of(request)) == 2]
    assert [first for first, _ in last] == ["waited", "waited"]
    texts = " ".join(second for _, second in last)
    assert "leaves is not in the config any more" in texts
    assert "the config reaches changes elsewhere than when this run began" in texts


async def test_a_file_that_cannot_be_used_changes_nothing_and_says_where_it_is_wrong(tmp_path: Path) -> None:
    """As apollographql/apollo-mcp-server#718, where a slip ends the server, dandriscoll/trollbridge#129, where nobody
    sees that the old rules hold, and Kuadrant/limitador#523, where a file that is replaced is not read."""
    async with (
        ScriptedUpstream(do_as_told) as upstream,
        living(tmp_path, upstream, {"one": free(name="tool=one")}) as (service, config),
    ):
        before = await service.has_children("tool=one")
        file, port = service.file, service.port
        file.write_text('{"mcpServers": {"one": ', encoding="utf-8")
        broken = await service.reload()
        assert broken.startswith(f"not reloaded, all stays as it was: {file}: ")
        assert "line 1" in broken
        assert (await service.health(None)) == (200, {"status": "ok"})
        assert (await service.health())[1]["config"] in broken
        wrong = await service.reload({**config, "limits": {"max_turns": "many"}})
        assert f"{file}: limits.max_turns: " in wrong
        file.rename(tmp_path / "away")
        assert str(file) in await service.reload()
        slip = {**config, "mcpServers": {"one": {"command": 1}, "two": free(name="tool=two")}}
        assert await service.reload(slip) == "reloaded: 1 server added (two)"
        assert "mcpServers.one.command: " in await service.said("the server goes on as it was")
        new = tmp_path / "new.json"
        new.write_text(json.dumps({**config, "mcpServers": {"three": free(name="tool=three")}}), encoding="utf-8")
        new.chmod(0o600)
        new.replace(file)
        assert "1 server added (three), 2 servers removed (two, one)" in await service.reload()
        await service.has_children("tool=three")
        (tmp_path / "mounted.json").write_text(json.dumps(config), encoding="utf-8")
        (tmp_path / "mounted.json").chmod(0o600)
        (tmp_path / "link").symlink_to("mounted.json")
        (tmp_path / "link").rename(file)  # as Kubernetes changes a ConfigMap
        assert "1 server added (one), 1 server removed (three)" in await service.reload()
        assert (await service.has_children("tool=one"))["tool=one"] != before["tool=one"]
        assert "config" not in (await service.health())[1]
        later = {**config, "serve": {**config["serve"], "port": port + 1 if port < 65535 else 1}}
        later |= {"runs": {"store": "sqlite"}, "limits": {"max_turns": 3}}
        assert await service.reload(later) == "reloaded: limits changed"
        said = [await service.said("takes effect at the next start") for _ in range(2)]
        assert ["runs.store: has changed" in said[0], "serve.port: has changed" in said[1]] == [True, True]
        assert (await service.reload()).startswith("reloaded: nothing has changed")
        assert (await service.health(None))[0] == 200


async def test_people_limits_and_secrets_change_with_the_next_request_and_the_next_run(tmp_path: Path) -> None:
    """As TykTechnologies/tyk#2293, where a revoked key goes on working; a run that goes on keeps its limits."""
    ann, bob, new_secret = "token-of-ann-0123456789", "token-of-bob-0123456789", "sesame-sesame-0123456789"
    async with Gate() as gate, ScriptedUpstream(do_as_told) as upstream, anyio.create_task_group() as tasks:
        people: Json = {"ann": {"token": ann}, "eve": {"token": "token-of-eve-0123456789"}}
        servers = {"slow": free(f"waits={gate.port}", name="good"), "quick": free(name="tool=quick")}
        async with living(tmp_path, upstream, servers, serve={"principals": people}) as (service, config):
            receipts = list[Json]()
            tasks.start_soon(lambda: ask(service.port, "slow__wait slow__echo", token=ann, into=receipts))
            async with connect(service.port, "/mcp", "legacy", token=people["eve"]["token"]) as eve:
                assert (await respond(eve, "hello"))["status"] == "completed"
                await gate.reached()
                left = {"ann": {"token": ann, "limits": {"max_tool_calls": 1}}, "bob": {"token": bob}}
                chatty = {**free(f"exit_at_start=the key is {new_secret}", name="good"), "env": {"API_KEY": new_secret}}
                changed = {"serve": {**config["serve"], "principals": left}, "prices": {"m": {"input": 1, "output": 2}}}
                said = await service.reload({**config, **changed, "mcpServers": {**servers, "chatty": chatty}})
                assert said == "reloaded: 1 server added (chatty), prices, serve.principals changed"
                with pytest.raises(MCPError):
                    await respond(eve, "hello")
            assert (await service.health(people["eve"]["token"]))[0] == 401
            assert (await ask(service.port, "hello", token=bob))["status"] == "completed"
            assert "the key is ***" in await service.said("the key is")
            cut = await ask(service.port, "quick__echo quick__echo", token=ann)
            assert cut["incomplete_details"] == {"reason": "max_tool_calls"}
            gate.open()
            await until(lambda: bool(receipts))
            assert (receipts[0]["status"], receipts[0]["incomplete_details"]) == ("completed", None)
            single = {**config, "serve": {"port": 0, "token": TOKEN}}
            assert "serve.principals changed" in await service.reload(single)
            assert (await service.health(ann))[0] == 401
            assert (await service.health())[0] == 200
            assert new_secret not in "".join(service.lines)


async def test_twenty_reloads_while_64_runs_go_on_drop_none_and_leave_nothing(
    tmp_path: Path, record_testsuite_property: Any
) -> None:
    """Processes and descriptors are as many as before."""
    count, gate = 64, anyio.Event()

    def hold(request: Request) -> Reply:
        return gated(do_as_told(request), gate) if "same__echo" in prompt_of(request) else do_as_told(request)

    async with (
        ScriptedUpstream(hold) as upstream,
        living(tmp_path, upstream, {"same": free(name="good")}) as (service, config),
        http_host(service.port, "auto") as host,
    ):
        before, process = await service.has_children("good"), psutil.Process(service.process.pid)
        await (await host.call("hello")).receipt()
        calls = [await host.call(f"same__echo {number}") for number in range(count)]
        await upstream.arrivals.wait(count + 1)
        descriptors = process.num_fds()
        for number in range(20):
            other = {"other": free(name=f"tool={number}")} if number % 2 else {}
            await service.reload(
                {
                    **config,
                    "mcpServers": {**config["mcpServers"], **other},
                    "upstream": {**config["upstream"], "max_retries": number},
                }
            )
        assert (await service.has_children("good", "tool=19"))["good"] == before["good"]
        await service.reload(config)
        assert await service.has_children("good") == before
        await until(lambda: process.num_fds() <= descriptors)
        for _ in range(50):  # signals that come at once are as one, and the last file holds
            service.process.send_signal(signal.SIGHUP)
        gate.set()
        assert {(await each.receipt())["status"] for each in calls} == {"completed"}
        assert await service.has_children("good") == before
        record_testsuite_property("20 reloads, 64 runs: dropped", 0)
        service.process.terminate()
        assert await service.ends() == 0


async def test_a_reload_at_the_start_or_the_end_ends_nothing(tmp_path: Path) -> None:
    """As ra-at-diladele-com/qlproxy_external#912, where SIGHUP ends the process; at each moment of the start."""
    async with living(tmp_path, None, {"one": free(name="tool=one")}) as (service, _):
        for _ in range(5):
            service.process.send_signal(signal.SIGHUP)
        await service.said("reloaded")
        service.process.send_signal(signal.SIGHUP)
        service.process.terminate()
        service.process.send_signal(signal.SIGHUP)
        assert await service.ends() == 0


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no such files")
async def test_a_file_that_never_ends_does_not_hold_up_the_end(tmp_path: Path) -> None:
    async with living(tmp_path, None) as (service, _):
        service.file.unlink()
        os.mkfifo(service.file)
        service.process.send_signal(signal.SIGHUP)
        sink = await anyio.to_thread.run_sync(os.open, service.file, os.O_WRONLY)  # opens once the service reads
        service.process.terminate()
        assert await service.ends() == 0
        os.close(sink)
