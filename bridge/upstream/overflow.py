"""Refusals of what is too long for the model, in the words of many upstreams, and what they say about its window."""

import re

from bridge.errors import CONTEXT_EXCEEDED, UpstreamError
from bridge.items import Turn
from bridge.texts import estimate_tokens

_TOO_LONG = re.compile(
    r"context[_ -]?(length|window|size)|maximum context|(prompt|input|request)\b[^\[.:'\"]{0,40}(too long|exceeds)|"
    r"too many (input |prompt )?tokens",
    re.IGNORECASE | re.DOTALL,
)
"""Not of a part of the request, such as `input[3].call_id`: that is too long whatever the window."""
_WINDOW = re.compile(r"(?:maximum|max|limit|window|length|size)[^\d]{0,60}?([\d,]{4,12})", re.IGNORECASE)
_OTHERWISE = frozenset((401, 402, 403, 404, 429))
MARGIN = 0.9
"""Of what was refused: how much is taken to fit, where nobody says."""


def is_overflow(error: UpstreamError) -> bool:
    """Whether the request was too long for the model (openai: context_length_exceeded; elsewhere only words say so)."""
    return error.status not in _OTHERWISE and bool(_TOO_LONG.search(f"{error.code}: {error.message}"))


def read_window(error: UpstreamError, sent: Turn) -> int:
    """How many tokens the model takes, by the refusal's own number where it has one."""
    if said := _WINDOW.search(error.message):
        return int(said[1].replace(",", "")) or 1
    size = sum(map(estimate_tokens, (*sent.items, *sent.tools)))
    return max(1, int(size * MARGIN))


def explain_overflow(error: UpstreamError) -> UpstreamError:
    """The same under the one code that stands for it, whatever the upstream's own."""
    return UpstreamError(
        error.message, code=CONTEXT_EXCEEDED, who="caller", status=error.status, request_id=error.request_id
    )
