"""What a server has beside its tools: prompts and resources, which no host sees through the bridge."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from mcp import Client, MCPError, types
from pydantic import ValidationError

from bridge.clock import Clock

NO_ANSWER_S = 5.0
"""How long a server may take to list one kind of them."""
MAX_PAGES = 100

Counts: TypeAlias = dict[str, int | None]
"""How many there are of each kind; None for a kind that is announced and not listed."""


async def count_others(client: Client, clock: Clock) -> Counts:
    """Count the prompts and the resources; a kind of which there are none is left out."""
    capabilities = client.server_capabilities
    counts: Counts = {}
    if capabilities.prompts is not None:
        counts["prompts"] = await _count(_list_prompts(client), clock)
    if capabilities.resources is not None:
        listed = await _count(_list_resources(client), clock)
        templates = await _count(_list_templates(client), clock)
        counts["resources"] = listed if templates is None else (listed or 0) + templates
    return {kind: count for kind, count in counts.items() if count != 0}


_List: TypeAlias = Callable[[str | None], Awaitable[tuple[int, str | None]]]
"""Lists the page at a cursor: how many are on it, and the cursor of the next one."""


async def _count(list_page: _List, clock: Clock) -> int | None:
    total: int | None = None
    with clock.scope(clock.now() + NO_ANSWER_S):
        try:
            cursor: str | None = None
            for _ in range(MAX_PAGES):
                count, cursor = await list_page(cursor)
                total = (total or 0) + count
                if cursor is None:
                    break
        except (MCPError, ValidationError):
            return total
    return total


def _list_prompts(client: Client) -> _List:
    async def list_page(cursor: str | None) -> tuple[int, str | None]:
        page: types.ListPromptsResult = await client.list_prompts(cursor=cursor)
        return len(page.prompts), page.next_cursor

    return list_page


def _list_resources(client: Client) -> _List:
    async def list_page(cursor: str | None) -> tuple[int, str | None]:
        page: types.ListResourcesResult = await client.list_resources(cursor=cursor)
        return len(page.resources), page.next_cursor

    return list_page


def _list_templates(client: Client) -> _List:
    async def list_page(cursor: str | None) -> tuple[int, str | None]:
        page: types.ListResourceTemplatesResult = await client.list_resource_templates(cursor=cursor)
        return len(page.resource_templates), page.next_cursor

    return list_page
