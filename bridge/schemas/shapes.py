"""The root of an input schema in another shape than MCP allows, as what it can only have meant.

Arguments are always an object. Lists where objects belong come from PHP and Lua, nulls from Go and C++.
"""

from bridge.json_text import Json, JsonObject, decode, encode
from bridge.schemas.refs import AddNote
from bridge.schemas.walk import HOLDERS

TYPES = ("string", "number", "integer", "boolean", "array", "object", "null")
OTHER_WORDS = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "double": "number",
    "bool": "boolean",
    "list": "array",
    "dict": "object",
    "map": "object",
}
"""Types as programming languages call them."""
WRAPPERS = ("json", "schema", "jsonSchema", "json_schema", "parameters", "inputSchema", "input_schema")
"""Names under which a whole schema stands alone, as in the APIs of models."""
_ABOUT = ("title", "description", "$schema")
_HINTS = ("type", "$ref", "enum", "const", "anyOf", "oneOf", "allOf", "description")
"""What at least one of stands in the schema of an argument."""
_SCHEMAS, _NAMES = frozenset((dict, bool)), frozenset((str,))
_QUOTED_CHARS = 60


def is_root(schema: Json) -> bool:
    """Tell whether this is a root as every revision of MCP allows it; the SDK accepts no other. It must be parsed JSON:
    types are compared as they are, which takes a fifth of the time."""
    if not isinstance(schema, dict) or schema.get("type") != "object":
        return False
    properties, required = schema.get("properties", {}), schema.get("required", [])
    return (
        isinstance(schema.get("$schema", ""), str)
        and isinstance(properties, dict)
        and _SCHEMAS.issuperset(map(type, properties.values()))
        and isinstance(required, list)
        and _NAMES.issuperset(map(type, required))
    )


def read_type(word: str) -> str | None:
    """Return the type that a word means, in any case."""
    word = word.strip().lower()
    return word if word in TYPES else OTHER_WORDS.get(word)


def shape_root(schema: Json, add_note: AddNote) -> JsonObject:
    """Return the root that `schema` can only have meant; `add_note` is told what was read otherwise than it stands."""
    root = _unwrap(schema, add_note)
    _shape_type(root, add_note)
    for keyword, shape in SHAPES.items():
        if keyword not in root:
            continue
        shaped = shape(said := root.pop(keyword))
        if shaped is None or shaped != said:
            add_note(f"its {keyword}, {_quote(said)}, is {_tell(shaped)}")
        root |= {} if shaped is None else {keyword: shaped}
    return root


def _unwrap(schema: Json, add_note: AddNote) -> JsonObject:
    """Find the root in a schema that is none: as JSON text, in a list, under another name, or only its properties."""
    found = _find_root(schema)
    if found is not schema:
        meant = f"read as {_quote(found)}" if found else "no schema: any arguments are let through"
        add_note(f"its inputSchema, {_quote(schema)}, is {meant}")
    return {**found}


def _find_root(schema: Json) -> JsonObject:
    match schema:
        case str():
            return _find_root(read_text(schema))
        case [dict(only)] if "name" not in only:
            return _find_root(only)
        case list():
            return _gather(schema)
        case dict() if wrapped := _find_wrapped(schema):
            return wrapped
        case dict() if schema and HOLDERS.isdisjoint(schema) and all(map(_is_argument, schema.values())):
            return {"type": "object", "properties": schema}
        case dict():
            return schema
        case _:
            return {}


def _gather(arguments: list[Json]) -> JsonObject:
    """Make a root of a list of arguments, each a name or an object with one."""
    properties = _shape_properties(arguments)
    required: list[Json] = [name for item in arguments if (name := _name_required(item))]
    root: JsonObject = {"type": "object", "properties": properties} if properties else {}
    return root | ({"required": required} if properties and required else {})


def read_text(text: str) -> Json:
    """Return what a text holds as JSON, None for nothing or for another text."""
    try:
        found = decode(text)
    except ValueError:
        return None
    return None if isinstance(found, str) else found


def _name_required(item: Json) -> str | None:
    match item:
        case {"name": str(name), "required": True}:
            return name
        case _:
            return None


def _find_wrapped(schema: JsonObject) -> JsonObject | None:
    """Find the schema that stands alone under another name."""
    if len(schema) != 1:
        return None
    [(name, inner)] = schema.items()
    is_whole = name in WRAPPERS and isinstance(inner, dict) and ("properties" in inner or inner.get("type") == "object")
    return inner if is_whole and isinstance(inner, dict) else None


def _is_argument(value: Json) -> bool:
    return isinstance(value, dict) and any(hint in value for hint in _HINTS)


def _shape_type(root: JsonObject, add_note: AddNote) -> None:
    """Let the root be an object; of one that says that it is something else, nothing but the words about it stays."""
    said = root.get("type", "object")
    root["type"] = "object"
    if said == "object":
        return
    add_note(f'its type, {_quote(said)}, is read as "object": arguments are always one')
    is_other = isinstance(said, str) and read_type(said) not in (None, "object")
    if is_other and not isinstance(root.get("properties"), dict):
        for keyword in root.keys() - {"type", *_ABOUT}:
            del root[keyword]


def _shape_dialect(said: Json) -> Json:
    return said if isinstance(said, str) else None


def _shape_properties(said: Json) -> Json:
    match said:
        case dict():
            return {name: _shape_argument(value) for name, value in said.items()} or said
        case list():
            named: JsonObject = dict(found for item in said if (found := _name_argument(item)))
            return named or None
        case _:
            return None


def _name_argument(item: Json) -> tuple[str, Json] | None:
    """Return the name and the schema of an argument in a list."""
    if isinstance(item, str):
        return item, {}
    if isinstance(item, dict) and isinstance(name := item.get("name"), str):
        return name, {key: value for key, value in item.items() if key not in ("name", "required")}
    return None


def _shape_argument(said: Json) -> Json:
    """Return the schema of an argument; a text there is its type or its description."""
    match said:
        case dict() | bool():
            return said
        case str() if kind := read_type(said):
            return {"type": kind}
        case str():
            return {"description": said}
        case [*kinds] if kinds and all(kind in TYPES for kind in kinds):
            return {"type": said}
        case _:
            return {}


def _shape_names(said: Json) -> Json:
    """Return the names of required arguments; an object holds them as values, or as keys of what is true."""
    match said:
        case list():
            names: list[Json] = [name for name in said if isinstance(name, str)]
            return names if names or not said else None
        case str():
            return [said] if said else None
        case dict():
            return [value if isinstance(value, str) else name for name, value in said.items() if value] or None
        case _:
            return None


def _quote(said: Json) -> str:
    try:
        text = encode(said)
    except (ValueError, RecursionError):
        return "which cannot be shown"
    return text if len(text) <= _QUOTED_CHARS else f"{text[:_QUOTED_CHARS]}…"


def _tell(meant: Json) -> str:
    return f"read as {_quote(meant)}" if meant else "left out"


SHAPES = {"$schema": _shape_dialect, "properties": _shape_properties, "required": _shape_names}
"""What makes of a keyword's value what it can only have meant, None for nothing."""
