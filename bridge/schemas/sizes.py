"""The work of validating by a JSON Schema, estimated beforehand."""

from dataclasses import dataclass

from bridge.json_text import Json, JsonObject
from bridge.schemas.walk import find

MAX_SCHEMA_NODES = 50_000
"""How many subschemas a schema may have once its references are expanded. Thirty definitions that each refer to the one
before twice make a billion, and the validator would visit them all while the event loop waits."""


@dataclass(frozen=True)
class SchemaSize:
    """The subschemas to visit for one value: `nodes`, and for each value nested in it `loops` times as many."""

    nodes: int
    loops: int

    def estimate(self, value: Json) -> int:
        """Return the largest possible number of pairs of a subschema and a value to visit."""
        values, depth = _count(value)
        return int(self.nodes * values * max(1, self.loops) ** depth)


def measure_schema(schema: JsonObject) -> SchemaSize:
    """Count the subschemas of `schema` with every local `$ref` expanded, and the recursive ones, which are not."""
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
            sizes[target] = 0  # while it is measured, for a reference that leads back here
            open_targets.add(target)
            sizes[target] = measure(find(schema, target[1:]) if target.startswith("#") else None)
            open_targets.discard(target)
        return sizes.get(target, 0)

    return SchemaSize(measure(schema), loops)


def _count(value: Json) -> tuple[int, int]:
    """Count the values in `value`, itself included, and the levels of nesting."""
    layer, count, depth = [value], 1, 0
    while layer := [
        inner
        for outer in layer
        if isinstance(outer, (list, dict))
        for inner in (outer.values() if isinstance(outer, dict) else outer)
    ]:
        count, depth = count + len(layer), depth + 1
    return count, depth
