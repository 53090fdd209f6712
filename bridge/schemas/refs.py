"""The references of one schema: resolved before it is changed, written as JSON pointers afterwards."""

from collections.abc import Callable, Iterator
from typing import TypeAlias
from urllib.parse import quote, unquote, urldefrag, urljoin

from bridge.json_text import Json, JsonObject
from bridge.schemas.walk import find, list_schemas, locate, walk

REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
ANCHORS = ("$anchor", "$dynamicAnchor")
REFERRING = frozenset((*REFERENCES, *ANCHORS, "$id", "$recursiveAnchor"))
IN_PLACE = frozenset({"allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas"})
"""Keywords whose subschemas apply to the same value as the enclosing schema."""
IN_FRAGMENTS = "#/~!$&'()*+,;=:@?"
"""The characters, besides letters, digits and `-._`, that a fragment may hold unescaped (RFC 3986, section 3.5)."""

AddNote: TypeAlias = Callable[[str], None]


class References:
    """The targets of the references in a schema, by JSON Schema 2020-12, section 8.2.

    Nothing is fetched: a reference that leads out of the schema, to nothing or back to itself is removed, which lets
    every value pass there. A dynamic reference leads where a plain one would, since the schema is complete in itself.
    """

    def __init__(self, root: JsonObject, draft: int, add_note: AddNote) -> None:
        self._root = root
        self._add_note = add_note
        self._id = "id" if draft <= 4 else "$id"
        self._names: dict[str, JsonObject] = {"": root}
        self.targets: dict[int, tuple[JsonObject, JsonObject]] = {}
        """(referring schema, schema it refers to), by the `id` of the referring one."""
        if any(node.keys() & REFERRING for node in walk(root)):
            self._find_targets()
            self._break_circles()

    def _find_targets(self) -> None:
        schemas = list(self._find_bases(self._root, ""))
        for base, node in schemas:
            self._note_names(base, node)
        known = {id(node) for _, node in schemas}
        while schemas:
            base, node = schemas.pop()
            target = self._follow(node, base)
            if target is not None and id(target) not in known:  # under a key that is not a keyword for schemas
                schemas += [(base, inner) for inner in walk(target)]
                known.update(id(inner) for inner in walk(target))
                self.define(target)

    def write(self) -> None:
        """Write every reference as a JSON pointer to its target's current position."""
        if not self.targets:
            return
        pointers = {id(node): pointer for pointer, node in reversed(list(locate(self._root)))}
        for node, target in self.targets.values():
            pointer = pointers.get(id(target))
            if pointer is None or quote(pointer, safe=IN_FRAGMENTS) != pointer:  # not every reader decodes `%20`
                pointers[id(target)] = self.define(target)
            node["$ref"] = pointers[id(target)]

    def redirect(self, old: JsonObject, new: JsonObject) -> bool:
        """Make all references to `old` refer to `new`; return False if there are none."""
        found = {key: node for key, (node, target) in self.targets.items() if target is old}
        self.targets |= {key: (node, new) for key, node in found.items()}
        return bool(found)

    def define(self, target: JsonObject) -> str:
        """Add a schema to the definitions, and return the reference to it."""
        definitions = self._root.setdefault("$defs", {})
        assert isinstance(definitions, dict)
        name = f"moved_{len(definitions)}"
        definitions[name] = target
        return f"#/$defs/{name}"

    def _find_bases(self, node: JsonObject, base: str) -> Iterator[tuple[str, JsonObject]]:
        """Yield each schema as (URL that its references are relative to, schema)."""
        if isinstance(name := node.get(self._id), str) and not name.startswith("#"):
            base = _join(base, name)[0]
        yield base, node
        for inner in list_schemas(node):
            yield from self._find_bases(inner, base)

    def _note_names(self, base: str, node: JsonObject) -> None:
        self._names.setdefault(base, node)
        for keyword in ANCHORS:
            if isinstance(anchor := node.pop(keyword, None), str):
                self._names.setdefault(f"{base}#{anchor}", node)
        if isinstance(name := node.get(self._id), str) and name.startswith("#"):  # as anchors were up to draft-07
            self._names.setdefault(f"{base}{name}", node)

    def _follow(self, node: JsonObject, base: str) -> JsonObject | None:
        node.pop("$recursiveAnchor", None)
        node.pop(self._id, None)
        for keyword in REFERENCES:
            if not isinstance(reference := node.pop(keyword, None), str):
                continue
            target = self._resolve(reference, base)
            if isinstance(target, dict):
                self.targets[id(node)] = node, target
                return target
            self._add_note(f"the reference to {reference[:100]} is removed: it leads to nothing in the schema")
        return None

    def _resolve(self, reference: str, base: str) -> Json:
        url, fragment = _join(base, reference)
        if fragment and not fragment.startswith("/"):
            return self._names.get(f"{url}#{unquote(fragment)}")
        return find(self._names.get(url), unquote(fragment))

    def _break_circles(self) -> None:
        """Remove references that lead back to themselves for the same value: they accept every value."""
        done, around = set[int](), set[int]()

        def enter(node: JsonObject) -> None:
            around.add(id(node))
            held: JsonObject = {keyword: value for keyword, value in node.items() if keyword in IN_PLACE}
            for inner in list_schemas(held):
                if id(inner) not in done:
                    enter(inner)
            _, target = self.targets.get(id(node), (node, None))
            if target is not None and id(target) in around:
                del self.targets[id(node)]
                self._add_note("a reference to itself is removed: it has no effect")
            elif target is not None and id(target) not in done:
                enter(target)
            around.discard(id(node))
            done.add(id(node))

        for node in walk(self._root):
            if id(node) not in done:
                enter(node)


def _join(base: str, reference: str) -> tuple[str, str]:
    """Resolve a reference to a URL and a fragment."""
    try:
        url, fragment = urldefrag(urljoin(base, reference))
    except ValueError:  # not a URL
        return reference, ""
    return url, fragment
