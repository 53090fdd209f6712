"""No child outlives the bridge, however that ends; and the bridge is gone before its host loses patience."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bridge.processes.children import EOF_GRACE_S, TERM_GRACE_S, end_children, start_child
from tests.fakes.clock import PATIENCE_S
from tests.fakes.servers import ROGUE, rogue, survivors

Json = dict[str, Any]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and process groups are POSIX's")

START_PATIENCE_S = 30
"""For what a busy machine takes its time with: several bridges that start at once."""
KINDS = [["good", "banner"], ["grandchild", "banner"], *[["ignores_eof", "banner"]] * 3]
"""A `banner` is what shows that a server, and the child of the last one, have signed in."""

HOST = """
import json, os, signal, sys
from bridge.processes.children import end_on_signals, start_child
end_on_signals()
program, kinds, pids = sys.argv[1:]
for modes in json.loads(kinds):
    child = start_child(sys.executable, ["-S", "-E", program, *modes], {"ROGUE_PIDS": pids}, None, os.environ)
    os.read(child.stdout, 1)
print("up", flush=True)
while True:
    signal.pause()
"""


def kill_left(pids: Path) -> None:
    """What a test found to survive does not survive the test."""
    for file in pids.iterdir():
        if file.read_text(encoding="utf-8") in survivors(pids):
            with suppress(ProcessLookupError):
                os.kill(int(file.name), signal.SIGKILL)


@pytest.mark.rule("REL19")
@pytest.mark.external
def test_every_signal_ends_all_children_side_by_side(tmp_path: Path, repository: Path) -> None:
    numbers = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL]
    hosts: dict[signal.Signals, subprocess.Popen[bytes]] = {}
    for number in numbers:
        (tmp_path / number.name).mkdir()
        words = [str(ROGUE), json.dumps(KINDS), str(tmp_path / number.name)]
        command = [sys.executable, "-S", "-c", HOST, *words]
        hosts[number] = subprocess.Popen(command, stdout=subprocess.PIPE, env={"PYTHONPATH": str(repository)})
    for number, host in hosts.items():
        assert host.stdout
        assert host.stdout.readline() == b"up\n"
        assert len(survivors(tmp_path / number.name)) == 6
        host.send_signal(number)
    began = time.monotonic()
    codes = {number.name: host.communicate(timeout=PATIENCE_S) and host.returncode for number, host in hosts.items()}
    assert time.monotonic() - began < 3  # a stubborn one takes 1.1 s, three of them one after the other would take 3.3
    for name in codes:
        try:
            until(lambda name=name: not survivors(tmp_path / name))
        finally:
            kill_left(tmp_path / name)
    expected = {"SIGTERM": 0, "SIGINT": 130, "SIGHUP": 0, "SIGKILL": -9}
    assert codes == {name: expected[name] for name in codes}


@pytest.mark.rule("S12")
def test_a_child_gets_a_short_list_of_variables_its_own_and_the_depth() -> None:
    environ = {"PATH": os.environ["PATH"], "HOME": "/home/ada", "OPENAI_API_KEY": "secret", "HTTPS_PROXY": "http://p"}
    program = "import os, json; print(json.dumps(dict(os.environ)))"
    child = start_child(sys.executable, ["-S", "-E", "-c", program], {"TOKEN": "mine", "HOME": "/srv"}, None, environ)
    with open(child.stdout, encoding="utf-8", closefd=False) as stdout:
        found = json.loads(stdout.read())
    end_children([child])
    found.pop("LC_CTYPE", None)  # CPython's own, where there is no locale
    expected = {"PATH": environ["PATH"], "HOME": "/srv", "TOKEN": "mine", "MCP_RESPONSES_BRIDGE_DEPTH": "1"}
    assert found == expected


# -- the whole program -------------------------------------------------------------------------------------------------

INITIALIZE: Json = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "host", "version": "1"}},
}
REQUESTS: list[Json] = [
    INITIALIZE,
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
    {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
    {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": "respond", "arguments": {"input": "hi"}}},
]


@dataclass
class Served:
    """One `serve` as a host starts it, or another command, and what it came to."""

    process: subprocess.Popen[bytes]
    pids: Path
    log: Path
    stdout: bytes = b""
    seconds: float = 0
    left: list[str] = field(default_factory=list)

    def finish(self) -> "Served":
        """Wait for its end."""
        began = time.monotonic()
        stdout, _ = self.process.communicate(timeout=20)
        self.seconds = time.monotonic() - began
        self.stdout += stdout
        with suppress(AssertionError):  # what was killed with its group is gone when the system comes to it
            until(lambda: not survivors(self.pids))
        self.left = survivors(self.pids)
        kill_left(self.pids)
        return self

    @property
    def stderr(self) -> str:
        return self.log.read_text(encoding="utf-8")

    @property
    def answers(self) -> list[Json]:
        """Every line of stdout, which must be JSON-RPC."""
        lines = [json.loads(line) for line in self.stdout.splitlines()]
        assert all(line["jsonrpc"] == "2.0" for line in lines)
        return lines


def serve(
    folder: Path,
    servers: Mapping[str, Json],
    stdin: int,
    level: str = "info",
    command: Sequence[str] = ("serve",),
    stderr: int | None = None,
    **env: str,
) -> Served:
    """`stderr`: where it goes instead of into a file."""
    folder.mkdir()
    pids = folder / "pids"
    pids.mkdir()
    config = folder / "config.json"
    entries = {key: {**entry, "env": {"ROGUE_PIDS": str(pids)}} for key, entry in servers.items()}
    config.write_text(json.dumps({"mcpServers": entries}), encoding="utf-8")
    config.chmod(0o600)
    log = folder / "stderr"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "bridge", *command, "--config", str(config), "--log-level", level],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=file if stderr is None else stderr,
            env={"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROGUE.parent.parent.parent), **env},
        )
    return Served(process, pids, log)


def greet(served: Served) -> None:
    """Say hello and wait for the answer."""
    assert served.process.stdin
    assert served.process.stdout
    served.process.stdin.write(json.dumps(INITIALIZE).encode() + b"\n")
    served.process.stdin.flush()
    served.stdout += served.process.stdout.readline()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


STUBBORN = {"good": rogue("good"), "stubborn": rogue("ignores_eof"), "parent": rogue("grandchild")}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Served]:
    """Two of them side by side, each for another ending: starting one takes a second of a processor."""
    folder = tmp_path_factory.mktemp("served")
    early = serve(folder / "early", STUBBORN, subprocess.PIPE)
    until(lambda: any((early.pids).iterdir()))
    early.process.send_signal(signal.SIGTERM)
    closed = serve(folder / "closed", {**STUBBORN, "loud": rogue("stderr_flood")}, subprocess.PIPE, level="warning")
    early.finish()
    greet(closed)
    until(lambda: len(survivors(closed.pids)) == 5)
    return {"early": early, "closed": closed.finish()}


@pytest.mark.rule("REL19")
@pytest.mark.external
def test_a_host_that_closes_stdin_is_left_in_time(
    served: dict[str, Served], record_testsuite_property: Callable[[str, object], None]
) -> None:
    closed = served["closed"]
    assert (closed.process.returncode, closed.left) == (0, [])
    assert [answer["id"] for answer in closed.answers] == [1]
    assert closed.stderr == ""
    record_testsuite_property("from the end of stdin to the end of the bridge, s", round(closed.seconds, 2))
    assert closed.seconds < 5  # the promise is 1.8 s: hosts kill the bridge after 2


@pytest.mark.rule("REL19")
@pytest.mark.external
def test_a_signal_in_the_middle_of_the_start_leaves_no_child(served: dict[str, Served]) -> None:
    early = served["early"]
    assert (early.process.returncode, early.left, early.stdout) == (0, [], b"")


@pytest.mark.external
def test_a_hosts_own_config_and_a_file_of_requests_make_one_bridge_that_answers_all(tmp_path: Path) -> None:
    requests = tmp_path / "requests.jsonl"
    requests.write_text("".join(json.dumps(request) + "\n" for request in REQUESTS), encoding="utf-8")
    ourselves = {"command": sys.executable, "args": ["-m", "bridge", "serve"]}
    with requests.open("rb") as stdin:
        file = serve(tmp_path / "file", {"ourselves": ourselves, "good": rogue("good")}, stdin.fileno()).finish()
    assert (file.process.returncode, file.left) == (0, [])
    assert sorted(answer["id"] for answer in file.answers) == [1, 2, 3]
    assert "mcpServers.ourselves starts this program and is left out" in file.stderr
    assert "backing off" not in file.stderr


@pytest.mark.external
def test_a_bridge_inside_a_bridge_connects_nothing_and_ends_with_an_empty_stdin(tmp_path: Path) -> None:
    inner = serve(tmp_path / "inner", STUBBORN, subprocess.DEVNULL, MCP_RESPONSES_BRIDGE_DEPTH="1").finish()
    assert (inner.process.returncode, inner.stdout) == (0, b"")
    assert "it connects no server" in inner.stderr
    assert not any(inner.pids.iterdir())


ASK = ("ask", "what time is it?", "--offline")
COMMANDS = {"ask": ASK, "tools": ("tools",), "check": ("check",)}


@pytest.mark.external
@pytest.mark.parametrize("moment", ["early", "connecting"])
def test_a_command_that_is_told_to_end_leaves_no_child(tmp_path: Path, moment: str) -> None:
    """Early: while its large imports run. Later it waits for a server that never answers."""
    log = tmp_path / "log"
    codes = {"ask SIGTERM": 1, "tools SIGHUP": 1, "check SIGTERM": 1, "check SIGINT": 130}
    commands: dict[str, Served] = {}
    for name in codes:
        kind = name.split()[0]
        servers = STUBBORN | {"silent": rogue("silent", f"log={log} {name}")}
        commands[name] = serve(tmp_path / name, servers, subprocess.DEVNULL, command=COMMANDS[kind])
    for name, command in commands.items():
        if moment == "early":
            until(lambda command=command: any(command.pids.iterdir()))
        else:
            until(lambda name=name: Path(f"{log} {name}").exists())
        command.process.send_signal(getattr(signal, name.split()[1]))
    ended = {name: command.finish() for name, command in commands.items()}
    assert {name: command.process.returncode for name, command in ended.items()} == codes
    assert {name: command.left for name, command in ended.items() if command.left} == {}
    assert {name: command.stderr for name, command in ended.items() if "Traceback" in command.stderr} == {}


@pytest.mark.external
def test_a_second_signal_while_it_stops_changes_nothing(tmp_path: Path) -> None:
    codes = {"serve SIGTERM": 0, "serve SIGHUP": 0, "ask SIGTERM": 1}
    bridges: dict[str, Served] = {}
    for name in codes:
        servers = STUBBORN | ({} if name.startswith("serve") else {"silent": rogue("silent")})
        command = ASK if name.startswith("ask") else ("serve",)
        bridges[name] = serve(tmp_path / name, servers, subprocess.PIPE, command=command)
    for name, bridge in bridges.items():
        if name.startswith("serve"):
            greet(bridge)
        until(lambda bridge=bridge: "good" in survivors(bridge.pids) and "ignores_eof" in survivors(bridge.pids))
        bridge.process.send_signal(getattr(signal, name.split()[1]))
    for bridge in bridges.values():
        until(lambda bridge=bridge: "good" not in survivors(bridge.pids))
        bridge.process.send_signal(signal.SIGTERM)
        bridge.process.send_signal(signal.SIGHUP)
    ended = {name: bridge.finish() for name, bridge in bridges.items()}
    assert {name: bridge.process.returncode for name, bridge in ended.items()} == codes
    assert {name: bridge.left for name, bridge in ended.items() if bridge.left} == {}


@pytest.mark.rule("REL18")
@pytest.mark.external
def test_many_stubborn_children_are_ended_at_once(
    tmp_path: Path, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """More than a pool of threads has: the last of them are killed when the first are, not one patience later."""
    count = 45
    bridge = serve(tmp_path / "many", {f"s{n}": rogue("ignores_eof") for n in range(count)}, subprocess.PIPE)
    greet(bridge)
    until(lambda: len(survivors(bridge.pids)) == count)
    assert bridge.process.stdin
    bridge.process.stdin.close()
    bridge.process.stdin = None
    until(lambda: len(survivors(bridge.pids)) < count)
    first = time.monotonic()
    bridge.finish()
    spread = time.monotonic() - first
    assert (bridge.process.returncode, bridge.left) == (0, [])
    record_testsuite_property(f"from the first to the last end of {count} stubborn children, s", round(spread, 2))
    assert spread < EOF_GRACE_S + TERM_GRACE_S


@pytest.mark.rule("REL9")
@pytest.mark.external
def test_a_log_that_nobody_reads_holds_up_neither_runs_nor_the_end(tmp_path: Path) -> None:
    loud = {f"loud{n}": rogue("stderr_flood") for n in range(2)}
    unread, end = os.pipe()
    bridge = serve(tmp_path / "unread", loud, subprocess.PIPE, command=("serve", "--offline"), stderr=end)
    os.close(end)
    stdin, stdout = bridge.process.stdin, bridge.process.stdout
    assert stdin
    assert stdout
    for request in REQUESTS[:3]:
        stdin.write(json.dumps(request).encode() + b"\n")
    for number in range(3, 8):
        stdin.write(json.dumps(REQUESTS[3] | {"id": number}).encode() + b"\n")
        stdin.flush()
        while (answer := json.loads(stdout.readline())).get("id") != number:
            pass
        assert answer["result"]["structuredContent"]["status"] == "completed"
    assert len(os.read(unread, 1 << 20)) > 32_768, "nothing was in the way"
    bridge.process.send_signal(signal.SIGTERM)
    bridge.finish()
    os.close(unread)
    assert (bridge.process.returncode, bridge.left) == (0, [])


KINDS_OF_SERVER = ["good", "outlives_eof", "ignores_eof", "grandchild"]
"""One that obeys, one that needs SIGTERM, one that needs SIGKILL, and one that leaves a child behind."""
OF_EACH = 10
ENDS = {"SIGTERM": 0, "SIGINT": 130, "SIGHUP": 0, "SIGKILL": -9, "end of stdin": 0}


@pytest.mark.rule("REL20")
@pytest.mark.external
@pytest.mark.parametrize("end", ENDS)
def test_no_server_of_any_kind_outlives_a_bridge_however_that_ends(
    end: str, tmp_path: Path, record_testsuite_property: Callable[[str, object], None]
) -> None:
    servers = {f"{kind}-{number}": rogue(kind) for kind in KINDS_OF_SERVER for number in range(OF_EACH)}
    bridge = serve(tmp_path / "bridge", servers, subprocess.PIPE)
    greet(bridge)
    until(lambda: len(survivors(bridge.pids)) == len(servers) + OF_EACH)
    if end in signal.Signals.__members__:
        bridge.process.send_signal(signal.Signals[end])
    began = time.monotonic()
    try:
        bridge.process.communicate(timeout=20)
        record_testsuite_property(f"{len(servers)} servers, {end}: end of the bridge, s", time.monotonic() - began)
        until(lambda: not survivors(bridge.pids))
        record_testsuite_property(f"{len(servers)} servers, {end}: end of the last, s", time.monotonic() - began)
    finally:
        kill_left(bridge.pids)
    assert bridge.process.returncode == ENDS[end]


@pytest.mark.external
def test_a_server_that_obeys_the_end_of_its_stdin_is_not_killed_with_the_bridge(tmp_path: Path) -> None:
    left, program = tmp_path / "left", "import sys, time; sys.stdin.read(); time.sleep(0.2); open(sys.argv[1], 'x')"
    bridge = serve(tmp_path / "bridge", {"slow": {**rogue("good"), "args": ["-S", "-c", program, str(left)]}}, -1)
    greet(bridge)
    bridge.process.kill()
    bridge.process.communicate()
    until(left.exists)


SECOND_WATCHER = """
import os, signal, sys
from bridge.processes import watcher
from bridge.processes.children import start_child
def start(*modes):
    args = ["-S", "-E", sys.argv[1], *modes]
    child = start_child(sys.executable, args, {"ROGUE_PIDS": sys.argv[2]}, None, os.environ)
    os.read(child.stdout, 1)
start("grandchild", "banner")
os.kill(watcher._watcher.pid, signal.SIGKILL)
watcher._watcher.wait()
start("ignores_eof", "banner")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.rule("REL20")
@pytest.mark.external
def test_a_watcher_that_was_killed_is_replaced(tmp_path: Path, repository: Path) -> None:
    command = [sys.executable, "-S", "-c", SECOND_WATCHER, str(ROGUE), str(tmp_path)]
    subprocess.run(command, env={"PYTHONPATH": str(repository)}, check=False)
    try:
        assert len(list(tmp_path.iterdir())) == 3
        until(lambda: not survivors(tmp_path))
    finally:
        kill_left(tmp_path)
