"""Somebody at a browser, as far as the page's routes see it: a cookie, the proof of the page, and its news."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx2

from bridge.sse import EventReader
from tests.fakes.clock import PATIENCE_S


@dataclass
class News:
    """One event of `/page/news`."""

    id: str
    name: str
    data: Any


class Stream:
    """The news as they come; `heard` are all so far."""

    def __init__(self, response: httpx2.Response) -> None:
        self._reader = EventReader(1 << 20)
        self._chunks = response.aiter_raw()
        self._waiting: list[News] = []
        self.heard: list[News] = []

    async def next(self) -> News | None:
        """The next event; None where the stream has ended."""
        while not self._waiting:
            chunk = await anext(self._chunks, None)
            if chunk is None:
                return None
            for event in self._reader.feed(chunk):
                if event.data:
                    assert isinstance(event.data, bytes)
                    self._waiting.append(News((event.id or b"").decode(), event.name, json.loads(event.data)))
        self.heard.append(self._waiting.pop(0))
        return self.heard[-1]

    async def until(self, **wanted: Any) -> Any:
        """The next run in a line that is so."""
        with anyio.fail_after(PATIENCE_S):
            while news := await self.next():
                if news.name == "run" and wanted.items() <= news.data.items():
                    return news.data
        raise AssertionError(f"the stream ended before {wanted}")


@dataclass
class Browser:
    """A browser that has the page of a service open."""

    http: httpx2.AsyncClient
    csrf: str = ""
    said: dict[str, Any] = field(default_factory=dict[str, Any])
    """What the sign-in said."""

    async def sign_in(self, token: str) -> httpx2.Response:
        response = await self.http.post("/page/session", json={"token": token})
        if response.status_code == 200:
            self.said = response.json()
            self.csrf = self.said["csrf"]
        return response

    async def get(self, path: str, **options: Any) -> httpx2.Response:
        return await self.http.get(f"/page/{path}", **options)

    async def see(self, path: str, **query: Any) -> Any:
        """The JSON of a route."""
        response = await self.get(path, params=query)
        assert response.status_code == 200, response.text
        return response.json()

    async def change(self, method: str, path: str, body: Any = None, **headers: str) -> httpx2.Response:
        sent = {"X-CSRF": self.csrf, **headers}
        return await self.http.request(method, f"/page/{path}", json=body, headers=sent)

    @asynccontextmanager
    async def listening(self, after: str | None = None, **headers: str) -> AsyncIterator[Stream]:
        sent = {"Last-Event-ID": after} if after else {}
        async with self.http.stream("GET", "/page/news", headers=sent | headers) as response:
            assert response.status_code == 200, await response.aread()
            yield Stream(response)


@asynccontextmanager
async def browser(port: int, token: str | None = None) -> AsyncIterator[Browser]:
    """A browser, signed in where it has a token."""
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as http:
        opened = Browser(http)
        if token:
            assert (await opened.sign_in(token)).status_code == 200
        yield opened
