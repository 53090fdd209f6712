"""How much there is to look at in a JSON Schema before anything is validated by it."""

from bridge.items import Json, JsonObject

MAX_SCHEMA_NODES = 50_000
"""How many subschemas may have to be looked at: thirty definitions that each name the one before twice make a billion,
and the validator, which works on the event loop, would look at them all."""


def measure_schema(schema: JsonObject) -> int:
    """How many subschemas `schema` comes to with every local `$ref` written out; one that leads back to itself counts
    once."""
    sizes: dict[str, int] = {}

    def measure(node: Json) -> int:
        if isinstance(node, list):
            return sum(map(measure, node))
        if not isinstance(node, dict):
            return 1
        target = node.get("$ref")
        return 1 + sum(map(measure, node.values())) + (follow(target) if isinstance(target, str) else 0)

    def follow(target: str) -> int:
        if target not in sizes:
            sizes[target] = 0  # while it is measured, for one that leads back here
            sizes[target] = measure(find(schema, target[1:]) if target.startswith("#") else None)
        return sizes[target]

    return measure(schema)


def find(schema: Json, pointer: str) -> Json:
    """What a JSON pointer such as `/a/0` leads to; None where it leads nowhere."""
    node = schema
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(node, dict):
            node = node.get(name)
        elif isinstance(node, list) and name.isdecimal() and int(name) < len(node):
            node = node[int(name)]
        else:
            return None
    return node
