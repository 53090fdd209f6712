"""A run as a person at a terminal sees it, on a real pseudo-terminal."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest

from tests.fakes.bridges import outputs_of
from tests.fakes.screen import COLUMNS, LINES, AtTerminal
from tests.fakes.servers import rogue
from tests.fakes.upstream import Reply, ScriptedUpstream, call, gated, message, responds
from tests.fakes.wire import Close, Wait, divide

pytestmark = [pytest.mark.anyio, pytest.mark.external]

FIRST = "The first line of it.\n\nA paragra"
ANSWER = f"{FIRST}ph that is longer than a line of this terminal, and ends here: 终于到了。\n"
FRAME = re.compile("[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏]")
STATUS = re.compile(r"\S \d+ s · turn 1 · answering")
Look = Callable[[AtTerminal], object]


class Desk:
    """A config, and a terminal at which `ask` runs with it."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "config.json"
        self.counts = folder / "counts"
        self.servers: dict[str, Any] = {}

    def command(self, upstream: ScriptedUpstream, *options: str) -> list[str]:
        settings = {"upstream": {"base_url": upstream.base_url, "model": "m"}, "mcpServers": self.servers}
        self.file.write_text(json.dumps(settings), encoding="utf-8")
        return [sys.executable, "-m", "bridge", "ask", "hi", "--config", str(self.file), *options]

    async def watch(
        self,
        upstream: ScriptedUpstream,
        look: Look,
        *options: str,
        size: tuple[int, int] = (COLUMNS, LINES),
        environ: Mapping[str, str] | None = None,
    ) -> AtTerminal:
        """Have a person look while `ask` runs, and wait until it has ended."""

        def sit() -> AtTerminal:
            with AtTerminal(self.command(upstream, *options), {"NO_COLOR": "", **(environ or {})}, size) as terminal:
                look(terminal)
                terminal.wait()
                return terminal

        return await anyio.to_thread.run_sync(sit)

    @property
    def executed(self) -> list[str]:
        return self.counts.read_text(encoding="utf-8").split() if self.counts.exists() else []


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def in_pieces(*pieces: str) -> Reply:
    """A message that comes in these pieces."""

    def part(events: list[Any]) -> list[Any]:
        is_delta = [event.get("type") == "response.output_text.delta" for event in events]
        first, behind = is_delta.index(True), len(events) - is_delta[::-1].index(True)
        return [*events[:first], *(events[first] | {"delta": piece} for piece in pieces), *events[behind:]]

    return responds(message("".join(pieces)), events=part)


def in_two_parts(whole: str, first: str, gate: anyio.Event) -> Reply:
    """A message whose rest waits for the gate."""
    return gated(in_pieces(first, whole.removeprefix(first)), gate, after=json.dumps(first)[1:-1])


def break_off(reply: Reply, after: str, gate: anyio.Event) -> Reply:
    """The beginning of a reply, whose connection is lost when the gate is opened."""
    return Reply(lambda request: [*divide(reply.steps(request), after)[0], Wait(gate), Close(False)])


def see_it_break_off(words: str, gate: anyio.Event) -> Look:
    """Look until these words are there, lose the connection, and see that it is asked again."""

    def look(terminal: AtTerminal) -> None:
        terminal.wait_for(words)
        anyio.from_thread.run_sync(gate.set)
        terminal.wait_for("asking again")

    return look


def glance(_: AtTerminal) -> None:
    """Look at nothing but the end."""


def below(rows: Sequence[str], words: str) -> list[str]:
    """The rows from the first on that has these words."""
    return list(rows[next(number for number, row in enumerate(rows) if words in row) :])


async def test_the_answer_comes_as_it_is_made_and_what_goes_on_stands_below_it(desk: Desk) -> None:
    gate = anyio.Event()
    async with ScriptedUpstream([in_two_parts(ANSWER, FIRST, gate)]) as upstream:

        def look(terminal: AtTerminal) -> None:
            terminal.wait_until(lambda rows: rows[-2:-1] == ["A paragra"] and STATUS.fullmatch(rows[-1]))
            assert below(terminal.rows, "The first line")[:3] == ["The first line of it.", "", "A paragra"]
            anyio.from_thread.run_sync(gate.set)

        terminal = await desk.watch(upstream, look)
    assert terminal.code == 0
    joined = "".join(below(terminal.rows, "The first line"))
    assert joined == "".join(ANSWER.split("\n"))
    assert "The first line of it." in terminal.rows
    assert not FRAME.search("".join(terminal.rows))
    assert "\x1b[?25l" not in terminal.seen, "a cursor that is never hidden is never lost"


async def test_a_running_call_and_its_progress_have_a_row_until_they_end(desk: Desk) -> None:
    desk.servers["r"] = rogue("progress", "holds=2") | {"tools": {"allow": ["*"]}}
    async with ScriptedUpstream(
        [responds(call("r__sleep_forever", {}), call("r__echo", {"text": "a"})), responds(message("done"))]
    ) as upstream:

        def look(terminal: AtTerminal) -> None:
            row = re.compile(r" +\d+ s → r__sleep_forever")
            terminal.wait_until(lambda rows: any(map(row.fullmatch, rows)))
            terminal.type("\x03")

        terminal = await desk.watch(upstream, look)
    assert terminal.code == 130
    assert not [row for row in terminal.rows if FRAME.search(row) or re.match(r" +\d+ s →", row)]


async def test_a_long_wait_names_the_servers_that_are_waited_for(desk: Desk) -> None:
    desk.servers |= {"slowpoke": {"command": "sleep", "args": ["100"]}, "r": rogue()}
    async with ScriptedUpstream([responds(message("done"))]) as upstream:

        def look(terminal: AtTerminal) -> None:
            terminal.wait_for("· slowpoke")
            terminal.type("\x03")

        terminal = await desk.watch(upstream, look)
    assert terminal.code == 130
    assert terminal.rows[-1] == ""


async def test_an_answer_that_is_asked_for_again_is_seen_once(desk: Desk) -> None:
    again = "Another answer altogether."
    gate = anyio.Event()
    begun = break_off(in_pieces(FIRST, ANSWER.removeprefix(FIRST)), json.dumps(FIRST)[1:-1], gate)
    async with ScriptedUpstream([begun, responds(message(again))]) as upstream:
        terminal = await desk.watch(upstream, see_it_break_off("A paragra", gate))
    assert terminal.code == 0
    page = "\n".join(terminal.rows)
    assert page.count(again) == 1
    assert "The first line" not in page
    assert "  ! asking again in" in page


async def test_an_answer_that_had_left_the_screen_is_marked_and_the_other_is_whole(desk: Desk) -> None:
    long = "\n".join(f"line {number}" for number in range(60)) + "\nEND"
    gate = anyio.Event()
    begun = break_off(in_pieces(*long.splitlines(keepends=True)), "line 49", gate)
    async with ScriptedUpstream([begun, responds(message(long))]) as upstream:
        terminal = await desk.watch(upstream, see_it_break_off("line 49", gate))
    assert terminal.code == 0
    behind = below(terminal.rows, "the text above was given up")
    assert [row for row in behind if row.startswith(("line ", "END"))] == long.split("\n")


async def test_what_acts_on_a_terminal_is_shown_also_where_it_comes_in_two_pieces(desk: Desk) -> None:
    text = "a\x1b[2Jb\x1b]0;title\x07c\r\nd\u202ee"
    async with ScriptedUpstream([in_pieces(*text)]) as upstream:
        terminal = await desk.watch(upstream, glance)
    assert "a\\u001b[2Jb\\u001b]0;title\\u0007c" in terminal.rows
    assert "d\\u202ee" in terminal.rows


@pytest.mark.parametrize("columns", [40, 120])
async def test_a_window_that_changes_its_width_in_the_middle_loses_and_repeats_nothing(
    desk: Desk, columns: int
) -> None:
    gate = anyio.Event()
    words = " ".join(f"word{number}" for number in range(60))
    async with ScriptedUpstream([in_two_parts(words, words[: words.index("30")], gate)]) as upstream:

        def look(terminal: AtTerminal) -> None:
            terminal.wait_for("word29")
            terminal.resize(columns)
            anyio.from_thread.run_sync(gate.set)

        terminal = await desk.watch(upstream, look, "--log-level", "error")
    plain = re.sub(r"[\r\n]*(\x1b\[\d*A)?[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏] [^\x1b]*", "", terminal.seen)
    found = re.findall(r"word\d+", re.sub(r"\x1b\[[?\d;]*[A-Za-z]|[\r\n]", "", plain))
    assert sorted(set(found), key=lambda word: int(word[4:])) == words.split()
    assert len(found) == len(words.split())


async def test_ctrl_c_in_the_middle_leaves_the_text_and_nothing_else(desk: Desk) -> None:
    gate = anyio.Event()
    async with ScriptedUpstream([in_two_parts(ANSWER, FIRST, gate)]) as upstream:

        def look(terminal: AtTerminal) -> None:
            terminal.wait_for("paragra")
            terminal.type("\x03")

        terminal = await desk.watch(upstream, look)
    assert terminal.code == 130
    rows = below(terminal.rows, "The first line")
    assert rows[2].startswith("A paragra")
    assert rows[3:] == [""]
    assert not FRAME.search("".join(terminal.rows))


async def test_log_lines_and_failures_run_into_nothing_and_are_told_once(desk: Desk) -> None:
    desk.servers |= {"absent": {"command": "no-such-command"}, "r": rogue()}
    script = [responds(call("r__write", {"path": str(desk.counts)})), responds(message("done"))]
    async with ScriptedUpstream(script) as upstream:

        def look(terminal: AtTerminal) -> None:
            terminal.wait_for("[y/N/a]")
            terminal.type("n\n")

        terminal = await desk.watch(upstream, look, "--log-level", "info")
    rows = terminal.rows
    assert "".join(rows).count("no-such-command is in no folder") == 1
    assert [row for row in rows if row.startswith("[y/N/a]")] == ["[y/N/a] n"]
    assert not [row for row in rows if " INFO " in row and not row.startswith("20")]


async def test_always_holds_for_this_tool_in_this_run_and_the_line_for_good_is_shown(desk: Desk) -> None:
    desk.servers["r"] = rogue(f"counts={desk.counts}")
    writes = [call("r__write", {"path": str(desk.counts) + suffix}) for suffix in "abc"]
    script = [responds(*writes[:2], call("r__echo", {"text": "x"})), responds(writes[2]), responds(message("done"))]
    async with ScriptedUpstream(script) as upstream:

        def look(terminal: AtTerminal) -> None:
            terminal.wait_for("[y/N/a]")
            while terminal.code is None:
                question = terminal.seen.count("[y/N/a]")
                asked = terminal.seen.split("The model wants to run ")[-1]
                terminal.type("a\n" if asked.startswith('"write"') else "n\n")
                if question == 2:
                    break
                terminal.wait_for("[y/N/a]", question + 1)

        terminal = await desk.watch(upstream, look)
    assert terminal.code == 0
    page = "".join(terminal.rows)
    assert page.count('The model wants to run "write"') == 1
    assert page.count('The model wants to run "echo"') == 1
    assert desk.executed == ["write"] * 3
    allow = '"mcpServers": {"r": {"tools": {"allow": ["write"]}}}'
    assert f"In this run it is not asked again. To allow it: {allow}".replace(" ", "") in page.replace(" ", "")
    assert "allow" not in desk.file.read_text(encoding="utf-8"), "the line is printed, never written"


async def test_what_was_typed_before_the_question_does_not_answer_it(desk: Desk) -> None:
    desk.servers["r"] = rogue(f"counts={desk.counts}")
    gate = anyio.Event()
    asks = responds(call("r__write", {"path": str(desk.counts) + ".a"}))
    async with ScriptedUpstream([gated(asks, gate), responds(message("done"))]) as upstream:

        def look(terminal: AtTerminal) -> None:
            terminal.wait_for("asking m")
            terminal.type("y\n")
            terminal.wait_for("y\r\n")
            anyio.from_thread.run_sync(gate.set)
            terminal.wait_for("[y/N/a]")
            terminal.type("n\n")

        terminal = await desk.watch(upstream, look)
    assert terminal.code == 0
    assert desk.executed == []


async def test_ctrl_c_at_the_question_says_that_nothing_was_executed(desk: Desk) -> None:
    desk.servers["r"] = rogue(f"counts={desk.counts}")
    asks = responds(*(call("r__write", {"path": str(desk.counts) + suffix}) for suffix in "ab"))
    async with ScriptedUpstream([asks]) as upstream:

        def look(terminal: AtTerminal) -> None:
            terminal.wait_for("[y/N/a]")
            terminal.type("\x03")

        terminal = await desk.watch(upstream, look)
    assert terminal.code == 130
    assert desk.executed == []
    assert "Interrupted: nothing was executed." in terminal.rows


async def test_ctrl_c_at_a_later_question_says_what_had_been_executed(desk: Desk) -> None:
    desk.servers["r"] = rogue(f"counts={desk.counts}")
    script = [responds(call("r__echo", {"text": "x"})), responds(call("r__write", {"path": str(desk.counts)}))]
    async with ScriptedUpstream(script) as upstream:

        def look(terminal: AtTerminal) -> None:
            terminal.wait_for("[y/N/a]")
            terminal.type("y\n")
            terminal.wait_for("[y/N/a]", 2)
            terminal.type("\x03")

        terminal = await desk.watch(upstream, look)
    assert desk.executed == ["echo"]
    said = "".join(terminal.rows)
    assert 'Interrupted: "write" of "r" was not executed; of the other calls, 1 before it had ended.' in said


@pytest.mark.parametrize(
    ("options", "environ"), [((), {"NO_COLOR": "1"}), ((), {"TERM": "dumb"}), (("--json",), {}), ((), {"TERM": ""})]
)
async def test_who_asks_for_plain_output_gets_the_answer_at_the_end(
    desk: Desk, options: tuple[str, ...], environ: dict[str, str]
) -> None:
    gate = anyio.Event()
    async with ScriptedUpstream([in_two_parts(ANSWER, FIRST, gate)]) as upstream:

        def look(terminal: AtTerminal) -> None:
            terminal.wait_for("asking m")
            anyio.from_thread.run(upstream.arrivals.wait)
            assert "The first line" not in terminal.seen
            anyio.from_thread.run_sync(gate.set)

        terminal = await desk.watch(upstream, look, *options, environ=environ)
    assert terminal.code == 0
    assert terminal.seen.count("The first line of it.") >= 1
    assert "answering" not in terminal.seen
    if environ:
        assert terminal.seen.replace("\r\n", "\n").endswith(ANSWER + "\n")


@pytest.mark.parametrize("size", [(0, 0), (10, 24), (80, 2)])
async def test_a_window_without_a_size_gets_the_answer_at_the_end(desk: Desk, size: tuple[int, int]) -> None:
    async with ScriptedUpstream([responds(message(ANSWER))]) as upstream:
        terminal = await desk.watch(upstream, glance, size=size)
    assert terminal.code == 0
    assert terminal.seen.replace("\r\n", "\n").endswith(ANSWER + "\n")
    assert "answering" not in terminal.seen


async def test_through_a_pipe_nothing_is_imported_for_a_terminal(desk: Desk) -> None:
    async with ScriptedUpstream([responds(message("done"))]) as upstream:
        command = desk.command(upstream)
        command[1:1] = ["-X", "importtime"]
        done = await anyio.to_thread.run_sync(lambda: subprocess.run(command, capture_output=True, check=True))
    assert done.stdout == b"done\n"
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.decode().splitlines() if "|" in line}
    assert not [name for name in imported if name.split(".")[0] in ("rich", "termios")]
    assert "bridge.cli.screen.stream" not in imported


async def test_stdout_and_stderr_that_are_two_terminals_do_not_share_a_screen(desk: Desk) -> None:
    ours, theirs = os.openpty()
    async with ScriptedUpstream([responds(message(ANSWER))]) as upstream:
        command = desk.command(upstream)
        done = await anyio.to_thread.run_sync(
            lambda: subprocess.run(command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.PIPE, check=True)
        )
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert shown.replace("\r\n", "\n") == ANSWER + "\n"
    assert "turn 1: asking m" in done.stderr.decode()


PAGER = """
from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("pager")

@server.tool()
async def pay(ctx: Context) -> str:
    answer = await ctx.session.elicit_url("Confirm the payment", "https://pay.example/1?a=b", "1", ctx.request_id)
    return answer.action

server.run()
"""


@pytest.mark.parametrize(("typed", "told"), [("y", "accept"), ("n", "decline")])
async def test_a_page_that_a_server_wants_opened_is_shown_in_full_and_only_the_person_says_that_it_is_done(
    desk: Desk, tmp_path: Path, typed: str, told: str
) -> None:
    (tmp_path / "pager.py").write_text(PAGER, encoding="utf-8")
    entry = {"command": sys.executable, "args": [str(tmp_path / "pager.py")], "protocol": "legacy"}
    desk.servers["bank"] = entry | {"tools": {"allow": ["*"]}}
    async with ScriptedUpstream([responds(call("bank__pay", {})), responds(message("done"))]) as upstream:

        def look(terminal: AtTerminal) -> None:
            terminal.wait_for("[y/N]")
            page = "\n".join(terminal.rows)
            assert 'The server "bank" asks you to open a page of pay.example: Confirm the payment' in page
            assert "\n  https://pay.example/1?a=b\n" in page
            terminal.type(f"{typed}\n")

        terminal = await desk.watch(upstream, look)
        assert [output for request in upstream.requests[1:] for output in outputs_of(request)] == [told]
    assert terminal.code == 0
