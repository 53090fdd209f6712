"""Where messages go over the older HTTP transport: what the endpoint event of a stream says, read as URLs."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

import httpx2

from bridge.config.values import is_loopback

_ENCODED = re.compile(r"https?%3A", re.I)
_JOINED = re.compile(r"//[^/.:]*(/|$)")
"""A root and a path that were joined; not the name of a host, which has a point or a port."""
_PORTS = {"http": 80, "https": 443}


class ForeignEndpoint(ValueError):
    """An endpoint event that names another origin than the stream came from."""


def looks_like_endpoint(data: bytes) -> bool:
    """Tell whether the data of an event without a name is a place, and no message."""
    return bool(re.match(rb'\s*"?(/|\?|https?(:|%3A))', data, re.I))


def read_endpoint(data: bytes, asked: str) -> list[str]:
    """Return the URLs that an endpoint event may mean, the likeliest first; all are on the origin of `asked`.

    The first is the one that URLs are read by. The others put the path below a folder of the URL that was asked: a
    proxy that takes a prefix away does not tell the server, which then leaves it out. Raises ForeignEndpoint.
    """
    base, words = urlsplit(asked), _read_words(data)
    try:
        named = urlsplit(urljoin(asked, words))
        is_ours = _is_same_place(base, named)
        httpx2.URL(named.geturl())
    except (ValueError, httpx2.InvalidURL):
        raise ForeignEndpoint("the endpoint that its stream names is no URL") from None
    if _JOINED.match(words) and not is_ours:
        named, is_ours = urlsplit(urljoin(asked, "/" + words.lstrip("/"))), True
    if not is_ours:
        raise ForeignEndpoint(
            f"its stream wants messages sent to {_show(named)}, another origin than that of its URL, {_show(base)}: "
            "behind a proxy, a server must name its public address or only a path"
        )
    paths = dict.fromkeys(
        [named.path, *_find_below(base.path, named.path, is_relative=not re.match("/|https?:", words))]
    )
    return [base._replace(path=path, query=named.query, fragment="").geturl() for path in paths]


def _read_words(data: bytes) -> str:
    """Return the place as it was meant: also where it stands in JSON, in several lines or percent-encoded."""
    words = "".join(data.decode("utf-8-sig", "replace").split())
    if words.startswith(("{", "[", '"')):
        with suppress(ValueError, RecursionError):
            words = next(_find_places(json.loads(words)), words)
    return unquote(words) if _ENCODED.match(words) else words


def _find_places(value: object) -> Iterator[str]:
    match value:
        case str() if "/" in value or "?" in value:
            yield value
        case dict():
            for inner in value.values():
                yield from _find_places(inner)
        case list():
            for inner in value:
                yield from _find_places(inner)
        case _:
            pass


def _is_same_place(asked: SplitResult, named: SplitResult) -> bool:
    """Tell whether two URLs have one origin, whatever this machine is called in them."""
    is_same_port = _find_port(asked) == _find_port(named) and asked.scheme == named.scheme
    is_same_host = asked.hostname == named.hostname or (_is_here(asked.hostname) and _is_here(named.hostname))
    return is_same_port and is_same_host


def _find_port(url: SplitResult) -> int | None:
    return url.port or _PORTS.get(url.scheme)


def _is_here(host: str | None) -> bool:
    return host in ("0.0.0.0", "::") or (host is not None and is_loopback(host))


def _show(url: SplitResult) -> str:
    """Return the origin alone: the rest may hold the key of a session."""
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
    return f"{url.scheme}://{host}{f':{url.port}' if url.port else ''}"


def _find_below(asked: str, named: str, *, is_relative: bool) -> Iterator[str]:
    """Yield `named` below each folder of the path that was asked, the innermost first."""
    folders = asked.split("/")[1:-1]
    for count in range(len(folders), 0, -1):
        folder = "/" + "/".join(folders[:count])
        if named.startswith(f"{folder}/"):
            return
        if named.startswith(folder):  # a slash was forgotten where they were joined (sparfenyuk/mcp-proxy#71)
            yield f"{folder}/{named.removeprefix(folder)}"
        yield f"{folder}/{named.lstrip('/')}"
    if is_relative:
        yield "/" + named.rpartition("/")[2]
