"""Messages too large for the SDK's SSE transport: a small placeholder passes through it in their place.

An event of more than 1 MiB ends that transport (mcp 2.3), and the limit cannot be configured.
"""

import itertools

from mcp_types import JSONRPCMessage, JSONRPCNotification

from bridge.jsonrpc.messages import read_message, write_message

EVENT_BYTES = 1 << 19
"""The largest message that is sent as it is: half of the limit, so that it does not matter what exactly is counted."""
PLACEHOLDER = "notifications/mcp-responses-bridge/large"


class LargeMessages:
    """The large messages of one connection that their placeholders stand for."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._messages: dict[object, bytes] = {}

    def replace(self, message: bytes) -> bytes:
        """Return what passes through the transport: `message`, or a placeholder for it."""
        if len(message) <= EVENT_BYTES:
            return message
        number = next(self._numbers)
        self._messages[number] = message
        sent = JSONRPCNotification(jsonrpc="2.0", method=PLACEHOLDER, params={"number": number})
        return write_message(sent).rstrip()

    def restore(self, message: JSONRPCMessage) -> JSONRPCMessage:
        """Return the message that a placeholder stands for; any other message as it is."""
        if isinstance(message, JSONRPCNotification) and message.method == PLACEHOLDER:
            kept = self._messages.pop((message.params or {}).get("number"), None)
            return message if kept is None else read_message(kept)
        return message
