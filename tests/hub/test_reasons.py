"""What a server says that refuses us, is too late or goes away, in words for people."""

import json
import sys
from typing import Any

import anyio
import pytest

from tests.fakes.aloud import read_aloud, tell
from tests.fakes.bridges import open_bridge
from tests.fakes.http import HttpServer
from tests.fakes.servers import OrderedServer
from tests.fakes.upstream import call

pytestmark = pytest.mark.anyio

ADVICE = "start it there, or correct url"
TRACEBACK = "Traceback (most recent call last):\n  File \"a.py\", line 1, in <module>\nKeyError: 'API_KEY'"


def answering(error: Any) -> dict[str, Any]:
    """A server that answers every request with this error."""
    script = 'while read -r line; do id=${line##*\\"id\\":}; printf \'{"jsonrpc": "2.0", "id": %s, "error": %s}\\n\' '
    script += '"${id%%[,\\}]*}" "$1"; done'
    return {"command": "/bin/sh", "args": ["-c", script, "sh", json.dumps(error)], "protocol": "legacy"}


@pytest.mark.parametrize(
    ("error", "told"),
    [
        pytest.param({"code": -32603, "message": "no licence"}, "failed: no licence;", id="its own words"),
        pytest.param(
            {"code": -32000, "message": "MCP error -32000: MCP error -32000: no licence"},
            "failed: no licence;",
            id="passed on twice",
        ),
        pytest.param({"code": -32603, "message": TRACEBACK}, "failed: KeyError: 'API_KEY';", id="a traceback"),
        pytest.param({"code": -32603, "message": ""}, "failed: it answered with error -32603, without", id="no words"),
        pytest.param({"code": -32000, "message": ""}, "it answered with error -32000, without", id="-32000, no words"),
        pytest.param({"code": -32700, "message": "no licence"}, "failed: no licence;", id="its own -32700"),
        pytest.param({"code": -32603, "message": "\nno licence\nsee the docs"}, "failed: no licence;", id="lines"),
    ],
)
async def test_a_refusal_is_told_in_the_servers_words(error: Any, told: str) -> None:
    assert told in await tell(answering(error))


async def test_one_that_is_late_is_quoted() -> None:
    script = "echo Downloading 800 MB of models >&2; cat >/dev/null"
    words = await tell({"command": "/bin/sh", "args": ["-c", script], "connect_timeout_s": 0.5})
    assert words.startswith('server "far" is late: not ready after 0.5 s; it said last: Downloading 800 MB of models;')


async def test_one_that_writes_something_else_to_stdout_while_it_is_late_is_quoted() -> None:
    script = "echo Listening on http://localhost:3000; cat >/dev/null"
    words = await tell({"command": "/bin/sh", "args": ["-c", script], "connect_timeout_s": 0.5})
    assert "it said last: Listening on http://localhost:3000" in words


async def test_one_that_goes_away_is_told_so_with_its_address() -> None:
    async with (
        HttpServer(lambda: OrderedServer().server) as served,
        open_bridge({"far": {"url": served.url}}) as bridge,
    ):
        await bridge.reached("far", "ready")
        await served.stop()
        await bridge.use(call("far__answer", {"key": "a"}))
        await bridge.reached("far", "failed")
        words = read_aloud(bridge.member("far").describe())
        await served.start()
    assert words == f'server "far" failed: {served.url} cannot be reached: connection refused; {ADVICE}'


async def test_a_secret_in_a_refusal_is_blanked_before_it_is_cut() -> None:
    server = answering({"code": -32603, "message": f"{'x' * 410} s3cret-of-the-shop is refused"})
    assert "s3c" not in await tell({**server, "env": {"KEY": "s3cret-of-the-shop"}})


async def test_words_are_imported_only_when_there_is_something_to_say() -> None:
    words = {f"bridge.hub.transports.{name}" for name in ("addresses", "commands", "exits", "last_words", "answers")}
    program = f"import sys, bridge.app; print(*{words} & sys.modules.keys())"
    done = await anyio.run_process([sys.executable, "-c", program])
    assert done.stdout.strip() == b""
