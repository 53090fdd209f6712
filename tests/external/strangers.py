"""A stranger's machine: the committed files, a PATH with little on it, and a home without settings."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

SETUP_S = 600


def build_path(tmp_path: Path, *programs: str) -> str:
    """A PATH with these programs and the system's own, and no uv unless it is among them."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for program in programs:
        (folder / Path(program).name).symlink_to(program)
    return f"{folder}:/usr/bin:/bin"


def run(
    folder: Path, path: str, *command: str, env: Mapping[str, str] | None = None, feed: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a command of a stranger's in a folder; `feed` is its stdin, `env` what else is in its environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    return subprocess.run(
        command,
        cwd=folder,
        env={**kept, "PATH": path, **(env or {})},
        input=feed,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=SETUP_S,
        check=False,
    )


def find_python() -> str:
    """A Python that a user would have: not the one of our own virtual environment."""
    return os.path.realpath(shutil.which("python3") or "/usr/bin/python3")
