"""The service as a protected resource: what it tells clients of where tokens for it come from (RFC 9728)."""

from collections.abc import Mapping

from bridge.config.settings import IssuerConfig
from bridge.json_text import Json, JsonObject

WELL_KNOWN = "/.well-known/oauth-protected-resource"
ENDPOINTS = ("/mcp", "/sse")
"""What clients may know as the resource: some accept no other metadata than that of the very URL they were given."""


class Resource:
    """What the service says of itself: its metadata, and the challenge of a refusal.

    Everything is made of `serve.oauth.public_url`, and nothing of what a request says: behind a proxy that is another
    name, and anybody can write any.
    """

    def __init__(self, settings: IssuerConfig) -> None:
        self._settings = settings
        self._root, self._prefix = _split(settings.public_url)

    @property
    def audiences(self) -> frozenset[str]:
        """What a token for us names, where nothing else is configured. A host alone is the same with a slash."""
        base = self._settings.public_url
        own = {base, *(base + endpoint for endpoint in ENDPOINTS), *([] if self._prefix else [f"{base}/"])}
        return frozenset(self._settings.audience or own)

    def list_documents(self) -> Mapping[str, JsonObject]:
        """List the metadata by path. A proxy may have taken the path of `public_url` away, or not."""
        prefixes = {self._prefix, ""}
        return {
            f"{WELL_KNOWN}{prefix}{endpoint}": self._describe(endpoint)
            for endpoint in ("", *ENDPOINTS)
            for prefix in prefixes
        }

    def _describe(self, endpoint: str) -> JsonObject:
        told: JsonObject = {
            "resource": self._settings.public_url + endpoint,
            "authorization_servers": [self._settings.issuer],
            "bearer_methods_supported": ["header"],
            "resource_name": "mcp-responses-bridge",
        }
        return told | ({"scopes_supported": list[Json](self._settings.scopes)} if self._settings.scopes else {})

    def challenge(self, path: str, error: str = "") -> str:
        """Write the `WWW-Authenticate` of a refusal."""
        endpoint = "/sse" if path == "/sse" or path.startswith("/messages") else "/mcp"
        told = {"error": error} if error else {}
        told["resource_metadata"] = f"{self._root}{WELL_KNOWN}{self._prefix}{endpoint}"
        if self._settings.scopes:
            told["scope"] = " ".join(self._settings.scopes)
        return "Bearer " + ", ".join(f'{name}="{value}"' for name, value in told.items())


def _split(url: str) -> tuple[str, str]:
    """Split a URL into its origin and its path."""
    scheme, _, rest = url.partition("://")
    host, mark, path = rest.partition("/")
    return f"{scheme}://{host}", f"{mark}{path}"
