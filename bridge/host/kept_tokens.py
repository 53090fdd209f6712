"""The tokens that `tokens add` has made: the hash of each in a file of its own in the state folder, and no token."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from bridge.config.principals import is_hash, is_name
from bridge.json_text import decode, encode
from bridge.state import StateFolder, Suspect, Unusable

KIND = "tokens"
"""The folder of these files in the state folder."""
ID_CHARS = 8
_MARK = "~"
"""Between a name and an id; no name holds it."""


class KeptToken(NamedTuple):
    """What is kept of a token."""

    name: str
    """Of its principal."""
    sha256: str
    added: float
    """When it was made, by the wall clock."""

    @property
    def id(self) -> str:
        """What tells it from other tokens of the same principal, for people."""
        return self.sha256[:ID_CHARS]

    @property
    def file(self) -> str:
        return f"{self.name}{_MARK}{self.id}"


@dataclass(frozen=True)
class KeptTokens:
    """The files of all tokens."""

    folder: StateFolder

    def add(self, token: KeptToken) -> None:
        """Keep a new token. Raises OSError or Unusable."""
        self.folder.add(token.file, encode({"sha256": token.sha256, "added": token.added}))

    def remove(self, token: KeptToken) -> None:
        """Remove a token: from now on it opens nothing. Raises OSError."""
        (self.folder.path / token.file).unlink(missing_ok=True)

    def read(self) -> tuple[list[KeptToken], list[str]]:
        """Return the tokens, by name, and a sentence for each file that cannot be relied on. Raises Unusable."""
        self.folder.check()
        tokens, faults = list[KeptToken](), list[str]()
        for file in self._list():
            try:
                tokens += self._read(file)
            except Suspect as error:
                faults.append(
                    f"{self.folder.path / file}: {error}; remove that file, and give a new token with `tokens add`"
                )
        return tokens, [*faults, *_find_shared(tokens)]

    def find_stamp(self) -> tuple[int, int] | None:
        """Find what changes whenever a token is added or removed, without reading any."""
        try:
            found = self.folder.path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns

    def _list(self) -> list[str]:
        try:
            return sorted(file.name for file in self.folder.path.iterdir() if not file.name.startswith("."))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise Unusable(f"{self.folder.path}: {error.strerror}") from None

    def _read(self, file: str) -> Iterator[KeptToken]:
        text = self.folder.read(file, is_secret=True)
        if text is None:  # removed a moment ago
            return
        name, _, token_id = file.rpartition(_MARK)
        try:
            match decode(text):
                case {"sha256": str(digest), "added": int() | float() as added} if digest.startswith(token_id):
                    pass
                case _:
                    raise ValueError
        except ValueError:
            raise Suspect("it is damaged") from None
        if not is_name(name) or len(token_id) != ID_CHARS or not is_hash(digest):
            raise Suspect("it is damaged")
        yield KeptToken(name, digest, float(added))


def _find_shared(tokens: list[KeptToken]) -> Iterator[str]:
    owners: dict[str, str] = {}
    for token in tokens:
        if owners.setdefault(token.sha256, token.name) != token.name:
            yield f"{owners[token.sha256]} and {token.name} have the same token in the state folder; remove one of them"
