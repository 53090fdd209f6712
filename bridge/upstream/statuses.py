"""The status of a response or an item, whatever word the upstream has for it."""

from bridge.json_text import Json

_WORDS = {
    "completed": (
        "complete",
        "done",
        "finished",
        "succeeded",
        "success",
        "ok",
        "stop",
        "end_turn",
        "tool_calls",
        "requires_action",
    ),
    "incomplete": ("length", "max_tokens", "max_output_tokens", "content_filter", "truncated", "partial"),
    "failed": ("fail", "failure", "error", "errored"),
    "cancelled": ("canceled", "aborted", "interrupted"),
    "in_progress": ("inprogress", "processing", "running", "pending"),
    "queued": (),
}
"""The API's words, and others for the same."""
_STATUSES = {word: status for status, words in _WORDS.items() for word in (status, *words)}
_FINAL = ("completed", "incomplete", "failed", "cancelled")


def read_status(value: Json) -> Json:
    """Return the API's word for a status; one that is not known, or no text, as it is."""
    if not isinstance(value, str) or value in _WORDS:
        return value
    word = value.strip().lower().replace("-", "_").replace(" ", "_")
    return _STATUSES.get(word.removeprefix("response.").removeprefix("status_"), value)


def is_final(status: Json) -> bool:
    """Tell whether a response with this status will not change any more."""
    return status in _FINAL
