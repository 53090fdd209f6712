"""Bad inputs through every door, some hundreds of each here; `make bad-inputs` makes them 100,000."""

import gc
import json
from typing import Any

import pytest

from tests.bad_inputs.doors import DOORS, INSIDE, Tried, open_stdin

pytestmark = pytest.mark.anyio

FEW, MANY = 200, 3000
FOUND = {
    "config": [1053, 2132],
    "upstream": [490],
    "server": [15745],
    "web": [1928],
}
"""Inputs that once broke something; docs/track-record.md says what."""


@pytest.mark.rule("REL2", "REL7", "REL26", "S8")
@pytest.mark.parametrize("door", DOORS)
async def test_no_bad_input_ends_anything_or_is_answered_with_our_inside(door: str) -> None:
    assert await DOORS[door](range(FEW)) == Tried(inputs=FEW)


# mcp 2.3 leaves the streams of a session unclosed that ends while a bad message for it is answered.
@pytest.mark.filterwarnings("ignore:Exception ignored in.*MemoryObject:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.external
@pytest.mark.parametrize("door", DOORS)
async def test_no_bad_input_of_thousands_does(door: str, record_testsuite_property: Any) -> None:
    assert await DOORS[door](range(FEW, MANY)) == Tried(inputs=MANY - FEW)
    gc.collect()  # here, and not in the next test
    record_testsuite_property(f"bad inputs: {door}", MANY)


@pytest.mark.parametrize("door", FOUND)
async def test_no_input_that_once_did_does_again(door: str) -> None:
    assert await DOORS[door](FOUND[door]) == Tried(inputs=len(FOUND[door]))


FETCH = b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": %s}'
REPORTED = {
    "modelcontextprotocol/servers#3359": b"NOT VALID JSON",
    "modelcontextprotocol/servers#4206": b'{"jsonrpc":"2.0", "method": "test", "params": ',
    "huaweicloud/huaweicloud-devkit#565": b"{this is not json",
    "huaweicloud/huaweicloud-devkit#637": b"Content-Length: 20\r\n\r\n{ not valid json !!}",
    "kajisho5/ffmpeg-skill#120": b"42\nnull\ntrue\n[1,2,3]",
    "modelcontextprotocol/python-sdk#820": FETCH % b'{"name": "respond", "arguments": "hello"}',
    "everruns/bashkit#1182": FETCH % b'{"name": "bash", "arguments": "not an object"}',
    "twentyhq/twenty#13801": b'{"jsonrpc": "2.0", "id": null, "error": {"code": 1, "message": "x"}, "version": "1"}',
    "morluto/flameox#502": FETCH % b'{"name": "respond", "arguments": {"input": {}, "tools": "/tmp/report.sarif"}}',
}


@pytest.mark.rule("REL2")
async def test_what_ended_other_servers_or_told_of_their_inside_is_answered_in_words() -> None:
    """Each is a line on stdin of its own; -32700 and -32600 are answered, and so is what follows."""
    tried = Tried()
    async with open_stdin(tried) as say:
        answers = await say("reported", [*REPORTED.values()])
    assert tried.faults == []
    assert not INSIDE.search(json.dumps(answers))
    codes = [answer["error"]["code"] for answer in answers if "error" in answer]
    assert codes.count(-32700) >= 5
    assert codes.count(-32600) >= 4
