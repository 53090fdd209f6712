"""Who may run unasked: the matrix of the config's words and a tool's own, at listing and again at the call."""

import json
from pathlib import Path
from typing import Any

import pytest
from mcp import types
from mcp.server.mcpserver import MCPServer

from bridge.questions import NO, YES, Answer, Question, ask_nobody
from tests.fakes.bridges import configure, open_bridge
from tests.fakes.http import HttpServer
from tests.fakes.servers import rogue
from tests.fakes.upstream import call

pytestmark = pytest.mark.anyio

REQUIRED = ("always", "writes", "never")
LISTED = ("", "allow", "ask", "deny", "allow ask", "allow deny", "ask deny", "allow ask deny")


def decide(required: str, listed: str, *, read_only: bool) -> str:
    """What must hold: the strictest list that names a tool, else `require_approval`."""
    for word in ("deny", "ask", "allow"):
        if word in listed:
            return {"deny": "hidden", "ask": "asked", "allow": "run"}[word]
    return "run" if required == "never" or (required == "writes" and read_only) else "asked"


def build() -> MCPServer:
    """Tools r0 to r7 say that they only read, w0 to w7 say nothing; the number is the row of LISTED that names them."""
    server = MCPServer("matrix")
    for number in range(len(LISTED)):
        server.add_tool(run, name=f"r{number}", annotations=types.ToolAnnotations(read_only_hint=True))
        server.add_tool(run, name=f"w{number}")
    return server


def run() -> str:
    return "run"


@pytest.mark.rule("S17", "S18")
async def test_the_whole_matrix_where_nobody_can_be_asked() -> None:
    rules = {
        word: [f"?{number}" for number, listed in enumerate(LISTED) if word in listed.split()]
        for word in ("allow", "ask", "deny")
    }
    cases = [(required, kind, number) for required in REQUIRED for kind in "rw" for number in range(len(LISTED))]
    async with HttpServer(build) as served:
        servers = {
            required: {"type": "http", "url": served.url, "require_approval": required, "tools": rules}
            for required in REQUIRED
        }
        async with open_bridge(servers, ask=ask_nobody, limits={"max_turn_calls": len(cases)}) as bridge:
            outcome = await bridge.use(*(call(f"{required}__{kind}{number}") for required, kind, number in cases))
    words = {"approval_required": "asked", "unknown_tool": "hidden"}
    found = [words[json.loads(output)["error"]] if output != "run" else "run" for output in outcome.outputs]
    for (required, kind, number), outcome_found in zip(cases, found, strict=True):
        assert outcome_found == decide(required, LISTED[number], read_only=kind == "r"), (required, kind, number)


@pytest.mark.rule("R3")
async def test_a_refusal_names_the_one_line_that_allows_it_and_that_line_does(tmp_path: Path) -> None:
    counts = tmp_path / "counts"
    entry = rogue(f"counts={counts}")
    async with open_bridge({"desk": entry}, ask=ask_nobody) as bridge:
        outcome = await bridge.use(call("desk__add", {"a": 1, "b": 2}))
    line = '"mcpServers": {"desk": {"tools": {"allow": ["add"]}}}'
    assert outcome.output["error"] == "approval_required"
    assert outcome.output["message"].endswith(f"To allow it: {line}")
    assert [notice["code"] for notice in outcome.receipt["notices"]] == ["approval_required"]
    assert line in outcome.notices[0]
    assert not counts.exists()
    async with open_bridge({"desk": {**entry, "tools": {"allow": ["add"]}}}, ask=ask_nobody) as bridge:
        assert (await bridge.use(call("desk__add", {"a": 1, "b": 2}))).outputs == ["3"]


async def test_a_refusal_of_a_tool_to_be_asked_about_names_the_list_that_says_so() -> None:
    """`allow` would not help: `ask` beats it."""
    entry = {**rogue("good"), "tools": {"ask": ["*"]}}
    async with open_bridge({"desk": entry}, ask=ask_nobody) as bridge:
        outcome = await bridge.use(call("desk__read"))
    assert outcome.output["message"].endswith('take it out of "mcpServers": {"desk": {"tools": {"ask": …}}}')


NAMES = [
    *("*", "?", "**", "[a]", "a*", "*a", "[!a]", "[]a]", "[", "]", "a]b", "[*]", "[[]", "[a-z]*", "{a,b}", "!a", "#a"),
    *('a"b', "a'b", "a`b", "a,b", "a\\b", "\\*", '"]}}}, "x": {"a": ["*', "a b", " ", "a\nb", "*\n", "\t"),
    *("$x", "${HOME}", "${env:HOME}", "$${HOME}", "${input:x}", "${", "a${nobody:-*}", "%HOME%", "~"),
    *("é", "e\u0301", "日本 語", "\u202ea", "\U000e0041", "\u3164", "*\ufe0f", "”", "a\u0000", "\ud83d", "HOME", "A"),
    *("x" * 128, "x" * 129, "*" * 5000),
]
BESIDE = ["a", "b", "ab", "a1", "ba", "z", "anything", "*a*", "[]", "x", "", "\\", str(Path.home()), "/root"]


async def test_the_line_that_allows_a_tool_allows_no_other_whatever_its_name_is() -> None:
    """Each line is pasted into a config; where there is none, it says why."""
    limits = {"max_turn_calls": 500, "max_tool_calls": 500, "max_tools": 500, "tool_tokens": 10**6}
    async with open_bridge({'my "desk"': listing(*NAMES)}, ask=ask_nobody, limits=limits) as bridge:
        await bridge.reached('my "desk"', "ready")
        offered = {made.tool.name: made.name for made in bridge.hub.snapshot().tools.values()}
        asked = [name for name in NAMES if name in offered]
        outcome = await bridge.use(*(call(offered[name], {}) for name in asked))
    assert set(NAMES) - set(offered) <= {"", " ", "\t", "\ud83d"}
    lines = [json.loads(output)["message"].split("To allow it: ", 1)[1] for output in outcome.outputs]
    allowed = {name: allow(line) for name, line in zip(asked, lines, strict=True)}
    without = {name for name in asked if allowed[name] is None}
    assert without == {"x" * 129, "*" * 5000, "a\0"} | ({"\ud83d"} & set(asked))
    for name in set(asked) - without:
        assert allowed[name] == [name], (name, lines[asked.index(name)])


def listing(*names: str) -> dict[str, Any]:
    """An entry whose server lists these tools too; a config file would fill in `${HOME}`."""
    tools = json.dumps([{"name": name, "inputSchema": {"type": "object"}} for name in names])
    return rogue("tools=" + tools.replace("$", "\\u0024"))


def allow(line: str) -> list[str] | None:
    """Which of all names run unasked with this line in the config file; None where it is no such line."""
    try:
        entry = json.loads(f"{{{line}}}")["mcpServers"]['my "desk"']
    except ValueError:
        return None
    [server] = configure({'my "desk"': rogue("good") | entry}).servers
    return [name for name in [*NAMES, *BESIDE] if server.tools.decision(name) == "allow"]


@pytest.mark.parametrize("name", ["*", "[a]", "a?", "${HOME}"])
async def test_what_was_pasted_runs_that_tool_and_asks_for_the_others(name: str) -> None:
    server = listing(name, "a", "ab", "other")
    async with open_bridge({"desk": server}, ask=ask_nobody) as bridge:
        await bridge.reached("desk", "ready")
        offered = {made.tool.name: made.name for made in bridge.hub.snapshot().tools.values()}
        [notice] = (await bridge.use(call(offered[name], {}))).notices
    entry = json.loads("{" + notice.split("To allow it: ", 1)[1] + "}")["mcpServers"]["desk"]
    async with open_bridge({"desk": server | entry}, ask=ask_nobody) as bridge:
        outcome = await bridge.use(*(call(offered[each], {}) for each in ("other", name, "a", "ab")))
    assert ["approval_required" in output for output in outcome.outputs] == [True, False, True, True]


@pytest.mark.rule("S17")
async def test_a_denied_tool_is_neither_shown_nor_called_by_name(tmp_path: Path) -> None:
    counts = tmp_path / "counts"
    entry = {**rogue(f"counts={counts}"), "tools": {"deny": ["write", "add"], "allow": ["*"]}}
    async with open_bridge({"desk": entry}) as bridge:
        outcome = await bridge.use(call("desk__add", {"a": 1, "b": 2}), call("desk__read"))
    assert "desk__add" not in outcome.offered
    assert '"unknown_tool"' in outcome.outputs[0]
    assert "desk__add" not in outcome.outputs[0].partition("near_names")[2]
    assert counts.read_text(encoding="utf-8") == "read\n"


@pytest.mark.rule("S19")
async def test_the_person_is_shown_the_call_and_decides() -> None:
    asked: list[Question] = []

    async def decide_by_text(question: Question) -> Answer:
        asked.append(question)
        says_yes = '"text":"yes' in question.message
        return {"action": "accept", "content": {"answer": YES if says_yes else NO}, "reason": ""}

    evil = "yes \u202e\x1b[2J" + "x" * 9000
    async with open_bridge({"desk": rogue("good")}, ask=decide_by_text) as bridge:
        outcome = await bridge.use(
            call("desk__echo", {"text": evil}), call("desk__echo", {"text": "no"}), call("desk__read")
        )
    assert asked[1].message == 'The model wants to run "echo" of "desk" with {"text":"no"}. Run it?'
    assert asked[0].message.isprintable()
    assert "\\u202e" in asked[0].message
    assert "more characters that are not shown" in asked[0].message
    assert len(asked[0].message) < 4200
    assert outcome.outputs[0] == evil
    assert json.loads(outcome.outputs[1])["error"] == "declined"
    assert "the user said no" in outcome.outputs[1]
    assert outcome.outputs[2] == "nothing has changed"
    [notice] = outcome.receipt["notices"]
    assert (notice["code"], "approval" in notice["message"]) == ("declined", False)


@pytest.mark.rule("S19")
@pytest.mark.parametrize("answer", [{}, {"answer": NO}, {"answer": True}, {"answer": "yes"}, {"run it": YES}])
async def test_a_form_that_is_sent_off_as_it_stands_approves_nothing(answer: dict[str, Any]) -> None:
    async def accept(_: Question) -> Answer:
        return {"action": "accept", "content": answer, "reason": ""}

    async with open_bridge({"desk": rogue("good")}, ask=accept) as bridge:
        outcome = await bridge.use(call("desk__echo", {"text": "x"}))
    assert outcome.output["error"] == "declined"
