"""What a sign-in came to, in words for people."""

import json
import re
from contextlib import suppress
from urllib.parse import parse_qsl

import httpx2
from mcp.client.auth import OAuthFlowError
from mcp.client.auth.exceptions import OAuthRegistrationError, OAuthTokenError

from bridge.config.settings import OAuthConfig
from bridge.telemetry import BLANK
from bridge.visible import show_line

FORM = "application/x-www-form-urlencoded"
_SECRETS = frozenset({"code", "code_verifier", "client_secret", "client_assertion", "refresh_token"})
MOST = 200
"""Characters of what an authority says that are shown."""


def say_login(key: str, why: str = "") -> str:
    """Say that a person has to sign in, and how."""
    because = f" ({why})" if why else ""
    return f"it wants a sign-in{because}: `{name_command('login', key)}`"


def say_scope(key: str, scope: str, *, was_asked: bool) -> str:
    """Say that a call needs a scope that was not granted; `scope` is "" where the server does not name it."""
    if not scope:
        return "it refuses the call for want of a scope that it does not name; ask who runs the server"
    if was_asked:
        return f"it refuses the call without the scope {scope}, which was asked for and not granted"
    return f"it wants the scope {scope} for this call: `{name_command('login', key)}` asks for it"


def name_command(command: str, key: str) -> str:
    """Write a command of ours about a server as it is typed."""
    import shlex

    return f"mcp-responses-bridge {command} {shlex.quote(key)}"


def explain_answer(response: httpx2.Response) -> str:
    """Explain an answer of an authority: its status, and the error that it names."""
    error = read_error(response)
    place = f"{_find_place(response.request.url)}: " if _has_request(response) else ""
    elsewhere = f", which leads to {find_target(response)} and is not followed" if response.is_redirect else ""
    return f"{place}HTTP {response.status_code}{f', {error}' if error else ''}{elsewhere}"


def find_target(response: httpx2.Response) -> str:
    """Find where a redirect leads, for people: without what may be secret."""
    try:
        return _find_place(response.request.url.join(response.headers.get("location", "")))
    except httpx2.InvalidURL:
        return "no address"


def read_error(response: httpx2.Response) -> str:
    """Read the error that an answer names, for people, without what was sent; "" where it names none."""
    said = ""
    with suppress(ValueError, AttributeError, RecursionError):
        body = json.loads(response.content)
        said = ": ".join(str(body[name]) for name in ("error", "error_description") if body.get(name))
    for secret in _list_sent(response):
        said = said.replace(secret, BLANK)
    return _shorten(said)


def explain_flow(error: Exception, answer: httpx2.Response | None) -> str:
    """Explain an error of the SDK's flow after the last answer: its own text may be long, or repeat a secret."""
    text = str(error)
    of_answer = isinstance(error, OAuthTokenError | OAuthRegistrationError) or not isinstance(error, OAuthFlowError)
    if not of_answer or text.startswith("Authorization server registered"):
        return _shorten(re.sub(r"State parameter mismatch.*", "the browser's answer belongs to another sign-in", text))
    if answer is None:
        return "the authority gave no answer that can be read"
    wanted = "registration" if isinstance(error, OAuthRegistrationError) else "token"
    return f"{explain_answer(answer)}{f', and no {wanted} that can be read' if answer.is_success else ''}"


def _has_request(response: httpx2.Response) -> bool:
    """Tell whether a response knows what it answers."""
    try:
        return bool(response.request)
    except RuntimeError:
        return False


def _find_place(url: httpx2.URL) -> str:
    return show_line(str(url.copy_with(userinfo=b"", query=None, fragment=None)))


def _list_sent(response: httpx2.Response) -> list[str]:
    """List the secrets of the form that was sent: an authority may repeat them."""
    request = response.request if _has_request(response) else None
    if request is None or not request.headers.get("content-type", "").startswith(FORM):
        return []
    form = dict(parse_qsl(request.content.decode("latin-1")))
    return [value for name, value in form.items() if name in _SECRETS and value]


def advise(error: Exception, oauth: OAuthConfig, redirect_uri: str | None) -> str:
    """Say what to change in the config."""
    is_refused = isinstance(error, OAuthRegistrationError) and re.search(r"failed: (3|4)\d\d", str(error))
    if is_refused and not oauth.client_id:
        where = f", with the redirect address {redirect_uri}" if redirect_uri else ""
        return (
            f"; it does not register clients by itself: register one there{where}, and write its id into "
            "oauth.client_id of the entry (and the port into oauth.callback_port)"
        )
    return ""


def _shorten(text: str) -> str:
    text = show_line(" ".join(text.split()))
    return text if len(text) <= MOST else f"{text[: MOST - 1]}…"
