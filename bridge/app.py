"""Wiring: the one place where all sides meet."""

import math
import secrets
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import anyio
import anyio.to_thread
import httpx2
from anyio.abc import TaskGroup

from bridge.clock import Clock
from bridge.config.changes import Changes, needs_connections
from bridge.config.settings import BUILTIN, NO_UPSTREAM, Config, Limits, ToolGlobs, UpstreamConfig
from bridge.errors import ConfigError, NotConfigured
from bridge.host.attachments import attach_files, names_files
from bridge.host.schema import check_arguments
from bridge.host.server import BridgeServer
from bridge.hub.hub import Hub
from bridge.hub.member import Member
from bridge.hub.transports.connect import Connectors
from bridge.hub.transports.in_process import InProcess
from bridge.json_text import JsonObject
from bridge.leases import Leases
from bridge.processes.children import Child
from bridge.processes.open_files import count_free
from bridge.questions import Ask
from bridge.run.admission import Admission
from bridge.run.continuation import find_run
from bridge.run.drain import drain
from bridge.run.engine import SOMEBODY, Caller, Context, Execute, Listener
from bridge.run.interjections import Interjected, Interjector
from bridge.run.limits import Ending
from bridge.run.memory import MAX_RUNS, MemoryEngine
from bridge.run.observers import Observer, Tracing
from bridge.run.rights import Rights, find_rights
from bridge.run.run import Run
from bridge.telemetry import Redactor
from bridge.visible import show_exactly, show_line, show_name
from builtin_tools.server import build_server as build_builtin_server

if TYPE_CHECKING:
    from bridge.run.audit import Audit
    from bridge.run.day import DayBudget
    from bridge.upstream.client import Upstream

DESCRIPTORS_OF_A_RUN = 4
"""A connection of its caller's, one to the upstream, and two to servers of its calls."""
Carry: TypeAlias = Callable[[httpx2.AsyncBaseTransport], httpx2.AsyncBaseTransport]
BuildEngine: TypeAlias = Callable[..., MemoryEngine]
"""Builds the engine; called with the arguments of `MemoryEngine`."""


def _carry_plainly(transport: httpx2.AsyncBaseTransport) -> httpx2.AsyncBaseTransport:
    return transport


class Bridge(anyio.AsyncContextManagerMixin):
    """A running bridge: the connected servers, the upstream, and the runs between them. Hosts connect to `server`."""

    def __init__(
        self,
        config: Config,
        *,
        environ: Mapping[str, str],
        clock: Clock | None = None,
        children: Mapping[str, Child] | None = None,
        ask: Ask | None = None,
        redact: Redactor | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
        carry: Carry = _carry_plainly,
        in_process: Mapping[str, InProcess] | None = None,
        connectors: Connectors | None = None,
        build_engine: BuildEngine = MemoryEngine,
        observers: Sequence[Observer] = (),
        audit: "Audit | None" = None,
        tracing: Tracing | None = None,
        is_service: bool = False,
    ) -> None:
        """`children`: processes started before the event loop, by the key of their server.
        `in_process`: servers to connect to without a process or a network, by their key.
        `transport`: sends the requests to the upstream. `carry`: puts around it what they are to carry.
        `connectors`: sends those to the connected servers, and starts their processes.
        `ask`: asks the person here, instead of at the host.
        `observers`: hear of every run. `tracing`: knows the traces of runs, beside them.
        `audit`: keeps a line of each call; it is closed with the bridge.
        `is_service`: the hosts are not one person's.
        """
        self.redact = redact = redact or Redactor(config.secrets())
        self._config = config
        self._environ = environ
        self._days: dict[str, DayBudget] = {}
        self._leases = Leases()
        self.config_fault: str | None = None
        """Reason that the configuration could not be read again; None where it could, or nobody has tried."""
        self._held = 0
        """Number of reloads that wait for new servers: hosts are told of all that comes of one at once."""
        self._clock = clock or Clock()
        self._ask = ask
        self._audit = audit
        observers = (*observers, audit) if audit else observers
        self._transport = transport
        self._carry = carry
        self._tracing = tracing
        self._closing = AsyncExitStack()
        if audit:
            self._closing.callback(audit.close)
        self.server = BridgeServer(self, self._clock)
        self.hub = Hub(
            config,
            clock=self._clock,
            environ=environ,
            redact=redact,
            in_process=_build_builtin(config) | dict(in_process or {}),
            children=children,
            connectors=connectors,
            on_change=self._note_change,
            is_service=is_service,
            invites=not is_service and ask is None,
        )
        self.execute: Execute = self._respond
        """Drives a run; the engine calls it for each."""
        self._usual_max_runs = choose_max_runs()
        self.engine = build_engine(
            self.execute, self._clock, observers=observers, find_most=self._find_most, **self._bound_runs()
        )
        self._shown: dict[Rights | None, set[str]] = {}
        """The descriptions that a host may have, by what the config says of whose it is."""
        self._tasks: TaskGroup | None = None
        self._admission = self._build_admission()

    def _build_admission(self) -> Admission | None:
        return Admission(self._config, self.engine, self._is_stateless) if self._config.upstream else None

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        async with (
            self._closing,
            self.hub,
            self.engine,
            anyio.create_task_group() as self._tasks,
        ):
            yield self
            self._tasks.cancel_scope.cancel()
        self._tasks = None

    @cached_property
    def upstream(self) -> "Upstream | None":
        """The upstream; None where none is configured. It is imported by the first run: a host that starts the bridge
        lists its tools first, and need not wait for this too."""
        if self._config.upstream is None:
            return None
        from bridge.upstream.client import Upstream

        transport = self._carry(self._transport or choose_transport(self._config.upstream))
        upstream = Upstream(self._config.upstream, clock=self._clock, redact=self.redact, transport=transport)
        self._closing.push_async_exit(upstream)
        return upstream

    @property
    def config(self) -> Config:
        """The configuration that holds now."""
        return self._config

    @property
    def limits(self) -> Limits:
        """The limits of every run, and of how long a caller waits for it."""
        return self._config.limits

    @property
    def keep_s(self) -> float:
        """Seconds after its end for which a run is kept."""
        return self._config.runs.keep_s

    def describe(self, principal: str | None = None) -> str:
        """Describe `respond`: the model it asks and the tools this can use, so that a host's model knows when to call
        it."""
        rights = self.find_rights(principal)
        described = self._describe(rights)
        self._shown.setdefault(rights, set()).add(described)
        return described

    def _note_change(self) -> None:
        """Have the hosts told if what one of them may have been shown has changed: most changes are not seen there."""
        if self._held:
            return
        described = {rights: {self._describe(rights)} for rights in self._shown or (None,)}
        if self._shown != described:
            self._shown = described
            self.server.note_change()

    def _describe(self, rights: Rights | None) -> str:
        if self._config.upstream is None:
            return f"Ask another model. {NO_UPSTREAM}"
        model = self._config.upstream.model or "a model behind the Responses API (name it in `model`)"
        if rights and not rights.allows_model(self._config.upstream.model):
            model = f"a model (name it in `model`: {', '.join(rights.said.models or ())})"
        tools = rights.said.tools if rights and rights.said.tools.is_set else None
        members = map(_describe_member, self.hub.members) if tools is None else self._list_permitted(tools)
        return (
            f"Ask {model} and get its answer. Use it when the user wants another model's answer or opinion, or wants "
            f"that model to do work with these tools: {', '.join(members) or 'none'}. "
            "It knows nothing of this conversation: give it all it needs in `input`."
        )

    def _list_permitted(self, globs: ToolGlobs) -> Iterator[str]:
        """Describe the servers of which somebody may use tools, by these tools alone."""
        permitted = self.hub.snapshot().narrow(globs)
        counts = Counter(permitted.owners.values())
        if counts.pop(BUILTIN, 0):
            yield ", ".join(name for name, owner in permitted.owners.items() if owner == BUILTIN)
        for key, count in counts.items():
            yield f"{show_name(key)} ({count} tools)"

    def find_rights(self, principal: str | None) -> Rights | None:
        """Find what the config says of a principal now; None where it says nothing."""
        return find_rights(self._config, principal) if self._config.serve.principals else None

    def describe_servers(self) -> list[JsonObject]:
        """Return `{name, state, reason}` of each server, for people; `reason` says why it is not ready."""
        reasons = {member.key: member.reason and show_line(member.reason) for member in self.hub.members}
        return [
            {"name": show_exactly(member.key), "state": member.state, "reason": reasons[member.key]}
            for member in self.hub.members
        ]

    async def describe_hub(self) -> JsonObject:
        """Describe all servers with their tools, and what a request carries of them, for programs."""
        from bridge.hub.description import describe_hub  # late: few ask for that
        from bridge.run.offer import exceeds

        return await describe_hub(self.hub, self._config, exceeds)

    async def admit(self, arguments: JsonObject, *, principal: str | None = None) -> JsonObject:
        """Check arguments of `respond`, and complete them with those of the run that they continue. Raises
        ArgumentError or NotConfigured where no run can be made of them."""
        if self._admission is None:
            raise NotConfigured(NO_UPSTREAM)
        check_arguments(arguments)
        return await self._admission.admit(arguments, principal=principal)

    async def start(
        self,
        arguments: JsonObject,
        *,
        principal: str | None = None,
        run_id: str | None = None,
        caller: Caller = SOMEBODY,
    ) -> tuple[Run, bool]:
        """Start a run, or find the one that an equal call of the same host began and whose result it never got: a host
        that gave up waiting calls again, and nothing may be done twice for that. Returns the run, and whether it was
        found. Raises ArgumentError or NotConfigured before anything is sent."""
        arguments = await self.admit(arguments, principal=principal)
        lost = await self.engine.find_lost(arguments, principal=principal, caller=caller) if principal else None
        if lost:
            return lost, True
        if day := self._find_day(principal):
            day.check()
        return await self.engine.start(run_id or make_run_id(), arguments, principal=principal), False

    async def interject(
        self, arguments: JsonObject, *, principal: str | None = None, caller: Caller = SOMEBODY
    ) -> Interjected | None:
        """Say `input` to the run that the arguments name, or find where an equal call of the same host has, which was
        given up. None where they name no run, or one that has ended and did not hear it: then a run starts, or is
        refused. Raises ArgumentError where it cannot be said."""
        if self._config.upstream is None or "run_id" not in arguments:
            return None
        check_arguments(arguments)
        run = await self.engine.find(str(arguments["run_id"]), principal=principal)
        run = run and await self.engine.resume(run)
        interjector = Interjector(self.engine, self._attach, self._config.upstream.model)
        return await interjector.say(run, arguments, caller) if run else None

    async def run(
        self,
        arguments: JsonObject,
        listener: Listener | None = None,
        *,
        principal: str | None = None,
        run_id: str | None = None,
    ) -> Run:
        """Start a run, and wait until it ends."""
        run, _ = await self.start(arguments, principal=principal, run_id=run_id)
        return await self.see_out(run, listener)

    async def see_out(self, run: Run, listener: Listener | None = None) -> Run:
        """Wait until a run ends."""
        with self.engine.attend(run, listener):
            while run.ending is None:
                run = await self.engine.wait(run, news=run.news, until=math.inf)
        return run

    async def find(self, run_id: str, *, principal: str | None) -> Run:
        """Find a run of this principal. Raises the same ArgumentError for one that is unknown, expired or somebody
        else's."""
        return await find_run(self.engine, run_id, principal=principal)

    def start_soon(self, do: Callable[..., Coroutine[object, object, None]], *arguments: object) -> None:
        """Start a task that nobody waits for; it ends with the bridge at the latest."""
        if self._tasks:
            self._tasks.start_soon(do, *arguments)

    def _is_stateless(self, model: str) -> bool:
        return self.upstream is not None and self.upstream.profile_of(model).state == "stateless"

    async def _respond(self, ctx: Context, arguments: JsonObject) -> Ending:
        from bridge.run.body import Body  # with the loop and all of its tools, like the upstream

        upstream = self.upstream
        assert upstream
        body = Body(
            self._config,
            upstream,
            self.hub,
            self.engine,
            self._clock,
            self._ask,
            self._attach,
            self._find_day,
            self._audit,
            self._tracing,
        )
        async with self._leases.use(upstream):
            return await body.execute(ctx, arguments)

    def _bound_runs(self) -> dict[str, Any]:
        limits = self._config.limits
        return {"orphan_s": limits.orphan_s, "max_runs": limits.max_runs or self._usual_max_runs}

    def _find_most(self, principal: str | None) -> int | None:
        """Find how many runs of a principal may go on at once, where it has a bound of its own."""
        rights = self.find_rights(principal)
        return rights.said.max_runs if rights else None

    def reconfigure(self, changes: Changes) -> None:
        """Let a later config hold from now on. Runs that go on keep the limits, prices and tools that they began with,
        the upstream and the servers that they call."""
        before, self._config = self._config, changes.config
        self.redact.add(self._config.secrets())
        if needs_connections(before.upstream, self._config.upstream) and (old := self.__dict__.pop("upstream", None)):
            self.start_soon(self._leases.replace, old)
        elif before.upstream is None:
            self.__dict__.pop("upstream", None)
        self._admission = self._build_admission()
        from bridge.run.store.choice import identify  # late: few configs change while they are used

        configuration, secrets = identify(self._config), self._config.secrets()
        self.engine.reconfigure(configuration=configuration, secrets=secrets, **self._bound_runs())
        if "serve.principals" in changes.settings:
            self._shown.clear()
        self._held += 1
        came = self.hub.reconfigure(self._config, _build_builtin(self._config))
        self.start_soon(self._tell_once, came, "serve.principals" in changes.settings)

    async def _tell_once(self, came: Sequence[Member], is_certain: bool) -> None:
        """Tell hosts of what a reload comes to once its new servers are ready, or known not to be."""
        for member in came:
            await member.settled.wait()
        self._held -= 1
        if is_certain:
            self.server.note_change()
        self._note_change()

    @property
    def is_draining(self) -> bool:
        """True once no more runs are begun."""
        return self.engine.drain.is_begun

    @property
    def is_drained(self) -> bool:
        """True once, besides, none goes on any more."""
        return self.is_draining and not self.engine.list_live()

    async def drain(self, seconds: float) -> None:
        """Begin no more runs, and wait at most so long for those that go on."""
        await drain(self.engine, self._clock, seconds)

    def _find_day(self, principal: str | None) -> "DayBudget | None":
        """Find the day's budget of a principal; None where it has none."""
        rights = self.find_rights(principal)
        if rights is None or not rights.has_day:
            return None
        from bridge.run.day import KIND, DayBudget  # late: few have such a budget
        from bridge.state import StateFolder

        if rights.name not in self._days:
            folder = StateFolder(_find_folder(self._environ), KIND)
            self._days[rights.name] = DayBudget(rights, folder, self._clock)
        day = self._days[rights.name]
        day.rights = rights
        return day

    async def _attach(self, arguments: JsonObject) -> JsonObject:
        """Return the arguments with the content of the files that `input` names."""
        items = arguments["input"]
        if not names_files(items):
            return arguments
        return arguments | {"input": await anyio.to_thread.run_sync(attach_files, items, self._config.input_roots)}


def _find_folder(environ: Mapping[str, str]) -> Path:
    from bridge.state import Unusable, find_state_folder

    try:
        return find_state_folder(environ)
    except Unusable as error:
        raise ConfigError(f"serve.principals: what is used up in a day cannot be kept: {error}") from None


def choose_max_runs() -> int:
    """Choose how many runs go on at once: each may need some connections, beside those of the callers."""
    return max(1, min(MAX_RUNS, count_free() // DESCRIPTORS_OF_A_RUN))


def make_run_id() -> str:
    """Make an id that nobody can guess."""
    return f"run_{secrets.token_hex(16)}"


def _build_builtin(config: Config) -> dict[str, InProcess]:
    return {BUILTIN: build_builtin_server()} if config.builtin_tools else {}


def choose_transport(upstream: UpstreamConfig) -> httpx2.AsyncBaseTransport:
    """Choose the transport for requests to `upstream`."""
    if upstream.is_embedded:
        from bridge.offline.app import OfflineTransport  # no other upstream needs it

        return OfflineTransport()
    from bridge.upstream.transport import open_transport

    return open_transport(upstream.base_url)


def _describe_member(member: Member) -> str:
    if member.key == BUILTIN:
        return ", ".join(tool.name for tool in member.tools) or "built-in tools"
    if member.tools:
        return f"{show_name(member.key)} ({len(member.tools)} tools)"
    return f"{show_name(member.key)} ({'no tools' if member.state == 'ready' else member.state})"
