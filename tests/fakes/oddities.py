"""What servers say wrongly beside a good answer: each changes a reply, and none is a reason to lose it."""

from collections.abc import Callable
from typing import Any

Json = dict[str, Any]
Alter = Callable[[Json, str], Any]
"""Changes a reply to a message of this method."""


def accompany(reply: Json, method: str) -> Json:
    """A good result in bad company: parts that are none, and structured content of any type."""
    result = reply.get("result")
    if method != "tools/call" or not isinstance(result, dict):
        return reply
    content = [*result["content"], {"text": 5}, None, {"type": "hologram"}]
    return {**reply, "result": {**result, "content": content, "structuredContent": [True]}}


def rename(reply: Json, _method: str) -> Json:
    """Its id in another form than ours."""
    return {**reply, "id": str(reply["id"]) if isinstance(reply["id"], int) else reply["id"]}


ALTERATIONS: dict[str, Alter] = {
    "bad company": accompany,
    "other id": rename,
    "batch": lambda reply, _: [reply],
}
