"""References in a config file: `${env:NAME}`, `${NAME}`, `${input:id}`, and the editor's words for known places."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bridge.config.faults import Fault, KeyPath
from bridge.config.secrets import names_secret
from bridge.json_text import Json

_REFERENCE = re.compile(r"\$\{([^}]*)\}")
_BARE = re.compile(r"([A-Za-z_]\w*)(?::-(.*))?", re.DOTALL)
_EDITOR_ONLY = re.compile(r"workspace(Folder|Root)\w*(:.*)?|userHome|pathSeparator|/|command:.*|config:.*", re.DOTALL)
_UNFILLED = r"""(?xi)\$\{(?!env:|input:)(?P<colon>[A-Za-z_]\w*):(?!-)[^}]*\}   # a default as some write it
      | (?<![$\w])\$(?P<dollar>(?-i:[A-Z_][A-Z0-9_]{2,}))\b
      | (?<!\$)\{env:(?P<opencode>\w+)\}
      | (?<!\$)\{(?P<place>workspaceFolder|userHome)\}
      | \{\{\s*(?P<braces>\w+)\s*\}\}
      | (?<![%\w])%(?P<percent>[A-Za-z_]\w+)%
      | (?P<home>^~(?=[/\\]|$))
      | (?P<other>\{file:[^}]*\} | \$\([^)]*\) | <[\w -]*(?:key|token|secret|password|pat|id|here)[\w -]*>)"""
"""References of other programs, which are left as they are; of those in a longer text, the first."""
_PROJECT_FOLDERS = (".vscode", ".cursor", ".gemini", ".roo", ".kiro", ".zed", ".codex", ".idea", ".junie", ".amazonq")
_PROJECT_FILES = (".mcp.json", "opencode.json", "opencode.jsonc")
"""Where hosts keep the settings of a project: in a folder of it, or in a file right there."""
_NOT_TEXT = re.compile(r"[\0\ud800-\udfff]")
_NO_PATH = re.compile(r"[\b\f]|^[A-Za-z]:[\t\n\r]")
"""A backslash of a path that was written once, as C:\\temp, is a control character in JSON."""


@dataclass(frozen=True)
class References:
    """The values of references in one part of the file.

    `${env:NAME}` and `${env:NAME:-default}` are filled in everywhere; the default is used where NAME is unset or empty.
    """

    environ: Mapping[str, str]
    bare: Literal["fill", "refuse", "keep"]
    """Handling of `${NAME}`: fill it in (servers), refuse it (our own sections) or keep it as text (free text)."""
    own: frozenset[str] = frozenset()
    """Names that the server's own `env` sets. A `${NAME}` of one (in `args`, for example) that is not set in our
    environment is left to the server to fill in, as mcp-remote does."""
    inputs: Mapping[str, str] = field(default_factory=dict[str, str])
    """The defaults of VS Code's `inputs`, by id."""
    places: Mapping[str, str] = field(default_factory=dict[str, str])
    """The editor's words that are known for this file: `userHome`, `workspaceFolder`, `/` and the like."""
    filled: set[str] = field(default_factory=set[str])
    """Collects what was filled in for variables and inputs that are secrets by their names."""

    def expand(self, value: Json, path: KeyPath) -> Json:
        """Fill in every reference in the strings of `value`. Raises Fault for one that cannot be filled in."""
        if isinstance(value, str):
            text = _check_text(value, path)
            return _check_text(_REFERENCE.sub(lambda match: self._note(match, self._resolve(match, path)), text), path)
        if isinstance(value, list):
            return [self.expand(inner, (*path, index)) for index, inner in enumerate(value)]
        if isinstance(value, dict):
            return {_check_text(key, path): self.expand(inner, (*path, key)) for key, inner in value.items()}
        return value

    def _note(self, match: re.Match[str], value: str) -> str:
        name = match[1].removeprefix("env:").removeprefix("input:").partition(":-")[0]
        if value != match[0] and names_secret(name):
            self.filled.add(value)
        return value

    def _resolve(self, match: re.Match[str], path: KeyPath) -> str:
        written, inner = match[0], match[1]
        if "${" in inner:
            raise Fault(path, f"{written}: a reference cannot hold another reference; write one of them out")
        if inner.startswith("env:"):
            name, given, default = inner.removeprefix("env:").partition(":-")
            return self._read_variable(name, default if given else None, written, path)
        if self.bare == "fill":
            return self._resolve_in_server(written, inner, path)
        if self.bare == "refuse" and _BARE.fullmatch(inner):
            raise Fault(path, f"{written} is filled in for servers only; here write ${{env:{inner}}}")
        return written

    def _resolve_in_server(self, written: str, inner: str, path: KeyPath) -> str:
        if inner.startswith("input:"):
            return self._read_input(inner.removeprefix("input:"), path)
        if inner in self.places:
            return self.places[inner]
        bare = _BARE.fullmatch(inner)
        if bare and (bare[1] in self.environ or bare[2] is not None):
            return self._read_variable(bare[1], bare[2], written, path)
        if inner in self.own:
            return written
        if _EDITOR_ONLY.fullmatch(inner):
            raise Fault(path, f"{written} is only known to the editor; write the value itself, or ${{env:NAME}}")
        return self._read_variable(inner, None, written, path) if bare else written

    def _read_variable(self, name: str, default: str | None, written: str, path: KeyPath) -> str:
        value = self.environ.get(name)
        if default is not None:
            return value or default
        if value is None:
            raise Fault(
                path,
                f"{written}: the environment variable {name} is not set; set it, or write {written[:-1]}:-default}}",
            )
        return value

    def _read_input(self, identity: str, path: KeyPath) -> str:
        """Return an input, for which VS Code asks the user: GITHUB_TOKEN for `github-token`, else the default."""
        name = re.sub(r"\W", "_", identity).upper()
        value = self.environ.get(name) or self.inputs.get(identity)
        if value is None:
            raise Fault(
                path, f"${{input:{identity}}} cannot be asked for here; set {name}, or write ${{env:NAME}} instead"
            )
        return value


def _check_text(text: str, path: KeyPath) -> str:
    """Return `text`. Raises Fault where it holds characters that neither a process nor a header can be given."""
    if _NOT_TEXT.search(text):
        raise Fault(path, "holds a character that is not text (NUL, half a surrogate pair)")
    if _NO_PATH.search(text):
        raise Fault(path, r'a path there is written with single backslashes; write each twice ("C:\\temp"), or use /')
    return text


def find_unfilled(value: Json) -> tuple[str, str] | None:
    """Find a reference of another program, or a gap, in a text: how it is written, and what to write instead."""
    match = re.search(_UNFILLED, value) if isinstance(value, str) else None
    if match is None:
        return None
    name = next(group for group in match.groups() if group)
    if match["other"]:
        return match[0], "the value itself, or ${env:NAME}"
    if match["home"] or match["place"]:
        return match[0], f"${{{match['place'] or 'userHome'}}}"
    default = f":-{match[0][2 + len(name) + 1 : -1]}" if match["colon"] else ""
    return match[0], f"${{env:{name}{default}}}"


def name_places(file: Path | None, environ: Mapping[str, str], platform: str) -> dict[str, str]:
    """Name the places that an editor fills in, as far as they are known: those of the project by the file's own."""
    separator = "\\" if platform == "win32" else "/"
    places = {"pathSeparator": separator, "/": separator}
    if home := environ.get("USERPROFILE" if platform == "win32" else "HOME"):
        places["userHome"] = home
    if file and (project := _find_project(file.absolute(), home or "")):
        folder = str(project)
        places |= dict.fromkeys(("workspaceFolder", "workspaceRoot"), folder)
        places |= dict.fromkeys(("workspaceFolderBasename", "workspaceRootFolderName"), project.name)
    return places


def _find_project(file: Path, home: str) -> Path | None:
    """Find the folder of the project that a host's file belongs to; None for one of the user's own."""
    folder = next((parent.parent for parent in file.parents if parent.name in _PROJECT_FOLDERS), None)
    if folder is None and file.name in _PROJECT_FILES:
        folder = file.parent
    return None if folder is None or str(folder) == home else folder
