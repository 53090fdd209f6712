"""How to sign in to a server, as an entry of any host says it, in our shape."""

from urllib.parse import urlsplit

from bridge.config.faults import KeyPath
from bridge.config.places import Entry
from bridge.json_text import Json

KEYS = ("oauth", "auth")
"""Where an entry says it; `auth` is Cursor's."""
BESIDE = {"oauth_resource": "resource", "scopes": "scopes"}
"""Codex: keys of the entry itself, and what they are in `oauth`."""
_RENAMED = {
    "clientId": "client_id",
    "CLIENT_ID": "client_id",
    "client-id": "client_id",
    "clientSecret": "client_secret",
    "CLIENT_SECRET": "client_secret",
    "client-secret": "client_secret",
    "callbackPort": "callback_port",
    "redirectPort": "callback_port",
    "redirect_port": "callback_port",
    "scope": "scopes",
    "oauthScopes": "scopes",
    "SCOPES": "scopes",
    "issuerUrl": "issuer",
    "issuer_url": "issuer",
    "authServerUrl": "issuer",
    "grantType": "grant",
    "grant_type": "grant",
    "audience": "resource",
    "audiences": "resource",
}
_WELL_KNOWN = ("/.well-known/oauth-authorization-server", "/.well-known/openid-configuration")
_METADATA = ("authServerMetadataUrl", "auth_server_metadata_url", "metadataUrl", "discoveryUrl")
"""Keys for the address of the authority's metadata, which its issuer can be told from."""
_ENDPOINTS = ("authorizationUrl", "authorization_url", "tokenUrl", "token_url", "registrationUrl", "registration_url")
"""Keys for addresses that its metadata names too."""
_REDIRECTS = ("redirectUri", "redirect_uri", "redirectUrl")
_ANYWAY = frozenset({"enabled", "type", "provider"})
FOREIGN = frozenset({*_RENAMED, *_METADATA, *_ENDPOINTS, *_REDIRECTS, *_ANYWAY})
"""Keys of other programs that are no typos of ours."""
_STRANGE = frozenset(_ENDPOINTS)
"""Keys that are ignored: the authority's metadata says the same."""


def read_oauth(given: Entry, path: KeyPath) -> list[KeyPath]:
    """Bring what an entry says of signing in to our shape, in place; return the keys that mean nothing here."""
    beside: Entry = {name: given.pop(key) for key, name in BESIDE.items() if key in given}
    found = {key: given.pop(key) for key in KEYS if key in given}
    key, written = next(((key, value) for key, value in found.items() if isinstance(value, dict)), ("", Entry()))
    if written.get("enabled") is False:
        return []
    values = _rename(written) | beside
    meant = {name: value for name, value in values.items() if name not in FOREIGN}
    if meant:
        given["oauth"] = meant
    strange: list[KeyPath] = [(*path, name) for name, value in found.items() if name != key and isinstance(value, str)]
    return [*strange, *((*path, key, name) for name in values if name in _STRANGE)]


def _rename(written: Entry) -> Entry:
    values: Entry = {}
    for name, value in written.items():
        right = _RENAMED.get(name, name)
        if value not in (None, "", []) and right not in values:
            values[right] = value
    values.setdefault("issuer", _find_issuer(written))
    values.setdefault("callback_port", _find_port(written))
    if isinstance(audiences := values.get("resource"), list):
        values["resource"] = audiences[0]
    return {name: value for name, value in values.items() if value is not None}


def _find_issuer(written: Entry) -> Json:
    """Tell the issuer from the address of its metadata, or else from that of its endpoints."""
    for key in _METADATA:
        if isinstance(url := written.get(key), str):
            for mark in _WELL_KNOWN:
                url = url.replace(mark, "", 1)
            return url
    return None


def _find_port(written: Entry) -> Json:
    """Tell the port from the address that the browser is sent back to."""
    for key in _REDIRECTS:
        if isinstance(url := written.get(key), str):
            try:
                return urlsplit(url).port
            except ValueError:
                return None
    return None
