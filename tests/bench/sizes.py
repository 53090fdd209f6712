"""What a task costs in tokens by the number of tools, and how much of a request stays as it was in the next."""

import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

from mcp import StdioServerParameters

from tests.bench.arms import Arm, far_end, open_direct, write_config
from tests.bench.floor import open_floor
from tests.bench.progress import tell
from tests.bench.starts import fetch_requests
from tests.bench.table import Row
from tests.bench.workloads import BY_KEY, Json, count_tokens, encode


async def measure_sizes(base_url: str) -> list[Row]:
    """A row for each number of tools, and two for ten turns."""
    return [*[await _measure_tokens(base_url, count) for count in (10, 100, 1000)], *await _measure_prefix(base_url)]


async def _measure_tokens(base_url: str, tools: int) -> Row:
    title = f"input tokens of one tool's task, {tools} tools offered"
    with tell(title):
        async with _open_two(base_url, tools) as arms:
            floor, direct = [count_tokens(map(encode, await record(base_url, arm, "one"))) for arm in arms]
    return Row(title, floor, direct, None)


async def _measure_prefix(base_url: str) -> list[Row]:
    with tell("% of a request that the next begins with"):
        async with _open_two(base_url, 10) as arms:
            floor, direct = [await record(base_url, arm, "ten") for arm in arms]
    forms: dict[str, Callable[[Json], bytes]] = {
        "% of a request that the next begins with, as sent": encode,
        "% of it as the model reads it: tools, then items": _as_read,
    }
    return [
        Row(title, share_prefix([*map(form, floor)]), share_prefix([*map(form, direct)]), None)
        for title, form in forms.items()
    ]


@asynccontextmanager
async def _open_two(base_url: str, tools: int) -> AsyncIterator[tuple[Arm, Arm]]:
    server = StdioServerParameters(command=sys.executable, args=far_end(tools))
    with tempfile.TemporaryDirectory() as folder:
        config = write_config(Path(folder), base_url, {"bench": far_end(tools)})
        async with open_floor(base_url, server) as floor, open_direct(config) as direct:
            yield floor.run, direct


async def record(base_url: str, arm: Arm, key: str) -> list[Json]:
    """The requests of one run."""
    await fetch_requests(base_url)
    await arm(BY_KEY[key])
    return [request["body"] for request in await fetch_requests(base_url)]


def share_prefix(texts: Sequence[bytes]) -> float:
    """The least share, in percent, of a text that the next one begins with."""
    return min(100 * _count_common(text, after) / len(text) for text, after in pairwise(texts))


def _count_common(text: bytes, after: bytes) -> int:
    pairs = zip(text, after, strict=False)
    return next((place for place, (one, other) in enumerate(pairs) if one != other), len(text))


def _as_read(body: Json) -> bytes:
    return b"\n".join(map(encode, [*body["tools"], *body["input"]]))
