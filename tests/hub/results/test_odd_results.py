"""No result of any shape ends a run, or loses what it says: in both eras, as the server wrote it."""

from pathlib import Path
from typing import Any

import pytest

from tests.fakes.bridges import open_bridge
from tests.fakes.http import WIRES, serve_rogue
from tests.fakes.servers import PIXEL, rogue
from tests.fakes.upstream import call

pytestmark = pytest.mark.anyio

ERAS = ("legacy", "modern")
SHOWN = {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "auto"}
HELLO = '{"type": "text", "text": "hello"}'


def beside(structured: str) -> str:
    return f'{{"content": [{HELLO}], "structuredContent": {structured}}}'


def part(json_text: str) -> str:
    return f'{{"content": [{HELLO}, {json_text}]}}'


def image(fields: str) -> str:
    return part(f'{{"type": "image", "data": "{PIXEL}", {fields}}}')


SEEN = [{"type": "input_text", "text": "hello"}, SHOWN]
RESULTS: dict[str, tuple[str, Any]] = {
    # structured content of any type
    "a list of one usememos/memos#6049": (beside('[{"a": 1}]'), 'hello\n[{"a":1}]'),
    "a list of one that says the same": (beside('["hello"]'), "hello"),
    "an empty list WordPress/mcp-adapter#253": (beside("[]"), "hello\n[]"),
    "a number": (beside("5"), "hello\n5"),
    "zero": (beside("0"), "hello\n0"),
    "true": (beside("true"), "hello\ntrue"),
    "false": (beside("false"), "hello\nfalse"),
    "a character": (beside('"x"'), 'hello\n"x"'),
    "no character": (beside('""'), 'hello\n""'),
    "a text that is the text agentmail-to/agentmail-toolkit#13": (beside('"hello"'), "hello"),
    "null": (beside("null"), "hello"),
    "an object": (beside('{"a": [null]}'), 'hello\n{"a":[null]}'),
    "NaN": (beside('{"a": NaN}'), 'hello\n{"a":"NaN"}'),
    "only NaN": (beside("NaN"), 'hello\n"NaN"'),
    "Infinity": (beside("[Infinity, -Infinity]"), 'hello\n["Infinity","-Infinity"]'),
    "1e999": (beside('{"a": 1e999, "b": -1e999}'), 'hello\n{"a":"Infinity","b":"-Infinity"}'),
    "half an emoji and NaN": (
        beside('{"a": "\\ud83d", "b": NaN}'),
        'hello\n{"a":"\ufffd","b":"NaN"}\n'
        "[U+FFFD replaces invalid text: bytes that are not UTF-8, or half a character]",
    ),
    # the result
    "an empty object": ("{}", "(no output)"),
    "null for all": ("null", "(no output)"),
    "a text for all": ('"hello"', "hello"),
    "a number for all": ("5", "5"),
    "a list for all": (f"[{HELLO}, {HELLO}]", "hello\nhello"),
    "a part for all": (HELLO, "hello"),
    "words under another name": ('{"output": "hello"}', '{"output":"hello"}'),
    "toolResult cloudflare/mcp-server-cloudflare#12": (f'{{"toolResult": {{"content": [{HELLO}]}}}}', "hello"),
    "toolResult, a text": ('{"toolResult": "hello"}', "hello"),
    "no resultType": (f'{{"content": [{HELLO}]}}', "hello"),
    "another resultType": (f'{{"resultType": "final", "content": [{HELLO}]}}', "hello"),
    "a resultType that is none": (f'{{"resultType": 5, "content": [{HELLO}]}}', "hello"),
    "input_required, and content": (f'{{"resultType": "input_required", "content": [{HELLO}]}}', "hello"),
    "_meta a list": (f'{{"_meta": [], "content": [{HELLO}]}}', "hello"),
    "_meta a text": (f'{{"_meta": "x", "content": [{HELLO}]}}', "hello"),
    "names in snake case": ('{"content": [], "structured_content": {"a": 1}, "is_error": false}', '{"a":1}'),
    "a cache hint that is none": (f'{{"ttlMs": "x", "cacheScope": 5, "content": [{HELLO}]}}', "hello"),
    # content
    "content a text": ('{"content": "hello"}', "hello"),
    "content an object": (f'{{"content": {HELLO}}}', "hello"),
    "content a list from PHP": (f'{{"content": {{"0": {HELLO}, "1": {HELLO}}}}}', "hello\nhello"),
    "content null": ('{"content": null, "structuredContent": {"a": 1}}', '{"a":1}'),
    "content a number": ('{"content": 5}', "5"),
    "content nested": (f'{{"content": [[{HELLO}], {HELLO}]}}', "hello\nhello"),
    # its parts
    "no type": (part('{"text": "there"}'), "hello\nthere"),
    "no type, and more": (part('{"text": "there", "score": 1}'), 'hello\n{"text":"there","score":1}'),
    "type null": (part('{"type": null, "text": "there"}'), "hello\nthere"),
    "type in capitals": (part('{"type": "Text", "text": "there"}'), "hello\nthere"),
    "an unknown type": (part('{"type": "markdown", "text": "there"}'), 'hello\n{"type":"markdown","text":"there"}'),
    "a text mark3labs/mcp-go#819": (part('"there"'), "hello\nthere"),
    "null part": (part("null"), "hello\nnull"),
    "a number part": (part("1.5"), "hello\n1.5"),
    "a text that is null": (part('{"type": "text", "text": null}'), 'hello\n{"type":"text","text":null}'),
    "a text that is a number": (part('{"type": "text", "text": 5}'), 'hello\n{"type":"text","text":5}'),
    "an empty part": (part("{}"), "hello\n{}"),
    "NaN in a part": (part('{"type": "x", "a": NaN}'), 'hello\n{"type":"x","a":"NaN"}'),
    "annotations a text": (part('{"type": "text", "text": "there", "annotations": "x"}'), "hello\nthere"),
    "an image with annotations of a wrong type": (image('"mimeType": "image/png", "annotations": [1]'), SEEN),
    "an image with _meta of a wrong type": (image('"mimeType": "image/png", "_meta": []'), SEEN),
    "an image of no kind": (image('"size": 1'), SEEN),
    "an image of a kind that is a number": (image('"mimeType": 5'), SEEN),
    "an image of a wrong kind": (image('"mimeType": "png"'), SEEN),
    "an image in snake case": (image('"mime_type": "image/png"'), SEEN),
    "an image without a type": (part(f'{{"data": "{PIXEL}", "mimeType": "image/png"}}'), SEEN),
    "an image that is no base64": (
        part('{"type": "image", "data": "no!", "mimeType": "image/png"}'),
        "hello\n[image, image/png, 2 bytes: not shown, it is not base64]",
    ),
    "an image that is a number": (
        part('{"type": "image", "data": 5, "mimeType": "image/png"}'),
        'hello\n{"type":"image","data":5,"mimeType":"image/png"}',
    ),
    "a sound of no kind": (
        part('{"type": "audio", "data": "AAAA"}'),
        "hello\n[audio, of an unknown kind, 3 bytes: not shown]",
    ),
    "a resource with annotations of a wrong type": (
        part('{"type": "resource", "resource": {"uri": "a:b", "text": "there"}, "annotations": 5}'),
        "hello\n[resource a:b]\nthere",
    ),
    "a resource of a kind that is a number": (
        part('{"type": "resource", "resource": {"uri": "a:b", "text": "there", "mimeType": 5}}'),
        "hello\n[resource a:b]\nthere",
    ),
    "a resource without its frame": (part('{"uri": "a:b", "text": "there"}'), "hello\n[resource a:b]\nthere"),
    "a text in place of base64": (
        part('{"type": "resource", "resource": {"uri": "a:b", "blob": "a text!", "mimeType": "text/plain"}}'),
        "hello\n[resource a:b]\na text!",
    ),
    "a link with a size that is none": (
        part('{"type": "resource_link", "uri": "a:b", "name": "n", "size": "big"}'),
        'hello\n{"name":"n","uri":"a:b","type":"resource_link"}',
    ),
    "a link without a name": (
        part('{"type": "resource_link", "uri": "a:b"}'),
        'hello\n{"name":"a:b","uri":"a:b","type":"resource_link"}',
    ),
    # whether it is an error
    'isError "false"': (f'{{"content": [{HELLO}], "isError": "false"}}', "hello"),
    "isError null": (f'{{"content": [{HELLO}], "isError": null}}', "hello"),
    "isError 0": (f'{{"content": [{HELLO}], "isError": 0}}', "hello"),
    "isError an empty list": (f'{{"content": [{HELLO}], "isError": []}}', "hello"),
    'isError "true"': (f'{{"content": [{HELLO}], "isError": "True"}}', '{"error":"tool_error","message":"hello"}'),
    "isError 1": (f'{{"content": [{HELLO}], "isError": 1}}', '{"error":"tool_error","message":"hello"}'),
    "isError words": (
        f'{{"content": [{HELLO}], "isError": "disk full"}}',
        '{"error":"tool_error","message":"hello\\ndisk full"}',
    ),
}  # fmt: skip


REPLIES: dict[str, tuple[str, str]] = {
    "no jsonrpc": (f'{{"id": $ID, "result": {{"content": [{HELLO}]}}}}', "hello"),
    "jsonrpc 1.0": (f'{{"jsonrpc": "1.0", "id": $ID, "result": {{"content": [{HELLO}]}}, "error": null}}', "hello"),
    "jsonrpc a number": (f'{{"jsonrpc": 2.0, "id": $ID, "result": {{"content": [{HELLO}]}}}}', "hello"),
    "an error that is null": (
        f'{{"jsonrpc": "2.0", "id": $ID, "error": null, "result": [{HELLO}]}}',
        "hello",
    ),
    "the method again": (
        f'{{"jsonrpc": "2.0", "id": $ID, "method": "tools/call", "result": {{"content": [{HELLO}]}}}}',
        "hello",
    ),
    "the whole request again": (
        '{"jsonrpc": "2.0", "id": $ID, "method": "tools/call", "params": {"name": "x"}, '
        f'"result": {{"content": [{HELLO}]}}}}',
        "hello",
    ),
    "a result beside an error": (
        '{"jsonrpc": "2.0", "id": $ID, "result": null, "error": {"code": -32050, "message": "no disk"}}',
        "-32050: no disk",
    ),
    "an error that is a text": ('{"jsonrpc": "2.0", "id": $ID, "error": "no disk"}', "-32603: no disk"),
    "an error that is a list": ('{"jsonrpc": "2.0", "id": $ID, "error": ["no disk"]}', "no disk"),
    "an error without a code": ('{"jsonrpc": "2.0", "id": $ID, "error": {"message": "no disk"}}', "no disk"),
    "an error with a code in words": (
        '{"jsonrpc": "2.0", "id": $ID, "error": {"code": "ENOSPC", "message": "no disk"}}',
        "no disk",
    ),
    "an error without a message": ('{"jsonrpc": "2.0", "id": $ID, "error": {"code": 5, "why": "no disk"}}', "no disk"),
    "an error whose message is null": (
        '{"jsonrpc": "2.0", "id": $ID, "error": {"code": 5, "message": null, "data": "no disk"}}',
        "no disk",
    ),
    "an error with NaN": (
        '{"jsonrpc": "2.0", "id": $ID, "error": {"code": 5, "message": "no disk", "data": NaN}}',
        "no disk",
    ),
}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("wire", WIRES)
async def test_what_a_reply_says_is_read_whatever_its_envelope(wire: str, era: str, tmp_path: Path) -> None:
    (tmp_path / "replies").write_text("\n".join(reply for reply, _ in REPLIES.values()), encoding="utf-8")
    calls = [call("odd__answer", {"line": line}) for line in range(len(REPLIES))]
    modes = (era, f"answers={tmp_path / 'replies'}")
    async with serve_rogue(wire, *modes) as entry, open_bridge({"odd": entry}) as bridge:
        outcome = await bridge.use(*calls)
    assert outcome.receipt["status"] == "completed"
    wrong = {n: o for n, o in zip(REPLIES, outcome.outputs, strict=True) if REPLIES[n][1] not in str(o)}
    assert wrong == {}


@pytest.mark.rule("REL16")
@pytest.mark.parametrize("era", ERAS)
async def test_what_a_result_says_is_read_whatever_is_wrong_with_the_rest(era: str, tmp_path: Path) -> None:
    (tmp_path / "results").write_text("\n".join(result for result, _ in RESULTS.values()), encoding="utf-8")
    entry = rogue(era, f"answers={tmp_path / 'results'}")
    calls = [call("odd__answer", {"line": line}) for line in range(len(RESULTS))]
    async with open_bridge({"odd": entry}, limits={"max_tool_calls": 500, "max_turn_calls": 500}) as bridge:
        outcome = await bridge.use(*calls)
    assert outcome.receipt["status"] == "completed"
    assert dict(zip(RESULTS, outcome.outputs, strict=True)) == {name: said for name, (_, said) in RESULTS.items()}
