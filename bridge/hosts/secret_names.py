"""Names of environment variables for the secrets of servers, so that no two secrets can have one name."""

import hashlib
import re
from dataclasses import dataclass, field

PREFIX = "MRB"
"""No other program reads variables that begin so: a server's OPENAI_API_KEY must not become that of our upstream."""
_SERVER = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_KEY = re.compile(r"[A-Z0-9]+(_[A-Z0-9]+)*")


@dataclass(frozen=True)
class Secret:
    """A value that stays in the host's file."""

    place: str
    """Where it stands in its entry, such as `env.GITHUB_TOKEN`."""
    value: str = field(repr=False)
    """As it is written there: a secret, or a reference that the host fills in."""
    is_reference: bool = False


def name_secret(server: str, key: str) -> str:
    """Name a secret of a server: the same at any time, and by any other server or key another.

    `notes-1` and `API_KEY` make `MRB_NOTES_1__API_KEY`. Where letters have to be left out for a legal name, a hash is
    added.
    """
    name = f"{PREFIX}_{_clean(server)}__{_clean(key)}"
    if _SERVER.fullmatch(server) and _KEY.fullmatch(key):
        return name
    digest = hashlib.sha256(f"{server}\n{key}".encode()).hexdigest()
    return f"{name}__{digest[:8].upper()}"


def _clean(text: str) -> str:
    return re.sub(r"[^A-Z0-9]+", "_", text.upper()).strip("_") or "X"
