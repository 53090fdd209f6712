"""A server in this process whose code ends itself costs the calls that did, and not the bridge."""

import json
import sys

import pytest
from mcp.server import MCPServer

from tests.fakes.bridges import ask, outputs_of
from tests.fakes.upstream import call, message, responds

pytestmark = pytest.mark.anyio


class Ending(BaseException):
    """What no `except Exception` catches."""


ENDINGS = [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), Ending("for ever")]


def build_ending() -> MCPServer:
    server = MCPServer("inside")

    @server.tool()
    async def end(number: int) -> str:
        raise ENDINGS[number]

    @server.tool()
    def leave() -> str:
        sys.exit("good bye")

    @server.tool()
    async def echo(text: str) -> str:
        return text

    return server


@pytest.mark.rule("B10")
async def test_code_that_ends_itself_fails_its_call_and_no_other() -> None:
    ends = [call("inside__end", {"number": number}) for number in range(len(ENDINGS))]
    script = [
        responds(*ends, call("inside__leave"), call("inside__echo", {"text": "beside"})),
        responds(call("inside__echo", {"text": "after"})),
        responds(message("done")),
    ]
    receipt, requests = await ask(script, {"inside": build_ending()}, upstream={"stream": "never"})
    *failed, beside = outputs_of(requests[1])
    assert receipt["status"] == "completed"
    assert [beside, *outputs_of(requests[2])[-1:]] == ["beside", "after"]
    kinds = ["SystemExit: 3", "KeyboardInterrupt: ", "GeneratorExit: ", "Ending: for ever", "SystemExit: good bye"]
    assert [json.loads(output)["error"] for output in failed] == ["protocol_error"] * 5
    assert [kind in output for kind, output in zip(kinds, failed, strict=True)] == [True] * 5
