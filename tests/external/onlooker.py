"""Somebody who looks at the page in a real Chromium, and everything that the browser complains of meanwhile."""

import json
import os
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

from playwright.async_api import Browser, Dialog, Locator, Page, Request, async_playwright, expect

from tests.external.conftest import miss

ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
Theme = Literal["light", "dark"]
ASKED: Mapping[Theme, Any] = {"light": {}, "dark": {"runOnly": ["color-contrast"]}}
"""The rules by theme: from one to the other nothing but the colours changes."""
WIDTHS = (360, 768, 1440)
MOST_STEPS = 80
"""How often Tab is pressed until something must have been reached."""
PATIENCE_MS = 20_000
REFUSED = ("status of 401 (Unauthorized)", "status of 404 (Not Found)")
"""How the page learns that nobody is signed in, and that a run is not there; the browser notes both."""
expect.set_options(timeout=PATIENCE_MS)


class Onlooker:
    """One tab. `faults` is what must not happen: errors, dialogs, violations of the policy, requests elsewhere."""

    def __init__(self, page: Page, address: str, axe: Path) -> None:
        self.page = page
        self.faults: list[str] = []
        self.requests: list[str] = []
        self._address = address
        self._axe = axe
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda said: self._note(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", self._follow)
        page.on("dialog", self._dismiss)

    def _note(self, text: str) -> None:
        if not text.endswith(REFUSED):
            self.faults.append(text)

    def _follow(self, request: Request) -> None:
        self.requests.append(request.url)
        if not request.url.startswith((self._address, "data:")):
            self.faults.append(f"a request for {request.url}")

    async def _dismiss(self, dialog: Dialog) -> None:
        self.faults.append(f"a dialog: {dialog.message}")
        await dialog.dismiss()

    async def open(self, token: str | None, route: str = "") -> None:
        """Open the page, and sign in by keyboard: the focus is where the token goes."""
        await self.page.goto(self._address + route)
        if token:
            await self.sign_in(token)

    async def sign_in(self, token: str) -> None:
        await expect(self.page.get_by_label("Your token")).to_be_focused()
        await self.page.keyboard.type(token)
        await self.page.keyboard.press("Enter")
        await expect(self.page.get_by_role("status").first).to_have_text("Live")

    async def tab_to(self, aim: Locator) -> None:
        """Press Tab until this has the focus, and hold that it is seen there."""
        await expect(aim).to_be_visible()
        for _ in range(MOST_STEPS):
            await self.page.keyboard.press("Tab")
            if await aim.evaluate("element => element === document.activeElement"):
                outline = "element => getComputedStyle(element).outlineStyle"
                assert await aim.evaluate(outline) == "solid"
                return
        raise AssertionError(f"Tab does not reach {aim}")

    async def examine(self) -> None:
        """Hold that axe finds nothing in what is shown, in both themes and at each width, nor is anything too wide."""
        if not await self.page.evaluate("'axe' in window"):
            await self.page.evaluate(self._axe.read_text(encoding="utf-8"))
        for theme in ASKED:
            await self.page.emulate_media(color_scheme=theme, reduced_motion="reduce")
            for width in WIDTHS:
                await self.page.set_viewport_size({"width": width, "height": 800})
                found = await self.page.evaluate(f"axe.run({json.dumps(ASKED[theme])})")
                told = [(each["id"], each["nodes"][0]["html"]) for each in found["violations"]]
                assert (theme, width, told) == (theme, width, [])
                await self._hold_narrow(width)

    async def narrow(self) -> None:
        """Make the window as narrow as a small telephone, and hold that everything fits."""
        await self.page.set_viewport_size({"width": WIDTHS[0], "height": 800})
        await self._hold_narrow(WIDTHS[0])

    async def _hold_narrow(self, width: int) -> None:
        """Hold that nobody has to scroll to the side."""
        assert await self.page.evaluate("document.documentElement.scrollWidth") <= width


@asynccontextmanager
async def open_chromium() -> AsyncIterator[Browser]:
    """A browser with nothing of its user's. Without one the test is skipped."""
    program = shutil.which("chromium") or miss("chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=ARGUMENTS, env=dict(os.environ))
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def onlooking(
    browser: Browser, repository: Path, address: str, *, language: str = "en-US"
) -> AsyncIterator[Onlooker]:
    """A tab of somebody's, with cookies of its own."""
    axe = repository / ".ci" / "node" / "node_modules" / "axe-core" / "axe.min.js"
    if not axe.is_file():
        miss("axe-core")
    context = await browser.new_context(locale=language, viewport={"width": 1440, "height": 800})
    try:
        yield Onlooker(await context.new_page(), address, axe)
    finally:
        await context.close()
