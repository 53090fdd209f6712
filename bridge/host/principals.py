"""Who may use the service, and by what token: named principals."""

from dataclasses import dataclass
from typing import Protocol

from starlette.types import Scope

PRINCIPAL = "bridge.verified"
"""The key, in the scope of a request, of what the gate has verified. No header reaches it."""
UNAUTHORIZED = "Unauthorized: send Authorization: Bearer TOKEN"
DEFAULT = "default"
"""The name of whoever sends `serve.token`."""
NAMED = "principal "
"""How the principal of a run begins that has a name in the config."""


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
    challenge: str = "Bearer"
    """The reply's `WWW-Authenticate`."""
    status: int = 401


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
