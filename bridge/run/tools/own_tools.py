"""The tools of the run's own: offered beside the servers', answered in the run, seeing nothing but this run."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Generic, NamedTuple

from bridge.arguments import read_arguments
from bridge.call_options import CallOptions
from bridge.items import Call, CallOutput, Notice, fail_call
from bridge.json_text import Json, JsonObject, encode
from bridge.questions import Ask
from bridge.run.protocols import C, Send, Tools
from bridge.schemas.judge import Judge

BRIDGE = "bridge"
"""The server that these tools appear with."""


class Found(NamedTuple):
    """An answer that brings tools with it."""

    text: str
    names: Sequence[str]
    """Model names of tools that the following requests are to carry."""


@dataclass(frozen=True)
class Function:
    """What the model sees of a tool of the run's own."""

    name: str
    """One of `items.OWN_NAMES`, which no server's tool is given."""
    description: str
    parameters: Judge
    """Of its arguments, by their JSON Schema; none that do not fit are answered."""

    @cached_property
    def encoded(self) -> str:
        """The function tool of a request."""
        function: JsonObject = {"type": "function", "name": self.name, "description": self.description}
        return encode(function | {"parameters": self.parameters.schema, "strict": False})


@dataclass(frozen=True)
class OwnTool:
    """One tool of the run's own."""

    function: Function
    answer: Callable[[JsonObject, int], Awaitable[str | Found]] = field(repr=False)
    """What the model reads, in about so many bytes. Raises ValueError with words for it."""
    accompanies: Callable[[str], bool] = field(repr=False)
    """Whether it is offered wherever a tool of this server is: in every turn from the first, so that the tools at the
    beginning of each request stay the same and prompt caches hold."""

    @property
    def name(self) -> str:
        return self.function.name

    async def call(self, call: Call, terms: CallOptions) -> CallOutput:
        """What a call came to; whatever is wrong with it is words for the model."""
        try:
            answer = await self.answer(self._read(call.arguments), terms.limit_bytes or 0)
            if isinstance(answer, Found):
                return {**self._wrap(answer.text), "found": [*answer.names]}
            return self._wrap(answer)
        except ValueError as error:
            return fail_call("invalid_arguments", str(error), server=BRIDGE, tool=self.name)

    def _read(self, arguments: Json) -> JsonObject:
        """Read the arguments of a call. Raises ValueError with words for those that do not fit."""
        given = read_arguments(arguments)
        if fault := self.function.parameters.find_fault(given):
            raise ValueError(fault.describe("the arguments"))
        return given

    def _wrap(self, output: str) -> CallOutput:
        return {"output": output, "is_error": False, "server": BRIDGE, "tool": self.name}


@dataclass(frozen=True)
class RunCatalogue(Generic[C]):
    """What one run can call: the tools of the servers, and its own."""

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
        """What is missing from it, and why."""
        return self.servers.notices

    @property
    def polling(self) -> Collection[str]:
        """The tools that may be called again and again with the same result: the run's own cost nobody anything."""
        return {*self.servers.polling, *self.own}

    def rank(self, wish: str) -> Sequence[str]:
        """The servers' tools that would do what is wished, best first; none where none would."""
        return self.servers.rank(wish)

    def bring(self, tools: Iterable[OwnTool]) -> "RunCatalogue[C]":
        """This catalogue with more tools of the run's own."""
        return replace(self, own={**self.own, **{tool.name: tool for tool in tools}})

    def accompany(self, names: Collection[str]) -> dict[str, str]:
        """The run's own tools that come with an offer of these, by name, as JSON texts."""
        owners = set(filter(None, map(self.servers.owners.get, names)))
        missing = [tool for name, tool in self.own.items() if name not in names]
        return {tool.name: tool.function.encoded for tool in missing if any(map(tool.accompanies, owners))}


@dataclass(frozen=True)
class OwnTools(Generic[C]):
    """The servers' tools and the run's own behind one `prepare`."""

    servers: Tools[C]
    own: Sequence[OwnTool]

    async def describe(self) -> JsonObject:
        """Describe the servers' tools as JSON, once every server is ready or known not to be."""
        return await self.servers.describe()

    def restore(self, described: JsonObject) -> RunCatalogue[C]:
        """Make the catalogue of a run of what was described."""
        return RunCatalogue(self.servers.restore(described), {tool.name: tool for tool in self.own})

    async def prepare(self, catalogue: RunCatalogue[C], call: Call, ask: Ask) -> Send | CallOutput:
        """Check a call, and ask where it needs a yes. Returns what sends it, or its output where it must not run."""
        if own := catalogue.own.get(call.name):
            return partial(own.call, call)
        return await self.servers.prepare(catalogue.servers, call, ask)
