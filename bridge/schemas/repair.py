"""A tool's input schema as the API takes it: what it would refuse is said in other words that accept the same."""

from dataclasses import dataclass

from bridge.json_text import MAX_DEPTH, JsonObject, decode, encode, is_deep
from bridge.schemas.dialects import drop_ignored, modernise, read_draft
from bridge.schemas.judge import find_schema_fault
from bridge.schemas.refs import References, Tell
from bridge.schemas.roots import open_root
from bridge.schemas.strict import find_obstacle
from bridge.schemas.walk import fill, follow, list_slots, read, walk, write_pointer

MAX_DEFINITION_BYTES = 65_536
"""A tool whose function takes more of every request is left out."""
MOST_REPAIRED = 4
"""A schema so many times as large is not even looked at: no repair makes it as much smaller."""
MAX_FAULTS = 100
"""A schema with more is none."""
MAY_BE_BOOLEAN = ("additionalProperties", "unevaluatedProperties", "unevaluatedItems")


@dataclass(frozen=True)
class Function:
    """The function tool of a request, and what is not as the owner wrote it, each with the reason."""

    encoded: str
    notes: tuple[str, ...]


def build_function(
    name: str, description: str, schema: JsonObject, *, description_chars: int, wants_strict: bool = False
) -> Function:
    """The function tool `name`. Raises ValueError with the reason for one that no upstream would take.

    `strict` is said always, because where it is omitted the API may make every argument required, and models then fill
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
        notes[f"not strict, which would change its meaning: {obstacle}"] = None
    encoded = encode(function | {"parameters": parameters, "strict": wants_strict and not obstacle})
    if (size := len(encoded.encode())) > MAX_DEFINITION_BYTES:
        raise ValueError(f"its definition of {size:,} bytes is over the limit of {MAX_DEFINITION_BYTES:,}")
    return Function(encoded, tuple(notes))


def shorten(text: str, chars: int) -> str:
    """`text` within so many characters, its cut marked."""
    return text if len(text) <= chars else text[: chars - 1] + "…"


def repair_schema(schema: JsonObject, tell: Tell) -> JsonObject:
    """A schema of 2020-12 that the API takes and that accepts the same arguments. The original is not changed.

    `tell` hears what was changed and why. Raises ValueError for what cannot be repaired.
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
    references = References(root, draft, tell)
    modernise(root, draft)
    _drop_faults(root, tell)
    open_root(root, references, tell)
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
    """Add what says nothing and what the API insists on: `properties` of an object, `items` of an array.

    Beside `unevaluatedItems`, which may stand in a schema around this one, `items` would say something.
    """
    kinds = node.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if "object" in kinds:
        node.setdefault("properties", {})
    if "array" in kinds and "items" not in node:
        if has_unevaluated:
            raise ValueError("an array without `items` beside `unevaluatedItems` cannot be said in another way")
        node["items"] = JsonObject()


def _drop_faults(root: JsonObject, tell: Tell) -> None:
    """Take out what is no JSON Schema, such as `"type": "any"`: it refuses nothing, and with it the API refuses all."""
    for node in walk(root):
        for keyword in ("required", "type"):
            if isinstance(words := node.get(keyword), list) and all(isinstance(word, str) for word in words):
                node[keyword] = list(dict.fromkeys(words))
    for _ in range(MAX_FAULTS):
        if (fault := find_schema_fault(root)) is None:
            return
        _drop(root, fault.path)
        tell(f"#{write_pointer(fault.path)} is taken out, for it is no JSON Schema: {fault.message}")
    raise ValueError(f"its schema has more than {MAX_FAULTS} faults")


def _drop(root: JsonObject, path: tuple[str | int, ...]) -> None:
    """Take out what stands at `path`; in the place of a schema one that accepts everything is left."""
    holder, name = follow(root, path[:-1]), path[-1]
    slots = (slot for node in walk(root) for slot in list_slots(node))
    if slot := next((slot for slot in slots if slot[1] is holder and slot[2] == name), None):
        fill(slot, {})
    elif isinstance(holder, dict):
        del holder[str(name)]
    elif isinstance(holder, list):
        del holder[int(name)]
