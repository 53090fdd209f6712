"""Whether the content of a result repeats its structured content, in any of the ways in which servers do."""

from collections.abc import Iterable, Sequence

from mcp import types
from pydantic_core import from_json

from bridge.hub.results.base64_values import name_data
from bridge.json_text import Json, JsonObject, write

MAX_TEXTS = 20
"""Among how many texts one is looked for that says the structured content."""
_UNSAID = {"annotations", "_meta"}
"""Fields of a part that no model reads."""


def says_same(content: Sequence[types.ContentBlock], structured: Json) -> bool:
    """Tell whether the content repeats the structured content.

    The texts may be its JSON, or the value of its only field, with one text or line for each element of a list: so the
    SDK writes results that are not objects. Or it holds the parts themselves (neka-nat/freecad-mcp#102).
    """
    wanted = [structured, *_inside(structured)]
    texts = [text for text in map(_find_text, content) if text is not None]
    if len(texts) <= MAX_TEXTS and any(value in said for said in map(_find_said, texts) for value in wanted):
        return True
    lists = [value for value in wanted if isinstance(value, list)]
    if any(_says_each(texts, values) or _is_content(content, values) for values in lists):
        return True
    return len(content) == 1 and any(_is_part(content[0], value) for value in wanted)


def _find_text(block: types.ContentBlock) -> str | None:
    match block:
        case types.TextContent(text=text) | types.EmbeddedResource(resource=types.TextResourceContents(text=text)):
            return text
        case _:
            return None


def _find_said(text: str) -> list[Json]:
    """Return the values that a text says: itself, the JSON that it is or holds, and what is in its only field."""
    value = read_json(text)
    if value is text and (json_text := split_json(text)[1]) != text:
        value = read_json(json_text)
    return [text, text.strip(), value, *_inside(value)]


def _inside(value: Json) -> Iterable[Json]:
    """Return the value of the only field of an object; a result within a result may say that it is no error."""
    if not isinstance(value, dict):
        return ()
    fields = {key: inner for key, inner in value.items() if key != "isError" or inner}
    return fields.values() if len(fields) == 1 else ()


def _says_each(texts: Sequence[str], values: Sequence[Json]) -> bool:
    if len(texts) == 1 < len(values) == texts[0].strip().count("\n") + 1:
        texts = texts[0].strip().split("\n")
    return len(texts) == len(values) > 0 and all(map(_says, texts, values))


def _says(text: str, value: Json) -> bool:
    return value in (text, read_json(text))


def _is_content(content: Sequence[types.ContentBlock], values: Sequence[Json]) -> bool:
    return len(content) == len(values) > 0 and all(map(_is_part, content, values))


def _is_part(block: types.ContentBlock, value: Json) -> bool:
    """Tell whether a value is what a block was made of, or its text."""
    if isinstance(block, types.TextContent) and _says(block.text, value):
        return True
    if not isinstance(value, dict) or "type" not in value:
        return False
    said = _reduce(value)
    if isinstance(block, types.TextContent):
        return block.text in (said.get("text"), write(name_data(said)), write(name_data(value)))
    return said == _reduce(block.model_dump(by_alias=True, exclude_none=True))


def _reduce(fields: JsonObject) -> JsonObject:
    """Return the fields that say something: not null, and read by a model."""
    kept = {key: value for key, value in fields.items() if value is not None and key not in _UNSAID}
    return {key: _reduce(value) if isinstance(value, dict) else value for key, value in kept.items()}


def split_json(text: str) -> tuple[str, str, str]:
    """Split a text into the JSON in it, from the first bracket to the last, and the words around it."""
    start = min((place for place in (text.find("{"), text.find("[")) if place >= 0), default=0)
    end = max(text.rfind("}"), text.rfind("]")) + 1
    return (text[:start], text[start:end], text[end:]) if start < end else ("", text, "")


def read_json(text: str) -> Json:
    """Parse a text as JSON; return the text itself if that fails, as it does for half an emoji."""
    try:
        return from_json(text)
    except (ValueError, TypeError):
        return text
