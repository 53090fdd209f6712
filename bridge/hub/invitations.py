"""Sign-ins that are offered to the person at the host: an address to open, once for each server and process.

Only where all hosts are one person's: connections are shared, and one person's account must not become everybody's.
"""

import logging
from collections.abc import Callable

from bridge.clock import Clock
from bridge.config.settings import ServerConfig
from bridge.config.values import is_loopback
from bridge.errors import SignInFailed
from bridge.hub.failures import describe, flatten
from bridge.pages import read_page
from bridge.questions import UNANSWERED, Ask, Question, ask_to_open
from bridge.state import StateFolder
from bridge.telemetry import Redactor

logger = logging.getLogger(__name__)

PERSON_S = 300.0
"""How long the person may take on the page: the run waits for them."""
SAID = "sign in there. Its tools can be used here, as you, when that is done"


class Invitations:
    """Offers a person to sign in to one server, once for each thing that is wanted."""

    def __init__(
        self, server: ServerConfig, find_folder: Callable[[], StateFolder], clock: Clock, redact: Redactor
    ) -> None:
        self._server = server
        self._find_folder = find_folder
        self._clock = clock
        self._redact = redact
        self._made = set[str]()

    async def offer(self, ask: Ask, scope: str = "") -> bool:
        """Offer the person to sign in, and wait until that is done; return whether it is.

        `scope`: the one that is missing; "" where nobody has signed in yet. Each is offered once.
        """
        if scope in self._made or not await self._can_ask(ask):
            return False
        self._made.add(scope)
        from bridge.hub.sign_in.person import sign_in

        async def show(address: str) -> None:
            await self._show(address, ask, scope)

        try:
            await sign_in(
                self._server,
                self._find_folder(),
                show,
                clock=self._clock,
                redact=self._redact,
                timeout_s=PERSON_S,
            )
        except Exception as failure:  # noqa: BLE001 - boundary: whatever a sign-in comes to, the run goes on without
            words = "; ".join(dict.fromkeys(map(describe, flatten(failure))))
            logger.warning("%s: %s", self._server.key, self._redact(words))
            return False
        return True

    async def _can_ask(self, ask: Ask) -> bool:
        """Tell whether the host opens pages, before the server is asked for one."""
        probe = Question(self._server.key, "", {}, address="https://", is_moot=lambda: True)
        return (await ask(probe))["action"] == "moot"

    async def _show(self, address: str, ask: Ask, scope: str) -> None:
        """Raise SignInFailed where the person does not open it."""
        try:
            page = read_page(address, is_local=is_loopback(self._server.url or ""))
        except ValueError as error:
            raise SignInFailed(f"the address to sign in at is not shown to anybody: {error}") from None
        answer = await ask(ask_to_open(self._server.key, page, SAID))
        if answer["action"] == "accept":
            return
        if answer["action"] == "unasked" and not answer["reason"].startswith(UNANSWERED):
            self._made.discard(scope)
        raise SignInFailed("nobody has opened the address to sign in at")
