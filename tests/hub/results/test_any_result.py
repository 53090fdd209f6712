"""Whatever a server returns, the run goes on to its end, and the model reads what is said: results by hypothesis."""

import copy
import json
import tempfile
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.bridges import open_bridge
from tests.fakes.http import WIRES, serve_rogue
from tests.fakes.servers import PIXEL
from tests.fakes.upstream import call

Json = dict[str, Any]
ERAS = ("legacy", "modern")
AT_ONCE = 60

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats()
    | st.sampled_from(["text", "image", "hello", PIXEL, "\ud83d", "", "true", "2.0", "input_required"])
    | st.text(st.characters(), max_size=8)
)
FIELDS = ["type", "text", "data", "mimeType", "resource", "uri", "blob", "name", "annotations", "0"]
FIELDS += ["content", "structuredContent", "isError", "_meta", "resultType", "toolResult", "task", "ttlMs"]
FIELDS += ["inputRequests", "requestState"]
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)
PARTS: list[Json] = [
    {"type": "text", "text": "hello", "annotations": {"priority": 1}},
    {"type": "image", "data": PIXEL, "mimeType": "image/png"},
    {"type": "audio", "data": "AAAA", "mimeType": "audio/wav"},
    {"type": "resource", "resource": {"uri": "a:b", "text": "there", "mimeType": "text/plain"}},
    {"type": "resource", "resource": {"uri": "a:b", "blob": PIXEL, "mimeType": "image/png"}},
    {"type": "resource_link", "uri": "a:b", "name": "n", "size": 5},
]
GOOD: Json = {
    "content": PARTS,
    "structuredContent": {"result": PARTS, "n": 1},
    "isError": False,
    "_meta": {"a": 1},
    "resultType": "complete",
}


@st.composite
def mutations(draw: st.DrawFn) -> Json:
    """A good result in which anything stands in another thing's place, or is not there."""
    result = copy.deepcopy(GOOD)
    for _ in range(draw(st.integers(1, 3))):
        holder: Any = result
        key: Any = draw(st.sampled_from(sorted(holder)))
        while isinstance(holder[key], (dict, list)) and holder[key] and draw(st.booleans()):
            holder = holder[key]
            key = draw(st.sampled_from(sorted(holder) if isinstance(holder, dict) else range(len(holder))))
        if isinstance(holder, dict) and draw(st.booleans()) and len(holder) > 1:
            del holder[key]
        else:
            holder[key] = draw(values)
    return result


@st.composite
def shapes(draw: st.DrawFn) -> Any:
    """Any value as the result, or as one of its fields."""
    place = draw(st.sampled_from(["all", "part", *FIELDS]))
    value = draw(values)
    if place == "all":
        return value
    return {**GOOD, "content": [PARTS[0], value]} if place == "part" else {**GOOD, place: value}


async def use(wire: str, era: str, file: Path) -> tuple[Json, list[Any]]:
    limits = {"max_tool_calls": 500, "max_turn_calls": 500, "turn_bytes": 1 << 24, "run_bytes": 1 << 24}
    async with (
        serve_rogue(wire, era, f"answers={file}") as entry,
        open_bridge({"odd": entry}, limits=limits) as bridge,
    ):
        outcome = await bridge.use(*(call("odd__answer", {"line": line}) for line in range(AT_ONCE)))
    return outcome.receipt, outcome.outputs


@pytest.mark.rule("REL16")
@pytest.mark.external
@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("wire", WIRES)
@given(results=st.lists(shapes() | mutations(), min_size=AT_ONCE, max_size=AT_ONCE))
@settings(max_examples=4, derandomize=True, deadline=None)
def test_no_result_of_any_shape_ends_a_run_or_fails_its_call(wire: str, era: str, results: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "results")
        file.write_text("\n".join(map(json.dumps, results)), encoding="utf-8")
        receipt, outputs = anyio.run(use, wire, era, file)
    assert receipt["status"] == "completed"
    assert len(outputs) == len(results)
    for result, output in zip(results, outputs, strict=True):
        assert json.dumps(output)
        assert "internal_error" not in str(output)
        if not asks_for_input(result):
            assert "cannot be read" not in str(output), (result, output)
            assert not says_hello(result) or "hello" in str(output), (result, output)


def asks_for_input(result: Any) -> bool:
    """Whether it may be a question of the server's, which has rules of its own."""
    return isinstance(result, dict) and bool(result.keys() & {"inputRequests", "requestState"})


def says_hello(result: Any) -> bool:
    """Whether its first part is a text that a model has to read."""
    content = result.get("content") if isinstance(result, dict) else None
    return isinstance(content, list) and bool(content) and content[0] == PARTS[0]
