"""How much there is to look at in a JSON Schema before anything is validated by it."""

from dataclasses import dataclass

from bridge.json_text import Json, JsonObject
from bridge.schemas.walk import find

MAX_SCHEMA_NODES = 50_000
"""How many subschemas may have to be looked at: thirty definitions that each name the one before twice make a billion,
and the validator, which works on the event loop, would look at them all."""


@dataclass(frozen=True)
class SchemaSize:
    """What is to be looked at for one value; the whole again, `loops` times, for each value inside."""

    nodes: int
    loops: int

    def estimate(self, value: Json) -> int:
        """How many pairs of a subschema and a value there are to look at, at the most."""
        values, depth = _count(value)
        return int(self.nodes * values * max(1, self.loops) ** depth)


def measure_schema(schema: JsonObject) -> SchemaSize:
    """How many subschemas `schema` comes to with every local `$ref` written out, and how many of those lead back to
    where they are, which counts once."""
    sizes: dict[str, int] = {}
    open_targets, loops = set[str](), 0

    def measure(node: Json) -> int:
        if isinstance(node, list):
            return sum(map(measure, node))
        if not isinstance(node, dict):
            return 1
        target = node.get("$ref")
        return 1 + sum(map(measure, node.values())) + (follow(target) if isinstance(target, str) else 0)

    def follow(target: str) -> int:
        nonlocal loops
        loops += target in open_targets or target == "#"
        if target not in sizes and target != "#":
            sizes[target] = 0  # while it is measured, for one that leads back here
            open_targets.add(target)
            sizes[target] = measure(find(schema, target[1:]) if target.startswith("#") else None)
            open_targets.discard(target)
        return sizes.get(target, 0)

    return SchemaSize(measure(schema), loops)


def _count(value: Json) -> tuple[int, int]:
    """How many values there are in `value`, itself included, and how deep they are nested."""
    layer, count, depth = [value], 1, 0
    while layer := [
        inner
        for outer in layer
        if isinstance(outer, (list, dict))
        for inner in (outer.values() if isinstance(outer, dict) else outer)
    ]:
        count, depth = count + len(layer), depth + 1
    return count, depth
