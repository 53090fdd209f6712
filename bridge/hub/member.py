"""One connected server, and the task that keeps it connected."""

import logging
import math
import shlex
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING

import anyio
from anyio.abc import TaskGroup
from mcp import Client, types
from mcp.client import IncomingMessage
from mcp_types import JSONRPCRequest

from bridge.call_options import CallOptions
from bridge.clock import Clock
from bridge.config.settings import Limits, ServerConfig
from bridge.errors import NeedsSignIn
from bridge.hub.attempts import Attempts
from bridge.hub.calls import SECOND_TRY_S, CallSender, DirectServer, Link
from bridge.hub.failures import CallFailed
from bridge.hub.handshake import mend_handshake
from bridge.hub.health import LAST_BACKOFF_S, Health, State, Trigger
from bridge.hub.listing import Listing
from bridge.hub.outlook import LATER_S, MENDED_FIRST_S
from bridge.hub.pace import Pace
from bridge.hub.pruning import sum_up
from bridge.hub.server_requests import ServerRequests, find_log_level
from bridge.hub.transports.choices import Choice
from bridge.hub.transports.connect import Connectors, WatchedTransport
from bridge.hub.transports.credentials import Credentials
from bridge.hub.transports.in_process import InProcess, contain
from bridge.hub.transports.need import Need
from bridge.hub.transports.sessions import Renewals
from bridge.hub.transports.stdio import Process
from bridge.json_text import Json, JsonObject
from bridge.processes.children import Child
from bridge.questions import Ask
from bridge.telemetry import Redactor
from bridge.visible import quote_name

if TYPE_CHECKING:
    from bridge.hub.invitations import Invitations

logger = logging.getLogger(__name__)

START_PATIENCE_S = 120.0
"""How long one start may take in all: the first `npx` or `uvx` downloads the server. Runs do not wait this long."""


class Member:
    """A connected server.

    Each connection is opened and closed by one task, because a cancel scope must be left by the task that entered it;
    calls come from any task. Nothing that happens here affects another member.
    """

    def __init__(
        self,
        server: ServerConfig,
        *,
        clock: Clock,
        environ: Mapping[str, str],
        limits: Limits,
        on_change: Callable[[], None],
        convert: Callable[["Member", Sequence[types.Tool], Pace], Awaitable[None]],
        redact: Redactor,
        in_process: InProcess | None = None,
        child: Child | None = None,
        connectors: Connectors,
        invites: bool = False,
    ) -> None:
        self.key = server.key
        self.server = server
        self.era: str | None = None
        self.listing = Listing(self.key, clock=clock, on_change=on_change, convert=partial(convert, self))
        self.settled = anyio.Event()
        """Set while the server is ready, failed, quarantined or past its connect timeout; not set while it may still
        become ready in time. A server that was ready and is lost gets the connect timeout again to come back."""
        self._clock = clock
        self._environ = environ
        self._limits = limits
        self._on_change = on_change
        self._redact = redact
        self._in_process = in_process
        self._child = child
        self._connectors = connectors
        self._process: Process | None = None
        self._health = Health()
        self._link: Link | None = None
        self._was_lost = False
        self._attempts = Attempts(server, redact)
        self._credentials = Credentials(server, environ, clock, redact, self._let_sign_in if invites else None)
        self._invites = invites
        self._needs_person = False
        """True while it is not even asked: it has named a way to sign in, and nobody has."""
        self._transport: WatchedTransport | None = None
        self._requests = ServerRequests(server, clock, redact)
        self._renewals = Renewals(clock)
        self._calls = self._build_calls()
        self._with_it = 0
        """Number of calls that are with it, sent or not."""
        self._idle = anyio.Event()
        self.gone = anyio.Event()
        """Set once it has left, and its process has ended."""

    def adjust(self, server: ServerConfig | None = None, limits: Limits | None = None) -> None:
        """Use the server in another way from now on; how it is started and reached is the same. Calls that are with it
        go on as they began."""
        self.server, self._limits = server or self.server, limits or self._limits
        self._calls = self._build_calls()

    def _build_calls(self) -> CallSender:
        return CallSender(
            self.server,
            clock=self._clock,
            timeout_s=self.server.call_timeout_s or self._limits.call_timeout_s,
            find_link=self._find_link,
            on_answer=self._note_answer,
        )

    @property
    def _connect_timeout_s(self) -> float:
        return self.server.connect_timeout_s or self._limits.connect_timeout_s

    def leave(self) -> None:
        """Note that it has left: whoever still waits for it waits in vain."""
        self.settled.set()
        self.gone.set()

    @property
    def is_idle(self) -> bool:
        """True while no call is with it."""
        return not self._with_it

    async def wait_until_idle(self) -> None:
        """Wait until no call is with it any more."""
        while self._with_it:
            await self._idle.wait()

    @property
    def state(self) -> State:
        return self._health.state

    @property
    def reason(self) -> str | None:
        """Why the server is not ready, for people; configured secrets are blanked."""
        return self._health.reason

    @property
    def is_offered(self) -> bool:
        """True if its tools are in the catalogue: the server is ready, or was and still has time to come back."""
        is_coming_back = self.era is not None and self.state != "quarantined" and not self.settled.is_set()
        return self.state == "ready" or is_coming_back

    @property
    def tools(self) -> tuple[types.Tool, ...]:
        """Its tools, as of the last time it was ready."""
        return self.listing.tools

    @cached_property
    def target(self) -> str:
        """Where it is reached: its command or URL; configured secrets are blanked, as they may change."""
        server = self.server
        where = f" in {server.cwd}" if server.cwd else ""
        reached = shlex.join([server.command, *server.args]) if server.command else server.url or ""
        return self._redact(reached + where)

    def find_tool(self, name: str) -> types.Tool | None:
        """Return the tool of this name as of the last listing."""
        return self.listing.by_name.get(name)

    @property
    def has_started(self) -> bool:
        """True if its command could be started, whatever came of that."""
        return self._process is not None and self._process.has_started

    def describe(self) -> str:
        """Describe it and its state to people, with the reason if there is one."""
        return f"server {quote_name(self.key)} {self.describe_state()}"

    def describe_state(self) -> str:
        """Describe its state to people who know which server is meant."""
        words = {"backing off": "was lost and is started again", "failed": "failed", "needs sign-in": "needs sign-in"}
        reason = f": {self.reason}" if self.reason else ""
        return f"{words.get(self.state, f'is {self.state}')}{reason}"

    def describe_sign_in(self) -> str | None:
        """Describe who is signed in to it until when; None where nobody is."""
        return self._credentials.describe()

    def list_causes(self) -> list[str]:
        """List what became of each thing that was tried, where that is more than the reason says."""
        causes = self._attempts.causes if self.state != "late" else []
        return causes if len({cause.partition(": ")[2] for cause in causes}) > 1 else []

    def last_lines(self) -> list[str]:
        """Return the last lines that its process wrote; configured secrets are blanked."""
        return [self._redact(line) for line in self._process.tail] if self._process else []

    async def count_others(self) -> Mapping[str, int | None]:
        """Count what it has beside its tools, by kind; None where that is not known. Nothing while not connected."""
        if self._link is None:
            return {}
        from bridge.hub.others import count_others  # late: it is asked before a host's servers are moved

        return await count_others(self._link.client, self._clock)

    async def run(self) -> None:
        """Keep the server connected until cancelled: connect, wait for the loss of the connection, connect again."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._settle_late)
            while True:
                try:
                    await self._stay_connected(tasks)
                    self._note_loss()
                except Exception as error:  # noqa: BLE001 - boundary: whatever a server does stays here
                    if self._has_flooded():
                        self._note_loss()
                    elif not self._note_failure(error):
                        continue
                finally:
                    if self._was_lost:
                        self._was_lost = False
                        tasks.start_soon(self._settle_late)
                is_hopeless = self.state == "failed" and self.era is None
                if self.state in ("quarantined", "needs sign-in") or is_hopeless:
                    self.settled.set()
                if await self._pause():
                    tasks.start_soon(self._settle_late)

    async def _pause(self) -> bool:
        """Wait until it is tried again; return True if that is because somebody has signed in or out."""
        needs_person = self._needs_person and not self._credentials.holds_token
        pause = math.inf if needs_person else self._health.pause_s
        if self.state != "needs sign-in" and not (pause and self._credentials.is_kept):
            if pause:
                await self._clock.sleep(pause)
            return False
        if not await self._credentials.wait(pause):
            return False
        self._begin_again()
        return True

    def look_for_sign_in(self) -> None:
        """Try it again at once, and have runs wait for that, where somebody has signed in to it meanwhile."""
        if self.state == "needs sign-in" and self._credentials.look():
            self._begin_again()

    async def offer_sign_in(self, ask: Ask) -> None:
        """Offer the person at the host to sign in, where it needs that; wait until it is done, and tried again."""
        if self._invites and self.state == "needs sign-in" and self._needs_person:
            await self._invitations.offer(ask)
            self.look_for_sign_in()

    async def _let_sign_in(self, need: NeedsSignIn) -> bool:
        """Let the person sign in whose run it is that a request was made for; False where that is not known."""
        ask = self._requests.find_ask()
        return ask is not None and await self._invitations.offer(ask, need.scope or "")

    @cached_property
    def _invitations(self) -> "Invitations":
        from bridge.hub.invitations import Invitations  # late: few servers want a sign-in

        return Invitations(self.server, lambda: self._credentials.folder, self._clock, self._redact)

    def _begin_again(self) -> None:
        if self.settled.is_set():
            self.settled = anyio.Event()
        self._needs_person = False
        self._note("signed")

    async def call(self, tool: types.Tool, arguments: JsonObject, options: CallOptions) -> types.CallToolResult:
        """Send one `tools/call` and return its result. Raises CallFailed.

        Questions that the server has for the person meanwhile are asked with `options.ask`.
        """
        send = partial(self._calls.call, tool, options=options)
        self._with_it += 1
        try:
            with self._requests.during(options.ask):
                params = types.CallToolRequestParams(name=tool.name, arguments=arguments)
                return await self._requests.complete(send, params, options.ask)
        finally:
            self._with_it -= 1
            self._idle.set()
            self._idle = anyio.Event()

    async def reach(self) -> None:
        """Wait until it is ready. Raises CallFailed where it is not, and will not be so soon."""
        await self._find_link()

    async def _find_link(self) -> Link:
        if self._link and self._link.lost.is_set():
            await self._link.over.wait()  # it has ended, but the task that owns it has not closed it yet
        if not self.settled.is_set():
            await self.settled.wait()
        if self._link is None:
            raise CallFailed("server_unavailable", f"{self.key} is not connected: {self.reason or self.state}")
        return self._link

    async def _stay_connected(self, tasks: TaskGroup) -> None:
        """Open one connection and stay until it is lost. Raises the error that kept it from becoming ready.

        Where calls are still running on it, it stays open for them meanwhile.
        """
        parted, errors = anyio.Event(), list[Exception]()

        async def connect() -> None:
            try:
                await self._connect_once(parted)
            except Exception as error:  # noqa: BLE001 - boundary: raised below
                errors.append(error)
            finally:
                parted.set()

        tasks.start_soon(connect)
        await parted.wait()
        if errors:
            raise errors[0]

    async def _connect_once(self, parted: anyio.Event) -> None:
        """Open one connection, and close it once it is lost; `parted` is set if that has to wait."""
        lost = anyio.Event()
        choice = self._attempts.choices.current
        target = contain(self._in_process) if self._in_process else self._build_transport(choice, lost)
        async with anyio.create_task_group() as around:
            opened = anyio.Event()
            around.start_soon(self._limit_start, opened)
            around.start_soon(self._end_start, opened, lost)
            try:
                async with self._build_client(target, choice) as client:
                    async with anyio.create_task_group() as inside:
                        self._attempts.choices.note_spoken(client.protocol_version)
                        await self.listing.read(client)
                        if lost.is_set() and not self.listing.is_whole:
                            raise ConnectionError("the connection was lost")
                        link = _link(client, lost, target)
                        self._open(link)
                        opened.set()
                        inside.start_soon(self.listing.follow, client)
                        await lost.wait()
                        self._close(lost)
                        inside.cancel_scope.cancel()
                    if link.running and choice.transport != "stdio":
                        parted.set()
                        await link.wait_until_idle()
            finally:
                self._close(lost)
            around.cancel_scope.cancel()

    def _build_client(self, target: WatchedTransport | InProcess, choice: Choice) -> Client:
        return Client(
            target,
            mode=choice.mode,
            message_handler=self._hear,
            elicitation_callback=self._requests.elicit,
            logging_callback=self._requests.log,
            log_level=find_log_level(),
            cache=None,
        )

    async def _hear(self, message: IncomingMessage) -> None:
        self._requests.note_done(message)
        await self.listing.handle_notification(message)

    def _build_transport(self, choice: Choice, lost: anyio.Event) -> WatchedTransport:
        is_child = choice.transport == "stdio"
        self._process = self._connectors.start(self.server, self._environ, self._child) if is_child else None
        self._child = None
        self._transport = WatchedTransport(
            self.server,
            choice,
            process=self._process,
            limit=self._limits.message_bytes,
            lost=lost,
            prepare=self._prepare,
            repair=self._repair,
            clock=self._clock,
            renewals=self._renewals,
            redact=self._redact,
            transport=self._connectors.transport,
            credentials=self._credentials,
        )
        return self._transport

    def _prepare(self, request: JSONRPCRequest) -> None:
        """Put into a request what the SDK (mcp 2.3) cannot: an older revision, a cursor that is no text."""
        revision = self._attempts.choices.current.revision
        if request.method == "initialize" and request.params is not None and revision:
            request.params["protocolVersion"] = revision
        elif request.method == "tools/list":
            self.listing.prepare(request.params)

    def _repair(self, method: str, result: dict[str, Json]) -> None:
        try:
            if method == "tools/list":
                self.listing.repair(result)
            elif odd := mend_handshake(method, result, self._attempts.choices.current.revision):
                logger.info("%s: its answer to %s is read but for %s", self.key, method, sum_up(odd))
        except Exception:
            logger.exception("%s: its answer to %s cannot be mended", self.key, method)  # boundary: the SDK judges it

    def _open(self, link: Link) -> None:
        self.era, self._link = link.client.protocol_version, link
        self._attempts.choices.remember(link.client.protocol_version)
        self._attempts.forget()
        self._note("opened")
        self.settled.set()

    def _close(self, lost: anyio.Event) -> None:
        if self._link is not None and self._link.lost is lost:
            self._link.over.set()
            self._link, self.settled, self._was_lost = None, anyio.Event(), True

    def _note_answer(self) -> None:
        self._health.note_success()
        self._renewals.note_answer()

    async def _limit_start(self, opened: anyio.Event) -> None:
        with self._clock.scope(self._clock.now() + START_PATIENCE_S):
            await opened.wait()
            return
        raise TimeoutError(f"not ready after {START_PATIENCE_S:g} s")

    async def _end_start(self, opened: anyio.Event, lost: anyio.Event) -> None:
        """Raise ConnectionError when the connection is lost before it is ready.

        Otherwise nothing might: the SDK goes on waiting for the reply to a message that could not be sent. The pause
        lets a more specific error come first.
        """
        await lost.wait()
        with self._clock.scope(self._clock.now() + SECOND_TRY_S):
            await opened.wait()
            return
        raise ConnectionError("the connection was lost")

    def _note_failure(self, error: Exception) -> bool:
        """Note why the server is not ready; return False if another transport or handshake is to be tried first."""
        failure = self._attempts.note_failure(error, self._transport, self._process, was_ready=self.era is not None)
        if failure and failure.need:
            self._needs_person = failure.need.is_certain
            self._note("unsigned", failure.reason, failure.longest_pause_s)
        elif failure:
            self._note("lost" if self.state == "ready" else "refused", failure.reason, failure.longest_pause_s)
        return failure is not None

    def _has_flooded(self) -> bool:
        return self._transport is not None and self._transport.flood is not None

    def _note_loss(self) -> None:
        self._attempts.forget()
        if self._transport and self._transport.flood:
            self._note("flooded", self._transport.flood, MENDED_FIRST_S)
        elif need := self._find_loss_of_sign_in():
            self._needs_person = True
            self._note("unsigned", need.words, MENDED_FIRST_S)
        else:
            self._note("lost", self._explain_loss(), LATER_S)

    def _find_loss_of_sign_in(self) -> Need | None:
        need = self._transport.need if self._transport else None
        return need if need and need.is_of_all else None

    def _explain_loss(self) -> str:
        if self._process:
            return self._process.explain_end(self._redact, was_ready=True)
        return "it closed the connection"

    def _note(self, trigger: Trigger, reason: str | None = None, longest_pause_s: float = LAST_BACKOFF_S) -> None:
        """Update the state; a change is logged and reported to the hub."""
        words = self._redact(reason) if reason else None
        if not self._health.note(trigger, self._clock.now(), words, longest_pause_s=longest_pause_s):
            return
        level = logging.INFO if self.state == "ready" else logging.WARNING
        logger.log(level, "%s: %s%s", self.key, self.state, f" ({self.reason})" if self.reason else "")
        self._on_change()

    async def _settle_late(self) -> None:
        settled = self.settled
        await self._clock.sleep(self._connect_timeout_s)
        if not settled.is_set():
            settled.set()
            self._note("overdue", self._attempts.explain_lateness(self._connect_timeout_s, self._process))
            self._on_change()


def _link(client: Client, lost: anyio.Event, target: WatchedTransport | InProcess) -> Link:
    if isinstance(target, WatchedTransport):
        return Link(client, lost, complain=target.complain)
    return Link(client, lost, target if isinstance(target, DirectServer) else None)
