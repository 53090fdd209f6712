"""docs/architecture.md names every module of the bridge, under its folder, and none that does not exist."""

import re
from pathlib import Path

import pytest

FOLDER = re.compile(r"^### `([\w/]+)/`$(.*?)(?=^##)", re.MULTILINE | re.DOTALL)
ROOT = Path(__file__).parents[1] / "bridge"
FOLDERS = sorted(file.parent.relative_to(ROOT).as_posix() for file in ROOT.glob("**/__init__.py"))


def read_map(repository: Path) -> dict[str, str]:
    page = (repository / "docs" / "architecture.md").read_text(encoding="utf-8")
    return {"." if name == "bridge" else name: text for name, text in FOLDER.findall(page)}


def test_every_file_that_the_page_names_by_its_path_exists(repository: Path) -> None:
    page = (repository / "docs" / "architecture.md").read_text(encoding="utf-8")
    paths = re.findall(r"`((?!tests/)[\w/]+/\w+\.py)`", page)
    assert paths
    assert [path for path in paths if not (repository / "bridge" / path).exists()] == []


def find_modules(folder: Path) -> set[str]:
    return {file.name for file in folder.glob("*.py")} - {"__init__.py"}


def test_the_map_has_every_folder_of_the_bridge(repository: Path) -> None:
    assert sorted(read_map(repository)) == FOLDERS


@pytest.mark.parametrize("name", FOLDERS)
def test_the_map_names_every_module_of_a_folder_and_no_other(repository: Path, name: str) -> None:
    named = re.findall(r"`(\w+\.py)`", read_map(repository)[name])
    assert sorted(named) == sorted(find_modules(ROOT / name))
