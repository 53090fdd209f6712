"""Each kind of result through a whole run, to each kind of upstream: what docs/results.md says, made by running it."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import jsonschema_rs
import pytest

from tests.fakes.bridges import open_bridge, outputs_of
from tests.fakes.kinds import PROTOCOL_ERROR, RESULTS, SCHEMA_2020_12, build_kinds
from tests.fakes.servers import PIXEL, rogue
from tests.fakes.upstream import call, message, responds

pytestmark = pytest.mark.anyio

UPSTREAMS: Mapping[str, Mapping[str, Any]] = {
    "parts and images": {},
    "parts": {"images": False},
    "words": {"content_parts": False},
}
HEAD = """# Results of tools

What the model reads of each kind of tool result, by what the upstream bears in the output of a call: content parts
with images, content parts, or words alone (`upstream.content_parts`, `upstream.images`; known by profile or learned
from a refusal). Made by running each of them.

- A text alone is a plain string. Parts are written here one below the other; `<image>` is an image that the model sees.
- Structured content is read too, unless a text says the same; `structured_content` of a server decides otherwise.
- An image is sent as what its bytes are. One over `limits.image_bytes` is scaled down where the extra `images` is
  installed; what cannot be sent is named, with its size and the reason.
- Invalid UTF-8 and half characters become U+FFFD, which a last line says.
- A file is read where its kind and its bytes are those of a text, else named.
- What is no content of MCP, or not yet, is its JSON as a text, binary data left out.
- A text over `limits.output_bytes` keeps its head and tail; `read_output` reads the rest, by page or by words.
"""


async def gather() -> dict[str, dict[str, Any]]:
    """The output of each kind, by upstream."""
    names = [f"all__kind_{number}" for number in range(len(RESULTS))] + ["all__protocol_error"]
    found: dict[str, dict[str, Any]] = {}
    for upstream, settings in UPSTREAMS.items():
        script = [responds(*map(call, names)), responds(message("done"))]
        async with open_bridge(
            {"all": build_kinds()}, script=script, upstream={"stream": "never", **settings}
        ) as bridge:
            await bridge.client.call_tool("respond", {"input": "x"})
        found[upstream] = dict(zip([*RESULTS, PROTOCOL_ERROR], outputs_of(bridge.requests[1]), strict=True))
    return found


def render(found: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [f"| result | {' | '.join(UPSTREAMS)} |", "|---" * (len(UPSTREAMS) + 1) + "|"]
    for kind in found["words"]:
        cells = [_show(found[upstream][kind]) for upstream in UPSTREAMS]
        rows.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join([HEAD, *rows, ""])


def _show(output: Any) -> str:
    if isinstance(output, str):
        return _quote(output)
    shown = [_quote(part["text"]) if part["type"] == "input_text" else "`<image>`" for part in output]
    return "<br>".join(f"part: {words}" for words in shown)


def _quote(text: str) -> str:
    return "<br>".join(f"`{line}`" for line in text.split("\n"))


async def test_the_page_says_what_the_model_reads(repository: Path) -> None:
    assert (repository / "docs" / "results.md").read_text(encoding="utf-8") == render(await gather())


async def test_what_the_conformance_suite_returns_arrives_with_its_meaning() -> None:
    outputs = (await gather())["parts and images"]
    image = {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "auto"}
    assert outputs["text"] == "a text"
    assert outputs["image"] == outputs["embedded image"] == [image]
    assert outputs["audio"].startswith("[audio, audio/wav, 44 bytes: not shown")
    assert "a note" in outputs["embedded text"]
    assert [part["type"] for part in outputs["mixed"]] == ["input_text", "input_image", "input_text"]
    assert json.loads(outputs["error"]) == {"error": "tool_error", "message": "a text"}
    assert json.loads(outputs[PROTOCOL_ERROR])["error"] == "protocol_error"


async def test_progress_of_a_tool_reaches_the_host_in_order() -> None:
    heard: list[str] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001
        heard.append(message or "")

    script = [responds(call("all__progress")), responds(message("done"))]
    async with open_bridge({"all": build_kinds()}, script=script) as bridge:
        await bridge.client.call_tool("respond", {"input": "x"}, progress_callback=hear)
    told = [line.split(": ")[1] for line in heard if line.startswith("  · all__progress")]
    assert told[0] == "0 of 100 (0%)", "those that follow at once are told together"
    assert told == [words for words in ("0 of 100 (0%)", "50 of 100 (50%)", "100 of 100 (100%)") if words in told]
    assert outputs_of(bridge.requests[1]) == ["progressed"]


async def test_a_schema_of_2020_12_is_offered_with_its_meaning_and_judged_by_it() -> None:
    calls: list[dict[str, Any]] = [
        {"name": "a"},
        {"contact": "x", "address": {}},
        {"address": {"city": 5}},
        {"other": 1, "name": "a"},
    ]
    async with open_bridge({"far": rogue(f"schema={json.dumps(SCHEMA_2020_12)}")}) as bridge:
        outcome = await bridge.use(*(call("far__judged", arguments) for arguments in calls))
        [sent] = [t for t in bridge.requests[0].json["tools"] if t["name"] == "far__judged"]
    original, offered = map(jsonschema_rs.validator_for, (SCHEMA_2020_12, sent["parameters"]))
    assert [original.is_valid(arguments) for arguments in calls] == [True, False, False, False]
    assert [offered.is_valid(arguments) for arguments in calls] == [True, False, False, False]
    assert ["invalid_arguments" in output for output in outcome.outputs] == [False, True, True, True]


if __name__ == "__main__":
    sys.stdout.write(render(anyio.run(gather)))
