"""Commands whose stdout or stderr is closed, full, or read by somebody who has seen enough, run as a shell runs them.

None shows a traceback; what cannot be printed where it belongs is exit code 1 and a sentence, and stderr is nothing to
fail for.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from bridge.recording.tape import read_tape
from tests.fakes.ports import find_port

pytestmark = [
    pytest.mark.external,
    pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux"),
]

BRIDGE = f'"{sys.executable}" -m bridge'
ASK = "ask 'What is 2 + 3?' --offline --log-level info"
REDIRECTIONS = (">&-", "2>&-", ">&- 2>&-", ">/dev/full", "2>/dev/full", "| head -1")
COMMANDS = {
    ASK: 0,
    f"{ASK} --json": 0,
    "tools": 0,
    "check": 1,
    "config cursor": 0,
    "demo --offline": 0,
    "ask --replay run.jsonl": 0,
    "--help": 0,
    "nonsense": 2,
}
"""Each with its exit code where both outputs are well."""
SAYS_NOTHING = ("nonsense",)
"""They have only stderr to write to."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with a recording, and nothing configured."""
    folder = tmp_path_factory.mktemp("outputs")
    assert shell(f"{BRIDGE} {ASK} --record run.jsonl", folder).returncode == 0
    return folder


def shell(line: str, folder: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a line with bash, and tell the exit code of its first command."""
    environ = {**os.environ, "HOME": str(folder), "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(
        ["bash", "-c", f"{line}\nexit ${{PIPESTATUS[0]}}"],
        cwd=folder,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
        **options,
    )


def expect(command: str, redirection: str) -> set[int]:
    """The exit codes that are right: 1 where the output is lost, else as usual; behind a pipe it depends on who is
    faster."""
    usual = COMMANDS[command]
    if command in SAYS_NOTHING or redirection in ("2>&-", "2>/dev/full"):
        return {usual}
    if redirection.startswith(">&-") and command == "--help":  # it is printed before anything else is known
        return {usual}
    return {usual, 1} if "|" in redirection else {1}


@pytest.mark.parametrize("redirection", REDIRECTIONS)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_ends_as_unix_programs_do_whatever_becomes_of_its_output(
    command: str, redirection: str, folder: Path
) -> None:
    done = shell(f"{BRIDGE} {command} {redirection}", folder)
    assert done.returncode in expect(command, redirection), done.stderr
    said = done.stdout + done.stderr
    assert not any(words in said for words in ("Traceback", "Exception ignored", "Logging error", "Error:")), said
    if redirection in (">&-", ">/dev/full") and done.returncode != COMMANDS[command]:
        why = "stdout is closed" if redirection == ">&-" else "No space left on device"
        assert done.stderr.splitlines()[-1] == f"mcp-responses-bridge: the output cannot be written: {why}"


def test_an_answer_that_has_no_place_to_go_is_not_asked_for(folder: Path) -> None:
    done = shell(f"{BRIDGE} {ASK} >&-", folder)
    assert done.stderr == "mcp-responses-bridge: the output cannot be written: stdout is closed\n"


@pytest.mark.parametrize(
    ("redirection", "closed"), [(">&-", "stdout is"), ("<&-", "stdin is"), ("<&- >&-", "stdin and stdout are")]
)
def test_serve_says_in_a_sentence_why_it_cannot_serve(redirection: str, closed: str, folder: Path) -> None:
    done = shell(f"{BRIDGE} serve --offline {redirection}", folder)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        f"mcp-responses-bridge: serve: {closed} closed; the host and the bridge talk on stdin and stdout, so both must "
        "be open\n"
    )


INITIALIZE = json.dumps(
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
    }
)


@pytest.mark.parametrize(
    ("redirection", "code", "said"),
    [
        (">/dev/full", 1, "serve: stdout cannot be written: No space left on device\n"),
        ("2>&-", 0, ""),
        ("2>/dev/full", 0, ""),
        ("| true", 0, ""),
    ],
)
def test_serve_serves_as_far_as_its_outputs_go(redirection: str, code: int, said: str, folder: Path) -> None:
    done = shell(f"printf '%s\\n' '{INITIALIZE}' > hello; {BRIDGE} serve --offline <hello {redirection}", folder)
    assert (done.returncode, done.stderr) == (code, said)
    if redirection.startswith("2"):
        assert json.loads(done.stdout)["result"]["serverInfo"]["name"]


@pytest.mark.parametrize("redirection", [">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full 2>/dev/full"])
@pytest.mark.parametrize("command", ["offline", "serve --offline --transport http --no-auth"])
def test_a_service_needs_neither_of_them(command: str, redirection: str, folder: Path) -> None:
    port = find_port()
    line = f"exec {BRIDGE} {command} --port {port} {redirection}"
    service = subprocess.Popen(["bash", "-c", line], cwd=folder, env={**os.environ, "HOME": str(folder)})
    try:
        until_it_answers(port)
    finally:
        service.send_signal(signal.SIGTERM)
    assert service.wait(60) == 0


def until_it_answers(port: int) -> None:
    """Wait for a service whose stderr, which would say so, cannot be read."""
    for _ in range(600):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=30) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            if client.recv(1):
                return
        time.sleep(0.1)
    raise AssertionError("it does not answer")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of 12 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12k", "none", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("only root may mount a disk")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


RECORD = f"{BRIDGE} {ASK} --log-level error --record"


@pytest.mark.rule("REL29")
def test_a_full_disk_costs_neither_the_run_nor_the_answer(small_disk: Path, folder: Path) -> None:
    done = shell(f"head -c 8192 /dev/zero > {small_disk}/most; {RECORD} {small_disk}/run.jsonl", folder)
    assert done.returncode == 0
    assert done.stdout.endswith("math_calculator: 5\n")
    why = "is incomplete: No space left on device"
    assert done.stderr.splitlines()[-1] == f"! The recording {small_disk}/run.jsonl {why}"


def test_a_limit_on_the_size_of_files_costs_neither(tmp_path: Path, folder: Path) -> None:
    unmeasured = "unset COVERAGE_PROCESS_CONFIG COVERAGE_PROCESS_START"  # whose file would be too large, too
    done = shell(f"{unmeasured}; ulimit -f 2; {RECORD} {tmp_path}/run.jsonl", folder)
    assert (done.returncode, done.stdout.endswith("math_calculator: 5\n")) == (0, True)
    assert done.stderr.splitlines()[-1] == f"! The recording {tmp_path}/run.jsonl is incomplete: File too large"


def test_a_log_on_a_full_disk_costs_nothing_and_shows_nothing(small_disk: Path, folder: Path) -> None:
    full = f"head -c 20000 /dev/zero > {small_disk}/all 2>/dev/null; touch {small_disk}/log"
    ask = f"{BRIDGE} {ASK} --log-level debug --log-file {small_disk}/log --config broken.json"
    broken = {"command": sys.executable, "args": ["-c", "import sys; sys.exit('canary-in-stderr')"]}
    (folder / "broken.json").write_text(json.dumps({"mcpServers": {"s": broken}}), encoding="utf-8")
    done = shell(f"{full}; {ask}", folder)
    assert (done.returncode, done.stdout.endswith("math_calculator: 5\n")) == (0, True)
    lines = [line for line in done.stderr.splitlines() if "log" in line]
    assert lines == [
        f"The log cannot be written to {small_disk}/log: No space left on device; lines are left out until it can."
    ]
    assert "Arguments:" not in done.stderr


@pytest.mark.parametrize(
    ("command", "file", "why"),
    [
        (ASK, "no/such/log", "No such file or directory"),
        ("ask --replay run.jsonl", "no/such/log", "No such file or directory"),
        ("tools", ".", "Is a directory"),
        ("serve", "run.jsonl/log", "Not a directory"),
    ],
)
def test_a_log_file_that_cannot_be_opened_is_a_sentence_and_exit_2(
    command: str, file: str, why: str, folder: Path
) -> None:
    done = shell(f"{BRIDGE} {command} --log-file {file}", folder)
    words = f"mcp-responses-bridge: --log-file {file}: cannot be written: {why}\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", words)


def test_the_recording_that_the_others_play_is_whole(folder: Path) -> None:
    assert read_tape(folder / "run.jsonl")
