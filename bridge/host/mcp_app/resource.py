"""The page as a resource: one document with everything in it, which may reach nothing."""

from functools import cache
from typing import Any

from mcp import types

from bridge import __version__
from bridge.host.mcp_app.names import APP_TYPE, URI
from bridge.host.page.document import join

_NOTHING: dict[str, list[str]] = {
    "connectDomains": [],
    "resourceDomains": [],
    "frameDomains": [],
    "baseUriDomains": [],
}
_META: dict[str, Any] = {"ui": {"csp": _NOTHING, "prefersBorder": True}}
"""The host is asked to let the page reach nothing, and to put a border around it. Some look for that in the list, some
in what they read."""

PAGE = types.Resource(
    uri=URI,
    name="run",
    title="The timeline of a run",
    description="Turns and calls of a run of `respond` as bars in time",
    mime_type=APP_TYPE,
    _meta=_META,
)


def read_page() -> types.TextResourceContents:
    """Return the page with its source."""
    return types.TextResourceContents(uri=URI, mime_type=APP_TYPE, text=write_document(), _meta=_META)


@cache
def write_document() -> str:
    """Write the document. It brings its policy along: a host may set a weaker one, or none."""
    document = join("app.html")
    return document.html.replace("{{policy}}", document.policy).replace("{{version}}", __version__)
