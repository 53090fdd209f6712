"""The page as a resource: one document with everything in it, which may reach nothing."""

import base64
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Any

from mcp import types

from bridge import __version__
from bridge.host.mcp_app.extension import APP_TYPE, URI

_HERE = Path(__file__).parent
_FOLDERS = (_HERE, _HERE.parent / "page")
"""Where the sources are: those of the timeline are shared with the service's page."""
_SOURCE = re.compile(r'<(?:link rel="stylesheet" href|script src)="([\w.]+)">(?:</script>)?')
_NOTHING = {"connectDomains": [], "resourceDomains": [], "frameDomains": [], "baseUriDomains": []}
_META: dict[str, Any] = {"ui": {"csp": _NOTHING, "prefersBorder": True}}
"""The host is asked to let the page reach nothing, and to put a border around it. It stands at both places where hosts
look."""

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
    """Write the document: its sources in place of what refers to them, and a policy that lets nothing else run, also in
    a host that sets none."""
    hashes: dict[str, list[str]] = {"script": [], "style": []}

    def inline(match: re.Match[str]) -> str:
        kind = "style" if match[1].endswith(".css") else "script"
        text = _read(match[1])
        hashes[kind].append(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'")
        return f"<{kind}>{text}</{kind}>"

    document = _SOURCE.sub(inline, _read("app.html"))
    sources = "; ".join(f"{kind}-src {' '.join(hashed)}" for kind, hashed in hashes.items())
    policy = f"default-src 'none'; {sources}; base-uri 'none'; form-action 'none'"
    return document.replace("{{policy}}", policy)


def _read(name: str) -> str:
    file = next(folder / name for folder in _FOLDERS if (folder / name).exists())
    return file.read_text(encoding="utf-8").replace("{{version}}", __version__)
