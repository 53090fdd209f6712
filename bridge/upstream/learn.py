"""Learns from a refusal what an upstream does not support: a new profile, with which the request may succeed."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from bridge.errors import UpstreamError
from bridge.items import CALL_TYPES, Turn
from bridge.json_text import JsonObject, decode
from bridge.upstream.adapt import holds
from bridge.upstream.overflow import is_overflow
from bridge.upstream.profile import NEUTRAL_INSTRUCTIONS, Profile

UNRELATED_STATUSES = frozenset((401, 402, 403, 407, 408, 413, 429))
"""Statuses of refusals that have nothing to do with the form of the request."""
ESSENTIAL = frozenset(("model", "instructions", "text", "text.format", "conversation", "prompt", "moderation"))
"""Parameters that are never dropped: without one of these the answer would be to another question."""

STREAM_REFUSAL_STATUSES = frozenset((400, 406, 415, 422, 501))
"""Statuses that a refusal of streams may have. Errors without a status are ignored: their text is ours, and may say
"stream" itself."""

Change: TypeAlias = tuple[str, object]
"""A field of the profile, and its new value."""


def learn(error: UpstreamError, turn: Turn, profile: Profile) -> Profile | None:
    """Return the profile that avoids `error`, the refusal of `turn` as it was sent; None where it teaches nothing.

    Only what the request contained is given up, so each lesson changes the next request, and their number is limited.
    """
    if error.status in UNRELATED_STATUSES or is_overflow(error):
        return None
    found = next((change for lesson in LESSONS if (change := lesson(error, turn, profile))), None)
    return profile.learn(*found, reason=error.message) if found else None


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE | re.DOTALL)


_NAME = r"[\"'`]?(?<![a-z_.])([a-z_][a-z_.]*+)[\"'`]?"  # possessive, so that a hostile text takes linear time
_NO_PARAMETER = (
    _pattern(
        r"(?:unsupported|unknown|unrecogni[sz]ed|unexpected|extra)(?: request)?"
        rf" (?:parameter|argument|field|key|property)s?(?:\(s\))?(?: supplied| in \w+)?\s*:?\s*{_NAME}"
    ),
    _pattern(rf"{_NAME}(?: parameter)? (?:is|are) (?:not|only) (?:supported|allowed|permitted|accepted)"),
    _pattern(r'"loc":\s*\["body",\s*"([a-z_]+)"\][^}]*(?:extra|not permitted)'),
    _pattern(rf"{_NAME}: extra inputs are not permitted"),
)
"""A refused parameter, as OpenAI, the Codex backend, Go and zod servers, pydantic (vLLM, LiteLLM) and Anthropic word
it."""
_NO_REASONING = _pattern(
    r"invalid_encrypted_content|encrypted.{0,200}(verif|decrypt|issued)|not issued to this caller|"
    r"\brs_\w++.{0,60}not found"
)
_NO_IDS = _pattern(r"expected an id that begins with|without its required|\b(fc|msg)_\w++.{0,60}not found")
_NO_STATE = _pattern(r"previous[_ ]response")
_NO_BACKGROUND = _pattern(r"\bbackground\b")
_NO_STORE = _pattern(r"\bstore\b.{0,60}\b(false|not supported|unsupported|disabled)\b")
_NO_PARTS = _pattern(r"output.{0,120}\b(string|str|text)\b|\b(string|str|text)\b.{0,120}(array|list|sequence)")
_NO_IMAGES = _pattern(r"\bimages?\b|image_url|\bvision\b|multimodal")
_NO_DEVELOPER = _pattern(r"\bdeveloper\b|(unexpected|invalid|unknown|unsupported) (message )?role")
_SYSTEM_MOVED = _pattern(
    r"system (message|role|prompt).{0,40}(beginning|first|start)|system messages? (are|is) not allowed"
)
_NEEDS_INSTRUCTIONS = _pattern(
    r"\binstructions\b.{0,20}\b(required|missing)\b|\b(required|missing)\b.{0,20}\binstructions\b"
)
_MUST_STREAM = _pattern(r"\bstream\b.{0,30}\b(must|required|true)\b|\bonly\b.{0,30}\bstream(ing)?\b")
_NO_STREAM = _pattern(r"\bstream(ing)?\b")


def _about_reasoning(error: UpstreamError, turn: Turn, _profile: Profile) -> Change | None:
    """Learn from refused reasoning: it was encrypted for another account, or looked up where none is stored
    (openai/codex#8119, sub2api#2863)."""
    if _says(error, _NO_REASONING) and any(item.get("type") == "reasoning" for item in _find(turn, "reasoning")):
        return "reasoning_replay", False
    return None


def _about_ids(error: UpstreamError, turn: Turn, _profile: Profile) -> Change | None:
    """Learn from refused ids: some relays make ids that another account or their upstream refuses (sub2api#1505)."""
    kinds = {"message", *CALL_TYPES}
    if _says(error, _NO_IDS) and any("id" in item and str(item.get("type")) in kinds for item in _find(turn, "id")):
        return "item_ids", False
    return None


def _about_a_parameter(error: UpstreamError, turn: Turn, profile: Profile) -> Change | None:
    for match in (match for pattern in _NO_PARAMETER for match in pattern.finditer(error.message)):
        name = match[1].rstrip(".")
        if not holds(turn.parameters, name):
            continue
        if name == "previous_response_id":
            return "state", "stateless"
        if name == "background":
            return "background", False
        if name == "context_management" and profile.compaction:
            return "compaction", False
        if name not in ESSENTIAL and (name != "tool_choice" or turn.parameters[name] == "auto"):
            return "drop", (*profile.drop, name)
    return None


def _about_state(error: UpstreamError, turn: Turn, profile: Profile) -> Change | None:
    """Learn from a refused `previous_response_id`, but only from one of ours, whose history can be sent instead.

    An unknown id that the caller gave is the caller's error.
    """
    if profile.state == "previous_response_id" and turn.last and _says(error, _NO_STATE):
        return "state", "stateless"
    return None


def _about_background(error: UpstreamError, turn: Turn, _profile: Profile) -> Change | None:
    if turn.parameters.get("background") and _says(error, _NO_BACKGROUND):
        return "background", False
    return None


def _about_the_store(error: UpstreamError, turn: Turn, profile: Profile) -> Change | None:
    if turn.parameters.get("store") is not False and profile.store is None and _says(error, _NO_STORE):
        return "store", False
    return None


def _about_outputs(error: UpstreamError, turn: Turn, _profile: Profile) -> Change | None:
    outputs = [output for item in _find(turn, "output") if isinstance(output := item.get("output"), list)]
    kinds = {str(part.get("type")) for output in outputs for part in output if isinstance(part, dict)}
    if "input_image" in kinds and _says(error, _NO_IMAGES):
        return "images", False
    if outputs and _says(error, _NO_PARTS):
        return "content_parts", False
    return None


def _about_the_developer(error: UpstreamError, turn: Turn, profile: Profile) -> Change | None:
    roles = {str(item.get("role")) for item in _find(turn, "role")}
    if "developer" in roles and profile.developer_role == "keep" and _says(error, _NO_DEVELOPER):
        return "developer_role", "system"
    if roles & {"developer", "system"} and _says(error, _SYSTEM_MOVED):
        return "developer_role", "instructions"
    return None


def _about_instructions(error: UpstreamError, turn: Turn, profile: Profile) -> Change | None:
    if profile.instructions is None and not turn.parameters.get("instructions") and _says(error, _NEEDS_INSTRUCTIONS):
        return "instructions", NEUTRAL_INSTRUCTIONS
    return None


def _about_streams(error: UpstreamError, _turn: Turn, profile: Profile) -> Change | None:
    if error.code == "chat_stream" and profile.stream == "auto":  # the same in JSON can be read
        return "stream", "never"
    if error.status not in STREAM_REFUSAL_STATUSES:
        return None
    if profile.stream == "never" and _says(error, _MUST_STREAM):
        return "stream", "always"
    return ("stream", "never") if profile.stream == "auto" and _says(error, _NO_STREAM) else None


LESSONS: Sequence[Callable[[UpstreamError, Turn, Profile], Change | None]] = (
    _about_reasoning,
    _about_ids,
    _about_a_parameter,
    _about_state,
    _about_background,
    _about_the_store,
    _about_outputs,
    _about_the_developer,
    _about_instructions,
    _about_streams,
)


def _says(error: UpstreamError, pattern: re.Pattern[str]) -> bool:
    return bool(pattern.search(f"{error.code}: {error.message}"))


def _find(turn: Turn, word: str) -> Iterator[JsonObject]:
    """Yield the items that contain this word as a key or a value; the others are not decoded."""
    for text in turn.items:
        if f'"{word}"' in text and isinstance(item := decode(text), dict):
            yield item
