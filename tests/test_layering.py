"""Imports point one way: every module imports only what its side of the program may know."""

import ast
import graphlib
import sys
from collections.abc import Container, Iterator
from pathlib import Path, PurePosixPath

import pytest

BOTTOM = "the bottom"
MAY_IMPORT = {
    BOTTOM: {BOTTOM},
    "upstream": {BOTTOM, "upstream"},
    "hub": {BOTTOM, "hub"},
    "run": {BOTTOM, "run"},
    "offline": {BOTTOM, "offline"},
    "host": {BOTTOM, "run", "host"},
    "recording": {BOTTOM, "run", "recording"},
    "app": {BOTTOM, "upstream", "hub", "run", "offline", "host", "app", "builtin_tools"},
    "signals": {BOTTOM, "hub", "run", "host", "app", "signals"},
    "cli": {BOTTOM, "upstream", "hub", "run", "offline", "host", "recording", "app", "signals", "builtin_tools", "cli"},
    "__main__": {BOTTOM, "app", "cli"},
    "builtin_tools": {"builtin_tools"},
}
"""By side. A single file directly in bridge/ that is not named here belongs to the bottom, and so do these folders."""
BOTTOM_FOLDERS = {"config", "hosts", "jsonrpc", "processes", "schemas", "search"}

DOES_WITHOUT = {"bridge.run.loop": {"mcp", "httpx2"}}
ONE_IMPORTER = {"jsonschema_rs": "bridge.schemas.judge"}
STANDARD_LIBRARY_ONLY = {
    "bridge.processes.children",
    "bridge.processes.open_files",
    "bridge.processes.watcher",
    "bridge.processes.windows",
    "bridge.processes.own_stdio",
}
"""Besides each other."""


def violations(sources: dict[str, str]) -> list[str]:
    """Every import that goes against the rules, as a sentence; `sources` are texts by path, such as `bridge/app.py`.

    Imports inside functions and those for the type checker alone count too.
    """
    trees = {path: ast.parse(text) for path, text in sources.items()}
    imports = {module_of(path): list(imported(path, tree)) for path, tree in trees.items()}
    return [
        *(f"{path} is on no known side" for path in trees if is_stray(path)),
        *(f"{path} must hold nothing but a docstring and the version" for path in trees if is_full(path, trees[path])),
        *(fault for module, targets in imports.items() for target in targets for fault in faults(module, target)),
        *cycles(imports),
    ]


def faults(module: str, target: str) -> Iterator[str]:
    top, here, there = target.partition(".")[0], side_of(module), side_of(target)
    if top == "tests":
        yield f"{module} imports {target}: the program does not know its tests"
    is_standard = top in sys.stdlib_module_names or known_prefix(target, STANDARD_LIBRARY_ONLY) is not None
    if module in STANDARD_LIBRARY_ONLY and not is_standard:
        yield f"{module} imports {target}: it may use the standard library only"
    if top in DOES_WITHOUT.get(module, ()):
        yield f"{module} imports {target}: it does without {top}"
    if module != ONE_IMPORTER.get(top, module):
        yield f"{module} imports {target}: only {ONE_IMPORTER[top]} does"
    if there is not None and here in MAY_IMPORT and there not in MAY_IMPORT[here]:
        yield f"{module} imports {target}: {here} must not import {there}"


def cycles(imports: dict[str, list[str]]) -> Iterator[str]:
    """The first circle of imports, if there is one."""
    edges = {module: {known_prefix(target, imports) for target in imports[module]} for module in imports}
    graph = {module: {target for target in edges[module] if target not in (None, module)} for module in edges}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        yield f"a circle of imports: {' <- '.join(error.args[1])}"


def imported(path: str, tree: ast.Module) -> Iterator[str]:
    """The dotted name of everything that the file imports; of `from a import b` that is a.b, whatever b is."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = list(PurePosixPath(path).parts[: -node.level]) if node.level else []
            start = [*package, *filter(None, [node.module])]
            yield from (".".join([*start, alias.name]) for alias in node.names)


def module_of(path: str) -> str:
    return ".".join(PurePosixPath(path).with_suffix("").parts).removesuffix(".__init__")


def side_of(name: str) -> str | None:
    """The side that a dotted name belongs to; None for other people's packages."""
    match name.split("."):
        case ["builtin_tools", *_]:
            return "builtin_tools"
        case ["bridge", second, *_] if second in MAY_IMPORT:
            return second
        case ["bridge", *_]:
            return BOTTOM
        case _:
            return None


def is_stray(path: str) -> bool:
    """Whether the file is in a folder of bridge/ that no rule speaks of."""
    match PurePosixPath(path).parts:
        case ("bridge", folder, _, *_):
            return folder not in MAY_IMPORT and folder not in BOTTOM_FOLDERS
        case _:
            return False


def is_full(path: str, tree: ast.Module) -> bool:
    """Whether the file is an `__init__` of bridge/ with anything else than a docstring and the version in it."""
    if not (path.startswith("bridge/") and path.endswith("__init__.py")):
        return False
    rest = tree.body[1:] if ast.get_docstring(tree) is not None else tree.body
    return any(not ast.unparse(statement).startswith("__version__ = ") for statement in rest)


def known_prefix(name: str, known: Container[str]) -> str | None:
    """The module that a dotted name leads to, if it is one of these."""
    parts = name.split(".")
    prefixes = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((prefix for prefix in prefixes if prefix in known), None)


def test_every_import_points_the_right_way(repository: Path) -> None:
    files = [file for package in ("bridge", "builtin_tools") for file in (repository / package).rglob("*.py")]
    sources = {file.relative_to(repository).as_posix(): file.read_text(encoding="utf-8") for file in files}
    assert "bridge/errors.py" in sources
    found = violations(sources)
    assert found == []


@pytest.mark.parametrize(
    ("path", "text", "fault"),
    [
        ("bridge/errors.py", "import bridge.hub.hub", "the bottom must not import hub"),
        ("bridge/items.py", "import builtin_tools", "the bottom must not import builtin_tools"),
        ("bridge/upstream/client.py", "from bridge.hub.hub import Hub", "upstream must not import hub"),
        ("bridge/upstream/client.py", "from bridge import run", "upstream must not import run"),
        ("bridge/hub/hub.py", "from ..run.loop import run", "bridge.hub.hub imports bridge.run.loop.run"),
        ("bridge/hub/hub.py", "def f():\n    import bridge.offline.rules", "hub must not import offline"),
        ("bridge/run/loop.py", "from mcp.types import Tool", "it does without mcp"),
        ("bridge/run/loop.py", "import httpx2 as httpx", "it does without httpx2"),
        ("bridge/run/answer.py", "def f():\n    import jsonschema_rs", "only bridge.schemas.judge does"),
        ("bridge/offline/rules.py", "import bridge.app", "offline must not import app"),
        ("bridge/host/server.py", "from bridge.hub import member", "host must not import hub"),
        ("bridge/app.py", "from bridge.cli import main", "app must not import cli"),
        ("bridge/cli/ask.py", "import bridge.__main__", "cli must not import __main__"),
        ("bridge/processes/children.py", "import psutil", "the standard library only"),
        ("bridge/processes/children.py", "from bridge.errors import BridgeError", "the standard library only"),
        ("bridge/clock.py", "import tests.fakes.clock", "does not know its tests"),
        ("builtin_tools/clock.py", "from bridge.clock import Clock", "builtin_tools must not import the bottom"),
        ("bridge/helpers/text.py", "", "on no known side"),
        ("bridge/hub/__init__.py", "from bridge.hub.hub import Hub", "nothing but a docstring"),
        ("bridge/hub/hub.py", "from bridge.hub import member", "a circle of imports"),
    ],
)
def test_a_planted_violation_is_found(path: str, text: str, fault: str) -> None:
    found = violations({"bridge/hub/member.py": "from .hub import Hub", path: text})
    assert any(fault in sentence for sentence in found), found


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("bridge/__init__.py", '"""The bridge."""\n\n__version__ = "1"'),
        ("bridge/app.py", "import builtin_tools.server, bridge.hub.hub, bridge.run.loop, bridge.host.server"),
        ("bridge/cli/ask.py", "from bridge import __version__\nfrom bridge.app import build\nfrom . import terminal"),
        ("bridge/__main__.py", "from bridge.cli import main"),
        ("bridge/run/loop.py", "from bridge.items import Item\nfrom bridge.run.limits import Limits\nimport anyio"),
        ("bridge/host/server.py", "from bridge.run.receipt import Receipt\nfrom mcp.server import Server"),
        ("bridge/processes/children.py", "import os, signal"),
        ("bridge/schemas/judge.py", "def f():\n    import jsonschema_rs"),
    ],
)
def test_an_import_that_is_allowed_is_not_complained_of(path: str, text: str) -> None:
    assert not violations({path: text})
