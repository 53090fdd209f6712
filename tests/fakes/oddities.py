"""What servers say wrongly beside a good answer: each changes a reply, and none is a reason to lose it."""

from collections.abc import Callable
from typing import Any

Json = dict[str, Any]
Alter = Callable[[Json, str], Any]
"""Changes a reply to a message of this method."""


def decorate(reply: Json, method: str) -> Json:
    """Everything that is not needed has a wrong type."""
    result = reply.get("result")
    if not isinstance(result, dict):
        return reply
    added: Json = {"_meta": []}
    match method:
        case "initialize" | "server/discover":
            added |= {"instructions": ["Be kind"], "serverInfo": {"version": 3}}
            nothing: list[str] = []
            added["capabilities"] = {**result["capabilities"], "experimental": nothing, "logging": nothing}
        case "tools/list":
            odd: Json = {"annotations": [], "_meta": [], "icons": {}, "title": 7, "outputSchema": {"properties": []}}
            added["tools"] = [{**odd, **tool} for tool in result["tools"]]
        case _:
            pass
    return {**reply, "result": {**result, **added}}


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


ODDITIES: dict[str, Alter] = {
    "decoration": decorate,
    "bad company": accompany,
    "other id": rename,
    "batch": lambda reply, _: [reply],
}
