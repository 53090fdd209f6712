"""References in a config file: `${env:NAME}`, `${NAME}` and `${input:id}`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from bridge.config.faults import Fault, KeyPath
from bridge.config.secrets import names_secret
from bridge.json_text import Json

_REFERENCE = re.compile(r"\$\{([^}]*)\}")
_BARE = re.compile(r"([A-Za-z_]\w*)(?::-(.*))?", re.DOTALL)
_EDITOR_ONLY = re.compile(r"workspaceFolder\w*|userHome|pathSeparator|command:.*|config:.*", re.DOTALL)
_NOT_TEXT = re.compile(r"[\0\ud800-\udfff]")


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
    filled: set[str] = field(default_factory=set[str])
    """Collects what was filled in for variables and inputs that are secrets by their names."""

    def expand(self, value: Json, path: KeyPath) -> Json:
        """Fill in every reference in the strings of `value`. Raises Fault for one that cannot be filled in."""
        if isinstance(value, str):
            return _check_text(_REFERENCE.sub(lambda match: self._note(match, self._resolve(match, path)), value), path)
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
    return text
