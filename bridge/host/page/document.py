"""The page as one file: its sources in `web/` joined, with the policy that lets nothing else run or load."""

import base64
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from bridge.json_text import JsonObject, encode

_SOURCE = re.compile(r'<link rel="stylesheet" href="(\w+\.css)">|<script src="(\w+\.js)"></script>')
_DATA = "<!-- data -->"
"""Place of the data in a file that shows one run."""
_POLICY = (
    "default-src 'none'; script-src {scripts}; style-src {styles}; img-src data:; base-uri 'none'; form-action 'none'"
)
_OF_SERVICE = "; connect-src 'self'; frame-ancestors 'none'"


@dataclass(frozen=True)
class Document:
    """The whole page."""

    html: str
    policy: str
    """Its Content-Security-Policy: these scripts and styles, and nothing from anywhere."""


@cache
def join(page: str = "page.html") -> Document:
    """Join the sources in the order in which a page, this one or `app.html`, names them."""
    text = _read(page)
    sources = {name: _read(name) for pair in _SOURCE.findall(text) for name in pair if name}

    def put(match: re.Match[str]) -> str:
        style, script = match.groups()
        return f"<style>{sources[style]}</style>" if style else f"<script>{sources[script]}</script>"

    policy = _POLICY.format(
        scripts=_list_hashes(source for name, source in sources.items() if name.endswith(".js")),
        styles=_list_hashes(source for name, source in sources.items() if name.endswith(".css")),
    )
    return Document(_SOURCE.sub(put, text), policy)


def serve() -> tuple[bytes, str]:
    """Return the page as the service sends it, without data, and its policy: it asks where it came from."""
    document = join()
    return document.html.replace(_DATA, "", 1).encode(), document.policy + _OF_SERVICE


def write(data: JsonObject) -> str:
    """Write the page as a file that shows this run and asks for nothing."""
    text = encode(data).replace("<", "\\u003c")  # nothing in it ends the element
    element = f'<script type="application/json" id="data">{text}</script>'
    document = join()
    policy = f'<meta http-equiv="Content-Security-Policy" content="{document.policy}">'
    before, _, behind = document.html.replace("<head>", f"<head>\n{policy}", 1).partition(_DATA)
    return f"{before}{element}{behind}"


def _read(name: str) -> str:
    return files("bridge.host.page").joinpath("web", name).read_text(encoding="utf-8")


def _list_hashes(sources: Iterable[str]) -> str:
    digests = (hashlib.sha256(source.encode()).digest() for source in sources)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests) or "'none'"
