"""The run's own tools: offered beside the servers' tools, answered by the run itself, and confined to it."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Generic, NamedTuple

from bridge.arguments import read_arguments
from bridge.call_options import CallOptions
from bridge.items import Call, CallOutput, Notice, fail_call
from bridge.json_text import Json, JsonObject, encode
from bridge.questions import Ask
from bridge.run.protocols import C, Send, Tools
from bridge.schemas.judge import Judge

if TYPE_CHECKING:
    from bridge.search.ranking import Ranking

BRIDGE = "bridge"
"""The server name that these tools are shown with."""


class Found(NamedTuple):
    """An output that adds tools to the offer."""

    text: str
    names: Sequence[str]
    """Model names of tools that the following requests are to carry."""


@dataclass(frozen=True)
class Function:
    """The part of a run's own tool that the model sees."""

    name: str
    """One of `items.OWN_NAMES`, which no server's tool can have."""
    description: str
    parameters: Judge
    """Judges its arguments by their JSON Schema; a call whose arguments do not fit is refused."""

    @cached_property
    def encoded(self) -> str:
        """The function tool as a request carries it: JSON text."""
        function: JsonObject = {"type": "function", "name": self.name, "description": self.description}
        return encode(function | {"parameters": self.parameters.schema, "strict": False})


@dataclass(frozen=True)
class OwnTool:
    """One tool of the run's own."""

    function: Function
    answer: Callable[[JsonObject, int], Awaitable[str | Found]] = field(repr=False)
    """Answers a call from its arguments, in about as many bytes as the second argument says. Raises ValueError with a
    message for the model."""
    accompanies: Callable[[str], bool] = field(repr=False)
    """Tells whether it is offered wherever a tool of this server is: in every turn from the first, so that the tools at
    the beginning of each request stay the same and prompt caches hold."""

    @property
    def name(self) -> str:
        return self.function.name

    async def call(self, call: Call, terms: CallOptions) -> CallOutput:
        """Answer a call. Whatever is wrong with it becomes an output for the model."""
        try:
            answer = await self.answer(self._read(call.arguments), terms.limit_bytes or 0)
            if isinstance(answer, Found):
                return {**self._wrap(answer.text), "found": [*answer.names]}
            return self._wrap(answer)
        except ValueError as error:
            return fail_call("invalid_arguments", str(error), server=BRIDGE, tool=self.name)

    def _read(self, arguments: Json) -> JsonObject:
        """Read the arguments of a call. Raises ValueError with a message for the model where they do not fit."""
        given = read_arguments(arguments, may_be_null=not self.function.parameters.schema.get("required"))
        if fault := self.function.parameters.find_fault(given):
            raise ValueError(fault.describe("the arguments"))
        return given

    def _wrap(self, output: str) -> CallOutput:
        return {"output": output, "is_error": False, "server": BRIDGE, "tool": self.name}


@dataclass(frozen=True)
class RunCatalogue(Generic[C]):
    """The tools that one run can call: the servers' and its own."""

    servers: C
    own: Mapping[str, OwnTool]

    @cached_property
    def functions(self) -> Mapping[str, str]:
        """Each model name of a server's tool with its function tool as JSON text."""
        return self.servers.functions

    @cached_property
    def owners(self) -> Mapping[str, str]:
        """Each model name with the key of the server that owns it."""
        return {**self.servers.owners, **dict.fromkeys(self.own, BRIDGE)}

    @property
    def tokens(self) -> Mapping[str, int]:
        """Each model name of a server's tool with about how many tokens its function tool costs."""
        return self.servers.tokens

    @property
    def notices(self) -> Sequence[Notice]:
        """The servers and tools that are missing from it, each with the reason."""
        return self.servers.notices

    @property
    def polling(self) -> Collection[str]:
        """The tools that may be called again and again with the same result. The run's own may: they are free."""
        return {*self.servers.polling, *self.own}

    def is_harmless(self, name: str) -> bool:
        """Tell whether it is harmless to call this tool twice. The run's own are."""
        return name in self.own or name in self.servers.harmless

    @property
    def plain_names(self) -> Mapping[str, str]:
        """Each model name of a server's tool with its plain name."""
        return self.servers.plain_names

    def search(self, wish: str) -> "Ranking":
        """Rank the servers' tools that have to do with a wish."""
        return self.servers.search(wish)

    def find_named(self, name: str) -> Sequence[str]:
        """List the servers' tools of exactly this name, with or without their server's."""
        return self.servers.find_named(name)

    def extend(self, tools: Iterable[OwnTool]) -> "RunCatalogue[C]":
        """Return this catalogue with more tools of the run's own."""
        return replace(self, own={**self.own, **{tool.name: tool for tool in tools}})

    def find_accompanying(self, names: Collection[str]) -> dict[str, str]:
        """Find the run's own tools that come with an offer of these names; as JSON texts, by name."""
        owners = set(filter(None, map(self.servers.owners.get, names)))
        missing = [tool for name, tool in self.own.items() if name not in names]
        return {tool.name: tool.function.encoded for tool in missing if any(map(tool.accompanies, owners))}


@dataclass(frozen=True)
class OwnTools(Generic[C]):
    """The servers' tools and the run's own behind one `prepare`."""

    servers: Tools[C]
    own: Sequence[OwnTool]

    async def describe(self, ask: Ask) -> JsonObject:
        """Describe the servers' tools as JSON, once every server is ready or known not to be."""
        return await self.servers.describe(ask)

    def restore(self, described: JsonObject) -> RunCatalogue[C]:
        """Restore the catalogue of a run from what `describe` returned."""
        return RunCatalogue(self.servers.restore(described), {tool.name: tool for tool in self.own})

    async def prepare(self, catalogue: RunCatalogue[C], call: Call, ask: Ask) -> Send | CallOutput:
        """Check a call, and ask the person where it needs a yes. Returns the function that sends it, or its output
        where it must not run."""
        if own := catalogue.own.get(call.name):
            return partial(own.call, call)
        return await self.servers.prepare(catalogue.servers, call, ask)
