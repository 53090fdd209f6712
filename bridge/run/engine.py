"""What the loop needs from its surroundings, and who keeps runs, as Protocols: they import no HTTP and no MCP."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Protocol, TypeVar

from bridge.call_terms import CallTerms
from bridge.items import Call, CallOutput, Notice, Response, Turn
from bridge.json_text import JsonObject
from bridge.run.run import Run

T = TypeVar("T")
OnEvent = Callable[[JsonObject], None]


class Upstream(Protocol):
    """The Responses endpoint."""

    async def create(self, turn: Turn, *, deadline: float, on_event: OnEvent) -> Response:
        """What one turn came to; `text` events while it streams. Raises UpstreamError."""
        ...

    def find_window(self, model: str) -> int | None:
        """How many tokens this model takes, where that is known by now."""
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
        """What is missing from it, and why."""
        ...

    @property
    def polling(self) -> Collection[str]:
        """The model names of the tools that may be called again and again with the same result."""
        ...

    def rank(self, wish: str) -> Sequence[str]:
        """The model names of the tools that would do what is wished, best first; none where none would."""
        ...


C = TypeVar("C", bound=Catalogue)


class Tools(Protocol[C]):
    """The connected servers."""

    async def catalogue(self) -> C:
        """The snapshot for a run, once every server is ready or known not to be."""
        ...

    async def call(self, catalogue: C, call: Call, terms: CallTerms) -> CallOutput:
        """What a call came to. Never raises but for cancellation: a failed call is data for the model."""
        ...


class Context(Protocol):
    """Where a run's effects and events go. An engine may remember steps, so a run can be taken up again."""

    async def step(self, key: str, fn: Callable[[], Awaitable[T]], *, once: bool = False) -> T:
        """Do `fn`, whose result is JSON, under a key that is unique in the run.

        `once`: an engine that remembers must not repeat it when it does not know how it ended.
        """
        ...

    def emit(self, event: JsonObject) -> None:
        """Tell what happened. Progress, receipt and logs are all made from these events."""
        ...


class Engine(Protocol):
    """Where runs live: apart from the calls that began them, and for a while after their end."""

    def start(self, run_id: str, arguments: JsonObject, *, owner: str | None) -> Run:
        """Start a run of `respond`'s arguments, checked already."""
        ...

    def find(self, run_id: str, *, owner: str | None) -> Run | None:
        """A run of this owner; None for one that is unknown, expired or somebody else's."""
        ...

    def find_lost(self, arguments: JsonObject, *, owner: str | None) -> Run | None:
        """The run of an earlier, equal call of this owner that got no result."""
        ...

    def find_response(self, response_id: str, *, owner: str | None) -> Run | None:
        """The run of this owner that ended with this response."""
        ...


def tell(notice: Notice) -> JsonObject:
    """The event for a notice."""
    return {"type": "notice", "code": notice["code"], "message": notice["message"]}
