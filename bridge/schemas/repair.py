"""A tool's input schema as the API takes it: what it would refuse is rewritten to accept the same values."""

from dataclasses import dataclass

from bridge.json_text import MAX_DEPTH, JsonObject, decode, encode, is_deep
from bridge.schemas.dialects import drop_ignored, modernise, read_draft
from bridge.schemas.judge import find_schema_fault
from bridge.schemas.refs import AddNote, References
from bridge.schemas.roots import repair_root
from bridge.schemas.shapes import read_type
from bridge.schemas.strict import find_obstacle
from bridge.schemas.walk import fill, follow, list_slots, read, walk, write_pointer

MAX_DEFINITION_BYTES = 65_536
"""The largest function tool; a tool that would take more of every request is left out."""
MOST_REPAIRED = 4
"""A schema more than this many times as large is not repaired at all: it would still be too large."""
MAX_FAULTS = 100
"""A schema with more faults is left out."""
MAY_BE_BOOLEAN = ("additionalProperties", "unevaluatedProperties", "unevaluatedItems")


@dataclass(frozen=True)
class Function:
    """A function tool as JSON text, and the differences from what the owner wrote, each with the reason."""

    encoded: str
    notes: tuple[str, ...]


def build_function(
    name: str, description: str, schema: JsonObject, *, description_chars: int, wants_strict: bool = False
) -> Function:
    """Build the function tool `name`. Raises ValueError, with the reason, for one that no upstream would accept.

    `strict` is always written: if it is omitted, the API may make every argument required, and models then fill
    optional ones with "" and 0 (vercel/ai#11869).
    """
    notes: dict[str, None] = {}
    parameters = repair_schema(schema, lambda note: notes.setdefault(note))
    function: JsonObject = {"type": "function", "name": name}
    if description:
        function["description"] = shorten(description, description_chars)
    if len(description) > description_chars:
        notes[f"the description of {len(description):,} characters is cut to {description_chars:,}"] = None
    obstacle = find_obstacle(parameters) if wants_strict else None
    if obstacle:
        notes[f"not strict, since that would change its meaning: {obstacle}"] = None
    encoded = encode(function | {"parameters": parameters, "strict": wants_strict and not obstacle})
    if (size := len(encoded.encode())) > MAX_DEFINITION_BYTES:
        raise ValueError(f"its definition of {size:,} bytes is over the limit of {MAX_DEFINITION_BYTES:,}")
    return Function(encoded, tuple(notes))


def shorten(text: str, chars: int) -> str:
    """`text` within so many characters, its cut marked."""
    return text if len(text) <= chars else text[: chars - 1] + "…"


def repair_schema(schema: JsonObject, add_note: AddNote) -> JsonObject:
    """Return a 2020-12 schema that the API takes and that accepts the same arguments. The original is not changed.

    `add_note` is called with each change and its reason. Raises ValueError for a schema that cannot be repaired.
    """
    if is_deep(schema):
        raise ValueError(f"its schema is nested more than {MAX_DEPTH} levels deep")
    text = encode(schema)
    if len(text) > MOST_REPAIRED * MAX_DEFINITION_BYTES:
        raise ValueError(f"its schema of {len(text):,} characters is too large")
    root = decode(text)
    assert isinstance(root, dict)
    draft = read_draft(root)
    drop_ignored(root, draft)
    _spell_out_booleans(root)
    references = References(root, draft, add_note)
    modernise(root, draft)
    _read_types(root, add_note)
    _drop_faults(root, add_note)
    repair_root(root, references, add_note)
    nodes = walk(root)
    has_unevaluated = any("unevaluatedItems" in node for node in nodes)
    for node in nodes:
        _complete(node, has_unevaluated)
    references.write()
    return root


def _spell_out_booleans(root: JsonObject) -> None:
    for node in walk(root):
        for slot in list_slots(node):
            if isinstance(value := read(slot), bool) and slot[0] not in MAY_BE_BOOLEAN:
                fill(slot, {} if value else {"not": {}})


def _complete(node: JsonObject, has_unevaluated: bool) -> None:
    """Add the empty `properties` of an object and the empty `items` of an array, which the API requires.

    They accept everything, except beside `unevaluatedItems`, also of an enclosing schema: there `items` has a meaning.
    """
    kinds = node.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if "object" in kinds:
        node.setdefault("properties", {})
    if "array" in kinds and "items" not in node:
        if has_unevaluated:
            raise ValueError("an array without `items` beside `unevaluatedItems`, which cannot be repaired")
        node["items"] = JsonObject()


def _read_types(root: JsonObject, add_note: AddNote) -> None:
    """Write the types in the words of JSON Schema: some servers have those of a language, or capitals."""
    for node in walk(root):
        if isinstance(word := node.get("type"), str) and (kind := read_type(word)) and kind != word:
            node["type"] = kind
            add_note(f'the type "{word}" is read as "{kind}"')


def _drop_faults(root: JsonObject, add_note: AddNote) -> None:
    """Remove what is not valid JSON Schema, such as `"type": "any"`: it has no effect, and the API refuses it."""
    for node in walk(root):
        for keyword in ("required", "type"):
            if isinstance(words := node.get(keyword), list) and all(isinstance(word, str) for word in words):
                node[keyword] = list(dict.fromkeys(words))
    for _ in range(MAX_FAULTS):
        if (fault := find_schema_fault(root)) is None:
            return
        _drop(root, fault.path)
        add_note(f"#{write_pointer(fault.path)} is removed, it is not valid JSON Schema: {fault.message}")
    raise ValueError(f"its schema has more than {MAX_FAULTS} faults")


def _drop(root: JsonObject, path: tuple[str | int, ...]) -> None:
    """Remove the value at `path`; a schema is replaced by one that accepts everything."""
    holder, name = follow(root, path[:-1]), path[-1]
    slots = (slot for node in walk(root) for slot in list_slots(node))
    if slot := next((slot for slot in slots if slot[1] is holder and slot[2] == name), None):
        fill(slot, {})
    elif isinstance(holder, dict):
        del holder[str(name)]
    elif isinstance(holder, list):
        del holder[int(name)]
