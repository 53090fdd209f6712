"""What an HTTP server answers instead of MCP, in one sentence for people. Imported only when one does."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from html import unescape

import anyio
import httpx2

from bridge.config.settings import ServerConfig
from bridge.hub.transports.addresses import show_url
from bridge.hub.transports.bodies import read_body
from bridge.hub.transports.last_words import choose_words, cut
from bridge.hub.transports.replies import PAGES, read_headers, read_media_type
from bridge.jsonrpc.lines import Overlong

READ_BYTES, READ_S = 65_536, 2.0
"""How much of an error is read, and for how long."""
KEPT_CHARS, QUOTED_CHARS = 8000, 110
_TITLE = re.compile(r"<title[^>]{0,200}>([^<]{0,1000})", re.IGNORECASE)
_TAG = re.compile(r"<(?:script|style)\b[^<]*|<[^>]{0,1000}>", re.IGNORECASE)
_SIGN_IN = re.compile(r"\b(sign|log)[ -_]?(in|on)\b|\bsso\b|oauth|saml|password|unauthori|authenticat|api.?key", re.I)
_FIELDS = ("error_description", "message", "detail", "error", "title", "reason", "msg")
"""Where JSON bodies hold the words for people, the most telling first."""
_CREDENTIALS = re.compile(r"authorization|cookie|key|token|secret", re.IGNORECASE)


@dataclass(frozen=True)
class Refusal:
    """An answer over HTTP that is not MCP."""

    status: int
    phrase: str
    media_type: str
    challenge: str
    """Its WWW-Authenticate header."""
    location: str
    """Where it redirects to."""
    retry_after: str
    text: str
    """The beginning of its body."""


async def read_refusal(
    response: httpx2.Response, note: Callable[[Refusal | None], None], limit: int
) -> httpx2.Response:
    """Note what an answer says that is not MCP, and return one with the same content, up to `limit` bytes."""
    is_redirect = response.has_redirect_location  # the SDK follows it, or not
    body = b"" if is_redirect else await _read(response, limit if response.is_success else READ_BYTES)
    if response.is_success and b'"jsonrpc"' in body:
        note(None)
    else:
        note(build_refusal(response, body))
    return response if is_redirect else _rebuild(response, body)


def build_refusal(response: httpx2.Response, body: bytes) -> Refusal:
    """Build a refusal of a reply and its body."""
    return Refusal(
        status=response.status_code,
        phrase=response.reason_phrase,
        media_type=read_media_type(response),
        challenge=response.headers.get("www-authenticate", ""),
        location=response.headers.get("location", "") if response.has_redirect_location else "",
        retry_after=response.headers.get("retry-after", ""),
        text=body.decode("utf-8", "replace").lstrip("\ufeff \t\r\n")[:KEPT_CHARS],
    )


async def _read(response: httpx2.Response, limit: int) -> bytes:
    body: bytes | Overlong = b""
    try:
        with anyio.move_on_after(READ_S):
            body = await read_body(response, limit)
    except (httpx2.TransportError, httpx2.DecodingError):
        pass
    finally:
        await response.aclose()
    return body.head if isinstance(body, Overlong) else body


def _rebuild(response: httpx2.Response, body: bytes) -> httpx2.Response:
    return httpx2.Response(
        response.status_code,
        headers=read_headers(response),
        content=body,
        request=response.request,
        extensions={"reason_phrase": response.extensions.get("reason_phrase", b"")},
    )


def explain_refusal(
    refusal: Refusal, server: ServerConfig, redact: Callable[[str], str], *, has_spoken: bool
) -> str | None:
    """Explain a refusal: what was answered, where, and what would be right.

    Return None if the server `has_spoken` for itself, in a JSON-RPC error that the client has read.
    """
    assert server.url
    where, words = show_url(server.url), cut(_read_words(refusal.text, redact), QUOTED_CHARS)
    status = _quote_status(refusal, words)
    if refusal.status in (401, 403):
        return f"{where} wants a sign-in ({status}); {_advise_sign_in(refusal, server, redact)}"
    if refusal.status == 407:
        return f"the proxy wants a sign-in ({status}); put user:password@ before its host in the variable that names it"
    if has_spoken and '"jsonrpc"' in refusal.text:
        return None
    if "HTTPS port" in words:
        return f"{where} speaks TLS ({status}); write https:// instead of http://"
    if refusal.status >= 400:
        return _explain_error(refusal, where, status, _advise_path(server))
    answer = f"redirects to {show_url(refusal.location)}" if refusal.location else _describe_content(refusal, words)
    if _SIGN_IN.search(f"{words} {refusal.location}"):
        return f"{where} wants a sign-in: it {answer}; {_advise_sign_in(refusal, server, redact)}"
    advice = "write that as url if it is the server meant" if refusal.location else _advise_path(server)
    return f"{where} {answer}; {advice}"


def _explain_error(refusal: Refusal, where: str, status: str, advice: str) -> str:
    if refusal.status in (404, 405, 410):
        return f"{where} is not the address of an MCP server ({status}); {advice}"
    if refusal.status in (400, 406, 415):
        return f"{where} answered with {status}; {advice}"
    later = f"; it asks to wait {refusal.retry_after} s" if refusal.retry_after.isdecimal() else ""
    return f"{where} answered with {status}{later}"


def _advise_path(server: ServerConfig) -> str:
    """Say how the address of a server is found; where the config names its transport, that may be the wrong one."""
    advice = "correct the path in url, which often ends in /mcp or /sse"
    return advice if server.transport == "auto" else f'{advice}, or leave type out, which is "{server.transport}"'


def _describe_content(refusal: Refusal, words: str) -> str:
    kind = "a web page" if refusal.media_type in PAGES else refusal.media_type or "content of no type"
    if not refusal.text:
        kind = "nothing"
    return f"answers with {kind}, not with MCP{f': {words}' if words else ''}"


def _quote_status(refusal: Refusal, words: str) -> str:
    """Quote the status, and what the body adds to it."""
    status = f"HTTP {refusal.status} {refusal.phrase}".strip()
    said = words.removeprefix(str(refusal.status)).strip()
    return f"{status}: {said}" if said and said.lower() != refusal.phrase.lower() else status


def _advise_sign_in(refusal: Refusal, server: ServerConfig, redact: Callable[[str], str]) -> str:
    """Say which header to set, or that the one that is set was not accepted."""
    challenge = cut(redact(refusal.challenge), QUOTED_CHARS)
    asked = f", as its WWW-Authenticate asks: {challenge}" if challenge else ""
    if sent := next(filter(_CREDENTIALS.search, server.headers), None):
        return f"it does not accept the {sent} in headers: renew it{asked}"
    scheme = challenge.split(" ", 1)[0].rstrip(",") or "Bearer"
    value = "Basic <base64 of user:password>" if scheme.lower() == "basic" else f"{scheme} <token>"
    return f'set "headers": {{"Authorization": "{value}"}}{asked}'


def _read_words(text: str, redact: Callable[[str], str]) -> str:
    """Return what a body tells people, on one line: the title of a page, the message in JSON, the error in a text."""
    if text[:1] == "<":
        title = _TITLE.search(text)
        named = title[1] if title and title[1].strip().lower() != "error" else _TAG.sub(" ", text[:4000])
        return _flatten(redact(unescape(named)))
    try:
        return _flatten(redact(_find_words(json.loads(text))))
    except (ValueError, RecursionError):
        return choose_words(text.splitlines(), redact)


def _find_words(value: object) -> str:
    """Return the words for people in a JSON value."""
    match value:
        case str():
            return value
        case [first, *_]:
            return _find_words(first)
        case dict():
            return next(filter(None, (_find_words(value.get(name)) for name in _FIELDS)), "")
        case _:
            return ""


def _flatten(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
