"""The README's commands in a fresh clone, on a machine with nothing but Python, or with nothing but uv."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.external.conftest import Find

pytestmark = [pytest.mark.external, pytest.mark.usefixtures("own_home")]


@pytest.fixture
def clone(repository: Path, tmp_path: Path) -> Path:
    """What a stranger gets: the committed files in another folder, without a virtual environment."""
    subprocess.run(["git", "clone", "--quiet", repository, tmp_path / "clone"], check=True)
    return tmp_path / "clone"


def build_path(tmp_path: Path, *programs: str) -> str:
    """A PATH with these programs and the system's own, and no uv unless it is among them."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for program in programs:
        (folder / Path(program).name).symlink_to(program)
    return f"{folder}:/usr/bin:/bin"


def run(clone: Path, path: str, *command: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")} | {"PATH": path}
    return subprocess.run(
        command, cwd=clone, env=env, capture_output=True, text=True, encoding="utf-8", timeout=600, check=False
    )


def find_python() -> str:
    """A Python that a user would have: not the one of our own virtual environment."""
    return os.path.realpath(shutil.which("python3") or "/usr/bin/python3")


@pytest.mark.parametrize("installer", ["uv", "pip"])
def test_make_run_and_make_test_set_up_all_they_need(installer: str, clone: Path, tmp_path: Path, peer: Find) -> None:
    python = tmp_path / "bin" / "python3"
    path = build_path(tmp_path, *([peer("uv")] if installer == "uv" else []))
    python.symlink_to(find_python())
    demo = run(clone, path, "make", "run")
    assert demo.returncode == 0, demo.stderr
    assert f"Setting up .venv with {'uv' if installer == 'uv' else 'python3 and pip'}" in demo.stderr
    assert demo.stderr.count("✓") == 4
    assert "580.2" in demo.stdout
    tested = run(clone, path, "make", "test", "ARGS=tests/test_layering.py tests/test_configs.py")
    assert tested.returncode == 0, tested.stdout
    assert " passed" in tested.stdout


def test_without_python_3_11_make_says_what_to_install(clone: Path, tmp_path: Path) -> None:
    path = build_path(tmp_path, "/bin/sh", "/usr/bin/make", "/usr/bin/dirname", "/usr/bin/touch").split(":")[0]
    done = run(clone, path, "make", "run")
    assert done.returncode != 0
    assert "Python 3.11 or newer is missing. Install uv" in done.stderr


def test_the_commands_for_people_without_make_work(clone: Path, tmp_path: Path, peer: Find) -> None:
    done = run(
        clone, build_path(tmp_path, peer("uv"), find_python()), "uv", "run", "--quiet", "mcp-responses-bridge", "demo"
    )
    assert done.returncode == 0, done.stderr
    assert "580.2" in done.stdout
