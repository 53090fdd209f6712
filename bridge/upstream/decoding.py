"""Bodies that are compressed although that was not asked for: decoded where that is possible, else named."""

from collections.abc import AsyncIterator
from importlib.util import find_spec

import httpx2

from bridge.errors import UpstreamError
from bridge.upstream.replies import UNREADABLE

_DECODERS = {"br": ("brotli", "brotlicffi"), "zstd": ("compression.zstd", "backports.zstd")}
_EXTRAS = {"br": "httpx2[brotli]", "zstd": "httpx2[zstd]"}
"""What httpx2 decodes only with a package: the packages of which it needs one, and the extra that brings it."""


async def decode_body(reply: httpx2.Response) -> AsyncIterator[bytes]:
    """Yield the body as it arrives, decoded. Raises UpstreamError where that takes a package that is not installed,
    unless the body is plain text all the same: some proxies decode it and leave the header."""
    unknown = _find_unknown(reply.headers["content-encoding"])
    async for chunk in reply.aiter_raw() if unknown else reply.aiter_bytes():
        if unknown and not _is_text(chunk):
            raise _build_error(reply, unknown)
        unknown = None
        yield chunk


def _find_unknown(encodings: str) -> str | None:
    names = (name.strip().lower() for name in encodings.split(","))
    return next((name for name in names if name in _DECODERS and not any(map(_is_installed, _DECODERS[name]))), None)


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # the package around it
        return False


def _is_text(chunk: bytes) -> bool:
    """Tell whether this can be the beginning of a text; a last character that is cut is no fault."""
    beginning = chunk[:200]
    try:
        text = beginning.decode()
    except UnicodeDecodeError as error:
        return error.start > len(beginning) - 4 and len(beginning) > 4
    return all(sign.isprintable() or sign.isspace() or sign == "\ufeff" for sign in text)


def _build_error(reply: httpx2.Response, encoding: str) -> UpstreamError:
    message = (
        f"The upstream answered with status {reply.status_code}, compressed with {encoding} although that was not "
        f"asked for, which cannot be read here; install {_EXTRAS[encoding]} to read it"
    )
    return UpstreamError(message, code=UNREADABLE, who="operator", status=reply.status_code)
