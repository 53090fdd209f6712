"""The vocabulary of the Responses API that the bridge reads: items, calls, responses, outputs. Data only.

Only what is read is named here. Everything else travels untouched: an item is encoded once, when it arrives, and is
sent back as that JSON text, so `phase`, `encrypted_content`, `caller` and fields nobody knows yet survive.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NotRequired

from typing_extensions import TypedDict  # pydantic reads notices of recordings, and wants this one before Python 3.12

from bridge.json_text import Json, JsonObject, encode

CALL_TYPES = {"function_call": "function_call_output", "custom_tool_call": "custom_tool_call_output"}
"""Items that wait for an answer, and the type of the item that answers them."""

OWN_NAMES = ("read_output", "find_tools")
"""Names that the bridge keeps for the tools of a run's own: no server's tool is called so."""


class Notice(TypedDict):
    """Something the caller should know about a run that did not end it."""

    code: str
    message: str


class ErrorInfo(TypedDict):
    """Why a run failed: `respond`'s `error`."""

    code: str
    message: str
    who: Literal["operator", "upstream", "caller"]
    status: int | None
    request_id: str | None


class Response(TypedDict):
    """What one upstream request came to, whatever shape the upstream sent it in."""

    id: str | None
    model: str | None
    status: str
    """completed, incomplete, failed or cancelled: the upstream's own word."""
    output: list[JsonObject]
    usage: JsonObject | None
    incomplete_reason: str | None
    error: ErrorInfo | None
    notices: NotRequired[list[Notice]]


class CallOutput(TypedDict):
    """What one function call came to: `output` is what the model reads, a text or a list of content parts."""

    output: str | list[JsonObject]
    is_error: bool
    server: str | None
    tool: str | None
    notices: NotRequired[list[Notice]]
    found: NotRequired[list[str]]
    """Names of tools that the following requests are to carry."""
    kept: NotRequired[dict[str, str]]
    """The texts that had to be cut, whole, by the ids that `read_output` reads them by."""


@dataclass(frozen=True)
class Call:
    """A function call of a response. `call_id` may repeat between turns, so a run keys by (turn, index)."""

    call_id: str
    name: str
    arguments: Json
    """The arguments as the upstream sent them: JSON text by the API, an object from some compatible servers."""
    item: JsonObject = field(repr=False)

    @property
    def is_complete(self) -> bool:
        """False for a call that was cut short: its arguments are truncated and must not be executed."""
        return self.item.get("status") in (None, "completed", "in_progress")  # the last where nobody said the end


@dataclass(frozen=True)
class Last:
    """The response that a request goes on from."""

    response_id: str
    known: int
    """How many of the request's items were in it or before it."""


@dataclass(frozen=True)
class Turn:
    """One request to the upstream, in parts: the upstream joins them to a body without encoding anything twice."""

    parameters: Mapping[str, Json]
    """Create parameters other than `input`, `tools` and `stream`."""
    items: Sequence[str]
    """The input items, each as its JSON text."""
    tools: Sequence[str]
    """The tools, each as its JSON text; the same texts in the same order every turn, so that prompt caches hold."""
    last: Last | None = None
    """For an upstream that keeps responses; to any other all items are sent."""


def find_calls(output: Iterable[JsonObject]) -> list[Call]:
    """The calls among the items of a response, in order."""
    return [
        Call(
            call_id=str(item.get("call_id") or ""),
            name=str(item.get("name") or ""),
            arguments=item.get("input" if item["type"] == "custom_tool_call" else "arguments"),
            item=item,
        )
        for item in output
        if str(item.get("type")) in CALL_TYPES
    ]


def answer_call(call: Call, output: str | list[JsonObject]) -> JsonObject:
    """The item that answers `call`. The call's `caller` is echoed: programmatic calls are routed back by it."""
    answer: JsonObject = {
        "type": CALL_TYPES[str(call.item["type"])],
        "call_id": call.call_id,
        "output": list[Json](output) if isinstance(output, list) else output,
    }
    if call.item.get("caller") is not None:
        answer["caller"] = call.item["caller"]
    return answer


def read_text(output: Iterable[JsonObject]) -> str:
    """The text of the messages among `output`, refusals included: a refusal is an answer, not silence.

    Beside an answer, messages whose `phase` is `commentary` are no part of it.
    """
    messages = [item for item in output if item.get("type", "message") == "message"]
    answers = [item for item in messages if item.get("phase") != "commentary"]
    return "".join(text for item in answers or messages for text in _read_content(item.get("content")))


def _read_content(content: Json) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    for part in content if isinstance(content, list) else ():
        if isinstance(part, dict) and part.get("type") in ("output_text", "refusal"):
            yield str(part.get("text") or part.get("refusal") or "")


def read_usage(usage: JsonObject | None) -> dict[str, int]:
    """input, output and total tokens of a response; missing, null and chat-style fields count as they can."""
    usage = usage or {}
    spent = {
        "input_tokens": _count(usage, "input_tokens") or _count(usage, "prompt_tokens"),
        "output_tokens": _count(usage, "output_tokens") or _count(usage, "completion_tokens"),
    }
    total = _count(usage, "total_tokens") or sum(spent.values())
    return (spent if any(spent.values()) else spent | {"input_tokens": total}) | {"total_tokens": total}


def _count(usage: JsonObject, name: str) -> int:
    n = usage.get(name)
    return max(0, int(n)) if isinstance(n, (int, float)) and not isinstance(n, bool) else 0


def encode_error(code: str, message: str, **details: Json) -> str:
    """The one form in which the model reads that a call failed: a call output has no flag for it."""
    return encode({"error": code, "message": message} | details)


def fail_call(
    code: str, message: str, *, server: str | None = None, tool: str | None = None, **details: Json
) -> CallOutput:
    """The output of a call that came to nothing; server and tool are those that it was meant for, where there are."""
    return {"output": encode_error(code, message, **details), "is_error": True, "server": server, "tool": tool}
