"""Ports for services that are started later, and for addresses where nobody listens."""

import contextlib
import os
import random
import socket

LOW, HIGH = 20_000, 32_000
"""Below those that the system gives to whoever asks for any: a test beside this one could get such a port meanwhile."""
_CHANCE = random.Random(os.getpid())


def find_port() -> int:
    """Find a port of loopback that nobody listens on."""
    while True:
        port = _CHANCE.randrange(LOW, HIGH)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
