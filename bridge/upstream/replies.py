"""Reads an upstream's reply as a `Response`, be it one or a chat completion; an error in its place is raised."""

import secrets

from bridge.errors import UpstreamError
from bridge.items import CALL_TYPES, Response
from bridge.json_text import JsonObject, encode
from bridge.upstream.chat import read_completion
from bridge.upstream.errors import build_error, is_error, quote, read_error, read_name, read_text
from bridge.upstream.output import read_output
from bridge.upstream.parse import parse, parse_reply
from bridge.upstream.statuses import read_status

UNREADABLE = "unreadable_reply"
"""The code of the error for a successful reply that is nothing known."""


def read_reply(body: bytes, *, status: int, request_id: str | None) -> Response:
    """Read the response in the JSON body of a successful request. Raises UpstreamError for anything else."""
    data = parse_reply(body)
    if data.get("object") == "response" or isinstance(data.get("output"), list) or data.get("output_text"):
        return read_response(parse(body) or data if data.get("error") else data)
    if isinstance(data.get("choices"), list) and not data.get("error"):
        return read_completion(data)
    return _read_odd(parse(body), body, status, request_id)


def _read_odd(data: JsonObject, body: bytes, status: int, request_id: str | None) -> Response:
    """Read a body that is an event with a whole response, or an error of any shape, in the place of a response."""
    response = data.get("response")
    if isinstance(response, dict) and not data.get("error"):
        return read_response(response)
    if is_error(data):
        raise build_error(status, body, request_id)
    raise UpstreamError(
        f"The upstream answered with status {status}, but with nothing that is a response: {quote(body)}",
        code=UNREADABLE,
        status=status,
        request_id=request_id,
    )


def read_response(data: JsonObject) -> Response:
    """Read a Responses object; any field may be missing or null."""
    details = data.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    error = data.get("error")
    return {
        "id": read_name(data.get("id")),
        "model": read_name(data.get("model")),
        "status": read_text(read_status(data.get("status"))) or ("failed" if error else "completed"),
        "output": list(map(_repair_call, read_output(data))),
        "usage": usage if isinstance(usage := data.get("usage"), dict) else None,
        "incomplete_reason": read_text(reason),
        "error": read_error({"error": error, "metadata": data.get("metadata")}) if error else None,
    }


def _repair_call(item: JsonObject) -> JsonObject:
    """Return a call as the API defines it: with arguments as JSON text, and with a `call_id`.

    Compatible servers send the arguments as an object or omit the `call_id`, but refuse such a call when it is sent
    back. Any other item is returned unchanged.
    """
    if str(item.get("type")) not in CALL_TYPES:
        return item
    repaired: JsonObject = {"call_id": str(item.get("call_id") or item.get("id") or f"call_{secrets.token_hex(12)}")}
    if item["type"] == "function_call" and not isinstance(arguments := item.get("arguments"), str):
        repaired["arguments"] = encode({} if arguments is None else arguments)
    return item | repaired


def read_failure(response: Response) -> UpstreamError | None:
    """Return the error of a response that failed before it had any output: it is treated like a refusal (a 400)."""
    error = response["error"] if response["status"] == "failed" and not response["output"] else None
    return UpstreamError(error["message"], code=error["code"], who=error["who"]) if error else None
