"""Learns from refused items: their ids, their fields, reasoning, and the arguments of calls."""

from collections.abc import Sequence

from bridge.errors import UpstreamError
from bridge.items import CALL_TYPES, COMPACTIONS, Turn
from bridge.json_text import JsonObject
from bridge.upstream.calls_back import has_odd_arguments
from bridge.upstream.profile import Profile
from bridge.upstream.refusals import Change, compile_words, find_items, find_named, find_parameters, says

CALLERS_ROLES = frozenset(("user", "system", "developer"))
NEEDED = frozenset(("type", "role", "content", "call_id", "name", "arguments", "input", "output", "summary", "action"))
NEEDED |= {"encrypted_content", "text", "refusal", "queries", "code", "result"}
"""Fields without which an item would not say the same, or nothing."""
ITEM_STATUSES = frozenset((None, 400, 404, 409, 422, 500))
"""Statuses of refusals of an item. None is an error in the stream; relays wrap others in a 500."""

_NO_IDS = compile_words(
    r"expected an id that begins with|without its required [\"'`]?reasoning|\b(fc|msg)_\w++.{0,60}not found"
)
_DOUBLE_IDS = compile_words(r"duplicate.{0,20}\b(item|id)|\bids?\b.{0,60}(duplicate|unique|already)")
_NO_REASONING = compile_words(
    r"invalid_encrypted_content|encrypted.{0,200}(verif|decrypt|issued)|not issued to this caller|"
    r"\brs_\w++.{0,60}not found|\breasoning[\"'`]? (items?|blocks?)\b|"
    r"\b(items?|types?|variants?|kinds?)\b[^a-z]{0,4}reasoning\b(?![._])"
)
_MESSAGE_FIELD = compile_words(r"\b(?:messages|items|contents)(?:\[\d+\]|\.\d+)\.(\w{1,64})")
"""Of a relay that counts what it has made of the items: only the name of the field says something."""
_ABOUT_REASONING = compile_words(r"encrypted|decrypt|reasoning|thinking|thought|\bsignature")
_ABOUT_EFFORT = compile_words(r"\beffort\b|\breasoning[._](?!content|item|encrypted)\w")
_ABOUT_COMPACTION = compile_words(r"\bcompact|\bcmp_")
_SEALED = compile_words(rf"{_ABOUT_COMPACTION.pattern}|encrypted|decrypt")
_ABOUT_ARGUMENTS = compile_words(
    r"\bjson|arguments?\b|expecting (value|property|')|unterminated|extra data|has no attribute|\bpars(e|ing)\b|"
    r"\bdict|\bmapping\b|tool_use|\bstruct\b|deseriali[sz]|unexpected (end|token|character)|\bEOF\b"
)


def about_ids(error: UpstreamError, turn: Turn, profile: Profile) -> Change | None:
    """Learn from refused ids: some relays make ids that another account or their upstream refuses (sub2api#1505)."""
    named = find_named(error, turn)
    if named and (list(named.path) == ["id"] or says(error, _DOUBLE_IDS)) and not _has_own_id(named.item):
        return _drop_field(named.item, ["id"], profile)
    is_refused = says(error, _NO_IDS) or says(error, _DOUBLE_IDS) or (named and list(named.path) == ["id"])
    return ("item_ids", False) if is_refused and any(map(_has_own_id, find_items(turn, "id"))) else None


def about_a_field(error: UpstreamError, turn: Turn, profile: Profile) -> Change | None:
    """Learn from a refused field of an item that the upstream itself has made, named by its place or by its name."""
    named = find_named(error, turn)
    if named and named.path:
        return _drop_field(named.item, named.path, profile)
    for name in (*find_parameters(error), *_MESSAGE_FIELD.findall(error.message)):
        holders = (item for item in find_items(turn, name) if name in item and _is_models(item))
        if name not in turn.parameters and name not in NEEDED and any(holders):
            return "drop", (*profile.drop, f"input[].{name}")
    return None


def _drop_field(item: JsonObject, path: Sequence[str], profile: Profile) -> Change | None:
    """Learn to drop a field of items of this type; of all items, where it was refused of another type before."""
    if not path or path[-1] in NEEDED or not _is_models(item):
        return None
    name = ".".join(path)
    known = [entry for entry in profile.drop if entry.startswith("input[") and entry.endswith(f"].{name}")]
    entry = f"input[].{name}" if known else f"input[{item.get('type', 'message')}].{name}"
    return ("drop", (*profile.drop, entry)) if entry not in profile.drop else None


def _is_models(item: JsonObject) -> bool:
    return str(item.get("role")) not in CALLERS_ROLES


def _has_own_id(item: JsonObject) -> bool:
    """Tell whether an item has an id that nothing needs."""
    return "id" in item and str(item.get("type")) in {"message", *CALL_TYPES}


def about_reasoning(error: UpstreamError, turn: Turn, _profile: Profile) -> Change | None:
    """Learn from refused reasoning: it was encrypted for another account, or looked up where none is stored
    (openai/codex#8119, sub2api#2863)."""
    return ("reasoning_replay", False) if says(error, _NO_REASONING) and _may_drop_reasoning(error, turn) else None


def about_any_reasoning(error: UpstreamError, turn: Turn, _profile: Profile) -> Change | None:
    """Learn from any other refusal of a reasoning item, but not from one of the effort that was asked for."""
    if error.status not in ITEM_STATUSES or not _may_drop_reasoning(error, turn):
        return None
    named = find_named(error, turn)
    is_item = named is not None and named.item.get("type") == "reasoning"
    is_said = says(error, _ABOUT_REASONING) and not says(error, _ABOUT_EFFORT)
    return ("reasoning_replay", False) if is_item or is_said else None


def _may_drop_reasoning(error: UpstreamError, turn: Turn) -> bool:
    """Tell whether there is reasoning, and the refusal is not of a compaction."""
    return not says(error, _ABOUT_COMPACTION) and any(
        item.get("type") == "reasoning" for item in find_items(turn, "reasoning")
    )


def refuses_compaction(error: UpstreamError, turn: Turn, sent: Turn) -> bool:
    """Tell whether a compaction among the items of `turn` was refused. Only the run can do without it: it has what the
    compaction stands for.

    The upstream may keep the compaction itself: then it is not among the items of `sent`, which the refusal counts.
    """
    has_any = any(str(item.get("type")) in COMPACTIONS for kind in COMPACTIONS for item in find_items(turn, kind))
    if error.status not in ITEM_STATUSES or not has_any:
        return False
    named = find_named(error, sent)
    return says(error, _SEALED) or (named is not None and str(named.item.get("type")) in COMPACTIONS)


def about_arguments(error: UpstreamError, turn: Turn, profile: Profile) -> Change | None:
    """Learn from refused arguments of a call that was no JSON object (vllm-project/vllm#33268)."""
    return _empty_arguments(turn, profile) if says(error, _ABOUT_ARGUMENTS) else None


def about_anything(error: UpstreamError, turn: Turn, profile: Profile) -> Change | None:
    """Learn from a refusal that nothing else explains that such arguments were refused."""
    return _empty_arguments(turn, profile) if error.status in (400, 422) else None


def _empty_arguments(turn: Turn, profile: Profile) -> Change | None:
    is_sent = profile.odd_arguments and any(map(has_odd_arguments, find_items(turn, "arguments")))
    return ("odd_arguments", False) if is_sent else None
