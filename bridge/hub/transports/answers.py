"""What a URL answers in place of MCP, in one sentence for people. Imported only when one does.

What was answered is told in the errors of this folder, whose words go on from "the server" or "the reply".
"""

import re

from bridge.config.settings import ServerConfig
from bridge.hub.transports.addresses import show_url
from bridge.hub.transports.last_words import choose_words
from bridge.hub.transports.need import CREDENTIALS, wants_sign_in
from bridge.hub.transports.replies import OLDER_TRANSPORT
from bridge.hub.transports.words import shorten

QUOTED_CHARS = 110
_STATUS = re.compile(r"the server answered with (HTTP (\d{3})\b.*?)(?: \(((?:try again in|it asks for) .*)\))?$")
_CHALLENGE = re.compile(r"it asks for (.*)")
_PAGE = re.compile(r'the reply is a web page(?: \("(.*)"\))?')
_REDIRECT = re.compile(r"the server redirects to (\S+?)([ ,;].*|$)")
_SIGN_IN = re.compile(r"\b(sign|log)[ -_]?(in|on)\b|\bsso\b|oauth|saml|password|unauthori|authenticat|api.?key", re.I)
_OF_ANOTHER_KIND = (
    "the reply is ",
    "JSON, but ",
    "not readable as JSON",
    "the body does not contain",
    "server answered a request ",
    "Unexpected content type",
)
"""How the words begin for what is no message of MCP, or not the right one."""
_HARDLY_TELLING = (404, 405, 406, 410)
"""Statuses that a server of the other transport answers with: what that transport was told is told instead."""


def explain_answer(server: ServerConfig, words: str) -> tuple[bool, str]:
    """Explain what the URL of `server` answered, as `words` tell it: what, where, and what would be right.

    Return whether it tells much, and the sentence. A server's own error is left as it is.
    """
    assert server.url
    where = show_url(server.url)
    if answered := _STATUS.match(words):
        status = int(answered[2])
        return status not in _HARDLY_TELLING, _explain_status(server, where, status, answered[1], answered[3] or "")
    if page := _PAGE.match(words):
        named = f" ({shorten(page[1], QUOTED_CHARS)})" if page[1] else ""
        advice = f"{_advise_path(server)}, or set headers if it wants a sign-in"
        return True, _explain_content(server, where, f"answers with a web page{named}, not with MCP", advice)
    if redirect := _REDIRECT.match(words):
        return True, _explain_redirect(server, where, redirect[1], redirect[2])
    return True, _explain_words(server, where, words)


def _explain_redirect(server: ServerConfig, where: str, target: str, rest: str) -> str:
    if _SIGN_IN.search(target + rest):
        how = rest.partition(",")[0]
        return f"{where} wants a sign-in: it redirects to {target}{how}; {_advise_sign_in(server, '')}"
    return f"{where} redirects to {target}{rest}"


def _explain_words(server: ServerConfig, where: str, words: str) -> str:
    """Explain what is no page, status or redirect to elsewhere."""
    if words == OLDER_TRANSPORT:
        return f"{where} {words.removeprefix('the server ')}"
    if words.startswith("the server redirects again"):
        return f"{where} {words.removeprefix('the server ')}; {_advise_path(server)}"
    if words.startswith("the reply was cut: "):
        return f"the reply of {where} {words.removeprefix('the reply ')}; its log may say why"
    if words == "the reply is empty":
        return f"{where} answers with nothing; {_advise_path(server)}"
    if words.startswith(_OF_ANOTHER_KIND):
        said = words.removeprefix("the reply is ").removeprefix("no message, but ")
        return _explain_content(server, where, f"does not answer in MCP: {shorten(said, QUOTED_CHARS)}")
    if words.startswith("its event stream "):
        advice = "" if "type may be" in words else f"; {_advise_path(server)}"
        return f"{where} is not the address of an SSE server: {words}{advice}"
    return words


def _explain_status(server: ServerConfig, where: str, status: int, said: str, notes: str) -> str:
    quoted = _shorten(said)
    if status in (401, 403):
        return f"{where} wants a sign-in ({quoted}); {_advise_sign_in(server, notes, status)}"
    if status == 407:
        return f"the proxy wants a sign-in ({quoted}); put user:password@ before its host in the variable that names it"
    if "HTTPS port" in quoted:
        return f"{where} speaks TLS ({quoted}); write https:// instead of http://"
    if status == 400 and wants_sign_in(server, status, notes):
        return f"{where} wants a sign-in ({quoted}); {_advise_sign_in(server, notes, status)}"
    if status in (404, 405, 410):
        return f"{where} is not the address of an MCP server ({quoted}); {_advise_path(server)}"
    if status in (400, 406, 415):
        return f"{where} answered with {quoted}; {_advise_path(server)}"
    return f"{where} answered with {quoted}{f' ({notes})' if notes else ''}"


def _shorten(said: str) -> str:
    """Shorten a status and what the body says: of a traceback, the error."""
    status, separator, words = said.partition(": ")
    words = words.removeprefix(f"{status.split()[1]} ")
    if "Traceback (" in words:
        words = choose_words([words.rpartition("line ")[2].partition(" ")[2]], str)
    phrase = status.partition(" ")[2]
    return shorten(
        f"{status}{separator}{words.removeprefix(phrase).strip()}".removesuffix(separator), QUOTED_CHARS + 40
    )


def _explain_content(server: ServerConfig, where: str, answer: str, advice: str | None = None) -> str:
    if _SIGN_IN.search(answer):
        return f"{where} wants a sign-in: it {answer}; {_advise_sign_in(server, '')}"
    right = _advise_path(server) if advice is None else advice
    return f"{where} {answer}{'; ' if right else ''}{right}"


def _advise_path(server: ServerConfig) -> str:
    """Say how the address of a server is found; where the config names its transport, that may be the wrong one."""
    advice = "correct the path in url, which often ends in /mcp or /sse"
    return advice if server.transport == "auto" else f'{advice}, or leave type out, which is "{server.transport}"'


def _advise_sign_in(server: ServerConfig, notes: str, status: int = 0) -> str:
    """Say how to sign in or which header to set, or that the one that is set was not accepted."""
    found = _CHALLENGE.search(notes)
    challenge = shorten(found[1], QUOTED_CHARS) if found else ""
    asked = f", as its WWW-Authenticate asks: {challenge}" if challenge else ""
    can_login = wants_sign_in(server, status, challenge)
    if not can_login and (sent := next(filter(CREDENTIALS.search, server.headers), None)):
        return f"it does not accept the {sent} in headers: renew it{asked}"
    scheme = challenge.split(" ", 1)[0].rstrip(",") or "Bearer"
    value = "Basic <base64 of user:password>" if scheme.lower() == "basic" else f"{scheme} <token>"
    header = f'set "headers": {{"Authorization": "{value}"}}{asked}'
    if not can_login:
        return header
    from bridge.hub.sign_in.words import name_command

    return f"`{name_command('login', server.key)}`, or {header}"
