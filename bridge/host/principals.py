"""Who may use the service, and by what token: named principals."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from starlette.types import Scope

from bridge.config.principals import DEFAULT
from bridge.run.engine import NAMED

PRINCIPAL = "bridge.verified"
"""The key, in the scope of a request, of what the gate has verified. No header reaches it."""
UNAUTHORIZED = "Unauthorized: send Authorization: Bearer TOKEN"


@dataclass(frozen=True)
class Verified:
    """A request that is let in."""

    name: str | None
    """The name of its principal; None where requests are not told apart by name."""

    @property
    def principal(self) -> str | None:
        """The principal that its runs belong to; None where its token tells that. The default's does, so that its runs
        stay its own when others get names."""
        return None if self.name in (None, DEFAULT) else f"{NAMED}{self.name}"


@dataclass(frozen=True)
class Refused:
    """A request that is not let in: the parts of the reply. None of them says which token would be right."""

    message: str = UNAUTHORIZED
    error: str = "invalid_token"
    """The code in the reply's `WWW-Authenticate`."""
    status: int = 401
    retry_after_s: int | None = None
    """When to try again, where the token is not at fault."""


Challenge: TypeAlias = Callable[[str, str], str]
"""Writes `WWW-Authenticate` for a path and the code of an error, or "" where no token was sent."""


def challenge_plainly(_path: str, _error: str) -> str:
    return "Bearer"


class Verifier(Protocol):
    """Knows some tokens."""

    async def verify(self, token: str) -> Verified | Refused | None:
        """Tell whose token this is; None where it is none of those that this verifier can judge, so that the next one
        is asked. Raises nothing."""
        ...


ANYBODY = Verified(None)


def read_verified(scope: Scope) -> Verified:
    """Return what the gate has found out about a request."""
    found = scope.get(PRINCIPAL)
    return found if isinstance(found, Verified) else ANYBODY
