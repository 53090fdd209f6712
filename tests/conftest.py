"""What every test gets: a clean environment, a home of its own, and no network off loopback."""

import ipaddress
import itertools
import json
import logging
import os
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import ClientSession

from bridge.cli.setup import TOLD_BY_SERVICE
from tests.fakes.stalls import Loops, Stall, watched_loops

REPOSITORY = Path(__file__).parent.parent
FOREIGN_VARIABLE = re.compile(r"OPENAI_|MCP_RESPONSES_BRIDGE_|.*_PROXY$", re.IGNORECASE)
HOME_FOLDERS = {
    "HOME": "",
    "USERPROFILE": "",
    "APPDATA": "AppData/Roaming",
    "LOCALAPPDATA": "AppData/Local",
    "XDG_CONFIG_HOME": ".config",
    "XDG_DATA_HOME": ".local/share",
    "XDG_STATE_HOME": ".local/state",
    "XDG_CACHE_HOME": ".cache",
}

LOGGERS = ("", "bridge", *TOLD_BY_SERVICE, "mcp", "client", "httpx2", "httpcore2", "mcp.server.sse")
"""Those whose levels the program sets."""

_homes = itertools.count()
INTERRUPTIONS = "interruptions of runs"
STALL = "longest stall of the event loop, ms"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--stalls", type=int, default=0, help="show the N tests in which the event loop stood longest")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    stalls = {
        str(report.nodeid): float(dict(report.user_properties)[STALL])
        for report in reports
        if getattr(report, "when", None) == "teardown" and STALL in dict(report.user_properties)
    }
    properties = [dict(report.user_properties) for report in reports if getattr(report, "when", None) == "teardown"]
    if counts := [int(each[INTERRUPTIONS]) for each in properties if INTERRUPTIONS in each]:
        tried = sum(count > 0 for count in counts)
        terminalreporter.write_line(f"{sum(counts)} {INTERRUPTIONS}, in {tried} of {len(counts)} tests")
    longest = sorted(stalls, key=lambda test: -stalls[test])[: config.getoption("stalls")]
    if longest:
        terminalreporter.section(f"{STALL}, of {len(stalls)} tests")
        for test in longest:
            terminalreporter.write_line(f"{stalls[test]:8.1f}  {test}")


class OffLoopback(AssertionError):
    """A test tried to reach a host that is not this machine."""


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return REPOSITORY


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the homes of all tests are."""
    return tmp_path_factory.mktemp("homes")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, homes: Path) -> None:
    """Neither the developer's keys and proxies nor their home reach a test or a child process of one."""
    for name in filter(FOREIGN_VARIABLE.match, list(os.environ)):
        monkeypatch.delenv(name)
    home = homes / str(next(_homes))
    home.mkdir()
    for name, folder in HOME_FOLDERS.items():
        monkeypatch.setenv(name, str(home / folder))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY), prepend=os.pathsep)


@pytest.fixture(autouse=True)
def same_logging() -> Iterator[None]:
    """What a test sets up for the log, as the program does it, is gone after it."""
    root = logging.getLogger()
    handlers = root.handlers[:]
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    raises = logging.raiseExceptions
    yield
    logging.raiseExceptions = raises
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture(scope="session")
def _guarded_sockets() -> Iterator[list[str]]:
    """The hosts that were refused, in order. One patch for the whole session: patching per test costs time."""
    refused: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for method in ("connect", "connect_ex"):
            patch.setattr(socket.socket, method, _guard_connect(getattr(socket.socket, method), refused))
        patch.setattr(socket, "getaddrinfo", _guard_lookup(socket.getaddrinfo, refused))
        yield refused


@pytest.fixture(autouse=True)
def refused_hosts(_guarded_sockets: list[str]) -> Iterator[list[str]]:
    """The hosts off loopback that this test tried to reach. One that is still listed at its end fails the test, even
    where the code under test has swallowed the error."""
    _guarded_sockets.clear()
    yield _guarded_sockets
    assert not _guarded_sockets, f"the test tried to reach {_guarded_sockets}, which is not this machine"


def _guard_connect(connect: Callable[..., Any], refused: list[str]) -> Callable[..., Any]:
    def guarded(self: socket.socket, address: Any) -> Any:
        if isinstance(address, tuple) and not _is_loopback(address[0]):
            _refuse(address[0], refused)
        return connect(self, address)

    return guarded


def _guard_lookup(lookup: Callable[..., Any], refused: list[str]) -> Callable[..., Any]:
    def guarded(host: str | bytes | None, *rest: Any, **named: Any) -> Any:
        # A server that binds every interface looks these up; nothing can be reached through them.
        if host not in (None, "", "0.0.0.0", "::") and not _is_loopback(host):
            _refuse(host, refused)
        return lookup(host, *rest, **named)

    return guarded


def _is_loopback(host: str | bytes) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    try:
        return ipaddress.ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def _refuse(host: object, refused: list[str]) -> None:
    refused.append(str(host))
    raise OffLoopback(f"a test may reach this machine only, not {host!r}")


@pytest.fixture(scope="session")
def _loops() -> Iterator[Loops]:
    """All event loops of the session. One patch for all tests, as of the sockets."""
    with watched_loops() as loops:
        yield loops


@pytest.fixture(autouse=True)
def stall(_loops: Loops, request: pytest.FixtureRequest) -> Iterator[Stall]:
    """The longest that an event loop stood in this test: a property of it, and a line of `--stalls`. A test without a
    loop times by `step` what a bridge does in one."""
    _loops.stall = Stall()
    yield _loops.stall
    request.node.user_properties.append((STALL, round(_loops.stall.longest * 1000, 1)))


@pytest.fixture(scope="session", autouse=True)
def schemas_compiled_once() -> Iterator[None]:
    """The SDK's client compiles a tool's output schema for each connection, which is most of the time of a short test;
    here equal schemas are compiled once. Results are validated all the same."""
    compiled: dict[str, Any] = {}
    compile_schema = ClientSession._output_schema_validator

    def find(session: ClientSession, name: str, schema: dict[str, Any]) -> Any:
        key = json.dumps(schema, sort_keys=True)
        if key not in compiled:
            compiled[key] = compile_schema(session, name, schema)
        return compiled[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClientSession, "_output_schema_validator", find)
        yield
