"""The life of a streamed response: the events that the API sends for a Responses object, in their order."""

from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]
Event = Json | str
"""An event of a stream; a text is a frame to send exactly as it is, such as `": keep-alive\\n\\n"`."""

_PIECE = 8  # characters in a delta: few enough that ordinary texts and arguments come in several


def lifecycle(response: Json, *, empty_final: bool = False) -> list[Event]:
    """Every event from `response.created` to the terminal one, numbered."""
    begun = response | {"status": "in_progress", "output": [], "usage": None, "error": None, "incomplete_details": None}
    ended = response | {"output": [] if empty_final else response["output"]}
    events: list[Json] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
        *(event for index, item in enumerate(response["output"]) for event in _item_events(index, item)),
        {"type": f"response.{response['status']}", "response": ended},
    ]
    return [event | {"sequence_number": number} for number, event in enumerate(events)]


def _item_events(index: int, item: Json) -> Iterator[Json]:
    yield {"type": "response.output_item.added", "output_index": index, "item": item | _unfinished(item)}
    place = {"item_id": item.get("id"), "output_index": index}
    for event in _growth(item):
        yield event | place
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _unfinished(item: Json) -> Json:
    """What an item lacks at its start."""
    match item.get("type"):
        case "message":
            return {"status": "in_progress", "content": []}
        case "function_call":
            return {"status": "in_progress", "arguments": ""}
        case "reasoning":
            return {"summary": []}
        case _:
            return {}


def _growth(item: Json) -> Iterator[Json]:
    match item:
        case {"type": "message", "content": list(parts)}:
            for index, part in enumerate(parts):
                yield from _part_events(part, {"content_index": index})
        case {"type": "function_call", "arguments": str(arguments)}:
            for piece in _pieces(arguments):
                yield {"type": "response.function_call_arguments.delta", "delta": piece}
            yield {"type": "response.function_call_arguments.done", "arguments": arguments}
        case {"type": "reasoning", "summary": list(parts)}:
            for index, part in enumerate(parts):
                yield from _summary_events(part, {"summary_index": index})


def _part_events(part: Json, place: Json) -> Iterator[Json]:
    kind = part["type"]
    key = "refusal" if kind == "refusal" else "text"
    odds: Json = {} if kind == "refusal" else {"logprobs": []}
    yield {"type": "response.content_part.added", "part": part | {key: ""}, **place}
    for piece in _pieces(part[key]):
        yield {"type": f"response.{kind}.delta", "delta": piece, **odds, **place}
    yield {"type": f"response.{kind}.done", key: part[key], **odds, **place}
    yield {"type": "response.content_part.done", "part": part, **place}


def _summary_events(part: Json, place: Json) -> Iterator[Json]:
    text = part["text"]
    yield {"type": "response.reasoning_summary_part.added", "part": part | {"text": ""}, **place}
    for piece in _pieces(text):
        yield {"type": "response.reasoning_summary_text.delta", "delta": piece, **place}
    yield {"type": "response.reasoning_summary_text.done", "text": text, **place}
    yield {"type": "response.reasoning_summary_part.done", "part": part, **place}


def _pieces(text: str) -> Iterator[str]:
    return (text[start : start + _PIECE] for start in range(0, len(text), _PIECE))
