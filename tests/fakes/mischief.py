"""Another program of this machine, which knows the port that a sign-in waits on but not its state: it gets there first,
does what MISCHIEF names, and only then does the person's browser come.

As `person.py`, a script that BROWSER names.
"""

import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import parse_qs, urlsplit

from tests.fakes import person

CODE = "code-of-a-stranger"
FLOOD = 200
WAIT_S = 5


class Callback:
    """Where the sign-in waits, byte by byte."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self.host, self.port, self.path = parts.hostname or "", parts.port or 80, parts.path or "/"
        self.held: list[socket.socket] = []

    def connect(self) -> socket.socket:
        connection = socket.create_connection((self.host, self.port), WAIT_S)
        self.held.append(connection)
        return connection

    def send(self, data: bytes, *, is_awaited: bool = True) -> None:
        connection = self.connect()
        with suppress(OSError):
            connection.sendall(data)
            while is_awaited and connection.recv(4096):
                pass

    def get(self, query: str, *, path: str | None = None, host: str | None = None, method: str = "GET") -> None:
        target = f"{path or self.path}?{query}"
        head = f"{method} {target} HTTP/1.1\r\nHost: {host or f'{self.host}:{self.port}'}\r\nConnection: close\r\n"
        self.send(f"{head}Content-Length: 0\r\n\r\n".encode("latin-1"))


def flood(callback: Callback) -> None:
    for _ in range(FLOOD):
        callback.get(f"code={CODE}&state=guessed")


DEEDS: dict[str, Callable[[Callback], None]] = {
    "a forged state": lambda callback: callback.get(f"code={CODE}&state=forged"),
    "no state": lambda callback: callback.get(f"code={CODE}"),
    "an empty state": lambda callback: callback.get(f"code={CODE}&state="),
    "a state that is no ASCII": lambda callback: callback.get(f"code={CODE}&state=%C3%A9%F0%9F%98%80"),
    "a state of a megabyte": lambda callback: callback.get(f"code={CODE}&state={'s' * 1_000_000}"),
    "two states": lambda callback: callback.get(f"code={CODE}&state=one&state=two"),
    "a refusal without a state": lambda callback: callback.get("error=access_denied"),
    "a refusal with a forged state": lambda callback: callback.get("error=access_denied&state=forged"),
    "another path": lambda callback: callback.get(f"code={CODE}&state=forged", path="/"),
    "another host": lambda callback: callback.get(f"code={CODE}&state=forged", host="evil.example.com"),
    "a POST": lambda callback: callback.get(f"code={CODE}&state=forged", method="POST"),
    "silence": lambda callback: callback.send(b"", is_awaited=False),
    "half a request": lambda callback: callback.send(b"GET /callback?code=", is_awaited=False),
    "no HTTP": lambda callback: callback.send(b"\x16\x03\x01\x02\x00\x01\x00\xff\xfe" * 50 + b"\r\n\r\n"),
    "a header without an end": lambda callback: callback.send(b"GET / HTTP/1.1\r\nX: " + b"x" * 1_000_000),
    "a flood": flood,
}


if __name__ == "__main__":
    [address] = sys.argv[1:]
    callback = Callback(parse_qs(urlsplit(address).query)["redirect_uri"][0])
    DEEDS[os.environ["MISCHIEF"]](callback)
    person.visit(address)
