"""A host's chat in a real Chromium, with the app in a frame, and everything that must not happen meanwhile."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Frame, Page
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from tests.external.onlooker import open_chromium
from tests.fakes.items import Json
from tests.fakes.service import serving_app

# What MCP Apps has for pages that declare no origin; a frame without an address inherits it.
POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "media-src 'self' data:; object-src 'none'; connect-src 'none'"
)
HOST = """<!DOCTYPE html><html lang="en"><title>chat</title><style>iframe { width: 100%; border: 0 }</style>
<script type="module" src="host.js"></script>"""


class Chat:
    """A page with the app in a frame. `requests` are all that the browser asked for."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.requests: list[str] = []
        self.faults: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", lambda line: self.faults.append(line.text) if line.type in ("error", "warning") else None)

    @property
    def frame(self) -> Frame:
        return self.page.frames[-1]

    async def open(self, html: str, **context: Any) -> None:
        await self.page.evaluate("([html, context]) => host.open(html, context)", [html, context])

    async def hand(self, what: str, params: object) -> None:
        await self.page.evaluate("([what, params]) => bridge[what](params)", [what, params])

    async def say(self, message: Json) -> None:
        """Send the frame a message as it stands, past the official package."""
        sent = {"jsonrpc": "2.0", **message}
        await self.page.evaluate("(sent) => frames[0].postMessage(sent, '*')", sent)

    async def text(self, selector: str) -> str:
        return await self.frame.inner_text(selector)

    async def status(self, text: str) -> None:
        """Until the app's heading says so."""
        await self.frame.get_by_role("status").get_by_text(text, exact=True).wait_for()

    async def seen(self, what: str) -> Any:
        return await self.page.evaluate(f"host.seen.{what}")

    async def audit(self, axe: str) -> list[str]:
        """What axe finds in the frame."""
        found = await self.frame.evaluate(f"{axe};axe.run().then(({{violations}}) => violations)")
        return [f"{fault['id']}: {fault['nodes'][0]['html']}" for fault in found]


@asynccontextmanager
async def open_chat(bundle: str, *, policy: str = POLICY, width: int = 800) -> AsyncIterator[Chat]:
    """A host's page in Chromium."""
    replies = {
        "/": HTMLResponse(HOST, headers={"Content-Security-Policy": policy}),
        "/host.js": Response(bundle, media_type="text/javascript"),
        "/favicon.ico": Response(status_code=204),
    }

    def answer(request: Request) -> Response:
        return replies[request.url.path]

    async with (
        serving_app(Starlette(routes=[Route(path, answer) for path in replies])) as address,
        open_chromium() as browser,
        await browser.new_context(viewport={"width": width, "height": 700}) as context,
    ):
        chat = Chat(await context.new_page())
        await chat.page.goto(f"{address}/")
        await chat.page.wait_for_function("window.host")
        yield chat
        assert chat.requests == [f"{address}/", f"{address}/host.js"], "nothing leaves the page or its frame"
        assert chat.faults == []
        assert await chat.seen("errors") == []
        assert await chat.seen("asked") == [], "it shows, and never acts"
