"""Adapts a request to what its upstream supports, with a notice for each change."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from bridge.errors import ArgumentError
from bridge.items import CALL_TYPES, Notice, Turn
from bridge.json_text import Json, JsonObject, decode, encode
from bridge.upstream.calls_back import empty_odd_arguments, make_calls_legal
from bridge.upstream.image_text import describe_image
from bridge.upstream.profile import Profile

SEALED = "reasoning.encrypted_content"
COMPACTED_AT, MIN_THRESHOLD = 0.8, 1000
"""The share of the context window at which to compact, and the lowest threshold that the API accepts, in tokens."""


def adapt(turn: Turn, profile: Profile) -> tuple[Turn, list[Notice]]:
    """Return the request to send instead of `turn`, with its notices.

    Raises ArgumentError where the adapted request would no longer be what the caller asked for.
    """
    messages: list[str] = []
    for change in CHANGES:
        turn = change(turn, profile, messages)
    return turn, [Notice(code="upstream_adapted", message=message) for message in messages]


def holds(parameters: Mapping[str, Json], path: str) -> bool:
    """Tell whether a parameter is set; `path` may name a field of one (`reasoning.effort`), or one of its values."""
    name, _, inner = path.partition(".")
    part = parameters.get(name)
    if not inner:
        return name in parameters
    return holds(part, inner) if isinstance(part, dict) else isinstance(part, list) and inner in part


def without(parameters: Mapping[str, Json], path: str) -> JsonObject:
    """Copy the parameters (or an item) without the one at `path`, which may be a field of one, or one of its values."""
    name, _, inner = path.partition(".")
    part = parameters.get(name)
    if inner and isinstance(part, dict) and (left := without(part, inner)):
        return {**parameters, name: left}
    if inner and isinstance(part, list) and (values := [value for value in part if value != inner]):
        return {**parameters, name: values}
    return {other: value for other, value in parameters.items() if other != name}


def _continue(turn: Turn, profile: Profile, _messages: list[str]) -> Turn:
    """Send only the items that follow the last response, where the upstream stores responses."""
    is_kept = turn.parameters.get("store") is not False and "conversation" not in turn.parameters
    if profile.state == "previous_response_id" and turn.last and is_kept:
        parameters: JsonObject = {**turn.parameters, "previous_response_id": turn.last.response_id}
        return replace(turn, parameters=parameters, items=turn.items[turn.last.known :])
    for name in ("previous_response_id", "conversation"):
        if profile.state == "stateless" and name in turn.parameters:
            message = "this upstream keeps no responses; give the items of the conversation in `input`"
            raise ArgumentError(f"{name}: {message}{profile.why('state')}")
    return turn


def _drop_parameters(turn: Turn, profile: Profile, messages: list[str]) -> Turn:
    parameters = turn.parameters
    for path in (*profile.drop, *(() if turn.tools else profile.drop_without_tools)):
        if holds(parameters, path):
            parameters = without(parameters, path)
            messages.append(f"{path} was left out, as this upstream does not take it{profile.why(path)}")
    if profile.background is False and parameters.get("background"):
        parameters = without(without(parameters, "background"), "background_options")
        messages.append(f"The run is in the foreground, as this upstream has no background{profile.why('background')}")
    return turn if parameters is turn.parameters else replace(turn, parameters=parameters)


def _set_store(turn: Turn, profile: Profile, messages: list[str]) -> Turn:
    if profile.store is None or turn.parameters.get("store") is profile.store:
        return turn
    if "store" in turn.parameters:
        messages.append(f"store is {encode(profile.store)}, as this upstream takes nothing else{profile.why('store')}")
    parameters: JsonObject = {**turn.parameters, "store": profile.store}
    if not profile.store:  # reasoning cannot be looked up later, so it must come in full, encrypted
        parameters["include"] = [*dict.fromkeys([*_read_include(parameters), SEALED])]
    return replace(turn, parameters=parameters)


def _drop_reasoning(turn: Turn, profile: Profile, messages: list[str]) -> Turn:
    if profile.reasoning_replay:
        return turn
    include: list[Json] = [name for name in _read_include(turn.parameters) if name != SEALED]
    parameters = without(turn.parameters, "include") | ({"include": include} if include else {})
    items = _edit(turn.items, "reasoning", lambda item: None if item.get("type") == "reasoning" else item)
    if len(items) < len(turn.items):
        reason = profile.why("reasoning_replay")
        messages.append(f"Reasoning was not sent back, as this upstream does not take it{reason}")
    return replace(turn, parameters=parameters, items=items)


def _drop_ids(turn: Turn, profile: Profile, messages: list[str]) -> Turn:
    if profile.item_ids:
        return turn
    items = _edit(turn.items, "id", _strip_id)
    if items != turn.items:
        messages.append(
            f"Items were sent back without ids, as this upstream does not take them{profile.why('item_ids')}"
        )
    return replace(turn, items=items)


def _strip_id(item: JsonObject) -> JsonObject:
    """Remove the id of a call (calls are paired by `call_id`) or of an assistant message.

    An assistant message without an id must have the short form, whose content is plain text.
    """
    if str(item.get("type")) in CALL_TYPES:
        return without(item, "id")
    if item.get("type") == "message" and item.get("role") == "assistant":
        return without(without(item, "id"), "status") | {"content": join_text(item.get("content"))}
    return item


def _drop_fields(turn: Turn, profile: Profile, messages: list[str]) -> Turn:
    """Leave out fields of items: `input[TYPE].FIELD`, `input[].FIELD`."""
    items = turn.items
    for entry in (entry for entry in profile.drop if entry.startswith("input[")):
        kind, _, path = entry.removeprefix("input[").partition("].")
        edited = _edit(items, path.rpartition(".")[2], partial(_drop_field, kind=kind, path=path))
        if edited != items:
            messages.append(f"{entry} was left out, as this upstream does not take it{profile.why(entry)}")
        items = edited
    return turn if items is turn.items else replace(turn, items=items)


def _drop_field(item: JsonObject, *, kind: str, path: str) -> JsonObject:
    """Remove a field, and what that makes of an assistant message: without id and status it has the short form."""
    if kind not in ("", item.get("type", "message")) or item.get("role") in ("user", "developer", "system"):
        return item
    stripped = _strip(item, path)
    if not isinstance(stripped, dict) or stripped == item:
        return item
    return _strip_id(stripped) if item.get("role") == "assistant" and path in ("id", "status") else stripped


def _strip(value: Json, path: str) -> Json:
    """Copy an item, or a part of one, without the field at `path`: of a list, in each of its parts."""
    if isinstance(value, list):
        return [_strip(part, path) for part in value]
    name, _, inner = path.partition(".")
    if not isinstance(value, dict) or name not in value:
        return value
    return {**value, name: _strip(value[name], inner)} if inner else without(value, name)


def _make_calls_legal(turn: Turn, profile: Profile, messages: list[str]) -> Turn:
    """Send calls back in a form that every upstream takes, or in the one that this upstream takes."""
    items = make_calls_legal(turn.items, turn.tools) if turn.has_odd_calls else turn.items
    if not profile.odd_arguments:
        emptied = _edit(items, "arguments", empty_odd_arguments)
        if emptied != items:
            reason = profile.why("odd_arguments")
            messages.append(f"Calls were sent back without arguments that are no JSON object{reason}")
        items = emptied
    return turn if items is turn.items else replace(turn, items=items, has_odd_calls=False)


def _drop_tools(turn: Turn, profile: Profile, messages: list[str]) -> Turn:
    """Leave out tools: `tools[NAME]`."""
    names = [entry.removeprefix("tools[").removesuffix("]") for entry in profile.drop if entry.startswith("tools[")]
    refused = {tool: name for tool in turn.tools for name in names if _is_named(tool, name)}
    for name in refused.values():
        reason = profile.why(f"tools[{name}]")
        messages.append(f"{name} was left out of the tools, as this upstream does not take its schema{reason}")
    return replace(turn, tools=tuple(tool for tool in turn.tools if tool not in refused)) if refused else turn


def _is_named(tool: str, name: str) -> bool:
    read = decode(tool) if f'"name":{encode(name)}' in tool else None
    return isinstance(read, dict) and read.get("name") == name


def _move_developer_messages(turn: Turn, profile: Profile, messages: list[str]) -> Turn:
    match profile.developer_role:
        case "keep":
            return turn
        case "system":
            items, parameters = _edit(turn.items, "developer", _use_system_role), turn.parameters
            sent_as = "system messages"
        case "instructions":
            items, parameters = _move_instructions(turn)
            sent_as = "instructions"
    if items != turn.items:
        messages.append(f"Developer messages were sent as {sent_as}{profile.why('developer_role')}")
    return replace(turn, parameters=parameters, items=items)


def _use_system_role(item: JsonObject) -> JsonObject:
    return item | {"role": "system"} if item.get("role") == "developer" else item


def _move_instructions(turn: Turn) -> tuple[Sequence[str], Mapping[str, Json]]:
    """Move developer and system messages into `instructions`, for upstreams that accept them only at the beginning."""
    said: list[str] = []

    def take(item: JsonObject) -> JsonObject | None:
        if item.get("role") not in ("developer", "system"):
            return item
        said.append(join_text(item.get("content")))
        return None

    items = _edit(turn.items, "role", take)
    texts = [str(turn.parameters.get("instructions") or ""), *said]
    return items, {**turn.parameters, "instructions": "\n\n".join(filter(None, texts))} if said else turn.parameters


def _give_instructions(turn: Turn, profile: Profile, messages: list[str]) -> Turn:
    if profile.instructions is None or turn.parameters.get("instructions"):
        return turn
    reason = profile.why("instructions")
    messages.append(f'instructions are "{profile.instructions}", as this upstream takes no request without{reason}')
    return replace(turn, parameters={**turn.parameters, "instructions": profile.instructions})


def _flatten_outputs(turn: Turn, profile: Profile, messages: list[str]) -> Turn:
    """Send call outputs as plain text, or without their images."""
    if profile.content_parts and profile.images:
        return turn

    def flatten(item: JsonObject) -> JsonObject:
        output = item.get("output")
        if item.get("type") not in CALL_TYPES.values() or not isinstance(output, list):
            return item
        shown = list(map(_replace_image, output))
        return item | {"output": join_text(shown) if not profile.content_parts else list[Json](shown)}

    items = _edit(turn.items, "output", flatten)
    if items != turn.items:
        what, field = ("text", "content_parts") if not profile.content_parts else ("text without images", "images")
        messages.append(f"Tool outputs were sent as {what}, as this upstream supports no more{profile.why(field)}")
    return replace(turn, items=items)


def _replace_image(part: Json) -> Json:
    if isinstance(part, dict) and part.get("type") == "input_image":
        return {"type": "input_text", "text": describe_image(part)}
    return part


def _request_compaction(turn: Turn, profile: Profile, _messages: list[str]) -> Turn:
    """Have the upstream compact the context when a window of known size is nearly full."""
    if not profile.compaction or profile.context_window is None or "context_management" in turn.parameters:
        return turn
    threshold = max(MIN_THRESHOLD, int(profile.context_window * COMPACTED_AT))
    management: Json = [{"type": "compaction", "compact_threshold": threshold}]
    return replace(turn, parameters={**turn.parameters, "context_management": management})


CHANGES: tuple[Callable[[Turn, Profile, list[str]], Turn], ...] = (
    _continue,
    _set_store,
    _drop_reasoning,
    _drop_ids,
    _drop_fields,
    _make_calls_legal,
    _move_developer_messages,
    _give_instructions,
    _flatten_outputs,
    _request_compaction,
    _drop_tools,
    _drop_parameters,
)
"""Each adapts a request to one part of a profile and appends a message for what it changed."""


def _edit(items: Sequence[str], key: str, edit: Callable[[JsonObject], JsonObject | None]) -> Sequence[str]:
    """Apply `edit` to each item; an item for which it returns None is dropped.

    Items without `key` in their text are passed on without decoding them.
    """
    edited: list[str] = []
    for text in items:
        item = decode(text) if f'"{key}"' in text else None
        changed = edit(item) if isinstance(item, dict) else item
        if changed is item:
            edited.append(text)
        elif changed is not None:
            edited.append(encode(changed))
    return tuple(edited)


def _read_include(parameters: Mapping[str, Json]) -> list[Json]:
    include = parameters.get("include")
    return include if isinstance(include, list) else []


def join_text(content: Json) -> str:
    """Return the text of a message's content or of an output: a string or a list of parts."""
    if isinstance(content, str):
        return content
    parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    return "\n".join(str(part.get("text") or part.get("refusal") or f"[{part.get('type')}]") for part in parts)
