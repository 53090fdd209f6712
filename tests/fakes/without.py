"""A Python that has not got some packages: a folder for `PYTHONPATH`, in whose processes they cannot be imported."""

from pathlib import Path

REFUSE = """
import sys
from importlib.abc import MetaPathFinder

class Refuse(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Refuse())
"""


def hide_packages(folder: Path, *names: str) -> str:
    """Write the folder; returns its path."""
    (folder / "sitecustomize.py").write_text(REFUSE.format(names=set(names)), encoding="utf-8")
    return str(folder)
