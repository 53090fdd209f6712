"""The members of a hub, as its config lists them: who is in, who comes, and who leaves once no call is with it."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup

from bridge.config.changes import needs_restart
from bridge.config.settings import ServerConfig
from bridge.hub.member import Member


class Roster:
    """The members in the order of the config, each kept connected by a task of its own that can be ended alone."""

    def __init__(self, servers: Sequence[ServerConfig], build: Callable[[ServerConfig], Member]) -> None:
        self._build = build
        self.members = [build(server) for server in servers]
        self.owners = {member.key: member for member in self.members}
        """The members by key; this object stays the same."""
        self._scopes: dict[Member, anyio.CancelScope] = {}
        self._tasks: TaskGroup | None = None

    @asynccontextmanager
    async def keep(self) -> AsyncGenerator[None]:
        """Keep all members connected while entered."""
        async with anyio.create_task_group() as self._tasks:
            for member in self.members:
                self._tasks.start_soon(self._run, member, name=f"server {member.key}")
            yield
            self._tasks.cancel_scope.cancel()
        self._tasks = None

    def update(self, servers: Sequence[ServerConfig]) -> list[Member]:
        """Have these servers as members from now on, and return those that are new. One that is the same stays as it
        is; one that leaves answers the calls that are with it before it ends."""
        before = dict(self.owners)
        self.members = [self._find(server) for server in servers]
        self.owners.clear()
        self.owners.update((member.key, member) for member in self.members)
        came = [member for member in self.members if before.get(member.key) is not member]
        for key, member in before.items():
            if self.owners.get(key) is not member:
                self._have_leave(member)
        for member in came:
            self._have_run(member, before.get(member.key))
        return came

    def _find(self, server: ServerConfig) -> Member:
        member = self.owners.get(server.key)
        if member is None or needs_restart(member.server, server):
            return self._build(server)
        if member.server != server:
            member.adjust(server)
        return member

    def _have_leave(self, member: Member) -> None:
        if self._tasks:
            self._tasks.start_soon(self._end, member, name=f"end of server {member.key}")

    def _have_run(self, member: Member, before: Member | None) -> None:
        if self._tasks:
            self._tasks.start_soon(self._follow, member, before, name=f"server {member.key}")

    async def _follow(self, member: Member, before: Member | None) -> None:
        """Start it behind the one whose place it takes, which may hold a port or a lock; not while that still answers a
        call, which can take long."""
        if before and before.is_idle:
            await before.gone.wait()
        if self.owners.get(member.key) is member:  # else it has left again meanwhile
            await self._run(member)
        member.leave()

    async def _run(self, member: Member) -> None:
        with anyio.CancelScope() as self._scopes[member]:
            await member.run()
        del self._scopes[member]
        member.leave()

    async def _end(self, member: Member) -> None:
        """End it once no call is with it; new ones do not come, as it is no member any more."""
        await member.wait_until_idle()
        if member in self._scopes:
            self._scopes[member].cancel()
