"""Learns from a refusal what an upstream does not support: a new profile, with which the request may succeed."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from bridge.errors import UpstreamError
from bridge.items import Turn
from bridge.json_text import Json, decode
from bridge.upstream.adapt import SEALED, holds
from bridge.upstream.item_lessons import (
    about_a_field,
    about_any_reasoning,
    about_anything,
    about_arguments,
    about_ids,
    about_reasoning,
)
from bridge.upstream.overflow import is_overflow
from bridge.upstream.profile import NEUTRAL_INSTRUCTIONS, Profile
from bridge.upstream.refusals import Change, compile_words, find_items, find_parameters, says

UNRELATED_STATUSES = frozenset((401, 402, 403, 407, 408, 413, 429))
"""Statuses of refusals that have nothing to do with the form of the request."""
TOOL_PARAMETERS = ("parallel_tool_calls", "tool_choice", "max_tool_calls")
"""Parameters that OpenAI and others refuse in a request without tools."""
ESSENTIAL = frozenset(("model", "instructions", "text", "text.format", "conversation", "prompt", "moderation"))
"""Parameters that are never dropped: without one of these the answer would be to another question."""

STREAM_REFUSAL_STATUSES = frozenset((400, 406, 415, 422, 501))
"""Statuses that a refusal of streams may have. Errors without a status are ignored: their text may be ours, and say
"stream" itself."""
_CUTS = frozenset(("stream_cut", "reply_cut"))
"""Codes of replies without an end: nothing was refused, and part of the text is ours."""


def learn(error: UpstreamError, turn: Turn, profile: Profile) -> Profile | None:
    """Return the profile that avoids `error`, the refusal of `turn` as it was sent; None where it teaches nothing.

    Only what the request contained is given up, so each lesson changes the next request, and their number is limited.
    """
    if error.status in UNRELATED_STATUSES or error.code in _CUTS or is_overflow(error):
        return None
    said = _leave_out_model(error, turn)
    found = next((change for lesson in LESSONS if (change := lesson(said, turn, profile))), None)
    return profile.learn(*found, reason=error.message) if found else None


def _leave_out_model(error: UpstreamError, turn: Turn) -> UpstreamError:
    """Return the error with "model" in place of the model's name, which may hold a word that a lesson looks for:
    kimi-k2-thinking."""
    name = re.escape(str(turn.parameters.get("model")))
    message = re.sub(rf"(?<![\w.-]){name}(?![\w-])", "model", error.message)
    return UpstreamError(message, code=error.code, who=error.who, status=error.status, request_id=error.request_id)


_NO_STATE = compile_words(
    r"previous[_ ]response|prediction history|response_not_found|"
    r"\bno tool (output|call)|\b(response|conversation|history)\b.{0,80}(not found|exist|expired|deleted|unknown)"
)
_NO_MODEL = compile_words(r"\bmodel\b")
_NEEDS_TOOLS = compile_words(r"\btools\b")
_NO_INCLUDE = compile_words(r"(?<![\w ])include\b|\binclude[\[.\"'`]|reasoning\.encrypted_content")
"""Not the verb: "supported values include 'system'"."""
_NO_SEALED = compile_words(r"encrypted|\breasoning\b.{0,40}(not|un)[ _-]?(support|available|allow)")
_NO_KEY = compile_words(
    r"\bpropert(y|ies)\b.{0,120}(pattern|match|(invalid|illegal) (key|name|char))|\binvalid property (key|name)"
)
_TOOL_PLACE = compile_words(r"\btools?(?:\[|\.)(\d{1,4})")
_LEGAL_KEY = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_NO_BACKGROUND = compile_words(r"\bbackground\b")
_NO_STORE = compile_words(r"\bstore\b.{0,60}\b(false|not supported|unsupported|disabled)\b")
_NO_PARTS = compile_words(
    r"(\b|call_)outputs?\b.{0,120}\b(string|str|text)\b|\b(string|str|text)\b.{0,120}(array|list|sequence)"
)
_ABOUT_SCHEMA = compile_words(r"\bschema\b|\btools?[\[.]")
_NO_IMAGES = compile_words(r"\b(input_)?images?\b|image_url|\bvision\b|multimodal")
_NO_DEVELOPER = compile_words(r"\bdeveloper\b|(unexpected|invalid|unknown|unsupported) (message )?role")
_SYSTEM_MOVED = compile_words(
    r"system (message|role|prompt).{0,40}(beginning|first|start)|system messages? (are|is) not allowed"
)
_NEEDS_INSTRUCTIONS = compile_words(
    r"\binstructions\b.{0,20}\b(required|missing)\b|\b(required|missing)\b.{0,20}\binstructions\b"
)
_MUST_STREAM = compile_words(r"\bstream\b.{0,30}\b(must|required|true)\b|\bonly\b.{0,30}\bstream(ing)?\b")
_NO_STREAM = compile_words(r"\bstream(ing)?\b")


def _about_include(error: UpstreamError, turn: Turn, profile: Profile) -> Change | None:
    """Learn from a refusal of encrypted reasoning, which is asked for here where nothing is stored: models that do not
    reason refuse it. Where `include` itself is refused, all of it is left out."""
    include = turn.parameters.get("include")
    if not isinstance(include, list) or SEALED not in include or "include" in find_parameters(error):
        return None
    has_reasoning = any(item.get("type") == "reasoning" for item in find_items(turn, "reasoning"))
    is_refused = says(error, _NO_INCLUDE) or (says(error, _NO_SEALED) and not has_reasoning)
    return ("drop", (*profile.drop, f"include.{SEALED}")) if is_refused else None


def _about_tool_parameters(error: UpstreamError, turn: Turn, profile: Profile) -> Change | None:
    """Learn from a refused parameter that is only taken with tools. Requests with tools keep it."""
    choice = turn.parameters.get("tool_choice", "auto")
    is_idle = choice == "auto" or (choice == "none" and says(error, _NEEDS_TOOLS))
    names = [name for name in TOOL_PARAMETERS if name in turn.parameters and name in error.message]
    names = [name for name in names if name != "tool_choice" or is_idle]
    return ("drop_without_tools", (*profile.drop_without_tools, *names)) if names and not turn.tools else None


def _about_a_parameter(error: UpstreamError, turn: Turn, profile: Profile) -> Change | None:
    for name in find_parameters(error):
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


def _about_a_tool(error: UpstreamError, turn: Turn, profile: Profile) -> Change | None:
    """Learn from a refused key of a tool's schema, such as `filter[x]` (beautyfree/appstore-connect-mcp#2): tools with
    such keys are left out, or the one at the place that the refusal names. One that the caller forces stays."""
    if not says(error, _NO_KEY):
        return None
    tools = [tool for tool in map(decode, turn.tools) if isinstance(tool, dict)]
    places = [int(match[1]) for match in _TOOL_PLACE.finditer(error.message)]
    refused = [tool for tool in tools if _has_illegal(_read_keys(tool.get("parameters")))]
    refused = refused or [tool for tool in tools if _has_illegal(_list_keys(tool))]
    refused = refused or [tools[place] for place in places[:1] if place < len(tools)]
    names = [str(tool.get("name")) for tool in refused]
    is_forced = any(name in str(turn.parameters.get("tool_choice")) for name in names)
    return ("drop", (*profile.drop, *(f"tools[{name}]" for name in names))) if names and not is_forced else None


def _has_illegal(keys: Iterable[str]) -> bool:
    return not all(map(_LEGAL_KEY.fullmatch, keys))


def _read_keys(schema: Json) -> Iterable[str]:
    """Return the names of the properties that a schema names first; most relays look no deeper."""
    properties = schema.get("properties") if isinstance(schema, dict) else None
    return properties if isinstance(properties, dict) else ()


def _list_keys(schema: Json) -> Iterator[str]:
    """Yield the names of all properties in a schema."""
    yield from _read_keys(schema)
    for inner in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from _list_keys(inner)


def _about_state(error: UpstreamError, turn: Turn, profile: Profile) -> Change | None:
    """Learn from a refused `previous_response_id`, but only from one of ours, whose history can be sent instead.

    An unknown id that the caller gave is the caller's error.
    """
    is_ours = profile.state == "previous_response_id" and turn.last and "previous_response_id" in turn.parameters
    if not is_ours or not turn.last:
        return None
    is_lost = says(error, _NO_STATE) or turn.last.response_id in error.message
    is_unknown = error.status == 404 or error.code == "not_found_error"
    is_lost = is_lost or (is_unknown and not says(error, _NO_MODEL))
    return ("state", "stateless") if is_lost else None


def _about_background(error: UpstreamError, turn: Turn, _profile: Profile) -> Change | None:
    if turn.parameters.get("background") and says(error, _NO_BACKGROUND):
        return "background", False
    return None


def _about_the_store(error: UpstreamError, turn: Turn, profile: Profile) -> Change | None:
    if turn.parameters.get("store") is not False and profile.store is None and says(error, _NO_STORE):
        return "store", False
    return None


def _about_outputs(error: UpstreamError, turn: Turn, _profile: Profile) -> Change | None:
    outputs = [output for item in find_items(turn, "output") if isinstance(output := item.get("output"), list)]
    kinds = {str(part.get("type")) for output in outputs for part in output if isinstance(part, dict)}
    if "input_image" in kinds and says(error, _NO_IMAGES):
        return "images", False
    if outputs and says(error, _NO_PARTS) and not says(error, _ABOUT_SCHEMA):
        return "content_parts", False
    return None


def _about_the_developer(error: UpstreamError, turn: Turn, profile: Profile) -> Change | None:
    roles = {str(item.get("role")) for item in find_items(turn, "role")}
    if "developer" in roles and profile.developer_role == "keep" and says(error, _NO_DEVELOPER):
        return "developer_role", "system"
    if roles & {"developer", "system"} and says(error, _SYSTEM_MOVED):
        return "developer_role", "instructions"
    return None


def _about_instructions(error: UpstreamError, turn: Turn, profile: Profile) -> Change | None:
    """Learn that every request needs `instructions`, as the Codex backend does."""
    if profile.instructions is None and not turn.parameters.get("instructions") and says(error, _NEEDS_INSTRUCTIONS):
        return "instructions", NEUTRAL_INSTRUCTIONS
    return None


def _about_streams(error: UpstreamError, _turn: Turn, profile: Profile) -> Change | None:
    if error.code == "chat_stream" and profile.stream == "auto":  # the same in JSON can be read
        return "stream", "never"
    if error.status not in STREAM_REFUSAL_STATUSES:
        return None
    if profile.stream == "never" and says(error, _MUST_STREAM):
        return "stream", "always"
    return ("stream", "never") if profile.stream == "auto" and says(error, _NO_STREAM) else None


LESSONS: Sequence[Callable[[UpstreamError, Turn, Profile], Change | None]] = (
    _about_state,
    about_ids,
    about_reasoning,
    _about_tool_parameters,
    _about_include,
    _about_a_parameter,
    about_a_field,
    _about_a_tool,
    about_any_reasoning,
    _about_background,
    _about_the_store,
    _about_outputs,
    _about_the_developer,
    _about_instructions,
    about_arguments,
    _about_streams,
    about_anything,
)
"""The first that applies is learned: those that know what is refused by its name come before those that guess."""
