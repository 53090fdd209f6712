"""Arguments made from a schema, seeded: about half of them fit, the others miss narrowly."""

import random
from typing import Any

Json = Any

JUNK: list[Json] = [None, True, 0, -1, 3.5, "", "x", "2026-11-22", [], [1], {}, {"a": 1}, 10**12, "日本" * 20]
NAMES = ["a", "b", "extra", "id", "kind", "type", "name"]


def make_arguments(root: Json, seeded: random.Random) -> dict[str, Json]:
    """An object that the schema might take."""
    value = _make(root, root, seeded, 0)
    return value if isinstance(value, dict) else {seeded.choice(NAMES): value}


def _make(schema: Json, root: Json, seeded: random.Random, level: int) -> Json:
    if not isinstance(schema, dict) or level > 12 or seeded.random() < 0.06:
        return seeded.choice(JUNK)
    if "$ref" in schema:
        schema = {**schema, **_resolve(schema["$ref"], root)}
    if "const" in schema:
        return schema["const"]
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return seeded.choice(schema["enum"])
    values = [_make(part, root, seeded, level + 1) for part in _choose(schema, seeded)]
    kinds = schema.get("type", "object" if level == 0 or "properties" in schema or not values else None)
    if kinds:
        kind = seeded.choice(kinds) if isinstance(kinds, list) else kinds
        values.insert(0, _make_kind(kind, schema, root, seeded, level))
    objects = [value for value in values if isinstance(value, dict)]
    if objects and len(objects) == len(values):
        return {name: value for held in objects for name, value in held.items()}
    return values[-1] if values else seeded.choice(JUNK)


def _choose(schema: Json, seeded: random.Random) -> list[Json]:
    """The parts of a combination that a value shall fit."""
    parts: list[Json] = [*schema.get("allOf", [])]
    for keyword in ("anyOf", "oneOf"):
        if options := schema.get(keyword):
            parts.append(seeded.choice(options))
    for keyword in ("if", "then"):
        if keyword in schema:
            parts.append(schema[keyword])
    return parts


def _make_kind(kind: str, schema: Json, root: Json, seeded: random.Random, level: int) -> Json:
    match kind:
        case "object":
            return _make_object(schema, root, seeded, level)
        case "array":
            items = schema.get("items") if isinstance(schema.get("items"), dict) else {}
            parts = schema.get("prefixItems") or (schema["items"] if isinstance(schema.get("items"), list) else [])
            count = max(seeded.randint(0, 3), min(schema.get("minItems", 0), 20))
            return [_make(part, root, seeded, level + 1) for part in [*parts, *[items] * count][: count or 1]]
        case "string":
            return seeded.choice(["", "a", "2026-11-22", "https://example.com/a", "x" * schema.get("minLength", 5)])
        case "integer" | "number":
            low, high = schema.get("minimum", -3), schema.get("maximum", 12)
            number = seeded.choice([low, high, low - 1, high + 1, (low + high) / 2, seeded.randint(-5, 99)])
            return int(number) if kind == "integer" or float(number).is_integer() else number
        case "boolean":
            return seeded.random() < 0.5
        case _:
            return None


def _make_object(schema: Json, root: Json, seeded: random.Random, level: int) -> Json:
    properties = schema.get("properties") if isinstance(schema.get("properties"), dict) else {}
    required = schema.get("required") if isinstance(schema.get("required"), list) else []
    made: dict[str, Json] = {}
    for name in {**properties, **dict.fromkeys(map(str, required))}:
        if seeded.random() < (0.97 if name in required else 0.4):
            made[name] = _make(properties.get(name, {}), root, seeded, level + 1)
    if seeded.random() < 0.1:
        extra = schema.get("additionalProperties", {})
        made[seeded.choice(NAMES)] = _make(extra, root, seeded, level + 1)
    return made


def _resolve(reference: str, root: Json) -> Json:
    node = root
    for step in reference.split("/")[1:] if reference.startswith("#") else ["nowhere"]:
        step = step.replace("~1", "/").replace("~0", "~")
        try:
            node = node[int(step)] if isinstance(node, list) else node[step]
        except (KeyError, IndexError, TypeError, ValueError):
            return dict[str, Json]()
    return {name: value for name, value in node.items() if name != "$ref"} if isinstance(node, dict) else {}
