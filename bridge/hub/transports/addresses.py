"""Why a URL cannot be reached, in one sentence for people. Imported only when one cannot."""

import re
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from bridge.config.values import is_loopback

_SECRET = re.compile(r"(?=[^/]*\d)[^/]{20,}")
"""A part of a path that may be a key: some services put it there."""
_VARIABLE = re.compile(r"\$(\w+)|%(\w+)%")


def explain_unreachable(url: str, cause: str) -> str:
    """Explain that a URL cannot be reached, and say what would be right, unless the cause does."""
    return f"{show_url(url)} cannot be reached{_name_proxy(url)}: {cause}{'' if '; ' in cause else _advise(url, cause)}"


def _advise(url: str, cause: str) -> str:
    host = urlsplit(url).netloc
    if variable := _VARIABLE.search(host):
        return f"; {variable[0]} in url is not filled in: write ${{{variable[1] or variable[2]}}}"
    if "name" in cause:
        return "; correct the host in url, or is there no network"
    if "without an answer" in cause and url.startswith("http:"):
        return "; if it speaks TLS there, write https:// instead of http://"
    return "; start it there, or correct url"


def show_url(url: str) -> str:
    """Return a URL for people: without its query, and without the parts of its path that may be a key."""
    parts = urlsplit(url)
    host, path = parts.netloc.rpartition("@")[2], _SECRET.sub("…", parts.path)
    return f"{parts.scheme}://{host}{path}" if host else path


def _name_proxy(url: str) -> str:
    """Name the proxy that the environment sets for this URL; nothing where there is none."""
    parts = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or is_loopback(url) or proxy_bypass(parts.hostname or ""):
        return ""
    address = urlsplit(proxy if "://" in proxy else f"http://{proxy}").netloc.rpartition("@")[2]
    return f" through the proxy {address}"
