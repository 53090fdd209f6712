"""Changes to texts of hosts' files: what was asked for and nothing else, whatever the file looks like."""

import copy
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bridge.config.faults import Fault
from bridge.hosts.edits import Append, Remove, Set, edit, find_value, read_value

ENTRY: dict[str, Any] = {"command": "/opt/b", "args": ["serve"], "env": {"OPENAI_API_KEY": "k"}}
OURS = ("mcpServers", "responses")
OTHER = '{"command": "npx"}'

WRITTEN = """{
  "mcpServers": {
    "responses": {
      "command": "/opt/b",
      "args": [
        "serve"
      ],
      "env": {
        "OPENAI_API_KEY": "k"
      }
    }
  }
}
"""


@pytest.mark.parametrize("text", ["", "\n", "{}\n", "{\n}\n", "{\n\n}\n"])
def test_an_empty_file_gets_the_entry_alone(text: str) -> None:
    assert edit(text, [Set(OURS, ENTRY)]) == WRITTEN


LAYOUTS = {
    "two spaces": '{\n  "mcpServers": {\n    "a": %s\n  }\n}\n',
    "four spaces": '{\n    "mcpServers": {\n        "a": %s\n    }\n}',
    "tabs": '{\n\t"mcpServers": {\n\t\t"a": %s\n\t},\n\t"theme": "x"\n}\n',
    "one line": '{"mcpServers": {"a": %s}, "theme": "x"}',
    "minified": '{"theme":"x","mcpServers":{"a":%s}}',
    "windows line ends": '{\r\n  "mcpServers": {\r\n    "a": %s\r\n  }\r\n}\r\n',
    "a comma at the end": '{\n  "mcpServers": {\n    "a": %s,\n  },\n}\n',
    "a comment at the end": '{\n  "mcpServers": {\n    "a": %s // the one, "so"\n    // "b": {},\n  } /* , */\n}\n',
    "a comma and a comment": '{\n  "mcpServers": {\n    "a": %s, // , }\n    /* } */\n  }\n}\n',
    "a comma after a comment": '{\n  "mcpServers": {\n    "a": %s /* now */ , // then\n  }\n}\n',
    "a bracket on the last line": '{\n  "mcpServers": {\n    "a": %s }\n}\n',
    "a bracket between comments": '{\n  "mcpServers": {\n    "a": %s /* x */}  /* y */\n}\n',
    "all on the bracket's line": '{ "mcpServers": { "a": %s }\n}\n',
    "the comma first": '{\n    "theme": "x"\n  , "mcpServers": {\n      "a": %s\n    }\n}\n',
    "comments alone": '// mine\n{\n  // none yet: "mcpServers": {}\n  /* or */\n}\n// end',
    "an empty section": '{\n  "theme": "//x", // {\n  "mcpServers": {}\n}\n',
    "a section with a comment": '{\n  "mcpServers": {\n    // "a": {}\n  }\n}\n',
    "a section with a comment on its line": '{\n  "mcpServers": { /* none */ }\n}\n',
    "no section": '{\n  "theme": "x"\n}\n',
    "braces in strings": '{\n  "x": "}{\\"\\\\",\n  "mcpServers": {\n    "a": %s\n  }\n}\n',
    "a server with our words": '{\n  "mcpServers": {\n    "a": %s,\n    "c": {"env": {"responses": ""}}\n  }\n}\n',
}
"""Files as people have them; `%s` is a server of theirs."""


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_put_into_a_file_and_taken_out_again_leaves_every_other_byte(layout: str) -> None:
    text = LAYOUTS[layout].replace("%s", OTHER)
    before = read_value(text)
    put = edit(text, [Set(OURS, ENTRY)])
    assert find_value(read_value(put), OURS) == ENTRY
    assert is_kept(text, put)
    gone = edit(put, [Remove(OURS)])
    assert {"mcpServers": {}, **read_value(gone)} == {"mcpServers": {}, **before}
    assert is_kept(gone, put)
    assert comments(gone) == comments(text)


def is_kept(old: str, new: str) -> bool:
    """Whether all of the old text, but for white space and commas, is in the new one, in its order."""
    rest = iter(new)
    return all(sign in rest for sign in old if not sign.isspace() and sign != ",")


def comments(text: str) -> list[str]:
    found = re.findall(r'"(?:[^"\\]|\\.)*"|//[^\n]*|/\*.*?\*/', text)
    return [comment.strip() for comment in found if comment.startswith("/")]


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize(
    "layout",
    ['{"m": {"a": 1, "b": {"x": [1]}, "c": 3}}', '{\n "m": {\n  "a": 1, // a\n  "b": {}, // b\n  "c": 3 // c\n }\n}'],
)
def test_any_one_of_three_is_taken_out_alone(layout: str, number: int) -> None:
    path = ("m", "abc"[number])
    gone = edit(layout, [Remove(path)])
    assert list(read_value(gone)["m"]) == [name for name in "abc" if name != path[1]]  # type: ignore
    assert comments(gone) == comments(layout)


def test_an_entry_that_is_there_is_replaced_where_it_stands() -> None:
    text = '{\n  // mine\n  "mcpServers": {\n    "responses": {"command": "old"}, // ours\n    "a": {}\n  }\n}\n'
    assert edit(text, [Set(OURS, {"command": "new"})]) == text.replace(
        '{"command": "old"}', '{\n      "command": "new"\n    }'
    )


def test_a_list_gets_another_item_and_is_made_where_there_is_none() -> None:
    asked: dict[str, Any] = {"id": "key"}
    text = '{\n  "inputs": [\n    {"id": "a"},\n  ],\n  "servers": {}\n}\n'
    assert read_value(edit(text, [Append(("inputs",), asked)]))["inputs"] == [{"id": "a"}, asked]
    made = edit('{"servers": {}}', [Append(("inputs",), asked)])
    assert made == '{"servers": {}, "inputs": [{"id": "key"}]}'
    assert read_value(edit(made, [Remove(("inputs", 0))])) == {"servers": {}, "inputs": []}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"mcpServers": {', "not JSON"),
        ('{"mcpServers": []}', "expected an object"),
        ('{"mcpServers": null}', "expected an object"),
        ("[]", "expected an object at the top"),
        ('{"mcpServers": {}, "mcpServers": {}}', "given twice"),
        ("mcpServers:\n  a: b\n", "YAML"),
    ],
)
def test_a_file_that_cannot_be_changed_is_told(text: str, words: str) -> None:
    with pytest.raises(Fault, match=words):
        edit(text, [Set(OURS, ENTRY)])


TOML = """# mine
model = "gpt-5" # the best

[mcp_servers.a] # first
command = "npx"
args = [
  "-y", # [mcp_servers.responses]
  "x",
]
env = { A = "1" }

# before b
[mcp_servers."b c"]
command = '''
[mcp_servers.responses]
'''

[projects."/home/me"]
trust_level = "trusted"
# end
"""
TABLE = ("mcp_servers", "responses")


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
@pytest.mark.parametrize("text", [TOML, "", "model = 1\n", "# a\n"])
def test_a_table_is_put_at_the_end_of_toml_and_taken_out_again(text: str, end: str, newline: str) -> None:
    text = (text.rstrip("\n") + end).replace("\n", newline)
    put = edit(text, [Set(TABLE, ENTRY)], ".toml")
    assert put.startswith(text)
    assert find_value(read_value(put, ".toml"), TABLE) == ENTRY
    assert edit(put, [Remove(TABLE)], ".toml").rstrip() == text.rstrip()
    assert newline not in text or newline == "\n" or "\n" not in put.replace("\r\n", "")


def test_a_table_in_the_middle_is_replaced_and_taken_out_where_it_is() -> None:
    put = TOML.replace(
        "# before b", '[mcp_servers.responses]\ncommand = "old"\n[mcp_servers.responses.env]\nX = "1"\n\n# before b'
    )
    new = edit(put, [Set(TABLE, {"command": "new"})], ".toml")
    assert new == TOML.replace("# before b", '[mcp_servers.responses]\ncommand = "new"\n\n# before b')
    assert edit(new, [Remove(TABLE)], ".toml") == TOML


def test_a_table_in_another_shape_is_changed_by_tomlkit_and_no_comment_is_lost() -> None:
    text = '# mine\nmcp_servers = { a = { command = "npx" } } # inline\nmodel = "x"\n'
    put = edit(text, [Set(TABLE, {"command": "b", "args": ["serve"]})], ".toml")
    assert find_value(read_value(put, ".toml"), TABLE) == {"command": "b", "args": ["serve"]}
    assert "# mine" in put
    assert "# inline" in put
    assert find_value(read_value(edit(put, [Remove(TABLE)], ".toml"), ".toml"), TABLE) is None


def test_every_file_of_the_corpus_takes_the_entry_or_is_told(repository: Path) -> None:
    """The 203 shapes of 53 programs; what is read can be changed, and changed back."""
    corpus: list[dict[str, Any]] = json.loads((repository / "tests/data/host_files.json").read_text(encoding="utf-8"))
    changed = 0
    for case in corpus:
        text, suffix = case["text"], Path(case["path"]).suffix
        section = "mcp_servers" if suffix == ".toml" else "mcpServers"
        try:
            before = read_value(text, suffix)
            put = edit(text, [Set((section, "responses"), ENTRY)], suffix)
        except Fault:
            continue
        expected: Any = copy.deepcopy(before)
        expected.setdefault(section, {})["responses"] = ENTRY
        assert read_value(put, suffix) == expected, case["source"]
        assert is_kept(text, put), case["source"]
        gone = read_value(edit(put, [Remove((section, "responses"))], suffix), suffix)
        assert {section: {}, **gone} == {section: {}, **before}, case["source"]
        changed += 1
    assert changed > 150


SPACES = [" ", "\n", "  ", "\t", "\r\n", '// c{}",\n', "/* x, } */", "", "", ""]
SCALARS = ['"a}b"', '"//x"', '"\\"{,"', "1", "true", "null", "-1.5e3", '"é仓"']


class Scribbler:
    """Somebody who writes JSON with comments and white space wherever they may stand."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def space(self) -> str:
        return "".join(self._random.choices(SPACES, k=self._random.randint(0, 3)))

    def write_file(self) -> str:
        sections = self._random.sample(["x", "mcpServers", "y"], self._random.randint(1, 3))
        return self.space() + self.write_object(sections, lambda: self.write_object(self.pick())) + self.space()

    def pick(self) -> list[str]:
        return self._random.sample(["a", "b", "c", "d"], self._random.randint(0, 3))

    def write_object(self, keys: list[str], write: Callable[[], str] | None = None, depth: int = 0) -> str:
        inner = [f'"{key}"{self.space()}:{self.space()}{write() if write else self.value(depth)}' for key in keys]
        return "{" + self.join(inner) + "}"

    def value(self, depth: int) -> str:
        match self._random.randint(0, 3) if depth < 3 else 0:
            case 1:
                return "[" + self.join([self.value(depth + 1) for _ in range(self._random.randint(0, 3))]) + "]"
            case 2:
                return self.write_object(self.pick(), depth=depth + 1)
            case _:
                return self._random.choice(SCALARS)

    def join(self, items: list[str]) -> str:
        spaced = ",".join(f"{self.space()}{item}{self.space()}" for item in items)
        return spaced + (f",{self.space()}" if items and self._random.random() < 0.5 else "") + self.space()


@pytest.mark.external
def test_made_up_files_lose_nothing_of_anybody_else() -> None:
    for seed in range(3000):
        text = Scribbler(seed).write_file()
        put = edit(text, [Set(OURS, ENTRY)])
        assert is_kept(text, put), seed
        gone = edit(put, [Remove(OURS)])
        assert is_kept(gone, put), seed
        assert comments(gone) == comments(text), seed
        assert {"mcpServers": {}, **read_value(gone)} == {"mcpServers": {}, **read_value(text)}, seed
