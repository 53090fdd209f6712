"""What the commands print of other programs' words is safe to look at: every text of the corpus, in every place."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from bridge.items import OWN_NAMES
from bridge.visible import quote_name
from tests.fakes.commands import Done, run
from tests.fakes.hostile import HOSTILE, READABLE, find_raw
from tests.fakes.screen import COLUMNS, answer_on_terminal, render
from tests.fakes.upstream import Reply, Request, ScriptedUpstream, api_error, call, message, reasoning, responds

pytestmark = pytest.mark.anyio

TEXTS = list(HOSTILE.values())
SERVER = Path(__file__).parent.parent / "fakes" / "hostile_server.py"
LIMITS = {"max_turn_calls": 1000, "max_tool_calls": 1000, "max_tools": 1000, "tool_tokens": 10**7}
FORGED = re.compile(r"^ *\[y/N\]", re.MULTILINE)
"""The beginning of a line of ours, which one of the texts has too."""


class Place:
    """A folder with a config whose every server is hostile, and an upstream that is."""

    def __init__(self, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capfd = capfd
        self._texts = folder / "texts.json"
        self._texts.write_text(json.dumps(TEXTS), encoding="utf-8")

    def entry(self, mode: str = "") -> dict[str, Any]:
        return {"command": sys.executable, "args": ["-S", "-E", str(SERVER), str(self._texts), mode]}

    def write(self, servers: dict[str, Any], **sections: Any) -> str:
        file = self.folder / "config.json"
        unit = {"mcpServers": servers, "builtin_tools": False, "limits": LIMITS, **sections}
        file.write_text(json.dumps(unit), encoding="utf-8")
        file.chmod(0o600)
        return str(file)

    async def run(self, *args: str) -> Done:
        return await run(self._capfd, *args)


@pytest.fixture
def place(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Place:
    return Place(tmp_path, capfd)


def check(done: Done) -> None:
    """Nothing raw, on either stream, and no line that is not ours."""
    assert find_raw(done.stdout) == []
    assert find_raw(done.stderr) == []
    assert not FORGED.search(done.stderr)
    assert " " * 300 not in done.stderr


def use_all(request: Request) -> Reply:
    """A model that calls every tool, with every text as an argument, and every text as if it were a tool; then it says
    them all."""
    if any("output" in item for item in request.json["input"]):
        return responds(reasoning("\n".join(TEXTS)), message("\n".join(VALID)))
    offered = [tool["name"] for tool in request.json["tools"]]
    calls = [call(name, {"text": text, text: 1}) for name, text in zip(offered, VALID, strict=False)]
    return responds(*calls, *(call(text, {}) for text in VALID))


VALID = [text.replace("\ud83d", "\ufffd").replace(" " * 3000, " ") for text in TEXTS]
"""The texts as an upstream can send them, and without a blank page, which an answer may have."""


@pytest.mark.external
async def test_of_tools_in_every_form(place: Place) -> None:
    keys = {text: place.entry() if number < 2 else {"command": "no-such"} for number, text in enumerate(VALID)}
    config = place.write(keys)
    check(tables := await place.run("tools", "--config", config))
    assert tables.code == 0
    assert tables.stdout.count("\\u") > 2 * len(TEXTS)
    check(found := await place.run("tools", "--config", config, "--search", "add delete read"))
    listed = await place.run("tools", "--config", config, "--json")
    check(listed)
    tools = [tool for server in json.loads(listed.stdout)["servers"] for tool in server["tools"]]
    assert {tool["tool"] for tool in tools} >= {text for text in TEXTS if "\ud83d" not in text}
    for tool in [each["tool"] for each in tools if each["name"]][:: len(tools) // 4]:
        check(await place.run("tools", tool, "--config", config))
        check(await place.run("tools", tool, "--config", config, "--json"))
    assert found.code == 0


@pytest.mark.external
@pytest.mark.parametrize("options", [[], ["--json"]])
async def test_of_check_with_last_words_and_an_upstreams_error(place: Place, options: list[str]) -> None:
    dying = {f"s{number}": place.entry(f"dies={number}") for number in range(len(TEXTS))}
    named = {text: {"command": f"no-such-{text}".replace("\0", "")} for text in VALID}
    async with ScriptedUpstream(lambda _: api_error(401, " ".join(VALID))) as upstream:
        config = place.write(dying | named, upstream={"base_url": upstream.base_url, "model": VALID[0]})
        check(done := await place.run("check", "--config", config, *options))
    assert done.code == 1
    assert done.stdout.count("Error: ") >= len(TEXTS) - 5


@pytest.mark.rule("S30")
@pytest.mark.external
@pytest.mark.parametrize("options", [[], ["--json"], ["--dry-run"]])
async def test_of_ask_its_progress_answer_notices_and_log(place: Place, options: list[str], tmp_path: Path) -> None:
    servers = {"r": place.entry(), TEXTS[0]: place.entry("dies=1")}
    async with ScriptedUpstream(use_all) as upstream:
        config = place.write(servers, upstream={"base_url": upstream.base_url, "model": "m"})
        log = tmp_path / "log"
        done = await place.run(
            "ask", "hi", "--yes", "--config", config, "--log-file", str(log), "--log-level", "debug", *options
        )
    assert done.code == 0, done.stderr[-500:]
    if "--dry-run" in options:  # whose output is the request to the byte
        done = Done(done.code, "", done.stderr)
    check(done)
    assert find_raw(log.read_text(encoding="utf-8")) == []
    if not options:
        assert done.stderr.count("→ ") == done.stderr.count("✓ ") + done.stderr.count("✗ ") >= 2 * len(TEXTS) - 2
        assert log.read_text(encoding="utf-8").count("\\u") > len(TEXTS)


async def test_of_ask_when_the_upstream_refuses(place: Place) -> None:
    for text in VALID:
        async with ScriptedUpstream([api_error(400, text, code=text)]) as upstream:
            config = place.write({}, upstream={"base_url": upstream.base_url, "model": "m"})
            check(done := await place.run("ask", "hi", "--config", config))
            assert done.code == 1


async def test_of_ask_when_the_answer_is_cut_for_a_reason(place: Place) -> None:
    for text in VALID:
        cut = responds(message(text), status="incomplete", incomplete_details={"reason": text})
        async with ScriptedUpstream([cut]) as upstream:
            config = place.write({}, upstream={"base_url": upstream.base_url, "model": "m"})
            check(await place.run("ask", "hi", "--config", config))


@pytest.mark.external
async def test_of_a_recording_that_is_run_again(place: Place, tmp_path: Path) -> None:
    tape = str(tmp_path / "tape.jsonl")
    async with ScriptedUpstream(use_all) as upstream:
        config = place.write({"r": place.entry()}, upstream={"base_url": upstream.base_url, "model": "m"})
        first = await place.run("ask", "hi", "--yes", "--config", config, "--record", tape)
    again = await place.run("ask", "--replay", tape)
    check(again)
    assert (again.code, again.stdout) == (0, first.stdout)


async def test_of_what_people_write_in_an_answer_nothing_is_changed(place: Place) -> None:
    answer = "\n".join(f"{name}:\t{text}" for name, text in READABLE.items())
    async with ScriptedUpstream([responds(message(answer))]) as upstream:
        config = place.write({}, upstream={"base_url": upstream.base_url, "model": "m"})
        done = await place.run("ask", "hi", "--config", config)
    assert done.stdout == answer + "\n"


async def test_of_json_every_text_comes_out_as_it_was(place: Place) -> None:
    answer = "\n".join(VALID)
    async with ScriptedUpstream([responds(message(answer))]) as upstream:
        config = place.write({}, upstream={"base_url": upstream.base_url, "model": "m"})
        done = await place.run("ask", "hi", "--config", config, "--json")
    assert json.loads(done.stdout)["output_text"] == answer
    check(done)


FAULTS: dict[str, Callable[[str], Any]] = {
    "an unknown key": lambda text: {"limits": {text: 1}},
    "a server without a command": lambda text: {"mcpServers": {text: {}}},
    "a server of a wrong type": lambda text: {"mcpServers": {"a": {"command": "x", "type": text}}},
    "a wrong choice": lambda text: {"upstream": {"profile": text}},
    "a wrong URL": lambda text: {"upstream": {"base_url": text}},
    "a reference": lambda text: {"mcpServers": {"a": {"command": f"${{env:{text}}}"}}},
    "a folder": lambda text: {"input_roots": [text]},
    "a header": lambda text: {"upstream": {"headers": {text: text}}},
    "a host that is allowed": lambda text: {"serve": {"allowed_hosts": [text]}},
    "a duplicate": lambda text: {"mcpServers": {text: {"command": "x"}}, "servers": {text: {"command": "x"}}},
}


@pytest.mark.parametrize("build", FAULTS.values(), ids=FAULTS)
async def test_of_what_is_wrong_in_a_config(place: Place, build: Callable[[str], Any]) -> None:
    file = place.folder / "config.json"
    for text in TEXTS:
        file.write_text(json.dumps(build(text)), encoding="utf-8")
        file.chmod(0o600)
        command = ["serve", "--transport", "http", "--port", "0"] if "serve" in build(text) else ["tools"]
        done = await place.run(*command, "--config", str(file))
        assert find_raw((done.stdout + done.stderr).replace(" " * 3000, "")) == []
        if "mcpServers" in build(text):  # it costs that server
            assert (done.code, "left out" in done.stdout) == (0, True), text
        else:
            assert (done.code, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), text


async def test_of_names_of_files_and_options(place: Place) -> None:
    for text in (text for text in VALID if "/" not in text and "\0" not in text and len(text.encode()) < 200):
        file = str(place.folder / text)
        for command in (
            ["tools", "--config", file],
            ["config", "cursor", "--config", file],
            ["ask", "x", "--offline", "--log-file", f"{file}/no"],
            ["ask", "--replay", file],
            ["ask", "x", "--offline", "--record", f"{file}/no"],
            ["tools", f"--{text}"],
        ):
            check(done := await place.run(*command))
            assert done.code == 2, command


@pytest.mark.external
async def test_of_a_live_check(place: Place) -> None:
    for number, text in enumerate(VALID):
        reply = api_error(400, text, code=text, param=text) if number % 2 else responds(message(text), model=text)
        async with ScriptedUpstream(lambda _, reply=reply: reply) as upstream:
            config = place.write({}, upstream={"base_url": upstream.base_url, "model": "m"})
            record = str(place.folder / f"live{number}.jsonl")
            check(await place.run("check", "--live", "--yes", "--config", config, "--record", record))


@pytest.mark.external
async def test_of_the_demo(place: Place) -> None:
    async with ScriptedUpstream([responds(message("\n".join(VALID)))]) as upstream:
        config = place.write({}, upstream={"base_url": upstream.base_url, "model": VALID[0]})
        done = await place.run("demo", "--config", config)
    check(Done(done.code, done.stdout, done.stderr))
    assert done.code == 0


@pytest.mark.rule("S19")
@pytest.mark.external
async def test_of_the_question_on_a_terminal(place: Place) -> None:
    """The screen shows the true question for each text, whatever was printed before and whatever it is about."""
    (place.folder / "texts.json").write_text(json.dumps(VALID), encoding="utf-8")
    count = 17
    for first in range(0, len(VALID), count):
        chosen = slice(first, first + count)

        def choose(request: Request, chosen: slice = chosen) -> Reply:
            if any("output" in item for item in request.json["input"]):
                return responds(message("\n".join(text for text in VALID[chosen] if "\n" not in text)))
            offered = [tool["name"] for tool in request.json["tools"] if tool["name"] not in OWN_NAMES]
            calls = [call(name, {"text": text, text: 1}) for name, text in zip(offered, VALID, strict=False)]
            return responds(*calls[chosen])

        async with ScriptedUpstream(choose) as upstream:
            servers = {"r": place.entry()}
            config = place.write(servers, upstream={"base_url": upstream.base_url, "model": VALID[0]})
            command = [sys.executable, "-m", "bridge", "ask", "hi", "--config", config, "--log-level", "info"]
            seen, code = await anyio.to_thread.run_sync(answer_on_terminal, command, {"": "n"})
        rows = render(seen.replace("\r\n", "\n").replace("\n", "\r\n"))
        page = "".join(row.ljust(COLUMNS) for row in rows)
        assert code == 0
        assert find_raw("\n".join(rows)) == []
        assert page.count("The model wants to run") == len(VALID[chosen])
        for text, tool in zip(VALID[chosen], VALID[chosen], strict=True):
            begin = f'The model wants to run {quote_name(tool)} of "r" with '
            where = page.find(begin) if begin.isascii() else page.find(begin[:24])
            assert where >= 0, text
        assert not [row for row in rows if row.startswith("[y/N] y")]
