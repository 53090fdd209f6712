"""Bad inputs, made of good ones: first in their structure, then in their bytes. A seed makes the same ones again."""

import json
import random
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

Tree: TypeAlias = Any
"""A JSON value whose objects are `Fields` and whose odd places are `Raw`."""


class Raw(str):
    """JSON, or what is none, that is written as it stands."""

    __slots__ = ()


class Fields(list[list[Any]]):
    """An object as a list of [name, value]: names may come twice."""


ODD = (
    *("null", "true", "false", "0", "-1", "1.0", '""', '"1"', "[]", "{}", "[{}]", "[[[[]]]]", "[null]", '{"": ""}'),
    *("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1e-400", "-0", "01", "+1", ".5", "1.", "0x10", "1_000"),
    *("9" * 400, "9" * 5000, "9007199254740993", "9223372036854775808", "-9223372036854775809", "1" + "0" * 320),
    *("nul", "True", "None", "undefined", "'text'", "text", "/* text */ 1", "1 // one", '"unterminated', '"\\x41"'),
    *(
        '"\\ud83d"',
        '"\\udfff\\ud800"',
        '"\\u0000"',
        '"\\ud83d\\ude00"',
        '"a\nb"',
        '"a\tb"',
        '"\\u001b]52;c;QQ==\\u0007"',
    ),
    *(
        '"\u202e\u200b\ufeff\u3164\U000e0041"',
        '"\U0001f600"',
        '"%00%n%s{0}${HOME}"',
        '"../../etc/passwd"',
        '"\\\\u0000"',
    ),
    *("[" * 90 + "]" * 90, "[" * 300 + "]" * 300, "[" * 5000 + "]" * 5000, "[" * 3000, '{"a":' * 300 + "1" + "}" * 300),
    *('{"a": 1, "a": 2}', '{"__proto__": {}}', '{"$ref": "#"}', '{"type": []}', '{"type": "object", "type": "text"}'),
    *('"' + "x" * 20_000 + '"', "[" + "0," * 3000 + "0]", '{"constructor": null}', "[1, 2", '{"a": }', "{,}", "[,]"),
)
IDS = ("null", "true", "[]", "{}", "1.5", "-1", '""', '"\\ud800"', "9" * 30, "9" * 5000, '"' + "i" * 5000 + '"', "1e2")
VERSIONS = ('"1.0"', '"2.1"', '"2"', "2", "2.0", "null", '" 2.0"', '"2.0\\u0000"', '["2.0"]', '"２.0"')
BAD_BYTES = (
    b"\x00",
    b"\xff",
    b"\xc0\xaf",
    b"\xed\xa0\x80",
    b"\xf0\x9f\x98",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xa8",
    b"\x1b[2J",
)
MORE_BYTES = (b"\r\n", b"\r", b"\n", b"\n\n", b" ", b"{", b"}", b"[", b"]", b'"', b"\\", b",", b":", b"\x85", b"\x0c")
TOKENS = (b"{", b"}", b"[", b"]", b'"', b":", b",", b"\\u", b"d800", b"null", b"1", b"e", b"-", b"id", b"jsonrpc", b" ")
FRAME = b"Content-Length: %d\r\n\r\n%s"


def spoil(chance: random.Random, samples: Sequence[Any]) -> bytes:
    """One bad input: mostly a sample with a few faults, some of which leave it good; else bytes at random."""
    match chance.randrange(16):
        case 0:
            return chance.randbytes(chance.randrange(200))
        case 1:
            return b"".join(chance.choices(TOKENS, k=chance.randrange(60)))
        case _:
            text = write(change(chance, chance.choice(samples)))
            data = text.encode("utf-8", "surrogatepass")
            return change_bytes(chance, data) if chance.random() < 0.4 else data


def change(chance: random.Random, sample: Any) -> Tree:
    """A copy of the sample with one to three faults in its structure."""
    holder: list[Tree] = [_copy(sample)]
    for _ in range(chance.randint(1, 3)):
        chance.choice(CHANGES)(chance, holder)
    return holder[0]


def _copy(value: Any) -> Tree:
    match value:
        case dict():
            return Fields([name, _copy(each)] for name, each in value.items())
        case list():
            return [_copy(each) for each in value]
        case _:
            return value


def write(tree: Tree) -> str:
    """The text of a tree."""
    match tree:
        case Raw():
            return str(tree)
        case Fields():
            return "{" + ", ".join(f"{_quote(name)}: {write(value)}" for name, value in tree) + "}"
        case list():
            return "[" + ", ".join(map(write, tree)) + "]"
        case _:
            return json.dumps(tree, ensure_ascii=False)


def _quote(name: Any) -> str:
    return str(name) if isinstance(name, Raw) else json.dumps(name, ensure_ascii=False)


# -- faults of structure -----------------------------------------------------------------------------------------------


def _slots(tree: Tree) -> list[tuple[list[Any], int]]:
    """All places of values: a list that holds one, and where in it."""
    found: list[tuple[list[Any], int]] = []
    for index in range(len(tree)):
        holder, at = (tree[index], 1) if isinstance(tree, Fields) else (tree, index)
        found.append((holder, at))
        if isinstance(holder[at], list):
            found += _slots(holder[at])
    return found


def _objects(holder: list[Tree]) -> list[Fields]:
    return [inner[at] for inner, at in _slots(holder) if isinstance(inner[at], Fields) and inner[at]]


def _replace(chance: random.Random, holder: list[Tree]) -> None:
    inner, at = chance.choice(_slots(holder))
    inner[at] = Raw(chance.choice(ODD))


def _envelope(chance: random.Random, holder: list[Tree]) -> None:
    """Another id, version or method of the message itself."""
    name, odd = chance.choice((("id", IDS), ("jsonrpc", VERSIONS), ("method", ODD), ("params", ODD), ("type", ODD)))
    if isinstance(holder[0], Fields):
        for field in holder[0]:
            if field[0] == name:
                field[1] = Raw(chance.choice(odd))
                return
        holder[0].append([name, Raw(chance.choice(odd))])


def _delete(chance: random.Random, holder: list[Tree]) -> None:
    if objects := _objects(holder):
        fields = chance.choice(objects)
        fields.pop(chance.randrange(len(fields)))


def _double(chance: random.Random, holder: list[Tree]) -> None:
    """A name that comes twice, with another value."""
    if objects := _objects(holder):
        fields = chance.choice(objects)
        fields.insert(chance.randint(0, len(fields)), [chance.choice(fields)[0], Raw(chance.choice(ODD))])


def _rename(chance: random.Random, holder: list[Tree]) -> None:
    if objects := _objects(holder):
        field = chance.choice(chance.choice(objects))
        name = str(field[0])
        ways = (
            name.upper(),
            f"{name} ",
            f"{name}\0",
            name[:-1],
            "",
            f"_{name}",
            name.replace("i", "ı"),
            "id",
            "result",
        )
        field[0] = chance.choice((*ways, Raw(f'"{name}\\ud800"'), Raw(name), Raw("1"), Raw("null")))


def _swap(chance: random.Random, holder: list[Tree]) -> None:
    slots = _slots(holder)
    (one, at), (other, there) = chance.choice(slots), chance.choice(slots)
    first, second = write(one[at]), write(other[there])
    one[at] = Raw(second)
    other[there] = Raw(first)


def _wrap(chance: random.Random, holder: list[Tree]) -> None:
    inner, at = chance.choice(_slots(holder))
    depth = chance.choice((1, 1, 1, 2, 60, 200, 2000))
    name = chance.choice(("a", "content", "params", "error"))
    before, after = chance.choice((("[", "]"), (f'{{"{name}": ', "}")))
    inner[at] = Raw(before * depth + write(inner[at]) + after * depth)


def _unwrap(chance: random.Random, holder: list[Tree]) -> None:
    if objects := _objects(holder):
        chosen = chance.choice(objects)
        inner, at = next((inner, at) for inner, at in _slots(holder) if inner[at] is chosen)
        inner[at] = chance.choice(chosen)[1]


def _repeat(chance: random.Random, holder: list[Tree]) -> None:
    """The same again and again: a batch, at the root."""
    inner, at = chance.choice(_slots(holder)) if chance.random() < 0.7 else (holder, 0)
    inner[at] = Raw("[" + ", ".join([write(inner[at])] * chance.choice((0, 1, 2, 40))) + "]")


def _mangle(chance: random.Random, holder: list[Tree]) -> None:
    """A text that is cut, or has something odd in it."""
    texts = [(inner, at) for inner, at in _slots(holder) if type(inner[at]) is str]
    if texts:
        inner, at = chance.choice(texts)
        where = chance.randint(0, len(inner[at]))
        odd = chance.choice(("", "\0", "\u202e", "\ufeff", "é", "\U0001f600", "\r\n", "\\", '"', " ", "x" * 3000))
        inner[at] = inner[at][:where] + odd + chance.choice((inner[at][where:], ""))


Change: TypeAlias = Callable[[random.Random, list[Tree]], None]
CHANGES: tuple[Change, ...] = (
    *(_replace, _replace, _replace, _envelope, _envelope, _delete, _double, _rename),
    *(_swap, _wrap, _unwrap, _repeat, _mangle, _mangle),
)


# -- faults of bytes ---------------------------------------------------------------------------------------------------


def change_bytes(chance: random.Random, data: bytes) -> bytes:
    """The bytes with one or two faults."""
    for _ in range(chance.randint(1, 2)):
        data = _change_bytes_once(chance, data)
    return data


def _change_bytes_once(chance: random.Random, data: bytes) -> bytes:
    at, end = sorted((chance.randint(0, len(data)), chance.randint(0, len(data))))
    match chance.randrange(10):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + chance.choice(BAD_BYTES) + data[at:]
        case 2:
            return data[:at] + chance.choice(MORE_BYTES) + data[at:]
        case 3:
            return data[:at] + data[end:]
        case 4:
            return data[:end] + data[at:]
        case 5:
            return b"\xef\xbb\xbf" + data
        case 6:
            return data.decode("utf-8", "replace").encode(chance.choice(("utf-16", "utf-16-le", "utf-32-be")))
        case 7:
            return data.replace(b", ", chance.choice((b",\r\n", b",\n", b",\r", b", \x00", b",,", b"")))
        case 8:
            return data + chance.choice((b"}", data, b"\x00", b" garbage", b"\r", b"," + data))
        case _:
            return FRAME % (len(data), data)
