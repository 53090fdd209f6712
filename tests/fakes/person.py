"""A person with a browser, as a script that BROWSER names: opens an address, goes where it leads, and says yes.

It imports next to nothing, so that it starts in no time. What it opened, and each page that it has seen, is a line of
the file that SEEN names: "open" or the status, and the address without its query.
"""

import os
import shlex
import sys
import urllib.error
import urllib.parse
import urllib.request
from html.parser import HTMLParser
from pathlib import Path

from typing_extensions import override

PAGES = 5
"""Forms that it fills in before it gives up."""


class Form(HTMLParser):
    """The first form of a page: where it goes, and what it says when it is sent by its first button."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: list[tuple[str, str]] = []
        self._buttons = 0
        self.feed(page)

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        if tag == "form" and self.action is None:
            self.action = told.get("action") or ""
        is_button = tag == "button" or (tag == "input" and told.get("type") == "submit")
        self._buttons += is_button
        is_sent = tag in ("input", "button") and (not is_button or self._buttons == 1)
        if self.action is not None and is_sent and told.get("name"):
            self.fields.append((str(told["name"]), told.get("value") or ""))


def name_browser(module: str = "tests.fakes.person") -> str:
    """What BROWSER must say so that this module is the browser, for a process in the root of the repository."""
    return f"{shlex.quote(sys.executable)} -m {module} %s"


def look(address: str, data: bytes | None = None) -> tuple[int, str, str]:
    """Fetch a page, through all redirects: its status, its address and its text."""
    try:
        with urllib.request.urlopen(address, data, timeout=30) as reply:
            return reply.status, reply.url, reply.read().decode("utf-8", "replace")
    except urllib.error.HTTPError as refused:
        return refused.code, refused.url, refused.read().decode("utf-8", "replace")


def note(status: int | str, address: str) -> None:
    if file := os.environ.get("SEEN"):
        with Path(file).open("a", encoding="utf-8") as seen:
            seen.write(f"{status} {address.partition('?')[0]}\n")


def visit(address: str) -> None:
    """Open an address; every form is sent as it is."""
    note("open", address)
    data: bytes | None = None
    for _ in range(PAGES):
        status, address, page = look(address, data)
        note(status, address)
        form = Form(page)
        if form.action is None:
            return
        address = urllib.parse.urljoin(address, form.action)
        data = urllib.parse.urlencode(form.fields).encode()


if __name__ == "__main__":
    visit(sys.argv[1])
