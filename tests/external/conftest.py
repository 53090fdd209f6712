"""Other people's programs: where they are, and that a run of all checks does not pass without them."""

import os
import pwd
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

Find = Callable[[str], str]


@pytest.fixture
def peer(repository: Path) -> Find:
    """The path of a program that `.ci/peers` installs. Without it the test is skipped; under CI it fails."""

    def find(name: str) -> str:
        folders = [repository / ".peers" / "bin", repository / ".peers" / "node_modules" / ".bin"]
        if found := shutil.which(name, path=os.pathsep.join(map(str, folders))):
            return found
        missing = f"{name} is not installed: sh .ci/peers"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)

    return find


@pytest.fixture
def own_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own home, where installers have their settings; every other test has a temporary one."""
    monkeypatch.setenv("HOME", pwd.getpwuid(os.getuid()).pw_dir)
    for name in [name for name in os.environ if name.startswith("XDG_") or name in ("VIRTUAL_ENV", "PYTHONPATH")]:
        monkeypatch.delenv(name)
