"""What a sign-in came to, in words for people."""

import json
import re
from contextlib import suppress

import httpx2
from mcp.client.auth.exceptions import OAuthRegistrationError

from bridge.config.settings import OAuthConfig

MOST = 200
"""Characters of what an authority says that are shown."""


def say_login(key: str, why: str = "") -> str:
    """Say that a person has to sign in, and how."""
    because = f" ({why})" if why else ""
    return f"it wants a sign-in{because}: `{name_command('login', key)}`"


def say_scope(key: str, scope: str, *, was_asked: bool) -> str:
    """Say that a call needs a scope that was not granted."""
    if was_asked:
        return f"it refuses the call without the scope {scope}, which was asked for and not granted"
    return f"it wants the scope {scope} for this call: `{name_command('login', key)}` asks for it"


def name_command(command: str, key: str) -> str:
    """Write a command of ours about a server as it is typed."""
    import shlex

    return f"mcp-responses-bridge {command} {shlex.quote(key)}"


def explain_answer(response: httpx2.Response) -> str:
    """Explain an answer of an authority: its status, and the error that it names."""
    said = ""
    with suppress(ValueError, AttributeError):
        body = json.loads(response.content)
        said = ": ".join(str(body[name]) for name in ("error", "error_description") if body.get(name))
    place = ""
    with suppress(RuntimeError):
        place = f"{response.request.url.copy_with(query=None)}: "
    return f"{place}HTTP {response.status_code}{f', {_shorten(said)}' if said else ''}"


def explain_flow(error: Exception) -> str:
    """Explain an error of the SDK's flow, whose text may be long, or repeat a secret."""
    text = re.sub(r"State parameter mismatch.*", "the answer of the browser belongs to another sign-in", str(error))
    return _shorten(text)


def advise(error: Exception, oauth: OAuthConfig, redirect_uri: str | None) -> str:
    """Say what to change in the config."""
    if isinstance(error, OAuthRegistrationError) and not oauth.client_id:
        where = f", with the redirect address {redirect_uri}" if redirect_uri else ""
        return (
            f"; it does not register clients by itself: register one there{where}, and write its id into "
            "oauth.client_id of the entry (and the port into oauth.callback_port)"
        )
    return ""


def _shorten(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= MOST else f"{text[: MOST - 1]}…"
