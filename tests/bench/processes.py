"""Python modules of this project as processes, none of which outlives what it is started for."""

import asyncio
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.bench.workloads import ROOT


@asynccontextmanager
async def open_module(
    *arguments: str, stdin: int | None = None, stdout: int | None = None, stderr: int | None = None
) -> AsyncIterator[Process]:
    """A module that runs until it ends by itself or nobody needs it, however that comes."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *arguments, cwd=ROOT, stdin=stdin, stdout=stdout, stderr=stderr
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):  # it has ended
            process.terminate()
        await process.wait()
