"""The wheel, the sdist and the bundle: what is in them, and a first answer for who installs them in a clean home."""

import email
import json
import os
import pwd
import subprocess
import tarfile
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from bridge import __version__
from tests.external.conftest import Find
from tests.external.strangers import build_path, find_python, run

pytestmark = pytest.mark.external

QUESTION = "What time is it in Lisbon?"
HELLO = json.dumps(
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "host", "version": "1"}},
    }
)
Record = Callable[[str, object], None]


@dataclass(frozen=True)
class Machine:
    """A machine with uv, pipx and Python, and a home with nothing in it."""

    home: Path
    path: str

    def run(self, *command: str, feed: str = "", **env: str) -> str:
        """The stdout of a command that has to succeed."""
        done = run(self.home, self.path, *command, env={"HOME": str(self.home), **env}, feed=feed)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def machine(tmp_path: Path, peer: Find, monkeypatch: pytest.MonkeyPatch) -> Machine:
    for name in ("PYTHONPATH", "VIRTUAL_ENV", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    path = build_path(tmp_path, peer("uv"), peer("uvx"), peer("pipx"))
    (tmp_path / "bin" / "python3").symlink_to(find_python())
    (tmp_path / "home").mkdir()
    return Machine(tmp_path / "home", path)


@pytest.fixture
def built(machine: Machine, clone: Path) -> Path:
    """The folder with the wheel and the sdist, as `uv build` makes them of a fresh clone."""
    machine.run("uv", "build", "--quiet", str(clone), "--out-dir", str(clone / "dist"))
    return clone / "dist"


def find(folder: Path, pattern: str) -> Path:
    [file] = folder.glob(pattern)
    return file


def list_committed(repository: Path) -> set[str]:
    """What of the two packages is in the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "bridge", "builtin_tools"], cwd=repository, check=True, capture_output=True, text=True
    )
    return set(listed.stdout.split())


def read_all(file: Path) -> dict[str, bytes]:
    """Every file of a wheel or an sdist, without the sdist's outer folder."""
    if file.suffix == ".whl":
        with zipfile.ZipFile(file) as wheel:
            return {name: wheel.read(name) for name in wheel.namelist()}
    with tarfile.open(file) as sdist:
        members = [(member.name.partition("/")[2], sdist.extractfile(member)) for member in sdist]
        return {name: opened.read() for name, opened in members if opened}


@pytest.mark.parametrize("way", ["uvx", "uv tool", "pipx", "pip"])
def test_who_installs_it_in_a_clean_home_gets_a_first_answer(
    way: str, machine: Machine, built: Path, record_testsuite_property: Record
) -> None:
    """`pip` from the sdist, the others from the wheel. Then as a host starts it."""
    wheel, sdist = str(find(built, "*.whl")), str(find(built, "*.tar.gz"))
    begun = time.monotonic()
    command = install(machine, way, sdist if way == "pip" else wheel)
    answer = machine.run(*command, "ask", "--offline", QUESTION)
    record_testsuite_property(f"seconds to the first answer by {way}", round(time.monotonic() - begun, 1))
    assert "(Europe/Lisbon)" in answer
    reply = json.loads(machine.run(*command, "serve", feed=HELLO + "\n"))
    assert reply["result"]["serverInfo"] == {"name": "mcp-responses-bridge", "version": __version__}


def install(machine: Machine, way: str, file: str) -> Sequence[str]:
    """Install it, and return the command that people then type."""
    installed = str(machine.home / ".local" / "bin" / "mcp-responses-bridge")
    match way:
        case "uvx":
            return ("uvx", "--from", file, "mcp-responses-bridge")
        case "uv tool":
            machine.run("uv", "tool", "install", "--quiet", file)
            return (installed,)
        case "pipx":
            machine.run("pipx", "install", "--python", find_python(), file)
            return (installed,)
        case _:
            venv = machine.home / "venv"
            machine.run("python3", "-m", "venv", str(venv))
            machine.run(str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", file)
            return (str(venv / "bin" / "mcp-responses-bridge"),)


def test_the_wheel_holds_the_two_packages_and_the_sdist_what_builds_it(built: Path, repository: Path) -> None:
    committed = list_committed(repository)
    own = f"mcp_responses_bridge-{__version__}.dist-info"
    of_wheel = {f"{own}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")}
    of_sdist = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "PKG-INFO", ".gitignore"}
    assert {"bridge/py.typed", "builtin_tools/py.typed"} <= committed
    assert read_all(find(built, "*.whl")).keys() == committed | of_wheel
    assert read_all(find(built, "*.tar.gz")).keys() == committed | of_sdist


def test_no_path_of_the_machine_that_built_it_is_in_it(built: Path, repository: Path) -> None:
    paths = [str(path).encode() for path in (built.parent, repository, Path(pwd.getpwuid(os.getuid()).pw_dir))]
    for file in (find(built, "*.whl"), find(built, "*.tar.gz")):
        for name, data in read_all(file).items():
            assert not [path for path in paths if path + b"/" in data], f"{file.name}: {name}"


def test_the_metadata_says_who_it_is_and_renders(built: Path, machine: Machine, peer: Find) -> None:
    files = [str(find(built, pattern)) for pattern in ("*.whl", "*.tar.gz")]
    assert machine.run(peer("twine"), "--no-color", "check", "--strict", *files).count("PASSED") == 2
    name = f"mcp_responses_bridge-{__version__}.dist-info/METADATA"
    metadata = email.message_from_bytes(read_all(Path(files[0]))[name])
    assert (metadata["Version"], metadata["License-Expression"]) == (__version__, "MIT")
    assert (metadata["Requires-Python"], metadata["Description-Content-Type"]) == (">=3.11", "text/markdown")
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])
    assert "<!-- mcp-name: io.github." in str(metadata.get_payload())  # by which the registry knows the package


def test_the_wheel_of_the_sdist_is_the_same(built: Path, machine: Machine, peer: Find, tmp_path: Path) -> None:
    """`python -m build`, the other tool for it, builds the wheel from the sdist."""
    with tarfile.open(find(built, "*.tar.gz")) as sdist:
        sdist.extractall(tmp_path, filter="data")
    source = find(tmp_path, "mcp_responses_bridge-*")
    machine.run(peer("pyproject-build"), "--wheel", "--outdir", str(tmp_path / "again"), str(source))
    assert read_all(find(tmp_path / "again", "*.whl")) == read_all(find(built, "*.whl"))


def test_the_bundle_is_valid_packs_and_starts_as_a_host_starts_it(machine: Machine, clone: Path, peer: Find) -> None:
    """By `uv`, which the host brings; with the settings that the person left empty in either way hosts fill them in."""
    machine.run("python3", str(clone / "deploy" / "mcpb" / "build.py"), str(machine.home))
    bundle = machine.home / f"mcp-responses-bridge-{__version__}.mcpb"
    assert bundle.is_file()
    folder = machine.home / "unpacked"
    machine.run(peer("mcpb"), "unpack", str(bundle), str(folder))
    assert "validation passes" in machine.run(peer("mcpb"), "validate", str(folder / "manifest.json"))
    packed = machine.run(peer("mcpb"), "pack", str(folder), str(machine.home / "packed.mcpb"))
    assert f"version: {__version__}" in packed
    assert "tests" not in {path.name for path in folder.iterdir()}
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    started = manifest["server"]["mcp_config"]
    arguments = [argument.replace("${__dirname}", str(folder)) for argument in started["args"]]
    for env in (started["env"], dict.fromkeys(started["env"], "")):
        reply = json.loads(machine.run(started["command"], *arguments, feed=HELLO + "\n", **env))
        assert reply["result"]["serverInfo"] == {"name": manifest["name"], "version": __version__}


def test_two_builds_of_the_bundle_are_equal(machine: Machine, clone: Path) -> None:
    for name in ("a", "b"):
        machine.run("python3", str(clone / "deploy" / "mcpb" / "build.py"), str(machine.home / name))
    assert find(machine.home / "a", "*.mcpb").read_bytes() == find(machine.home / "b", "*.mcpb").read_bytes()
