"""Builds the `.mcpb` bundle: the manifest, the program, and a pyproject.toml by which the host's uv gets the rest.

python deploy/mcpb/build.py [FOLDER]   # dist/mcp-responses-bridge-VERSION.mcpb
"""

import json
import shutil
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PACKAGES = ("bridge", "builtin_tools")
WHOLE = ("manifest.json", "server.py")


def fill(folder: Path) -> None:
    """Write what is in the bundle into an empty folder."""
    for name in WHOLE:
        shutil.copy(HERE / name, folder)
    shutil.copy(ROOT / "LICENSE", folder)
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "pyproject.toml").write_text(describe(), encoding="utf-8")


def describe() -> str:
    """Write the bundle's pyproject.toml: what the program needs, in the versions that the tests have passed with."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (ROOT / ".ci" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    tested = [line for line in lines if not line.startswith("#")]
    return f"""[project]
name = "mcp-responses-bridge-bundle"
version = "{read_manifest()["version"]}"
requires-python = "{project["requires-python"]}"
dependencies = {json.dumps(project["dependencies"], indent=2)}

[tool.uv]
package = false
constraint-dependencies = {json.dumps(tested, indent=2)}
"""


def read_manifest() -> dict[str, str]:
    """Read the manifest, as far as it is needed here."""
    return json.loads((HERE / "manifest.json").read_text(encoding="utf-8"))


def pack(folder: Path, file: Path) -> None:
    """Pack a folder, in an order of its own, so that the same files are the same bundle."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as bundle:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix())
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            bundle.writestr(entry, path.read_bytes())


def main(arguments: list[str]) -> None:
    """Build into the folder that is named, or into `dist`."""
    target = Path(arguments[0]) if arguments else ROOT / "dist"
    target.mkdir(parents=True, exist_ok=True)
    file = target / f"mcp-responses-bridge-{read_manifest()['version']}.mcpb"
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder))
        pack(Path(folder), file)
    sys.stderr.write(f"{file}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
