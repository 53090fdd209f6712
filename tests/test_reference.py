"""docs/reference.md says what the code says. `python -m tests.test_reference > docs/reference.md` writes it anew."""

import argparse
import ast
import inspect
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, cast, get_args, get_origin

from bridge.cli.parser import build_parser
from bridge.config import settings
from bridge.host.result_schema import RESULT
from bridge.host.schema import ARGUMENTS
from bridge.host.tools import CANCEL_ARGUMENTS, WAIT_ARGUMENTS
from bridge.json_text import JsonObject

SECTIONS = {
    "upstream": settings.UpstreamConfig,
    "mcpServers.<key>": settings.ServerConfig,
    "mcpServers.<key>.tools": settings.ToolRules,
    "mcpServers.<key>.oauth": settings.OAuthConfig,
    "limits": settings.Limits,
    "runs": settings.RunsConfig,
    "tool_search": settings.ToolSearch,
    "prices.<model>": settings.Price,
    "serve": settings.ServeConfig,
}
OTHERS = ("init", "offline")
"""Commands that take none of the common options."""
SPELLED = {"transport": "type"}
"""What the config file calls a setting, where that is read in several spellings: its text says which."""


def render() -> str:
    parts = [
        "# Reference",
        "Every setting of the config file, every argument of the tools, every command. Made from the code.",
        "## Config file",
        "`${env:NAME}` and `${env:NAME:-default}` may stand in any string, `${NAME}` inside `mcpServers` too.",
    ]
    for name, section in SECTIONS.items():
        parts += [f"### `{name}`", _first_line(section), _render_fields(section)]
    parts += [
        "### Beside them",
        "`builtin_tools` (`true`): offer the four built-in tools.",
        "`input_roots` (`[]`): folders whose files `input` may name by path; what is in them can reach the upstream.",
        "## `respond`",
        "### Arguments",
        _render_arguments(ARGUMENTS),
        "### Result",
        _render_result(RESULT),
        "## `respond_wait`",
        _render_arguments(WAIT_ARGUMENTS),
        "## `respond_cancel`",
        _render_arguments(CANCEL_ARGUMENTS),
        "Both have the result of `respond`.",
        "## Commands",
        _render_commands(),
    ]
    return "\n\n".join(parts).rstrip() + "\n"


def _first_line(section: type) -> str:
    return (inspect.getdoc(section) or "").splitlines()[0]


def _render_fields(section: type[settings.BaseModel]) -> str:
    tree = ast.parse(inspect.getsource(section)).body[0]
    assert isinstance(tree, ast.ClassDef)
    rows = ["| setting | default | |", "|---|---|---|"]
    for field, doc in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(doc, ast.Expr) and isinstance(field.target, ast.Name):
            name = field.target.id
            text = inspect.cleandoc(str(cast("ast.Constant", doc.value).value)).replace("\n", " ")
            if name in SPELLED:
                rows.append(f"| `{SPELLED[name]}` |  | {text} |")
            elif name != "key":
                setting = section.model_fields[name]
                default = setting.get_default(call_default_factory=False)
                rows.append(f"| `{name}` | {_show(default)} | {text}{_render_choices(setting.annotation)} |")
    return "\n".join(rows)


def _render_choices(annotation: object) -> str:
    """One of few values, also where None is another."""
    literals = [kind for kind in (annotation, *get_args(annotation)) if get_origin(kind) is Literal]
    choices = [f"`{choice}`" for literal in literals for choice in get_args(literal)]
    return f" One of {', '.join(choices)}." if choices else ""


def _show(default: object) -> str:
    is_plain = isinstance(default, (int, float, str)) and default != ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`" if is_plain else ""


def _render_arguments(arguments: JsonObject) -> str:
    rows = ["| argument | |", "|---|---|"]
    for name, schema in cast("dict[str, JsonObject]", arguments["properties"]).items():
        rows.append(f"| `{name}` | {schema.get('description') or 'as in the Responses API'} |")
    return "\n".join(rows)


def _render_result(result: JsonObject) -> str:
    required = cast("list[str]", result["required"])
    rows = ["| field | type | |", "|---|---|---|"]
    for name, schema in cast("dict[str, JsonObject]", result["properties"]).items():
        words = [str(schema.get("description") or "")] + ([] if name in required else ["not always there"])
        rows.append(f"| `{name}` | {_name_type(schema)} | {'; '.join(filter(None, words))} |")
    return "\n".join(rows)


def _name_type(schema: JsonObject) -> str:
    """Name the type as the schema has it; the fields of an object follow it."""
    if choices := cast("list[JsonObject]", schema.get("anyOf")):
        return "any JSON" if len(choices) > 2 else " or ".join(map(_name_type, choices))
    if values := cast("list[str]", schema.get("enum")):
        return "one of " + ", ".join(f"`{value}`" for value in values)
    if items := cast("JsonObject", schema.get("items")):
        return f"list of {_name_type(items)}"
    if properties := cast("dict[str, JsonObject]", schema.get("properties")):
        return "object of " + ", ".join(f"`{name}`" for name in properties)
    return str(schema["type"])


def _render_commands() -> str:
    """Each command with its options; those that all take are said once."""
    parser = build_parser()
    [commands] = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    helps = {choice.dest: choice.help for choice in commands._choices_actions}
    options = {name: _describe_options(command) for name, command in commands.choices.items()}
    common = [
        row for row in options["demo"] if all(row in rows for name, rows in options.items() if name not in OTHERS)
    ]
    parts = [
        f"All but `{'` and `'.join(OTHERS)}` take these; `{parser.prog}` alone takes `--version`.",
        _render_options(common),
    ]
    for name, rows in options.items():
        words = helps[name] or ""
        parts += [f"### `{name}`", f"{words[:1].upper()}{words[1:]}."]
        parts += [_render_options(own)] if (own := [row for row in rows if row not in common]) else []
    return "\n\n".join(parts)


def _describe_options(command: argparse.ArgumentParser) -> list[tuple[str, str]]:
    """Each option as it is typed, and what it does."""
    actions = [action for action in command._actions if action.dest != "help"]
    return [(_spell(action), (action.help or "") % vars(action)) for action in actions]


def _spell(action: argparse.Action) -> str:
    value = f"{{{','.join(map(str, action.choices))}}}" if action.choices else action.dest.upper()
    parts = [*action.option_strings, str(action.metavar or value)]
    return " ".join(parts[:1] if action.nargs == 0 else parts)


def _render_options(rows: Iterable[tuple[str, str]]) -> str:
    lines = [f"| `{name}` | {text} |" for name, text in rows]
    return "\n".join(["| option | |", "|---|---|", *lines])


def test_the_reference_says_what_the_code_says(repository: Path) -> None:
    assert (repository / "docs" / "reference.md").read_text(encoding="utf-8") == render()


if __name__ == "__main__":
    sys.stdout.write(render())
