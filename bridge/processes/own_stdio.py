"""Our own stdin and stdout, claimed for the protocol before anything else is imported or started.

After that, file descriptor 1 is stderr and 0 is empty: a stray `print`, a library's banner or a child's output cannot
break the protocol, and nothing else can read its input. Standard library only.
"""

import os
import sys


def claim_stdio() -> tuple[int, int]:
    """Move stdin and stdout to private descriptors; return (the one to read from, the one to write to)."""
    source, sink = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    sys.stdout.flush()
    os.dup2(2, 1)
    return source, sink
