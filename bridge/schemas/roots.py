"""The root of a schema, repaired: an object with properties, without the keywords that the API refuses there."""

from collections.abc import Iterator

from bridge.json_text import Json, JsonObject, encode
from bridge.schemas.dialects import ANNOTATIONS
from bridge.schemas.refs import AddNote, References

REFUSED = ("anyOf", "oneOf", "allOf", "not", "enum")
"""The API's error: "schema must have type 'object' and not have 'oneOf'/'anyOf'/'allOf'/'enum'/'not' at the top level"
(langchain-ai/langchainjs#9804)."""
CONDITION = ("if", "then", "else")
SIBLING_DEPENDENT = frozenset({"additionalProperties", "unevaluatedProperties", *CONDITION})
"""Keywords whose meaning depends on their siblings."""
QUOTED_CHARS = 300


def repair_root(root: JsonObject, references: References, add_note: AddNote) -> None:
    """Change the root, in place, to what the API takes, without changing which objects it accepts.

    Keywords in REFUSED become the condition of an `if` whose `else` accepts nothing, which means the same. Raises
    ValueError for a schema that accepts no object at all.
    """
    _inline(root, references)
    kind = root.get("type", "object")
    if kind != "object" and not (isinstance(kind, list) and "object" in kind):
        raise ValueError(f"its schema has the type {encode(kind)[:100]}, but arguments are always an object")
    if root.get("type") != "object":
        _detach_root(root, references)
    held: JsonObject = {keyword: root.pop(keyword) for keyword in REFUSED if keyword in root}
    if held:
        held |= {keyword: root.pop(keyword) for keyword in CONDITION if keyword in root}
        add_note(f"{', '.join(held)} beside `properties` became a condition: the API refuses it at the top")
        root |= {"if": held, "else": {"not": {}}}
    properties = root.get("properties")
    shown: JsonObject = {"type": "object", "properties": properties if isinstance(properties, dict) else {}}
    rest = {keyword: value for keyword, value in root.items() if keyword not in shown}
    root.clear()
    root |= shown | rest
    if held and not {"additionalProperties", "unevaluatedProperties"} & root.keys():
        _show_variants(root, held, references)


def _inline(root: JsonObject, references: References) -> None:
    """Replace a root that refers to a definition by that definition: generators write a named type as
    `{"$ref": "#/$defs/A", "$defs": ...}`."""
    seen = set[int]()
    while (found := references.targets.get(id(root))) and id(root) not in seen:
        target = found[1]
        clash = {keyword for keyword in root.keys() & target.keys() if root[keyword] != target[keyword]}
        del references.targets[id(root)]
        if clash - {"title", "description"} or _interact(root, target):
            holder: JsonObject = {}
            references.targets[id(holder)] = holder, target
            root["allOf"] = [*_as_list(root.get("allOf")), holder]
            return
        root |= {keyword: value for keyword, value in target.items() if keyword not in root}
        if onward := references.targets.get(id(target)):
            references.targets[id(root)] = root, onward[1]


def _interact(root: JsonObject, target: JsonObject) -> bool:
    """Tell whether a keyword of one schema would change its meaning beside those of the other."""
    keywords = root.keys() - ANNOTATIONS - {"$defs", "definitions", "type"}
    return bool(keywords) and not SIBLING_DEPENDENT.isdisjoint(root.keys() | target.keys())


def _detach_root(root: JsonObject, references: References) -> None:
    """Make references to the root refer to a copy of it: they may accept other values than objects."""
    whole = {keyword: value for keyword, value in root.items() if keyword not in ("$defs", "definitions")}
    if references.redirect(root, whole):
        references.define(whole)


def _as_list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _show_variants(root: JsonObject, held: JsonObject, references: References) -> None:
    """Name the properties of single variants at the root, where models read them; few read `if`.

    Their schemas are quoted in the description: as schemas they would refuse what another variant accepts.
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
