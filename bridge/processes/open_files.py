"""How many descriptors this process may have open: as many as the system allows it; its children get the old limit.

Standard library only, as `children.py`. Sockets, pipes and files are descriptors. The soft limit is often 256 or 1,024,
for programs that cannot bear more, and may be raised by everybody up to the hard one.
"""

import os
import sys
from contextlib import suppress

if sys.platform != "win32":
    import resource

MOST = 1 << 20
"""As many are enough; an unlimited hard limit cannot be set on every system."""
FALLBACK = 10_240
"""The most that macOS takes where its hard limit claims to be higher."""
SPARE = 32
"""Descriptors that are left for files, name look-ups and servers that start later."""

_given: int | None = None
"""The soft limit before it was raised."""


def raise_limit() -> None:
    """Raise the soft limit to the hard one."""
    global _given
    if sys.platform == "win32":
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    for wanted in (highest, min(highest, FALLBACK)):
        if soft == resource.RLIM_INFINITY or soft >= wanted:
            return
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            _given = soft
            return


def is_raised() -> bool:
    """Tell whether a child has to be given the old limit back: some programs close every descriptor up to theirs."""
    return _given is not None


def restore_limit() -> None:
    """Set the limit that we were started with, in a child that is about to become another program."""
    if sys.platform != "win32" and _given is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (_given, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def count_free() -> int:
    """Count the descriptors that can still be opened, without the spare ones."""
    if sys.platform == "win32":
        return MOST
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST if soft == resource.RLIM_INFINITY else min(soft, MOST)
    used = 0
    with suppress(OSError):
        used = len(os.listdir("/dev/fd"))  # noqa: PTH208 - pathlib costs start-up time
    return max(most - used - SPARE, 0)
