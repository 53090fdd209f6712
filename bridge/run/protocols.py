"""What the loop needs of its surroundings, as Protocols: they import no HTTP and no MCP."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

from bridge.call_options import CallOptions
from bridge.config.settings import ToolGlobs
from bridge.events import OnEvent
from bridge.items import Call, CallOutput, Notice, Response, Turn
from bridge.json_text import JsonObject
from bridge.questions import Ask
from bridge.run.run import Run

if TYPE_CHECKING:
    from bridge.search.ranking import Ranking


class Upstream(Protocol):
    """The Responses endpoint."""

    async def create(self, turn: Turn, *, deadline: float, on_event: OnEvent) -> Response:
        """Send one turn; text arrives as events meanwhile. Raises UpstreamError or ArgumentError."""
        ...

    def find_window(self, model: str) -> int | None:
        """Find how many tokens this model takes; None where that is not known yet."""
        ...


class Catalogue(Protocol):
    """An immutable snapshot of the tools; a run keeps the one it began with."""

    @property
    def functions(self) -> Mapping[str, str]:
        """Each model name with its function tool as JSON text, in a stable order."""
        ...

    @property
    def owners(self) -> Mapping[str, str]:
        """Each model name with the key of the server that owns it."""
        ...

    @property
    def tokens(self) -> Mapping[str, int]:
        """Each model name with about how many tokens its function tool costs."""
        ...

    @property
    def notices(self) -> Sequence[Notice]:
        """The servers and tools that are missing from it, each with the reason."""
        ...

    @property
    def polling(self) -> Collection[str]:
        """The model names of the tools that may be called again and again with the same result."""
        ...

    @property
    def harmless(self) -> Collection[str]:
        """The model names of the tools that declare themselves read-only or idempotent."""
        ...

    @property
    def plain_names(self) -> Mapping[str, str]:
        """Each model name with the name that its server gives the tool."""
        ...

    def search(self, wish: str) -> "Ranking":
        """Rank the model names of the tools that have to do with a wish."""
        ...

    def find_named(self, name: str) -> Sequence[str]:
        """List the model names of the tools of exactly this name, with or without their server's."""
        ...


class Auditor(Protocol):
    """Keeps a line of each call."""

    def admit(self, run: Run, about: JsonObject, at: float) -> CallOutput | None:
        """Note that a call is about to be sent, by the wall clock; return its output where it must not be, as that
        cannot be noted."""
        ...

    def telling(self, account: JsonObject) -> AbstractContextManager[None]:
        """Expect the end of a call, and what is to be noted of it beside that."""
        ...

    def list_news(self, run: Run) -> Sequence[Notice]:
        """List what a run has to say of the audit, once."""
        ...


C = TypeVar("C", bound=Catalogue)
Send: TypeAlias = Callable[[CallOptions], Awaitable[CallOutput]]
"""Sends a call that may run to its server; if its tool is not what it was, the person is asked first. Never raises but
for cancellation."""


class Tools(Protocol[C]):
    """The connected servers."""

    async def describe(self, ask: Ask, globs: ToolGlobs | None = None) -> JsonObject:
        """Describe all tools as JSON, or those that `globs` allow, once every server is ready or known not to be; `ask`
        offers the person to sign in to those that want it."""
        ...

    def restore(self, described: JsonObject) -> C:
        """Make the catalogue that was described, also by another process."""
        ...

    async def prepare(self, catalogue: C, call: Call, ask: Ask) -> Send | CallOutput:
        """Check a call by the catalogue alone, and ask the person where it needs a yes. Returns what sends it, or its
        output where it must not run. Never raises but for cancellation."""
        ...
