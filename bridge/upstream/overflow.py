"""Recognises refusals of a request that is too long for the model, and reads the context window from them."""

import re

from bridge.errors import UpstreamError
from bridge.items import Turn
from bridge.texts import estimate_tokens

_TOO_LONG = re.compile(
    r"context[_ -]?(length|window|size)|maximum context|(prompt|input|request)\b[^\[.:'\"]{0,40}(too long|exceeds)|"
    r"too many (input |prompt )?tokens",
    re.IGNORECASE | re.DOTALL,
)
"""Does not match a field of the request that is too long, such as `input[3].call_id`: no window would fit it."""
_WINDOW = re.compile(r"(?:maximum|max|limit|window|length|size)[^\d]{0,60}?(\d[\d,]{3,11})", re.IGNORECASE)
_UNRELATED_STATUSES = frozenset((401, 402, 403, 404, 429))
MARGIN = 0.9
"""Share of the refused request's size that is assumed to fit, where the refusal names no number."""


def is_overflow(error: UpstreamError) -> bool:
    """Tell whether the request was too long for the model. OpenAI has a code for it (context_length_exceeded); others
    say so only in the message."""
    return error.status not in _UNRELATED_STATUSES and bool(_TOO_LONG.search(f"{error.code}: {error.message}"))


def read_window(error: UpstreamError, sent: Turn) -> int:
    """Return the model's context window in tokens: the refusal's own number, else an estimate from what was sent."""
    if said := _WINDOW.search(error.message):
        return int(said[1].replace(",", "")) or 1
    size = sum(map(estimate_tokens, (*sent.items, *sent.tools)))
    return max(1, int(size * MARGIN))
