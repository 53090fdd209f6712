"""The workflow that DBOS knows: one run. It is driven by the engine of this process."""

import asyncio
import contextvars
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from dbos import DBOS, SetWorkflowID

T = TypeVar("T")
SALT = "mcp-responses-bridge-salt"
Drive = Callable[[str, str], Awaitable[str]]

_drivers: list[Drive] = []
"""Of the engine of this process: DBOS is there once."""


def set_driver(drive: Drive | None) -> None:
    """Let this drive every run that begins here or is taken up, from its id and its record to its ending."""
    _drivers[:] = [drive] if drive else []


@DBOS.workflow(name="respond")
async def respond(record: str) -> str:
    """Drive a run from what was written of it to its ending."""
    run_id = DBOS.workflow_id
    assert run_id
    if not _drivers:
        raise asyncio.CancelledError  # the engine ends: it stays pending, for others
    return await _drivers[0](run_id, record)


@DBOS.workflow(name="salt")
async def make_salt() -> str:
    """Make what the markers of secrets are made with: once for a database."""
    return secrets.token_hex(16)


async def find_salt() -> str:
    """Find it, or make it where it has not been made."""
    with SetWorkflowID(SALT):
        handle = await DBOS.start_workflow_async(make_salt)
    return await handle.get_result()


async def ask_dbos(ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Ask DBOS something that is no step, whoever asks: also from within a run."""
    return await asyncio.create_task(ask(), context=contextvars.Context())
