"""What a tool claims: all of its definition that a person or a model goes by, in one spelling."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import cast

from mcp import types

from bridge.json_text import TOO_DEEP, Json, JsonObject

LEVELS = 150
"""What is nested deeper is not looked at; the model is not offered schemas nested over 100 levels."""
HINTS = (
    ("readOnlyHint", "read_only_hint", False),
    ("destructiveHint", "destructive_hint", True),
    ("idempotentHint", "idempotent_hint", False),
    ("openWorldHint", "open_world_hint", True),
)
"""Each hint with its default: leaving it out says the same."""
_MAPS = {"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"}
"""Keywords whose members are schemas by names that anybody may choose."""
_SETS = {"required", "type", "enum"}
"""Keywords whose lists mean the same in any order."""
_DATA = {"default", "const", "examples"}


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims of one tool. Equal claims have equal texts, whatever the order and spelling of their JSON."""

    name: str
    text: str
    """JSON."""

    @property
    def fingerprint(self) -> str:
        return sha256(self.text.encode()).hexdigest()

    def read(self) -> JsonObject:
        """Return the claims as JSON: `name` and, where there are any, `title`, `description`, the schemas and hints."""
        return cast("JsonObject", json.loads(self.text))


def read_claims(tool: types.Tool) -> Claims:
    """Read what a tool claims."""
    claims = {
        "name": tool.name,
        "title": tool.title,
        "description": tool.description,
        "inputSchema": _order_schema(cast("Json", tool.input_schema), LEVELS),
        "outputSchema": _order_schema(cast("Json", tool.output_schema), LEVELS),
        "annotations": dict(_list_hints(tool.annotations)) if tool.annotations else None,
    }
    said = {key: value for key, value in claims.items() if value not in (None, "", {})}
    return Claims(tool.name, _write(said))


def _list_hints(annotations: types.ToolAnnotations) -> Iterator[tuple[str, Json]]:
    if annotations.title:
        yield "title", annotations.title
    for name, attribute, default in HINTS:
        if (hint := getattr(annotations, attribute)) is not None and hint is not default:
            yield name, hint


def _write(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _order_schema(schema: Json, levels: int) -> Json:
    """Bring what may stand in any order or spelling into one."""
    if isinstance(schema, (dict, list)) and levels <= 0:
        return TOO_DEEP
    if isinstance(schema, dict):
        return {key: _order_keyword(key, value, levels - 1) for key, value in schema.items()}
    if isinstance(schema, list):
        return [_order_schema(part, levels - 1) for part in schema]
    return _order_data(schema, levels)


def _order_keyword(key: str, value: Json, levels: int) -> Json:
    if isinstance(value, dict) and key in _MAPS and levels > 0:
        return {name: _order_schema(schema, levels - 1) for name, schema in value.items()}
    if isinstance(value, list) and key in _SETS and levels > 0:
        return sorted((_order_data(item, levels - 1) for item in value), key=_write)
    return _order_data(value, levels) if key in _DATA else _order_schema(value, levels)


def _order_data(value: Json, levels: int) -> Json:
    if isinstance(value, (dict, list)) and levels <= 0:
        return TOO_DEEP
    if isinstance(value, dict):
        return {key: _order_data(item, levels - 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_order_data(item, levels - 1) for item in value]
    return int(value) if isinstance(value, float) and float(value).is_integer() else value
