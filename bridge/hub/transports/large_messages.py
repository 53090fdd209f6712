"""The way round the SDK's SSE transport for messages that it would end over: a small one goes through in their place.

An event of more than 1 MiB ends it (mcp 2.3), and the limit cannot be set.
"""

import itertools

from mcp_types import JSONRPCMessage, JSONRPCNotification

from bridge.jsonrpc.messages import read_message, write_message

EVENT_BYTES = 1 << 19
"""What goes through as it is: half of the limit, so that nobody has to know what is counted."""
STAND_IN = "notifications/mcp-responses-bridge/large"


class Detour:
    """The messages of one connection that are on their way round."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._messages: dict[object, bytes] = {}

    def enter(self, message: bytes) -> bytes:
        """What is sent through the transport for `message`."""
        if len(message) <= EVENT_BYTES:
            return message
        number = next(self._numbers)
        self._messages[number] = message
        sent = JSONRPCNotification(jsonrpc="2.0", method=STAND_IN, params={"number": number})
        return write_message(sent).rstrip()

    def leave(self, message: JSONRPCMessage) -> JSONRPCMessage:
        """What the message is that came through the transport."""
        if isinstance(message, JSONRPCNotification) and message.method == STAND_IN:
            kept = self._messages.pop((message.params or {}).get("number"), None)
            return message if kept is None else read_message(kept)
        return message
