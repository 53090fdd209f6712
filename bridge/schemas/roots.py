"""The root of a schema: an object with properties, and nothing beside them that the API refuses there."""

from collections.abc import Iterator

from bridge.json_text import Json, JsonObject, encode
from bridge.schemas.dialects import ANNOTATIONS
from bridge.schemas.refs import References, Tell

REFUSED = ("anyOf", "oneOf", "allOf", "not", "enum")
"""The API's error: "schema must have type 'object' and not have 'oneOf'/'anyOf'/'allOf'/'enum'/'not' at the top level"
(langchain-ai/langchainjs#9804)."""
CONDITION = ("if", "then", "else")
LOOKING = frozenset({"additionalProperties", "unevaluatedProperties", *CONDITION})
"""Keywords that look at those beside them."""
QUOTED_CHARS = 300


def open_root(root: JsonObject, references: References, tell: Tell) -> None:
    """Change the root in place into what the API takes, without changing which objects it accepts.

    What stands there of REFUSED becomes the condition of an `if` whose `else` accepts nothing: the same in other words.
    Raises ValueError for a schema that accepts no object at all.
    """
    _inline(root, references)
    kind = root.get("type", "object")
    if kind != "object" and not (isinstance(kind, list) and "object" in kind):
        raise ValueError(f"its arguments would have to be of type {encode(kind)[:100]}, they are an object")
    if root.get("type") != "object":
        _set_apart(root, references)
    held: JsonObject = {keyword: root.pop(keyword) for keyword in REFUSED if keyword in root}
    if held:
        held |= {keyword: root.pop(keyword) for keyword in CONDITION if keyword in root}
        tell(f"{', '.join(held)} beside `properties` became a condition: the API refuses it at the top")
        root |= {"if": held, "else": {"not": {}}}
    properties = root.get("properties")
    shown: JsonObject = {"type": "object", "properties": properties if isinstance(properties, dict) else {}}
    rest = {keyword: value for keyword, value in root.items() if keyword not in shown}
    root.clear()
    root |= shown | rest
    if held and not {"additionalProperties", "unevaluatedProperties"} & root.keys():
        _show_variants(root, held, references)


def _inline(root: JsonObject, references: References) -> None:
    """A root that only refers to a definition becomes that definition: `{"$ref": "#/$defs/A", "$defs": ...}` is what
    generators make of a named type."""
    seen = set[int]()
    while (found := references.targets.get(id(root))) and id(root) not in seen:
        target = found[1]
        clash = {keyword for keyword in root.keys() & target.keys() if root[keyword] != target[keyword]}
        del references.targets[id(root)]
        if clash - {"title", "description"} or _look_at_each_other(root, target):
            holder: JsonObject = {}
            references.targets[id(holder)] = holder, target
            root["allOf"] = [*_as_list(root.get("allOf")), holder]
            return
        root |= {keyword: value for keyword, value in target.items() if keyword not in root}
        if onward := references.targets.get(id(target)):
            references.targets[id(root)] = root, onward[1]


def _look_at_each_other(root: JsonObject, target: JsonObject) -> bool:
    """Whether a keyword of one schema would mean something else beside those of the other."""
    said = root.keys() - ANNOTATIONS - {"$defs", "definitions", "type"}
    return bool(said) and not LOOKING.isdisjoint(root.keys() | target.keys())


def _set_apart(root: JsonObject, references: References) -> None:
    """What refers to the root, and so to values that need not be objects, refers to a definition of it instead."""
    whole = {keyword: value for keyword, value in root.items() if keyword not in ("$defs", "definitions")}
    if references.redirect(root, whole):
        references.define(whole)


def _as_list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _show_variants(root: JsonObject, held: JsonObject, references: References) -> None:
    """Name at the root what can be given only in some variants: models read the properties there, and few read `if`.

    They are told in words, for as a schema they would refuse what another variant accepts.
    """
    properties = root["properties"]
    assert isinstance(properties, dict)
    variants: dict[str, list[Json]] = {}
    for variant in _list_variants(held, references):
        inner = variant.get("properties")
        for name, schema in inner.items() if isinstance(inner, dict) else ():
            known = variants.setdefault(name, [])
            known += [] if schema in known else [schema]
    for name, schemas in variants.items():
        if name not in properties:
            words = " or ".join(map(encode, schemas))
            properties[name] = {"description": words if len(words) <= QUOTED_CHARS else f"{words[:QUOTED_CHARS]}…"}


def _list_variants(held: JsonObject, references: References) -> Iterator[JsonObject]:
    for keyword in ("anyOf", "oneOf", "allOf"):
        for variant in _as_list(held.get(keyword)):
            if isinstance(variant, dict):
                found = references.targets.get(id(variant))
                yield variant if found is None else found[1]
                yield from _list_variants(variant, references)
