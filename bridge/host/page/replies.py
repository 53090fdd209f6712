"""Replies of the page's routes, and what is read of its requests."""

from collections.abc import Mapping
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from bridge.errors import ArgumentError
from bridge.json_text import Json, JsonObject, decode, encode

HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""Sent with all that the page gets."""
DATA_POLICY = "default-src 'none'; frame-ancestors 'none'"
MOST_BYTES = 16_384
"""The most bytes of a request's body."""


class Refusal(NamedTuple):
    """Reason for which a request is refused."""

    status: int
    code: str
    message: str


SIGNED_OUT = Refusal(401, "signed_out", "Sign in first.")
WRONG_TOKEN = Refusal(401, "wrong_token", "This token is not known here.")
NOT_OURS = Refusal(403, "not_ours", "Only the page itself may send this; reload it.")
UNKNOWN = Refusal(404, "unknown", "There is nothing here that you may see.")


def reply(value: Json, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Reply with JSON."""
    sent = {**HEADERS, "Content-Security-Policy": DATA_POLICY, **(headers or {})}
    return Response(encode(value), status, sent, media_type="application/json")


def refuse(refusal: Refusal, headers: Mapping[str, str] | None = None) -> Response:
    """Reply with an error."""
    return reply({"error": {"code": refusal.code, "message": refusal.message}}, refusal.status, headers)


async def read_object(request: Request) -> JsonObject:
    """Read the JSON object that is the body. Raises ArgumentError for anything else."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ArgumentError("The body must be JSON (Content-Type: application/json).")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise ArgumentError(f"The body is longer than {MOST_BYTES:,} bytes.")
    try:
        value = decode(body.decode())
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ArgumentError("The body must be a JSON object.")
    return value
