"""The README's commands in a fresh clone, on a machine with nothing but Python, or with nothing but uv."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.external.conftest import Find
from tests.external.strangers import build_path, find_python, run
from tests.test_documents import list_blocks, read

pytestmark = [pytest.mark.external, pytest.mark.usefixtures("own_home")]


@pytest.mark.parametrize("installer", ["uv", "pip"])
def test_make_run_and_make_test_set_up_all_they_need(
    installer: str, clone: Path, tmp_path: Path, peer: Find, record_testsuite_property: Callable[[str, object], None]
) -> None:
    python = tmp_path / "bin" / "python3"
    path = build_path(tmp_path, *([peer("uv")] if installer == "uv" else []))
    python.symlink_to(find_python())
    begun = time.monotonic()
    demo = run(clone, path, "make", "run")
    record_testsuite_property(
        f"seconds of make run in a fresh clone, by {installer}", round(time.monotonic() - begun, 1)
    )
    assert demo.returncode == 0, demo.stderr
    assert f"Setting up .venv with {'uv' if installer == 'uv' else 'python3 and pip'}" in demo.stderr
    assert demo.stderr.count("✓") == 4
    assert "580.2" in demo.stdout
    tested = run(clone, path, "make", "test", "ARGS=tests/test_layering.py tests/test_configs.py")
    assert tested.returncode == 0, tested.stdout
    assert " passed" in tested.stdout


def test_the_first_block_of_the_readme_does_what_it_says(repository: Path, tmp_path: Path, peer: Find) -> None:
    """From the clone to the entry in the host's file; `--yes` stands for the answer of the person."""
    [block, *_] = list_blocks(read(repository, "README.md"), "sh")
    address, *_ = re.findall(r"https://github\.com/\S+", block)
    script = block.replace(address, str(repository)).replace("install claude-desktop", "install claude-desktop --yes")
    home = tmp_path / "home"
    (home / ".config" / "Claude").mkdir(parents=True)
    python = tmp_path / "bin" / "python3"
    path = build_path(tmp_path, peer("uv"))
    python.symlink_to(find_python())
    own = {"HOME": str(home), "XDG_CONFIG_HOME": "", "LANG": "en_US.UTF-8"}
    done = run(tmp_path, path, "sh", "-ec", script.replace("cd mcp-responses-bridge", f"cd {repository.name}"), env=own)
    assert done.returncode == 0, done.stderr
    assert "580.2" in done.stdout
    written = json.loads((home / ".config" / "Claude" / "claude_desktop_config.json").read_text(encoding="utf-8"))
    command = written["mcpServers"]["responses"]["command"]
    assert Path(command) == tmp_path / repository.name / ".venv" / "bin" / "mcp-responses-bridge"


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
