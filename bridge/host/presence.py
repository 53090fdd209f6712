"""Notes which HTTP requests a host has hung up on before they were answered, in either era.

In the handshake era the SDK (mcp 2.3) goes on with a call whose request was closed, and tells nobody.
"""

from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bridge.host.principal import HostRequest, find_http

_KEY = "bridge.presence"


class Presence:
    """The host at the other end of one request. `has_left` is true once it has hung up before the whole answer."""

    def __init__(self) -> None:
        self.has_left = False
        self.on_leaving: Callable[[], None] | None = None
        """Called when the host leaves. To be reset once the call is answered: a handshake-era host may close its stream
        as soon as it has read the answer, before the end of the stream."""
        self._is_answered = False

    def note_received(self, message: Message) -> None:
        """Note what came from the host. The web server tells of a disconnect after a whole answer, too."""
        if message["type"] == "http.disconnect" and not (self._is_answered or self.has_left):
            self.has_left = True
            if self.on_leaving:
                self.on_leaving()

    def note_sent(self, message: Message) -> None:
        """Note what is sent to the host."""
        self._is_answered |= message["type"] == "http.response.body" and not message.get("more_body", False)


class PresenceNotes:
    """ASGI middleware that notes the host's presence for the calls in its requests."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        presence = Presence()

        async def receive_noted() -> Message:
            message = await receive()
            presence.note_received(message)
            return message

        async def send_noted(message: Message) -> None:
            presence.note_sent(message)
            await send(message)

        await self._app({**scope, _KEY: presence}, receive_noted, send_noted)


def find_presence(ctx: HostRequest) -> Presence | None:
    """Return the presence of the host whose request is answered by the call's result; None where that is another
    stream."""
    request = find_http(ctx)
    return request.scope.get(_KEY) if request else None
