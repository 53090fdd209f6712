"""What `${...}` in a config file stands for."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from bridge.config.faults import Place, Wrong
from bridge.json_text import Json

_REFERENCE = re.compile(r"\$\{([^}]*)\}")
_BARE = re.compile(r"([A-Za-z_]\w*)(?::-(.*))?", re.DOTALL)
_EDITOR_ONLY = re.compile(r"workspaceFolder\w*|userHome|pathSeparator|command:.*|config:.*", re.DOTALL)
_NOT_TEXT = re.compile(r"[\0\ud800-\udfff]")


@dataclass(frozen=True)
class References:
    """What `${...}` stands for in one part of the file.

    `${env:NAME}` and `${env:NAME:-default}` are filled in everywhere; the default counts when NAME is unset or empty.
    """

    environ: Mapping[str, str]
    bare: Literal["fill", "refuse", "keep"]
    """`${NAME}`: filled in for servers, refused in our own sections, kept as text in what is free text."""
    own: frozenset[str] = frozenset()
    """Names that the server's own `env` sets: an unset `${NAME}` of them, in `args` say, is the server's to fill in
    (mcp-remote does) and stays as it is."""
    inputs: Mapping[str, str] = field(default_factory=dict[str, str])
    """Defaults of VS Code's `inputs`, by id."""

    def expand(self, value: Json, place: Place) -> Json:
        """`value` with every reference in its strings filled in. Raises Wrong for one that cannot be."""
        if isinstance(value, str):
            return _text(_REFERENCE.sub(lambda match: self._resolve(match, place), value), place)
        if isinstance(value, list):
            return [self.expand(inner, (*place, index)) for index, inner in enumerate(value)]
        if isinstance(value, dict):
            return {_text(key, place): self.expand(inner, (*place, key)) for key, inner in value.items()}
        return value

    def _resolve(self, match: re.Match[str], place: Place) -> str:
        written, inner = match[0], match[1]
        if "${" in inner:
            raise Wrong(place, f"{written}: a reference cannot hold another reference; write one of them out")
        if inner.startswith("env:"):
            name, given, default = inner.removeprefix("env:").partition(":-")
            return self._variable(name, default if given else None, written, place)
        if self.bare == "fill":
            return self._in_server(written, inner, place)
        if self.bare == "refuse" and _BARE.fullmatch(inner):
            raise Wrong(place, f"{written} is filled in for servers only; here write ${{env:{inner}}}")
        return written

    def _in_server(self, written: str, inner: str, place: Place) -> str:
        if inner.startswith("input:"):
            return self._input(inner.removeprefix("input:"), place)
        bare = _BARE.fullmatch(inner)
        if bare and (bare[1] in self.environ or bare[2] is not None):
            return self._variable(bare[1], bare[2], written, place)
        if inner in self.own:
            return written
        if _EDITOR_ONLY.fullmatch(inner):
            raise Wrong(place, f"{written} is known to the editor only; write the value itself, or ${{env:NAME}}")
        return self._variable(inner, None, written, place) if bare else written

    def _variable(self, name: str, default: str | None, written: str, place: Place) -> str:
        value = self.environ.get(name)
        if default is not None:
            return value or default
        if value is None:
            raise Wrong(
                place,
                f"{written}: the environment variable {name} is not set; set it, or write {written[:-1]}:-default}}",
            )
        return value

    def _input(self, identity: str, place: Place) -> str:
        """VS Code asks the user for inputs. Here `github-token` is read from GITHUB_TOKEN, else its default counts."""
        name = re.sub(r"\W", "_", identity).upper()
        value = self.environ.get(name) or self.inputs.get(identity)
        if value is None:
            raise Wrong(
                place, f"${{input:{identity}}} cannot be asked for here; set {name}, or write ${{env:NAME}} instead"
            )
        return value


def _text(text: str, place: Place) -> str:
    """`text`, if a process or a header can be given it at all."""
    if _NOT_TEXT.search(text):
        raise Wrong(place, "holds a character that is not text (NUL, half a surrogate pair)")
    return text
