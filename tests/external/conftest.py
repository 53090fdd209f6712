"""Other people's programs: where they are, and that a run of all checks does not pass without them."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NoReturn

import anyio
import pytest

Find = Callable[[str], str]
RunNode = Callable[..., Awaitable["subprocess.CompletedProcess[bytes]"]]
PATIENCE_S = 60


@pytest.fixture
def peer(repository: Path) -> Find:
    """The path of a program that `.ci/peers` or `.ci/clients` installs. Without it the test is skipped; under CI it
    fails."""

    def find(name: str) -> str:
        folders = [
            ".peers/bin",
            ".peers/usr/sbin",
            ".peers/usr/bin",
            ".peers/node_modules/.bin",
            ".peers/tools/node_modules/.bin",
            ".ci/node/node_modules/.bin",
        ]
        return shutil.which(name, path=os.pathsep.join(str(repository / folder) for folder in folders)) or miss(name)

    return find


@pytest.fixture
def schema_suite(repository: Path) -> Path:
    """JSON Schema's official tests, from `.ci/peers`, as of a program."""
    folder = repository / ".peers" / "suite" / "json" / "tests"
    return folder if folder.is_dir() else miss(str(folder))


@pytest.fixture
def run_node(peer: Find) -> RunNode:
    """Run a program (or, with `node`, a script) on the Node of `.ci/clients`, beside its packages."""

    async def run(program: str, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
        modules = Path(peer("node")).parent.parent
        env = os.environ | {"PATH": os.pathsep.join((str(modules / ".bin"), os.environ["PATH"]))}
        with anyio.fail_after(PATIENCE_S):
            return await anyio.run_process([peer(program), *arguments], cwd=modules, env=env, check=False)

    return run


@pytest.fixture
def old_python(repository: Path) -> str:
    """The Python of the environment with mcp 1.x, the last SDK that knows no revision after 2025-11-25."""
    return shutil.which(str(repository / ".peers" / "old" / "bin" / "python")) or miss("mcp 1.x")


def miss(name: str) -> NoReturn:
    """The test cannot be run here."""
    missing = f"{name} is not installed: sh .ci/peers && sh .ci/clients"
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)


@pytest.fixture
def clone(repository: Path, tmp_path: Path) -> Path:
    """What a stranger gets: the committed files in another folder, without a virtual environment."""
    subprocess.run(["git", "clone", "--quiet", repository, tmp_path / "clone"], check=True)
    return tmp_path / "clone"


@pytest.fixture
def own_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own home, where installers have their settings; every other test has a temporary one."""
    monkeypatch.setenv("HOME", pwd.getpwuid(os.getuid()).pw_dir)
    for name in [name for name in os.environ if name.startswith("XDG_") or name in ("VIRTUAL_ENV", "PYTHONPATH")]:
        monkeypatch.delenv(name)
