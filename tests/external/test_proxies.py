"""The proxies of `deploy/` in front of a service: calls, events as they are sent, and a call that is given up."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.client import ConnectMode
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from tests.external.conftest import Find
from tests.fakes.bridges import ERAS, open_without_host, respond, text_of
from tests.fakes.clock import PATIENCE_S
from tests.fakes.ports import find_port
from tests.fakes.servers import OrderedServer
from tests.fakes.service import TOKEN, Served, serving
from tests.fakes.upstream import HEAD, Reply, Request, ScriptedUpstream, call, hang, message, responds

pytestmark = [pytest.mark.anyio, pytest.mark.external]

NAME = "bridge.example.com"
EVERYWHERE = [(path, mode) for path in ("/mcp", "/sse") for mode in ERAS]


def answer(request: Request) -> Reply:
    """`use KEY` calls a tool, `hang` is silent; see the scene of tests/host/test_http.py."""
    items = request.json["input"]
    words = str(items if isinstance(items, str) else items[0]["content"])
    if words == "hang":
        return hang(HEAD)
    outputs = [item["output"] for item in items if "output" in item] if isinstance(items, list) else []
    return responds(message(f"it says {outputs[0]}") if outputs else call("o__answer", {"key": words}))


async def set_up_nginx(repository: Path, folder: Path, port: int, behind: int) -> list[str]:
    """Write a whole nginx.conf around the example, with a certificate; return the options that name it."""
    subject = ["-subj", f"/CN={NAME}", "-keyout", str(folder / "key.pem"), "-out", str(folder / "chain.pem")]
    await anyio.run_process(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject])
    site = (repository / "deploy" / "nginx.conf").read_text(encoding="utf-8")
    site = site.replace("listen 443", f"listen 127.0.0.1:{port}").replace("127.0.0.1:8787", f"127.0.0.1:{behind}")
    site = site.replace(f"/etc/ssl/{NAME}/fullchain.pem", str(folder / "chain.pem"))
    site = site.replace(f"/etc/ssl/{NAME}/privkey.pem", str(folder / "key.pem"))
    own = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    user = "user root;" if os.getuid() == 0 else ""
    text = f"daemon off; {user} pid {folder}/pid; events {{}} http {{ access_log off; {own}\n{site}\n}}"
    (folder / "nginx.conf").write_text(text, encoding="utf-8")
    return ["-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")]


def set_up_caddy(repository: Path, folder: Path, port: int, behind: int) -> list[str]:
    """Write the example without TLS, which would ask for a certificate; return the options that name it."""
    site = (repository / "deploy" / "Caddyfile").read_text(encoding="utf-8")
    site = site.replace(f"{NAME} {{", f"http://{NAME}:{port} {{").replace("127.0.0.1:8787", f"127.0.0.1:{behind}")
    (folder / "Caddyfile").write_text(f"{{\n\tadmin off\n}}\n{site}", encoding="utf-8")
    return ["--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


@contextlib.asynccontextmanager
async def proxied(kind: str, find: Find, repository: Path, folder: Path, behind: int) -> AsyncIterator[str]:
    """The address of a proxy of this kind, whose configuration its own program has found right."""
    port = find_port()
    if kind == "nginx":
        options = await set_up_nginx(repository, folder, port, behind)
        check, start, scheme = [*options, "-t"], options, "https"
    else:
        options = set_up_caddy(repository, folder, port, behind)
        check, start, scheme = ["validate", *options], ["run", *options], "http"
    await anyio.run_process([find(kind), *check])
    process = await asyncio.create_subprocess_exec(
        find(kind), *start, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        with anyio.fail_after(PATIENCE_S):
            while not await accepts(port):
                assert process.returncode is None
        yield f"{scheme}://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


async def accepts(port: int) -> bool:
    try:
        await (await anyio.connect_tcp("127.0.0.1", port)).aclose()
    except OSError:
        return False
    return True


@contextlib.asynccontextmanager
async def connect(url: str, path: str, mode: ConnectMode) -> AsyncIterator[Client]:
    """A client that calls the proxy by its public name."""
    headers = {"Authorization": f"Bearer {TOKEN}", "Host": NAME}
    async with httpx2.AsyncClient(headers=headers, timeout=60, verify=False) as http:
        target = (
            sse_client(f"{url}{path}", headers=headers, httpx_client_factory=trust)
            if path == "/sse"
            else streamable_http_client(f"{url}{path}", http_client=http)
        )
        async with Client(target, mode=mode) as client:
            yield client


def trust(
    headers: dict[str, str] | None = None, timeout: httpx2.Timeout | None = None, auth: httpx2.Auth | None = None
) -> httpx2.AsyncClient:
    """An HTTP client that takes the certificate of the tests."""
    return httpx2.AsyncClient(headers=headers, timeout=timeout, auth=auth, verify=False)


@contextlib.asynccontextmanager
async def scene() -> AsyncIterator[tuple[ScriptedUpstream, OrderedServer, Served]]:
    owner, upstream = OrderedServer(), ScriptedUpstream(answer)
    async with (
        upstream,
        open_without_host(upstream, {"o": owner.server}) as bridge,
        serving(bridge, allowed_hosts=(NAME,)) as served,
    ):
        yield upstream, owner, served


@pytest.mark.parametrize("kind", ["nginx", "caddy"])
async def test_a_call_and_its_events_pass_a_proxy_as_they_are_sent(
    kind: str, peer: Find, repository: Path, tmp_path: Path
) -> None:
    """The tool answers only when the host has heard that it was called: a proxy that held events back would hang."""
    async with scene() as (_, owner, served), proxied(kind, peer, repository, tmp_path, served.port) as url:
        for path, mode in EVERYWHERE:
            await call_and_hear(url, path, mode, owner)


async def call_and_hear(url: str, path: str, mode: ConnectMode, owner: OrderedServer) -> None:
    key, heard = f"{path} {mode}", list[str]()

    async def hear(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001
        heard.append(message or "")
        if "→" in heard[-1]:
            owner.release(key)

    with anyio.fail_after(PATIENCE_S):
        async with connect(url, path, mode) as client:
            result = await client.call_tool("respond", {"input": key}, progress_callback=hear)
    assert text_of(result) == f"it says {key}"
    assert [line.split()[0] for line in heard] == ["turn", "→", "✓", "turn"], key


@pytest.mark.parametrize("kind", ["nginx", "caddy"])
async def test_a_call_that_is_given_up_behind_a_proxy_ends_its_upstream_request(
    kind: str, peer: Find, repository: Path, tmp_path: Path
) -> None:
    async with (
        scene() as (upstream, _, served),
        proxied(kind, peer, repository, tmp_path, served.port) as url,
        connect(url, "/mcp", "legacy") as client,
    ):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(respond, client, "hang")
            await upstream.arrivals.wait(1)
            tasks.cancel_scope.cancel()
        await upstream.disconnects.wait(1)


@pytest.mark.parametrize("kind", ["nginx", "caddy"])
async def test_what_a_proxy_is_not_called_does_not_reach_the_service(
    kind: str, peer: Find, repository: Path, tmp_path: Path
) -> None:
    """And what reaches it is health without a token, and nothing else."""
    async with (
        scene() as (_, _, served),
        proxied(kind, peer, repository, tmp_path, served.port) as url,
        httpx2.AsyncClient(verify=False) as http,
    ):
        assert (await http.get(f"{url}/healthz", headers={"Host": NAME})).json() == {"status": "ok"}
        assert (await http.get(f"{url}/mcp", headers={"Host": NAME})).status_code == 401
        other = await http.get(f"{url}/healthz", headers={"Host": "evil.example.com"})
        assert "ok" not in other.text
