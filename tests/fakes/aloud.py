"""What people are told of a server that is not there, read aloud."""

import re
from collections.abc import Mapping
from typing import Any

import anyio

from tests.fakes.bridges import open_without_host
from tests.fakes.items import Json

PATIENCE_S = 8
LONGEST = 480
"""Of a whole notice; one that quotes nothing is far shorter."""
CLASS_NAMES = re.compile(r"\b(ExceptionGroup|TaskGroup|(MCP|Connect|OS|SSL|HTTPStatus)Error|\w+Resource\w+)\b")


async def tell(server: Json, environ: Mapping[str, str] | None = None, **sections: Any) -> str:
    """What people are told of this one, the only server, which does not start or cannot be reached."""
    given: Any = {"environ": environ} if environ is not None else {}
    async with open_without_host(None, {"far": server}, **given, **sections) as bridge:
        with anyio.fail_after(PATIENCE_S):
            [notice] = (await bridge.hub.catalogue()).notices
    return read_aloud(notice["message"])


def read_aloud(words: str) -> str:
    """The words, which are one sentence that says nothing twice, in no programmer's terms."""
    assert words.isprintable(), words
    assert len(words) <= LONGEST, words
    assert words.count('server "far"') == 1, words
    assert "Traceback" not in words, words
    ours = words.partition("its last line")[0]
    assert "[Errno" not in ours, words
    assert not CLASS_NAMES.search(ours), words
    parts = re.split(r"; |: ", words)
    assert len(parts) == len(set(parts)), words
    return words
