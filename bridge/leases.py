"""Things that many use at once and that may be replaced: what was replaced is closed once its last user has left."""

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio

Thing = AbstractAsyncContextManager[Any]


class Leases:
    """Holders of things that may be replaced while they are used, counted."""

    def __init__(self) -> None:
        self._users = Counter[Thing]()
        self._replaced = set[Thing]()

    @asynccontextmanager
    async def use(self, thing: Thing) -> AsyncGenerator[None]:
        """Use it while entered."""
        self._users[thing] += 1
        try:
            yield
        finally:
            self._users[thing] -= 1
            await self._close_unused(thing)

    async def replace(self, thing: Thing) -> None:
        """Note that nobody begins to use it any more."""
        self._replaced.add(thing)
        await self._close_unused(thing)

    async def _close_unused(self, thing: Thing) -> None:
        if self._users[thing]:
            return
        del self._users[thing]
        if thing in self._replaced:
            self._replaced.discard(thing)
            with anyio.CancelScope(shield=True):
                await thing.__aexit__(None, None, None)
