"""configs/bridge.schema.json says what the code reads.

`python -m tests.test_schema > configs/bridge.schema.json` writes it anew.
"""

import ast
import inspect
import json
import sys
from pathlib import Path
from typing import Any, cast

import jsonschema
import pytest
from pydantic import BaseModel, TypeAdapter

from bridge.config import settings
from bridge.config.entries import HOST_KEYS
from bridge.config.load import load

SECTIONS: dict[str, type[BaseModel]] = {
    "upstream": settings.UpstreamConfig,
    "limits": settings.Limits,
    "runs": settings.RunsConfig,
    "tool_search": settings.ToolSearch,
    "serve": settings.ServeConfig,
}
TEXT = {"type": "string", "pattern": r"\$\{env:"}
"""In place of any value that is no text: a reference."""
_BOUNDS = {"ge": "minimum", "le": "maximum", "gt": "exclusiveMinimum"}
"""What pydantic leaves of bounds behind a validator of ours."""


def build() -> dict[str, Any]:
    """The schema of the whole file. A server may have keys of its host; our own sections may not."""
    server = describe(settings.ServerConfig)
    properties = cast("dict[str, Any]", server["properties"])
    del properties["key"]
    properties["type"] = properties.pop("transport") | {"enum": ["stdio", "http", "streamable-http", "sse"]}
    properties["tools"] = describe(settings.ToolRules)
    properties["oauth"] = describe(settings.OAuthConfig)
    properties |= {key: {} for key in sorted(HOST_KEYS - properties.keys())}
    server |= {"additionalProperties": True, "required": []}
    servers = {"type": "object", "additionalProperties": server}
    own = {name: describe(section) for name, section in SECTIONS.items()}
    prices = {"type": "object", "additionalProperties": describe(settings.Price)}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The config file of mcp-responses-bridge",
        "type": "object",
        "properties": {
            "$schema": {"type": "string"},
            "mcpServers": servers,
            **own,
            "prices": prices | {"description": describe_field(settings.Config, "prices")},
            "builtin_tools": {"type": "boolean", "description": describe_field(settings.Config, "builtin_tools")},
            "input_roots": {
                "type": "array",
                "items": {"type": "string"},
                "description": describe_field(settings.Config, "input_roots"),
            },
        },
    }


def describe(section: type[BaseModel]) -> dict[str, Any]:
    """The schema of one section, with the docstrings as descriptions."""
    fields: dict[str, Any] = {}
    for name, field in section.model_fields.items():
        schema = TypeAdapter(field.rebuild_annotation()).json_schema() if name not in ("tools", "oauth") else {}
        kept = {_BOUNDS.get(key, key): value for key, value in schema.items() if key not in ("default", "title")}
        choices = [choice for choice in kept.get("anyOf", [kept]) if choice.get("type") != "null"]
        if any(choice.get("type") in ("boolean", "integer", "number") for choice in choices):
            choices.append(TEXT)
        described = {"description": describe_field(section, name)}
        fields[name] = described | (choices[0] if len(choices) == 1 else {"anyOf": choices})
        default = field.get_default(call_default_factory=True)
        if isinstance(default, (bool, int, float, str)):
            fields[name]["default"] = default
    return {
        "type": "object",
        "description": (inspect.getdoc(section) or "").splitlines()[0],
        "properties": fields,
        "required": [name for name, field in section.model_fields.items() if field.is_required()],
        "additionalProperties": False,
    }


def describe_field(section: type[BaseModel], name: str) -> str:
    tree = ast.parse(inspect.getsource(section)).body[0]
    assert isinstance(tree, ast.ClassDef)
    for field, doc in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(doc, ast.Expr) and ast.unparse(field.target) == name:
            return inspect.cleandoc(str(cast("ast.Constant", doc.value).value)).replace("\n", " ")
    return ""


def render() -> str:
    return json.dumps(build(), indent=1, ensure_ascii=False) + "\n"


def test_the_schema_says_what_the_code_says(repository: Path) -> None:
    assert (repository / "configs" / "bridge.schema.json").read_text(encoding="utf-8") == render()


def test_every_example_is_valid_and_loads(repository: Path, tmp_path: Path) -> None:
    judge = jsonschema.Draft202012Validator(build())
    for file in (repository / "configs").glob("*.json"):
        if "schema" not in file.name:
            judge.validate(json.loads(file.read_text(encoding="utf-8")))
    file = tmp_path / "config.json"
    file.write_text('{"$schema": "bridge.schema.json", "mcpServers": {}, "limits": {}}', encoding="utf-8")
    assert load(file, environ={}).notices == ()


WRONG: list[dict[str, Any]] = [
    {"limits": {"max_turn": 5}},
    {"limits": {"max_turns": "many"}},
    {"upstream": {"stream": "no"}},
    {"serve": {"port": 99999}},
    {"mcpServers": {"x": {"command": "x", "tools": {"dney": []}}}},
    {"builtin_tools": "maybe"},
]


@pytest.mark.parametrize("wrong", WRONG, ids=json.dumps)
def test_an_editor_shows_what_would_stop_the_start(wrong: dict[str, Any]) -> None:
    assert not jsonschema.Draft202012Validator(build()).is_valid(wrong)


if __name__ == "__main__":
    sys.stdout.write(render())
