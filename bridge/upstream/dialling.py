"""Dialling: a connected socket, from whichever address of a host answers first.

asyncio does the same for `create_connection`. But when that is cancelled just as a connection has come, which on a busy
loop is often, the socket stays open until the garbage collector finds it: of 500 connects that timed out, 426.
"""

import asyncio
import socket
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Any, TypeAlias

import anyio

NEXT_AFTER_S = 0.25
"""After this, or a failure, the next address is tried beside the others (RFC 8305)."""

Address: TypeAlias = tuple[Any, ...]
"""What getaddrinfo tells of one."""


async def dial(host: str, port: int) -> socket.socket:
    """Connect to the host. Raises OSError, that of its first address, if no address takes the connection."""
    race = _Race()
    try:
        await race.run(_take_turns(await _look_up(host, port)))
    except BaseException:
        race.close()
        raise
    return race.win()


async def _look_up(host: str, port: int) -> Sequence[Address]:
    try:
        ip_address(host)
    except ValueError:  # only names have to be asked for, in a thread
        return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)


class _Race:
    """Attempts at several addresses, of which the first that is connected ends the others."""

    def __init__(self) -> None:
        self._connected: list[socket.socket] = []
        self._errors: list[OSError] = []

    async def run(self, addresses: Sequence[Address]) -> None:
        async with anyio.create_task_group() as tasks:
            for address in addresses:
                is_over = anyio.Event()
                tasks.start_soon(self._try, address, is_over, tasks.cancel_scope)
                with anyio.move_on_after(NEXT_AFTER_S):
                    await is_over.wait()

    async def _try(self, address: Address, is_over: anyio.Event, others: anyio.CancelScope) -> None:
        family, kind, protocol, _, target = address
        loop = asyncio.get_running_loop()
        try:
            opened = socket.socket(family, kind, protocol)
            try:
                opened.setblocking(False)
                await loop.sock_connect(opened, target)
            except BaseException:
                with suppress(NotImplementedError):  # on Windows, whose loop keeps no writers
                    loop.remove_writer(opened)  # asyncio does so later, by a number that is then another socket's
                opened.close()
                raise
            self._connected.append(opened)
            others.cancel()
        except OSError as error:
            self._errors.append(error)
        finally:
            is_over.set()

    def win(self) -> socket.socket:
        if not self._connected:
            raise self._errors[0]
        first, *others = self._connected
        for other in others:
            other.close()
        return first

    def close(self) -> None:
        for opened in self._connected:
            opened.close()


def _take_turns(addresses: Sequence[Address]) -> list[Address]:
    """Order them so that the families take turns, beginning with that of the first: one of them may lead nowhere."""
    own = [address for address in addresses if address[0] == addresses[0][0]]
    others = [address for address in addresses if address[0] != addresses[0][0]]
    shared = min(len(own), len(others))
    paired = [address for pair in zip(own, others, strict=False) for address in pair]
    return [*paired, *own[shared:], *others[shared:]]
