"""Types of settings: each check converts what was written to a value, or raises.

A check raises ValueError with a message that completes "<path of the setting>: ...".
"""

import ipaddress
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

_SCALAR = re.compile(r"true|false|-?(0|[1-9][0-9]{0,15})(\.[0-9]{1,15})?")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NO_URL = "expected a URL that begins with http:// or https:// and names a host"
_NO_SCHEME = re.compile(r"[\w-]+(\.[\w-]+)+([:/]|$)|[\w.-]+:\d")
_WITH_PORT = re.compile(r"https?://([^/?#:\[\]]+|\[[^/?#\]]+\]):", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PUBLIC_URL = re.compile(r"https?://[a-z0-9.:\[\]-]+(/[\w.~-]+)*/?", re.ASCII | re.IGNORECASE)
_SCOPE = re.compile(r"[!#-\[\]-~]+")
_PLAIN_ADDRESS = re.compile(r"(?=.*[:/])([a-z]{2,10}:/{0,3})?[a-z0-9.-]{1,80}(:[0-9]{1,5})?(/[a-z0-9]{0,10})*")
"""Malformed URLs that may be shown in a message: without a user, a query or a long word that could be a key."""


def read_scalar(value: object) -> object:
    """Convert `"8787"` to 8787: a reference such as `${env:PORT}` can only be written in a string."""
    if not isinstance(value, str) or not (match := _SCALAR.fullmatch(value)):
        return value
    if value in ("true", "false"):
        return value == "true"
    return float(value) if match[2] else int(value)


def read_scopes(value: object) -> object:
    """Convert `"read write"` to a list: that is how authorities write scopes."""
    return value.split() if isinstance(value, str) else value


def check_url(url: str) -> str:
    _split(url)
    return url


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        named = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # its message would show the URL, which may hold a password
        parts = named = None
    if parts is None or not named or _CONTROL.search(url) or " " in url:
        shown = f", not {url!r}" if _PLAIN_ADDRESS.fullmatch(url) else ""
        raise ValueError(f"{_NO_URL}{shown}{_advise(url)}")
    if "@" in parts.netloc:
        raise ValueError("a URL must not hold a user name or a password; put credentials into headers")
    return parts


def _advise(url: str) -> str:
    """Say what to change in what is no URL, without showing it."""
    if not url.strip():
        return "; it is empty"
    if url != url.strip(" \t\r\n\"'<>`"):
        return "; take away the blanks, quotes or brackets around it"
    if _CONTROL.search(url) or " " in url:
        return "; take away the blank or control character in it"
    if _NO_SCHEME.match(url):
        return "; write http:// or https:// before it"
    return "; its port must be a number from 1 to 65535" if _WITH_PORT.match(url) else ""


def check_base_url(url: str) -> str:
    """Normalise a base URL so that `base_url + "/responses"` is the endpoint.

    Removes a trailing slash and a pasted `/responses`. A URL without a path gets `/v1`; any other path is unchanged
    (Azure's `/openai/v1`, a relay's own prefix).
    """
    parts = _split(url.strip())
    if parts.query or parts.fragment:
        raise ValueError("a base URL ends with its path; put query parameters into upstream.query")
    path = parts.path.rstrip("/").removesuffix("/responses").rstrip("/")
    return f"{parts.scheme}://{parts.netloc.lower()}{path or '/v1'}"


def check_issuer(url: str) -> str:
    """Check the identifier of an issuer, which is compared as it is written."""
    parts = _split(url)
    if parts.query or parts.fragment:
        raise ValueError("an issuer has no query and no fragment")
    if parts.scheme != "https" and not is_loopback(url):
        raise ValueError("an issuer must be https, unless it is on this machine")
    return url


def check_public_url(url: str) -> str:
    """Normalise the address that clients know the service by: no slash at its end, no `/mcp`."""
    parts = _split(url)
    if not _PUBLIC_URL.fullmatch(url):
        raise ValueError("expected the address that clients use, without /mcp, such as https://bridge.example.com")
    if parts.scheme != "https" and not is_loopback(url):
        raise ValueError("the address that clients use must be https, unless it is on this machine")
    path = parts.path.rstrip("/")
    if path.rpartition("/")[2] in ("mcp", "sse"):
        raise ValueError("expected the address without /mcp and /sse")
    return f"{parts.scheme}://{parts.netloc.lower()}{path}"


def check_scopes(scopes: tuple[str, ...]) -> tuple[str, ...]:
    for scope in scopes:
        if not _SCOPE.fullmatch(scope):
            raise ValueError(
                f"{scope!r} is no scope: one has no blanks, quotes or backslashes; list several one by one"
            )
    return scopes


def check_store(store: str) -> str:
    """Check where runs are kept: a word, or the URL of a file or a database."""
    if store in ("sqlite", "memory"):
        return store
    scheme, mark, rest = store.partition("://")
    if mark and scheme == "sqlite" and rest.startswith("/") and rest.strip("/"):
        return store
    if mark and scheme in ("postgresql", "postgres") and rest:
        return f"postgresql://{rest}"
    raise ValueError('expected "sqlite", "memory", "sqlite:///PATH" or "postgresql://…"')


def check_header_name(name: str) -> str:
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a header name")
    return name


def check_headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        check_header_name(name)
        if _CONTROL.search(value) or not value.isascii():
            raise ValueError(f"the value of {name} holds a character that no header can carry")
    return headers


def check_environment(env: dict[str, str]) -> dict[str, str]:
    if any(not name or "=" in name for name in env):
        raise ValueError("the name of an environment variable must not be empty or hold '='")
    return env


def check_folders(folders: tuple[str, ...]) -> tuple[str, ...]:
    for folder in folders:
        if not _expand(folder).is_absolute():  # it would depend on the folder that we are started in
            raise ValueError(f"{folder!r} is not an absolute path")
    return folders


def check_path(path: str) -> str:
    if not _expand(path).is_absolute():
        raise ValueError(f"{path!r} is not an absolute path")
    return path


def _expand(folder: str) -> Path:
    try:
        return Path(folder).expanduser()
    except RuntimeError:  # no such user
        raise ValueError(f"{folder!r} begins with a home folder that there is not") from None


def check_credential(key: str | None) -> str | None:
    """Strip a key or token: secrets read from a file often end in a newline. Empty becomes None."""
    key = (key or "").strip()
    if not re.fullmatch(r"[!-~]*", key):
        raise ValueError('holds a character that no Authorization header can carry; give the key alone, no "Bearer"')
    return key or None


def is_loopback(url: str) -> bool:
    """Tell whether a URL or host name means this machine, which is never reached through a proxy, nor by others."""
    host = urlsplit(url).hostname or url if "://" in url else url
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # some other name, such as 127.example.com
        return False


def is_dummy(key: str) -> bool:
    """Tell whether a key is a placeholder, for servers that require some key but check none."""
    return key.lower() in ("ollama", "empty", "none", "no-key", "dummy", "lm-studio")


def is_secret(value: str) -> bool:
    """Tell whether a value is to be redacted: dummies need not be, and short values occur in ordinary words."""
    return len(value) >= 8 and not is_dummy(value)


Flag = Annotated[bool, BeforeValidator(read_scalar)]
Count = Annotated[int, BeforeValidator(read_scalar), Field(ge=1)]
Seconds = Annotated[float, BeforeValidator(read_scalar), Field(gt=0, allow_inf_nan=False)]
Cost = Annotated[float, BeforeValidator(read_scalar), Field(gt=0, allow_inf_nan=False)]
Strings = Annotated[tuple[str, ...], Field(strict=False)]  # JSON has lists, no tuples
Text = Annotated[str, Field(min_length=1)]
Headers = Annotated[dict[str, str], AfterValidator(check_headers)]
Credential = Annotated[str | None, AfterValidator(check_credential)]
