"""What may stand in a config file, whoever wrote it: JSON with comments, `${...}`, the server entries of every host."""

import difflib
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, NoReturn, TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

PROGRAM = "mcp-responses-bridge"

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
Place: TypeAlias = tuple[str | int, ...]
"""Where in the file: keys and list positions from the top, such as `("mcpServers", "git", "args", 0)`."""

_STRING = r'("(?:[^"\\]++|\\.)*+"?)'
_COMMENT = re.compile(_STRING + r"|//[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)
_TRAILING_COMMA = re.compile(_STRING + r"|,(?=\s*[}\]])", re.DOTALL)
_REFERENCE = re.compile(r"\$\{([^}]*)\}")
_BARE = re.compile(r"([A-Za-z_]\w*)(?::-(.*))?", re.DOTALL)
_EDITOR_ONLY = re.compile(r"workspaceFolder\w*|userHome|pathSeparator|command:.*|config:.*", re.DOTALL)
_NOT_TEXT = re.compile(r"[\0\ud800-\udfff]")
_PLAIN_KEY = re.compile(r"[\w$-]+")


class Wrong(Exception):
    """What is wrong and where. `config.load` makes the one line for people of it.

    `source` is set when the value does not come from the file ("environment").
    """

    def __init__(self, place: Place, message: str, source: str | None = None) -> None:
        super().__init__(message)
        self.place = place
        self.message = message
        self.source = source


def dotted(place: Place) -> str:
    """`mcpServers.git.tools.deny[1]`; a key that would not read well there is quoted: `mcpServers["my.server"]`."""
    parts = (
        f".{step}" if isinstance(step, str) and _PLAIN_KEY.fullmatch(step) else f"[{json.dumps(step)}]"
        for step in place
    )
    return "".join(parts).removeprefix(".")


def kind(value: object) -> str:
    """What a JSON value is, in words for a message. The value itself may be a secret and is never shown."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int():
            return "a number"
        case float():
            return "a decimal number"
        case str():
            return "a string"
        case _:
            return "a list" if isinstance(value, (list, tuple)) else "an object"


def parse(text: str) -> dict[str, Json]:
    """The object in `text`: JSON, also with comments and trailing commas as VS Code writes them.

    Raises Wrong for anything else, and for a key that one object holds twice (JSON keeps the last in silence).
    """
    if not text.strip():
        raise Wrong((), "the file is empty; write {} to use the defaults")
    try:
        value: Json = json.loads(
            _strip(text), object_pairs_hook=_Object, parse_int=_whole, parse_constant=_refuse_constant
        )
        _refuse_repeats(value, ())
    except json.JSONDecodeError as error:
        what = error.msg[0].lower() + error.msg[1:]
        raise Wrong((), f"line {error.lineno}, column {error.colno}: not JSON: {what}") from None
    except RecursionError:
        raise Wrong((), "not usable: nested too deeply") from None
    except ValueError as error:
        raise Wrong((), f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise Wrong((), f"expected an object at the top, not {kind(value)}")
    return value


def _strip(text: str) -> str:
    """Blanks comments and trailing commas and moves nothing, so that lines and columns stay true.

    Strings are matched first and kept; every alternative ends in a match, which makes both passes linear.
    """

    def blank(match: re.Match[str]) -> str:
        return match[1] or re.sub(r"[^\n]", " ", match[0])

    return _TRAILING_COMMA.sub(blank, _COMMENT.sub(blank, text))


class _Object(dict[str, Json]):
    """A JSON object that remembers a key that it was given twice."""

    def __init__(self, pairs: list[tuple[str, Json]]) -> None:
        super().__init__(pairs)
        seen: set[str] = set()
        self.repeated = next((key for key, _ in pairs if key in seen or seen.add(key)), None)


def _whole(digits: str) -> int:
    if len(digits) > 19:
        raise ValueError("a whole number of more than 19 digits")
    return int(digits)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _refuse_repeats(value: Json, place: Place) -> None:
    if isinstance(value, _Object) and value.repeated is not None:
        raise Wrong((*place, value.repeated), "this key is given twice; keep one")
    for step, inner in _children(value):
        _refuse_repeats(inner, (*place, step))


def leaves(value: Json, place: Place = ()) -> Iterator[tuple[Place, Json]]:
    """Every value in `value` that is neither an object nor a list, with its place."""
    if not isinstance(value, (dict, list)):
        yield place, value
    for step, inner in _children(value):
        yield from leaves(inner, (*place, step))


def _children(value: Json) -> list[tuple[str | int, Json]]:
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list) else []


@dataclass(frozen=True)
class References:
    """What `${...}` stands for in one part of the file.

    `${env:NAME}` and `${env:NAME:-default}` are filled in everywhere; the default counts when NAME is unset or empty.
    """

    environ: Mapping[str, str]
    bare: Literal["fill", "refuse", "keep"]
    """`${NAME}`: filled in for servers, refused in our own sections, kept as text in what is free text."""
    own: frozenset[str] = frozenset()
    """Names that the server's own `env` sets: an unset `${NAME}` of them, in `args` say, is the server's to fill in
    (mcp-remote does) and stays as it is."""
    inputs: Mapping[str, str] = field(default_factory=dict[str, str])
    """Defaults of VS Code's `inputs`, by id."""

    def expand(self, value: Json, place: Place) -> Json:
        """`value` with every reference in its strings filled in. Raises Wrong for one that cannot be."""
        if isinstance(value, str):
            return _text(_REFERENCE.sub(lambda match: self._resolve(match, place), value), place)
        if isinstance(value, list):
            return [self.expand(inner, (*place, index)) for index, inner in enumerate(value)]
        if isinstance(value, dict):
            return {_text(key, place): self.expand(inner, (*place, key)) for key, inner in value.items()}
        return value

    def _resolve(self, match: re.Match[str], place: Place) -> str:
        written, inner = match[0], match[1]
        if "${" in inner:
            raise Wrong(place, f"{written}: a reference cannot hold another reference; write one of them out")
        if inner.startswith("env:"):
            name, given, default = inner.removeprefix("env:").partition(":-")
            return self._variable(name, default if given else None, written, place)
        if self.bare == "fill":
            return self._in_server(written, inner, place)
        if self.bare == "refuse" and _BARE.fullmatch(inner):
            raise Wrong(place, f"{written} is filled in for servers only; here write ${{env:{inner}}}")
        return written

    def _in_server(self, written: str, inner: str, place: Place) -> str:
        if inner.startswith("input:"):
            return self._input(inner.removeprefix("input:"), place)
        bare = _BARE.fullmatch(inner)
        if bare and (bare[1] in self.environ or bare[2] is not None):
            return self._variable(bare[1], bare[2], written, place)
        if inner in self.own:
            return written
        if _EDITOR_ONLY.fullmatch(inner):
            raise Wrong(place, f"{written} is known to the editor only; write the value itself, or ${{env:NAME}}")
        return self._variable(inner, None, written, place) if bare else written

    def _variable(self, name: str, default: str | None, written: str, place: Place) -> str:
        value = self.environ.get(name)
        if default is not None:
            return value or default
        if value is None:
            raise Wrong(
                place,
                f"{written}: the environment variable {name} is not set; set it, or write {written[:-1]}:-default}}",
            )
        return value

    def _input(self, identity: str, place: Place) -> str:
        """VS Code asks the user for inputs. Here `github-token` is read from GITHUB_TOKEN, else its default counts."""
        name = re.sub(r"\W", "_", identity).upper()
        value = self.environ.get(name) or self.inputs.get(identity)
        if value is None:
            raise Wrong(
                place, f"${{input:{identity}}} cannot be asked for here; set {name}, or write ${{env:NAME}} instead"
            )
        return value


def _text(text: str, place: Place) -> str:
    """`text`, if a process or a header can be given it at all."""
    if _NOT_TEXT.search(text):
        raise Wrong(place, "holds a character that is not text (NUL, half a surrogate pair)")
    return text


# -- keys --------------------------------------------------------------------------------------------------------------


def nearest(key: str, known: Collection[str], *, at_least: float = 0.0) -> str | None:
    """The known key most like `key`, whose likeness is `at_least` (0 to 1). Case, `_` and `-` do not count."""
    folded = {_folded(name): name for name in sorted(known)}
    found = difflib.get_close_matches(_folded(key), folded, n=1, cutoff=at_least)
    return folded[found[0]] if found else None


def _folded(key: str) -> str:
    return re.sub(r"[_-]", "", key).lower()


def foreign_keys(value: Mapping[str, Json], known: Collection[str], place: Place) -> list[Place]:
    """The keys of `value` that are some host's own. Raises Wrong for one that is a near miss of a known key."""
    found: list[Place] = []
    for key in value:
        if key in known:
            continue
        if meant := nearest(key, known, at_least=0.8):
            raise Wrong((*place, key), f'unknown key; did you mean "{meant}"?')
        found.append((*place, key))
    return found


# -- server entries ----------------------------------------------------------------------------------------------------

SERVER_SECTIONS = ("mcpServers", "servers")
"""The key of most hosts, and that of VS Code."""

_URL_KEYS = ("url", "serverUrl", "httpUrl")
ENTRY_KEYS = frozenset({"type", *_URL_KEYS})
"""Keys of an entry that hosts write and `ServerConfig` has under another name."""

_TRANSPORTS = {"stdio": "stdio", "http": "http", "streamable-http": "http", "streamableHttp": "http", "sse": "sse"}
_OURS = re.compile(PROGRAM + r"(\.exe)?(\[[^\]]*\])?([@=<>~!].*)?", re.IGNORECASE)
_PYTHON = re.compile(r"(python|pypy|pyw?$|pyw?\.exe$|uv)", re.IGNORECASE)
_SHELL = re.compile(r"((ba|z|da|fi)?sh|cmd|powershell|pwsh)(\.exe)?", re.IGNORECASE)


def server_entries(raw: Mapping[str, Json]) -> list[tuple[Place, dict[str, Json]]]:
    """The entries of both sections in file order, each with its place `(section, key)`."""
    found: dict[str, tuple[Place, dict[str, Json]]] = {}
    for section in raw:
        if section not in SERVER_SECTIONS:
            continue
        for key, entry in as_object(raw[section], (section,)).items():
            place = (section, key)
            if key in found:
                raise Wrong(place, f"{dotted(found[key][0])} has the same name; keep one, or rename one")
            found[key] = place, as_object(entry, place)
    return list(found.values())


def as_object(value: Json, place: Place) -> dict[str, Json]:
    """`value`, which has to be an object."""
    if not isinstance(value, dict):
        raise Wrong(place, f"expected an object, not {kind(value)}")
    return value


def input_defaults(raw: Mapping[str, Json]) -> dict[str, str]:
    """The defaults of VS Code's `inputs`, by id."""
    inputs = raw.get("inputs") or []
    if not isinstance(inputs, list):
        raise Wrong(("inputs",), f"expected a list, not {kind(inputs)}")
    defined = [as_object(item, ("inputs", index)) for index, item in enumerate(inputs)]
    return {str(item.get("id")): item["default"] for item in defined if isinstance(item.get("default"), str)}


def one_shape(entry: Mapping[str, Json], place: Place) -> dict[str, Json]:
    """An entry in the one shape of `ServerConfig`, whichever host wrote it; null is the same as absent."""
    given: dict[str, Json] = {key: value for key, value in entry.items() if value is not None}
    targets = [key for key in ("command", *_URL_KEYS) if key in given]
    if not targets:
        raise Wrong(place, "has neither command nor url; give command to start a server, or url to reach one")
    if len(targets) > 1:
        raise Wrong((*place, targets[1]), f"stands beside {targets[0]}; keep one of the two")
    given["transport"] = _transport(given.pop("type", None), targets[0], place)
    if targets[0] != "command":
        given["url"] = given.pop(targets[0])
    return given


def _transport(written: Json, target: str, place: Place) -> str:
    if written is None:
        return "stdio" if target == "command" else "auto"
    place = (*place, "type")
    if not isinstance(written, str):
        raise Wrong(place, f"expected a string, not {kind(written)}")
    transport = _TRANSPORTS.get(written)
    if transport is None:
        raise Wrong(place, f"expected {', '.join(_TRANSPORTS)}, not {json.dumps(written)}")
    if (transport == "stdio") != (target == "command"):
        right = "command" if transport == "stdio" else "url"
        raise Wrong(place, f'"{written}" needs {right}, and the entry has {target}; leave type out')
    return transport


def starts_this_program(entry: Mapping[str, Json]) -> bool:
    """Whether the entry starts a bridge: directly, as `python -m bridge`, or through uvx, npx, a shell and the like.

    A path that only ends in our name is some other server's argument (a clone of the repository, say), unless it
    lies in a `bin` or `Scripts` folder.
    """
    command, args = entry.get("command"), entry.get("args")
    if not isinstance(command, str):
        return False
    words = [text for text in args if isinstance(text, str)] if isinstance(args, list) else []
    if _SHELL.fullmatch(_basename(command)):
        words = [word for text in words for word in text.split()]
    return bool(_OURS.fullmatch(_basename(command))) or any(map(_is_ours, words)) or _runs_module(command, words)


def _basename(path: str) -> str:
    return re.split(r"[/\\]", path)[-1]


def _is_ours(word: str) -> bool:
    *folders, name = re.split(r"[/\\]", word)
    return bool(_OURS.fullmatch(name)) and (not folders or folders[-1] in ("bin", "Scripts"))


def _runs_module(command: str, words: Sequence[str]) -> bool:
    if not any(_PYTHON.match(_basename(word)) for word in (command, *words)):
        return False
    return "-mbridge" in words or ("-m", "bridge") in pairwise(words)


# -- messages ----------------------------------------------------------------------------------------------------------

Section = TypeVar("Section", bound=BaseModel)

_EXPECTED = {
    "bool_type": "true or false",
    "dict_type": "an object",
    "float_type": "a number",
    "int_type": "a whole number",
    "model_type": "an object",
    "string_type": "a string",
    "tuple_type": "a list",
}
_BOUNDS = {
    "finite_number": "must be finite",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "string_pattern_mismatch": 'expected "auto", "legacy" or a revision such as "2025-11-25"',
    "string_too_short": "must not be empty",
}


def validate(model: type[Section], values: Mapping[str, object], place: Place) -> Section:
    """`values` as a `model`. Raises Wrong for the first fault, in our words: pydantic's are for programmers."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise Wrong((*place, *first["loc"]), _explain(model, first)) from None


def _explain(model: type[BaseModel], error: ErrorDetails) -> str:
    fault, given, context = error["type"], error["input"], error.get("ctx", {})
    if fault == "extra_forbidden":
        *above, key = error["loc"]
        return f'unknown key; the nearest known one is "{nearest(str(key), _fields(model, above))}"'
    if fault == "literal_error":
        shown = json.dumps(given) if isinstance(given, str) else kind(given)
        return f"expected {context['expected']}, not {shown}".replace("'", '"')
    if fault in _EXPECTED:
        return f"expected {_EXPECTED[fault]}, not {kind(given)}"
    if fault == "value_error":
        return str(context["error"])
    return _BOUNDS.get(fault, "this value cannot be used").format(**context)


def _fields(model: type[BaseModel], above: list[str | int]) -> list[str]:
    """The known keys of the section `above` in `model`."""
    for step in above:
        inner = model.model_fields[str(step)].annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            model = inner
    return list(model.model_fields)
