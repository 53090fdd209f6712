"""The routes of the page, as the service knows them. What is behind them is imported when somebody comes."""

from typing import TYPE_CHECKING

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from bridge.clock import Clock
from bridge.host.gate import PAGE, Access
from bridge.host.server import Runner

if TYPE_CHECKING:
    from bridge.host.page.page import Page


class Entry:
    """An ASGI application that is built by its first request."""

    def __init__(self, runner: Runner, access: Access, clock: Clock) -> None:
        self._given = runner, access, clock
        self._page: Page | None = None
        self.routes = [Route(PAGE, endpoint=self), Route("/page/{rest:path}", endpoint=self)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._page is None:
            from bridge.host.page.page import Page

            self._page = Page(*self._given)
        await self._page(scope, receive, send)
