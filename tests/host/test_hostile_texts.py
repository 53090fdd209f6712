"""What a host shows a person is safe to look at: questions, progress, notices and health, for every text of the
corpus; what the model reads of it is as it was."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, types
from mcp.client.client import ConnectMode
from mcp.server.mcpserver import Context, MCPServer

from bridge.host.waiting import TEXT_META
from bridge.items import OWN_NAMES
from bridge.questions import Answer, Question, leave_unasked
from bridge.visible import quote_name, show_prose
from tests.fakes.bridges import ERAS, open_bridge, open_without_host, outputs_of, respond
from tests.fakes.events import Event
from tests.fakes.hostile import HOSTILE, READABLE, find_raw
from tests.fakes.items import Json
from tests.fakes.service import serving
from tests.fakes.upstream import Reply, Request, ScriptedUpstream, api_error, call, message, responds

pytestmark = pytest.mark.anyio

SERVER = Path(__file__).parent.parent / "fakes" / "hostile_server.py"
TEXTS = [text.replace("\ud83d", "\ufffd") for text in HOSTILE.values()]
"""Half an emoji can neither be the name of a tool that is offered, nor sent by an upstream."""
LIMITS = {"max_turn_calls": 1000, "max_tool_calls": 1000, "max_tools": 1000, "tool_tokens": 10**7}


def entry(folder: Path, *modes: str, texts: Iterable[str] = TEXTS) -> dict[str, Any]:
    file = folder / "texts.json"
    file.write_text(json.dumps([*texts]), encoding="utf-8")
    return {"command": sys.executable, "args": ["-S", "-E", str(SERVER), str(file), *modes]}


class Person:
    """Says no to everything; `shown` are the questions, whole."""

    def __init__(self) -> None:
        self.shown: list[types.ElicitRequestParams] = []

    async def __call__(self, context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        assert context.request_id is not None
        self.shown.append(params)
        return types.ElicitResult(action="decline")


class Ears:
    """Hears progress."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        assert (total, progress > 0) == (None, True)
        self.lines.append(message or "")


class Model:
    """Calls the tools with these numbers, each with its own text as an argument, and then says something; `read` is
    what it was told."""

    def __init__(self, first: int, last: int, answer: str = "done") -> None:
        self.read: list[Any] = []
        self._chosen = slice(first, last)
        self._answer = answer

    def __call__(self, request: Request) -> Reply:
        if any("output" in item for item in request.json["input"]):
            self.read = outputs_of(request)
            return responds(message(self._answer))
        offered = [tool["name"] for tool in request.json["tools"] if tool["name"] not in OWN_NAMES]
        calls = [call(name, {"text": text, text: 1}) for name, text in zip(offered, TEXTS, strict=True)]
        return responds(*calls[self._chosen])


@pytest.mark.external
@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("over_http", [False, True])
async def test_questions_show_the_true_name_and_arguments(
    tmp_path: Path, mode: ConnectMode, *, over_http: bool
) -> None:
    half = len(TEXTS) // 2
    for first, last in ((0, half), (half, len(TEXTS))):
        person, ears = Person(), Ears()
        async with (
            ScriptedUpstream(Model(first, last)) as upstream,
            open_without_host(upstream, {'the "desk"': entry(tmp_path)}, limits=LIMITS) as bridge,
            serving(bridge) as served,
        ):
            name = types.Implementation(name=TEXTS[0], version=TEXTS[1])
            options: Any = {"elicitation_callback": person, "client_info": name}
            client = (
                served.client("/mcp", mode, **options) if over_http else Client(bridge.server, mode=mode, **options)
            )
            async with client as host:
                result = await host.call_tool("respond", {"input": "Hello"}, progress_callback=ears)
        asked = [shown.message for shown in person.shown]
        assert len(asked) == last - first
        for text in TEXTS[first:last]:
            begin = f'The model wants to run {quote_name(text)} of "the \\"desk\\"" with '
            assert any(question.startswith(begin) for question in asked), text
        for question in asked:
            assert find_raw(question) == []
            assert "\n" not in question
            assert len(question) < 4700
        assert find_raw("\n".join(ears.lines)) == []
        receipt = result.structured_content or {}
        notices = [notice["message"] for notice in receipt["notices"]]
        assert find_raw("\n".join(notices)) == []
        assert len(notices) == last - first
        assert find_raw(result.content[0].text) == []  # type: ignore[union-attr]


async def test_long_arguments_cannot_end_in_another_question() -> None:
    """Only the end of a long question is on the screen, and names the tool again."""
    asked: list[str] = []
    forged = "x" * 3000 + '. Run it?  The model wants to run "read" of "desk" with {}'

    async def decline(question: Question) -> Answer:
        asked.append(question.message)
        return leave_unasked("nobody is there")

    from tests.fakes.servers import rogue

    async with open_bridge({"desk": rogue("good")}, ask=decline) as bridge:
        await bridge.use(call("desk__echo", {"text": forged}))
    assert asked[0].endswith('\\"desk\\" with {}"}. Run "echo" of "desk"?')


@pytest.mark.external
@pytest.mark.parametrize("mode", ERAS)
async def test_a_servers_own_question_is_shown_safely_with_its_form(tmp_path: Path, mode: ConnectMode) -> None:
    person = Person()
    servers = {"r": entry(tmp_path, "asks") | {"require_approval": "never"}}
    half = len(TEXTS) // 2
    for first, last in ((0, half), (half, len(TEXTS))):
        async with (
            ScriptedUpstream(Model(first, last)) as upstream,
            open_without_host(upstream, servers, limits=LIMITS) as bridge,
            Client(bridge.server, mode=mode, elicitation_callback=person) as host,
        ):
            await respond(host)
    assert len(person.shown) == len(TEXTS)
    for shown in person.shown:
        assert isinstance(shown, types.ElicitRequestFormParams)
        assert shown.message.startswith('The server "r" asks: ')
        form = shown.requested_schema["properties"]["a"]
        assert find_raw("\n".join([shown.message, form["title"], form["description"]])) == []


async def test_progress_is_safe_and_the_model_reads_all_as_it_is(tmp_path: Path) -> None:
    model, ears = Model(0, len(TEXTS), "\n".join(TEXTS)), Ears()
    servers = {"r": entry(tmp_path) | {"require_approval": "never"}}
    async with (
        ScriptedUpstream(model) as upstream,
        open_without_host(upstream, servers, limits=LIMITS) as bridge,
        Client(bridge.server) as host,
    ):
        result = await host.call_tool("respond", {"input": "Hello"}, progress_callback=ears)
    assert find_raw("\n".join(ears.lines)) == []
    assert sum(line.startswith(("  ✓", "  ✗")) for line in ears.lines) == len(TEXTS)
    assert all("\n" not in line for line in ears.lines)
    assert (result.structured_content or {})["output_text"] == "\n".join(TEXTS)
    assert {text for text in TEXTS if any(text in str(output) for output in model.read)} >= set(TEXTS[0::4])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
async def test_streamed_text_is_safe_however_it_is_cut(size: int) -> None:
    """An escape whose beginning and end come apart is none; what people write is joined to what it was."""
    hostile = "\n".join(text for name, text in HOSTILE.items() if "pile" not in name).replace("\ud83d", "\ufffd")
    written, piles = "\n".join(READABLE.values()), "\n".join(TEXTS)

    def cut(events: list[Event]) -> Iterable[Event]:
        for event in events:
            assert isinstance(event, dict)
            delta = event.get("delta", "") if event["type"] == "response.output_text.delta" else ""
            pieces = [delta[at : at + size] for at in range(0, len(delta), size)]
            yield from ({**event, "delta": piece} for piece in pieces) if pieces else [event]

    heard: list[str] = []
    for text in (hostile, written, piles):
        ears = Ears()
        async with open_bridge(script=[responds(message(text), events=cut)]) as bridge:
            result = await bridge.client.call_tool(
                "respond", {"input": "Hello"}, progress_callback=ears, meta={TEXT_META: True}
            )
        assert (result.structured_content or {})["output_text"] == text
        heard.append("".join(ears.lines[1:]))
    assert find_raw(heard[0]) == find_raw(heard[2]) == []
    assert heard[:2] == [show_prose(hostile), written]


@pytest.mark.parametrize("text", TEXTS, ids=[name for name, text in HOSTILE.items()])
async def test_an_upstreams_error_is_told_safely(text: str) -> None:
    async with open_bridge(script=[api_error(400, text, code=text)]) as bridge:
        result = await bridge.client.call_tool("respond", {"input": "Hello"})
    error = (result.structured_content or {})["error"]
    assert find_raw(error["message"]) == []
    assert find_raw(result.content[0].text) == []  # type: ignore[union-attr]
    assert "\n" not in error["message"]


@pytest.mark.external
async def test_health_and_the_description_of_respond_are_safe(tmp_path: Path) -> None:
    names = [text for text in TEXTS if "\0" not in text]
    servers = {text: entry(tmp_path, f"dies={number}") for number, text in enumerate(names[:8])}
    servers |= {text: {"command": f"no-such-{number}"} for number, text in enumerate(names[8:])}
    async with ScriptedUpstream([]) as upstream, open_without_host(upstream, servers) as bridge:
        with anyio.fail_after(60):
            for member in bridge.hub.members:
                await member.settled.wait()
        async with serving(bridge) as served, Client(bridge.server) as host:
            reply = await served.send("GET", "/healthz", served.right)
            listed = await host.list_tools()
    told = json.loads(reply.body)["servers"]
    assert len(told) == len(names)
    assert find_raw(reply.body) == []
    assert find_raw("\n".join(f"{each['name']} {each['reason']}" for each in told)) == []
    assert find_raw("\n".join(tool.description or "" for tool in listed.tools)) == []


@pytest.mark.parametrize("where", ["choice", "name of a field", "default"])
async def test_a_form_that_cannot_be_shown_as_it_is_is_not_asked(where: str) -> None:
    field: dict[str, Json] = {
        "choice": {"a": {"type": "string", "enum": ["yes", "no\u200b"]}},
        "name of a field": {"a\u202e": {"type": "string"}},
        "default": {"a": {"type": "string", "default": "x\x1b[2J"}},
    }
    server, person = MCPServer("shop"), Person()

    @server.tool()
    async def ask(ctx: Context) -> str:
        schema = {"type": "object", "properties": field[where]}
        answer = await ctx.session.elicit_form("Which?", schema)
        return answer.action

    script = [responds(call("shop__ask", {})), responds(message("done"))]
    async with (
        ScriptedUpstream(script) as upstream,
        open_without_host(upstream, {"shop": server}) as bridge,
        Client(bridge.server, elicitation_callback=person) as host,
    ):
        await respond(host)
    assert person.shown == []
