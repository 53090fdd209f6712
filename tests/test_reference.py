"""docs/reference.md says what the code says. `python tests/test_reference.py > docs/reference.md` writes it anew."""

import ast
import inspect
import sys
from pathlib import Path
from typing import cast

from bridge import settings
from bridge.cli.main import build_parser
from bridge.host.schema import ARGUMENTS, RESULT
from bridge.host.tools import CANCEL_ARGUMENTS, WAIT_ARGUMENTS
from bridge.items import JsonObject

SECTIONS = {
    "upstream": settings.UpstreamConfig,
    "mcpServers.<key>": settings.ServerConfig,
    "mcpServers.<key>.tools": settings.ToolRules,
    "limits": settings.Limits,
    "tool_search": settings.ToolSearch,
    "prices.<model>": settings.Price,
    "serve": settings.ServeConfig,
}
SPELLED = {"transport": "type"}


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
        "Fields: " + ", ".join(f"`{name}`" for name in cast("JsonObject", RESULT["properties"])) + ".",
        "## `respond_wait`",
        _render_arguments(WAIT_ARGUMENTS),
        "## `respond_cancel`",
        _render_arguments(CANCEL_ARGUMENTS),
        "Both have the result of `respond`.",
        "## Commands",
        "```",
        _render_commands(),
        "```",
    ]
    return "\n\n".join(parts).replace("```\n\n", "```\n").replace("\n\n```\n", "\n```\n").rstrip() + "\n"


def _first_line(section: type) -> str:
    return (inspect.getdoc(section) or "").splitlines()[0]


def _render_fields(section: type[settings.BaseModel]) -> str:
    tree = ast.parse(inspect.getsource(section)).body[0]
    assert isinstance(tree, ast.ClassDef)
    rows = ["| setting | default | |", "|---|---|---|"]
    for field, doc in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(doc, ast.Expr) and isinstance(field.target, ast.Name):
            name = field.target.id
            default = section.model_fields[name].get_default(call_default_factory=False)
            text = inspect.cleandoc(str(cast("ast.Constant", doc.value).value)).replace("\n", " ")
            if name != "key":
                rows.append(f"| `{SPELLED.get(name, name)}` | {_show(default)} | {text} |")
    return "\n".join(rows)


def _show(default: object) -> str:
    is_plain = isinstance(default, (int, float, str)) and default != ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`" if is_plain else ""


def _render_arguments(arguments: JsonObject) -> str:
    rows = ["| argument | |", "|---|---|"]
    for name, schema in cast("dict[str, JsonObject]", arguments["properties"]).items():
        rows.append(f"| `{name}` | {schema.get('description') or 'as in the Responses API'} |")
    return "\n".join(rows)


def _render_commands() -> str:
    parser = build_parser()
    lines = [parser.format_usage().strip()]
    for action in parser._actions:
        if isinstance(action.choices, dict):
            lines += [command.format_usage().strip().removeprefix("usage: ") for command in action.choices.values()]
    return "\n".join(" ".join(line.split()) for line in lines)


def test_the_reference_says_what_the_code_says(repository: Path) -> None:
    assert (repository / "docs" / "reference.md").read_text(encoding="utf-8") == render()


if __name__ == "__main__":
    sys.stdout.write(render())
