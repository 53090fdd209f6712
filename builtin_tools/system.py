"""A short, fixed list of facts about this machine; none identifies it or its owner."""

import functools
import itertools
import os
import platform
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import override

GIB = 2**30


class SystemInfo(BaseModel):
    """The only facts that are ever told. One that this platform does not provide is null."""

    model_config = ConfigDict(extra="forbid")

    os: str | None = Field(description="Linux, Darwin or Windows.")
    os_version: str | None = Field(description="The release of the operating system's kernel.")
    architecture: str | None = Field(description="Such as x86_64 or arm64.")
    python_version: str | None
    cpu_count: int | None = Field(description="Logical CPUs.")
    cpu_percent: float | None = Field(
        description="Use of all CPUs since the last call, 0 to 100; at first, over a tenth of a second."
    )
    load_average: float | None = Field(description="Runnable processes over the last minute; null on Windows.")
    memory_total_bytes: int | None
    memory_used_bytes: int | None
    memory_available_bytes: int | None
    disk_total_bytes: int | None = Field(description="Of the file system that holds the root folder.")
    disk_free_bytes: int | None = Field(description="Of the same file system, as far as ordinary users may fill it.")
    boot_time: str | None = Field(description="ISO 8601 in UTC, to the minute.")

    @override
    def __str__(self) -> str:
        return (
            f"{_shown(self.os)} {_shown(self.os_version)} ({_shown(self.architecture)}),"
            f" Python {_shown(self.python_version)},"
            f" {_shown(self.cpu_count)} CPUs at {_shown(self.cpu_percent)}%,"
            f" memory {_gib(self.memory_used_bytes)} of {_gib(self.memory_total_bytes)} GiB used,"
            f" disk {_gib(self.disk_free_bytes)} of {_gib(self.disk_total_bytes)} GiB free,"
            f" up since {_shown(self.boot_time)}"
        )


Readers = Mapping[str, Callable[[], object]]


_INTERVALS_S = itertools.chain((0.1,), itertools.repeat(None))
"""What the use of the CPUs is told over: at first a moment, and from then on the time since the last call."""


def _boot_minute(boot_time: float) -> str:
    # To the second, the time of boot would tell machines apart.
    return datetime.fromtimestamp(round(boot_time / 60) * 60, UTC).isoformat()


def build_readers() -> Readers:
    """Build the function that reads each field of `SystemInfo`; fields with a common source are read from it at once.

    Call it in a thread, with what it returns: the first call loads psutil, which nothing else needs, and waits for the
    CPUs to do something.
    """
    import psutil

    memory, disk = functools.cache(psutil.virtual_memory), functools.partial(psutil.disk_usage, os.sep)
    return {
        "os": platform.system,
        "os_version": platform.release,
        "architecture": platform.machine,
        "python_version": platform.python_version,
        "cpu_count": psutil.cpu_count,
        "cpu_percent": lambda: psutil.cpu_percent(interval=next(_INTERVALS_S)),
        "load_average": lambda: round(os.getloadavg()[0], 2),
        "memory_total_bytes": lambda: memory().total,
        "memory_used_bytes": lambda: memory().used,
        "memory_available_bytes": lambda: memory().available,
        "disk_total_bytes": lambda: disk().total,
        "disk_free_bytes": lambda: disk().free,
        "boot_time": lambda: _boot_minute(psutil.boot_time()),
    }


def read_system(readers: Readers | None = None) -> SystemInfo:
    """Read every fact afresh; one that cannot be read is None."""
    readers = readers or build_readers()
    return SystemInfo.model_validate({field: _value(reader) for field, reader in readers.items()})


def _value(reader: Callable[[], object]) -> object:
    try:
        return reader()
    except Exception:  # noqa: BLE001  boundary: a platform refuses a reading with whatever exception it likes
        return None


def _shown(value: object) -> str:
    return "unknown" if value is None else str(value)


def _gib(size: int | None) -> str:
    return "unknown" if size is None else f"{size / GIB:.1f}"
