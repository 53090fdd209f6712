"""The vocabulary of the Responses API that the bridge reads: items, calls, responses, outputs. Data only.

Only fields that the bridge reads are named here. All others pass unchanged: an item is encoded once, when it arrives,
and sent back as that JSON text, so `phase`, `encrypted_content`, `caller` and fields of the future survive. The few
exceptions are in docs/rules.md, R5.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NotRequired

from typing_extensions import TypedDict  # before Python 3.12, pydantic (which reads recorded notices) needs this one

from bridge.json_text import Json, JsonObject, encode

CALL_TYPES = {"function_call": "function_call_output", "custom_tool_call": "custom_tool_call_output"}
"""The types of items that need a call output, and the type of that output."""

COMPACTIONS = frozenset(("compaction", "compaction_summary"))
"""Types of items that stand for all items before them."""

LEGAL = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""A name, or a call id, that every API takes back."""

MADE_PICTURE = "image_generation_call"
"""The type of the item that holds a picture which the upstream has made."""

OWN_NAMES = ("read_output", "find_tools")
"""Names reserved for the run's own tools: no server's tool gets one of them as its model name."""


class Notice(TypedDict):
    """Something that the caller should know about a run, but that did not end it."""

    code: str
    message: str


class ErrorInfo(TypedDict):
    """The reason why a run failed: `error` in the result of `respond`."""

    code: str
    message: str
    who: Literal["operator", "upstream", "caller"]
    status: int | None
    request_id: str | None
    retry_after_s: NotRequired[int]
    """Seconds after which it is worth another try; only where the bridge is busy."""


class Response(TypedDict):
    """The outcome of one upstream request, in one shape whatever the upstream sent."""

    id: str | None
    model: str | None
    status: str
    """The upstream's own status: completed, incomplete, failed or cancelled."""
    output: list[JsonObject]
    usage: JsonObject | None
    incomplete_reason: str | None
    error: ErrorInfo | None
    notices: NotRequired[list[Notice]]


class CallOutput(TypedDict):
    """The outcome of one function call; the model reads `output`, a text or a list of content parts."""

    output: str | list[JsonObject]
    is_error: bool
    server: str | None
    tool: str | None
    notices: NotRequired[list[Notice]]
    found: NotRequired[list[str]]
    """Names of tools that the next requests of the run must carry."""
    kept: NotRequired[dict[str, str]]
    """The full texts of those that had to be cut, by the ids that `read_output` takes."""
    verdict: NotRequired[JsonObject]
    """Verdict on the call, where an audit is kept: see `verdicts.py`."""


@dataclass(frozen=True)
class Call:
    """A function call of a response. Its `call_id` may occur again in another turn, so a run keys calls by (turn,
    index)."""

    call_id: str
    name: str
    arguments: Json
    """The arguments as the upstream sent them: a JSON text in the API, an object from some compatible servers."""
    item: JsonObject = field(repr=False)

    @property
    def is_complete(self) -> bool:
        """Tell whether the call is whole; one that was cut short has truncated arguments and must not be executed."""
        # "in_progress" stays where an upstream never reports the end of an item.
        return self.item.get("status") in (None, "completed", "in_progress")


@dataclass(frozen=True)
class Last:
    """The response that a request continues."""

    response_id: str
    known: int
    """The number of the request's items that this response and those before it already contain."""


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Turn:
    """One request to the upstream, in parts that are joined to a body without encoding anything twice."""

    parameters: Mapping[str, Json]
    """Create parameters other than `input`, `tools` and `stream`."""
    items: Sequence[str]
    """The input items, each as its JSON text."""
    tools: Sequence[str]
    """The tools, each as its JSON text; the same texts in the same order every turn, so that prompt caches hold."""
    last: Last | None = None
    """The response to continue, for an upstream that stores responses; any other gets all items."""
    has_odd_calls: bool = False
    """True where some calls among the items cannot be sent back as they came: see `is_odd_call`."""
    begun: str | None = None
    """The response that a process before this one has had begun for this turn, in the background."""
    is_left: Callable[[], bool] = field(default=_never, compare=False)
    """Tells whether the run goes on elsewhere, when the request is cancelled: then its response is still wanted."""


def find_calls(output: Iterable[JsonObject]) -> list[Call]:
    """Find the calls among the items of a response, in order."""
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


def is_call(item: Json) -> bool:
    """Tell whether an item is a call that needs a call output."""
    return isinstance(item, dict) and str(item.get("type")) in CALL_TYPES


def is_odd_call(call: JsonObject) -> bool:
    """Tell whether a call has a name, an id or arguments that an API refuses to take back, its own maker included."""
    names = (call.get("call_id"), call.get("name"))
    if not all(isinstance(name, str) and LEGAL.fullmatch(name) for name in names):
        return True
    return call["type"] == "function_call" and is_blank(call.get("arguments"))


def is_blank(arguments: Json) -> bool:
    """Tell whether the arguments of a call say nothing: they mean {}."""
    return arguments is None or (isinstance(arguments, str) and arguments.strip() in ("", "null"))


def answer_call(call: Call, output: str | list[JsonObject]) -> JsonObject:
    """Build the call output for `call`. The call's `caller` is echoed: programmatic calls are routed back by it."""
    answer: JsonObject = {
        "type": CALL_TYPES[str(call.item["type"])],
        "call_id": call.call_id,
        "output": list[Json](output) if isinstance(output, list) else output,
    }
    if call.item.get("caller") is not None:
        answer["caller"] = call.item["caller"]
    return answer


def read_text(output: Iterable[JsonObject]) -> str:
    """Read the text of the messages among `output`, refusals included: a refusal is an answer, not silence.

    Messages whose `phase` is `commentary` count only where there are no others.
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


def read_messages(items: Iterable[JsonObject]) -> str:
    """Read the text of messages that a caller has written, item by item on lines of their own."""
    return "\n".join(read_content(item.get("content")) for item in items)


def read_content(content: Json) -> str:
    """Read the text of a message that a caller has written."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    texts = (part.get("text") for part in parts if isinstance(part, dict))
    return "\n".join(text for text in texts if isinstance(text, str))


def is_empty(response: Response) -> bool:
    """Tell whether a completed response says nothing: it has no item, or only reasoning and messages without content.
    An item of any other type, or a part of another type in a message, is something."""
    return response["status"] == "completed" and not any(map(_says_something, response["output"]))


def _says_something(item: JsonObject) -> bool:
    kind, content = item.get("type", "message"), item.get("content")
    if kind == "message":
        has_other = isinstance(content, list) and any(_is_other(part) for part in content)
        return has_other or bool(read_text([item]).strip())
    return kind != "reasoning" and str(kind) not in COMPACTIONS


def _is_other(part: Json) -> bool:
    return isinstance(part, dict) and part.get("type") not in ("output_text", "refusal", None)


def may_hold_picture(item: JsonObject) -> bool:
    """Tell whether an item may hold a picture: a call output in parts does, and what the upstream has drawn."""
    return item.get("type") == MADE_PICTURE or isinstance(item.get("output"), list)


def read_usage(usage: JsonObject | None) -> dict[str, int]:
    """Read the input, output and total tokens of a response; fields may be missing, null or named as in chat
    completions."""
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
    """Encode a failed call for the model, always in this form: a call output has no error flag."""
    return encode({"error": code, "message": message} | details)


def fail_call(
    code: str, message: str, *, server: str | None = None, tool: str | None = None, **details: Json
) -> CallOutput:
    """Make the output of a failed call; server and tool are those it was meant for, if known."""
    return {"output": encode_error(code, message, **details), "is_error": True, "server": server, "tool": tool}
