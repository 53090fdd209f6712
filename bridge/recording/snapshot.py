"""A catalogue as plain data, which can be written down and read again."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from bridge.items import Notice
from bridge.texts import estimate_tokens


@dataclass(frozen=True)
class Snapshot:
    """The tools of one run; which of them fit a wish is somebody else's to say."""

    functions: Mapping[str, str]
    """Each model name with its function tool as JSON text."""
    owners: Mapping[str, str]
    """Each model name with the key of the server that owns it."""
    notices: Sequence[Notice]
    """What is missing from it, and why."""
    polling: Collection[str]
    """The model names of the tools that may be called again and again with the same result."""
    find_fitting: Callable[[str], Sequence[str]] = field(repr=False)

    @cached_property
    def tokens(self) -> Mapping[str, int]:
        """Each model name with about how many tokens its function tool costs."""
        return {name: estimate_tokens(text) for name, text in self.functions.items()}

    def rank(self, wish: str) -> Sequence[str]:
        """The model names of the tools that would do what is wished, best first; none where none would."""
        return self.find_fitting(wish)
