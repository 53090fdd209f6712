"""Sessions that end while a message for them is on its way.

The SDK (mcp 2.3) has accepted such a message with 202 by then. It takes the closed session for an error of its own, and
would answer once more, which the web server refuses with a traceback.
"""

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class EndingFilter:
    """ASGI middleware that lets a request be answered once, and an ended session be no error after that."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_answered = False

        async def send_once(message: Message) -> None:
            nonlocal is_answered
            if is_answered:
                return
            is_answered = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        try:
            await self._app(scope, receive, send_once)
        except anyio.ClosedResourceError:
            if not is_answered:
                raise
