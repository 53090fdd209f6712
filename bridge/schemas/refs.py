"""The references of one schema: found before it is changed, written as JSON pointers afterwards."""

from collections.abc import Callable, Iterator
from typing import TypeAlias
from urllib.parse import quote, unquote, urldefrag, urljoin

from bridge.json_text import Json, JsonObject
from bridge.schemas.walk import find, list_schemas, locate, walk

REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
ANCHORS = ("$anchor", "$dynamicAnchor")
REFERRING = frozenset((*REFERENCES, *ANCHORS, "$id", "$recursiveAnchor"))
IN_PLACE = frozenset({"allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas"})
"""Keywords whose schemas judge the same value as the one around them."""
IN_FRAGMENTS = "#/~!$&'()*+,;=:@?"
"""Besides letters, digits and `-._`, what a fragment may hold as it is (RFC 3986, section 3.5)."""

Tell: TypeAlias = Callable[[str], None]


class References:
    """Which schema each reference leads to, by JSON Schema 2020-12, section 8.2.

    Nothing is fetched: a reference that leads out of the schema, to nothing or round in a circle is taken out, which
    lets every value pass there. A dynamic one leads where a plain one would: the schema is whole in itself.
    """

    def __init__(self, root: JsonObject, draft: int, tell: Tell) -> None:
        self._root = root
        self._tell = tell
        self._id = "id" if draft <= 4 else "$id"
        self._names: dict[str, JsonObject] = {"": root}
        self.targets: dict[int, tuple[JsonObject, JsonObject]] = {}
        """By the identity of the schema that refers: itself, and the one that it refers to."""
        if any(node.keys() & REFERRING for node in walk(root)):
            self._find_targets()
            self._break_circles()

    def _find_targets(self) -> None:
        places = list(self._find_bases(self._root, ""))
        for base, node in places:
            self._note_names(base, node)
        known = {id(node) for _, node in places}
        while places:
            base, node = places.pop()
            target = self._follow(node, base)
            if target is not None and id(target) not in known:  # where no keyword says that there is a schema
                places += [(base, inner) for inner in walk(target)]
                known.update(id(inner) for inner in walk(target))
                self.define(target)

    def write(self) -> None:
        """Write every reference as a pointer to where its target is now."""
        if not self.targets:
            return
        places = {id(node): pointer for pointer, node in reversed(list(locate(self._root)))}
        for node, target in self.targets.values():
            place = places.get(id(target))
            if place is None or quote(place, safe=IN_FRAGMENTS) != place:  # not everybody reads `%20` as a space
                places[id(target)] = self.define(target)
            node["$ref"] = places[id(target)]

    def redirect(self, old: JsonObject, new: JsonObject) -> bool:
        """Make what refers to `old` refer to `new`; False where nothing does."""
        found = {key: node for key, (node, target) in self.targets.items() if target is old}
        self.targets |= {key: (node, new) for key, node in found.items()}
        return bool(found)

    def define(self, target: JsonObject) -> str:
        """Put a schema that stands where no keyword says that there is one among the definitions."""
        definitions = self._root.setdefault("$defs", {})
        assert isinstance(definitions, dict)
        name = f"moved_{len(definitions)}"
        definitions[name] = target
        return f"#/$defs/{name}"

    def _find_bases(self, node: JsonObject, base: str) -> Iterator[tuple[str, JsonObject]]:
        """Each schema after the URL that its references are relative to."""
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
            self._tell(f"the reference to {reference[:100]} is taken out: it leads to nothing in the schema")
        return None

    def _resolve(self, reference: str, base: str) -> Json:
        url, fragment = _join(base, reference)
        if fragment and not fragment.startswith("/"):
            return self._names.get(f"{url}#{unquote(fragment)}")
        return find(self._names.get(url), unquote(fragment))

    def _break_circles(self) -> None:
        """A reference that leads back to where it stands, with no value inside the value in between, says nothing."""
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
                self._tell("a reference to itself is taken out: it says nothing")
            elif target is not None and id(target) not in done:
                enter(target)
            around.discard(id(node))
            done.add(id(node))

        for node in walk(self._root):
            if id(node) not in done:
                enter(node)


def _join(base: str, reference: str) -> tuple[str, str]:
    """The URL of a reference, and its fragment."""
    try:
        url, fragment = urldefrag(urljoin(base, reference))
    except ValueError:  # no URL
        return reference, ""
    return url, fragment
