"""Redirects of one HTTP server: followed within its origin, with the method and the body, and remembered."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import httpx2

from bridge.hub.transports.words import shorten

Transmit: TypeAlias = Callable[[httpx2.Request], Awaitable[httpx2.Response]]
"""Sends one request, and follows nothing."""

MAX_REDIRECTS = 5
_KEEPING = (301, 307, 308)
"""Statuses after which the same message is sent to the new place. 301 allows a change to GET, and does not ask for it:
that is how nginx adds the slash at the end of a path."""
_GONE = (404, 405, 410)
"""Statuses that tell of a place that is not right any more."""


class Elsewhere(Exception):
    """A redirect that is not followed; the text goes on from "the server"."""


class Redirects:
    """The places that requests to one server were sent on to."""

    def __init__(self) -> None:
        self._places: dict[tuple[str, httpx2.URL], httpx2.URL] = {}

    async def follow(self, request: httpx2.Request, transmit: Transmit) -> httpx2.Response:
        """Send a request, wherever on its origin the server wants it. Raises Elsewhere.

        Our headers and the message go to no other origin: they were meant for this one.
        """
        asked = request.method, request.url
        known = self._places.get(asked)
        sent = _send_to(known, request) if known else request
        response = await transmit(sent)
        for _ in range(MAX_REDIRECTS):
            if response.next_request is None:
                break
            await response.aclose()
            sent = _send_to(_find_place(sent, response), request)
            response = await transmit(sent)
        if response.next_request is not None:
            await response.aclose()
            raise Elsewhere(f"redirects again and again, the last time to {_name(response.next_request.url)}")
        self._remember(asked, sent, response)
        return response

    def _remember(self, asked: tuple[str, httpx2.URL], sent: httpx2.Request, response: httpx2.Response) -> None:
        if response.status_code in _GONE:
            self._places.pop(asked, None)
        elif sent.url != asked[1]:
            self._places[asked] = sent.url


def _find_place(sent: httpx2.Request, response: httpx2.Response) -> httpx2.URL:
    """Return where a redirect leads, if that is on the same origin and the message can be sent there."""
    assert response.next_request
    here, there = sent.url, response.next_request.url
    if (here.scheme, here.host, here.port) != (there.scheme, there.host, there.port):
        raise Elsewhere(
            f"redirects to {_name(there)}, which is another origin and is not followed{_advise(here, there)}"
        )
    is_slash = here.path.rstrip("/") == there.path.rstrip("/")
    if sent.method != "GET" and response.status_code not in _KEEPING and not (is_slash and response.status_code == 302):
        raise Elsewhere(f"redirects to {_name(there)} as to a page (HTTP {response.status_code}), perhaps to sign in")
    return there.copy_with(userinfo=here.userinfo, fragment=None)


def _advise(here: httpx2.URL, there: httpx2.URL) -> str:
    if (here.scheme, there.scheme, here.host) == ("https", "http", there.host):
        right = here.copy_with(path=there.path)
        return f'; a proxy in front of it may hide that it is reached over https: try {_name(right)} as its "url"'
    is_web = there.scheme in ("http", "https")
    return f'; if it is the right server, make {_name(there)} its "url" in the config' if is_web else ""


def _send_to(place: httpx2.URL, request: httpx2.Request) -> httpx2.Request:
    return httpx2.Request(
        request.method, place, headers=request.headers, content=request.content, extensions=request.extensions
    )


def _name(url: httpx2.URL) -> str:
    """Name an address without what may be secret in it."""
    from bridge.hub.transports.addresses import show_url  # late: few servers redirect

    return shorten(show_url(str(url)))
