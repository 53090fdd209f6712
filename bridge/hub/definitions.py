"""The definition of a tool as the SDK accepts it: its oddities go, the tool stays.

The SDK (mcp 2.3) rejects a whole list over one tool with a part of the wrong type. What is taken out or read otherwise
is said in notes, which `tools NAME` shows.
"""

from typing import TypeGuard

from mcp import types
from pydantic import ValidationError

from bridge.hub.pruning import prune, sum_up
from bridge.json_text import Json, JsonObject, write
from bridge.schemas.shapes import is_root, read_text, shape_root

ALIASES = {"inputSchema": ("input_schema", "parameters"), "outputSchema": ("output_schema",)}
"""Names of other APIs, and of models that were written without MCP's names."""


def list_definitions(tools: Json) -> list[Json]:
    """List the definitions in `tools`: a list, also one in another, or an object that holds them or is the only one."""
    match tools:
        case str():
            return list_definitions(read_text(tools))
        case {"name": str()}:
            return [tools]
        case dict():
            return [found for name, tool in tools.items() for found in _name(name, tool)]
        case list():
            return [found for tool in tools for found in (tool if isinstance(tool, list) else [tool])]
        case _:
            return []


def _name(name: str, tool: Json) -> list[Json]:
    """Return a definition under its name, or a list of them under any."""
    if isinstance(tool, list):
        return tool
    return [{"name": name} | tool if isinstance(tool, dict) else tool]


def is_sound(tool: Json) -> TypeGuard[JsonObject]:
    """Tell whether the SDK accepts a definition, in every revision."""
    if not (isinstance(tool, dict) and is_root(tool.get("inputSchema"))):
        return False
    try:
        _judge(tool)
    except ValidationError:
        return False
    return bool(str(tool["name"]).strip()) and (tool.get("outputSchema") is None or is_root(tool["outputSchema"]))


def mend_definition(tool: Json) -> tuple[JsonObject, list[str]]:
    """Return a definition that the SDK accepts, and notes on what was odd. Raises ValueError if it cannot be called."""
    if not isinstance(tool, dict):
        raise ValueError("it is no definition of a tool")
    inner = tool.get("function")
    mended, notes = {**(tool if "name" in tool or not isinstance(inner, dict) else inner)}, list[str]()
    _check_name(mended)
    _respell(mended, notes)
    mended["inputSchema"] = shape_root(mended.get("inputSchema"), notes.append)
    _mend_description(mended, notes)
    if gone := [*_drop_output(mended), *prune(mended, _judge)]:
        notes.append(f"left out, as MCP does not allow it so: {sum_up(gone)}")
    if not is_sound(mended):
        raise ValueError("its definition cannot be read")
    return mended, notes


def _check_name(tool: JsonObject) -> None:
    name = tool.get("name")
    if name is None or (isinstance(name, str) and not name.strip()):
        raise ValueError("it has no name")
    if not isinstance(name, str):
        raise ValueError(f"its name is not a text: {write(name)[:100]}")


def _respell(tool: JsonObject, notes: list[str]) -> None:
    """Give the schemas their names in MCP."""
    for name, others in ALIASES.items():
        found = next((other for other in others if isinstance(tool.get(other), dict)), None)
        if tool.get(name) is None and found:
            tool[name] = tool.pop(found)
            notes.append(f"its {found} is read as {name}")


def _mend_description(tool: JsonObject, notes: list[str]) -> None:
    """Let the description be a text: the model chooses the tool by it."""
    said = tool.get("description")
    if said is None or isinstance(said, str):
        return
    lines = said if isinstance(said, list) and all(isinstance(line, str) for line in said) else [write(said)]
    tool["description"] = "\n".join(map(str, lines))
    notes.append("its description, which is not a text, is written as one")


def _drop_output(tool: JsonObject) -> list[str]:
    """Drop an output schema that the SDK would refuse in the handshake era: nothing here is judged by it.

    Return its name if it is odd in the modern era, too.
    """
    said = tool.get("outputSchema")
    if said is None or is_root(said):
        return []
    del tool["outputSchema"]
    return [] if isinstance(said, dict) and is_root(said | {"type": "object"}) else ["outputSchema"]


def _judge(tool: JsonObject) -> types.Tool:
    return types.Tool.model_validate(tool, by_name=False)
