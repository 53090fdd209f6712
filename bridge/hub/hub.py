"""All connected servers together: one catalogue of their tools, and each call to the server that owns it."""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cached_property, partial
from typing import TYPE_CHECKING, Self, TypeAlias

import anyio
from mcp import types

from bridge.arguments import drop_empty, read_arguments
from bridge.call_options import CallOptions
from bridge.clock import Clock
from bridge.config.changes import list_servers
from bridge.config.settings import BUILTIN, LEFT_OUT, Config, ServerConfig, ToolGlobs, UpstreamConfig
from bridge.hub.approval import Refusal
from bridge.hub.catalogue import BridgedTool, Catalogue, CatalogueBuilder, restore_catalogue
from bridge.hub.failures import CallFailed
from bridge.hub.member import Member
from bridge.hub.pace import Pace
from bridge.hub.permission import Permission
from bridge.hub.results.outputs import render_result
from bridge.hub.roster import Roster
from bridge.hub.transports.connect import Connectors
from bridge.hub.transports.in_process import InProcess
from bridge.items import Call, CallOutput, Notice, fail_call
from bridge.json_text import Json, JsonObject
from bridge.jsonrpc.messages import MENDED_WORDS, is_mended
from bridge.pictures import name_some
from bridge.processes.children import Child
from bridge.questions import Ask, ask_nobody
from bridge.telemetry import Redactor
from bridge.texts import Keep

if TYPE_CHECKING:
    from bridge.hub.review import Difference, Review

logger = logging.getLogger(__name__)

Send: TypeAlias = Callable[[CallOptions], Awaitable[CallOutput]]
LEFT = "was changed or removed in the config meanwhile; it was not called"
STATE_LOST = (
    "this run was taken over from another process, and what this server remembers of it is there; it was not called"
)


class Hub(anyio.AsyncContextManagerMixin):
    """The connected servers of one bridge, each kept connected by its own task while the hub is entered."""

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock,
        environ: Mapping[str, str],
        redact: Redactor,
        in_process: Mapping[str, InProcess],
        children: Mapping[str, Child] | None = None,
        on_change: Callable[[], None] = lambda: None,
        connectors: Connectors | None = None,
        is_service: bool = False,
        invites: bool = False,
    ) -> None:
        """`invites`: the person at the host is offered to sign in to servers."""
        self._config = config
        self._clock = clock
        self._environ = environ
        self._redact = redact
        self._is_service = is_service
        self._on_change = on_change
        self._in_process = dict(in_process)
        self._snapshot: Catalogue | None = None

        def build(server: ServerConfig) -> Member:
            return Member(
                server,
                clock=clock,
                environ=environ,
                limits=self._config.limits,
                on_change=self._forget,
                convert=self._convert,
                redact=redact,
                in_process=self._in_process.get(server.key),
                child=booted.pop(server.key, None),
                connectors=connectors or Connectors(),
                invites=invites,
            )

        booted = dict(children or {})
        self._roster = Roster(list_servers(config), build)
        self._owners = self._roster.owners
        self._builder = self._build_builder()

    def _build_builder(self) -> CatalogueBuilder:
        lost = [notice for notice in self._config.notices if notice["code"] == LEFT_OUT]
        return CatalogueBuilder(self.members, self._config.upstream or UpstreamConfig(), lost)

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        async with self._roster.keep():
            yield self

    @property
    def members(self) -> list[Member]:
        """The servers in the order of the config, the built-in one first."""
        return self._roster.members

    def reconfigure(self, config: Config, in_process: Mapping[str, InProcess]) -> list[Member]:
        """Have the servers of this config from now on; return those that are new, and not connected yet.

        One that is the same is not touched. Runs that go on keep the catalogue that they began with, and are told in
        words where a call of theirs comes too late for a server.
        """
        limits, self._config = self._config.limits, config
        self._in_process = {**self._in_process, **in_process}
        before = dict(self._owners)
        came = self._roster.update(list_servers(config))
        for key, member in before.items():
            if self._owners.get(key) is not member and "review" in self.__dict__:
                self.review.forget(key)
        if config.limits != limits:
            for member in self.members:
                member.adjust(limits=config.limits)
        self._builder = self._build_builder()
        self._forget()
        return came

    def snapshot(self) -> Catalogue:
        """Return the catalogue as it is now, without waiting for any server."""
        if self._snapshot is None:
            self._snapshot = self._builder.build()
        return self._snapshot

    async def catalogue(self) -> Catalogue:
        """Return the catalogue once every server has been ready, has failed or is past its connect timeout.

        It does not wait for a server that was ready and is lost: only calls of its tools do.
        """
        for member in self.members:
            member.look_for_sign_in()
        for member in self.members:
            if not member.is_offered:
                await member.settled.wait()
        if self._snapshot is None:
            await self._builder.prepare()
        snapshot = self.snapshot()
        for key in snapshot.unasked:
            if (owner := self._owners.get(key)) and owner.server.pin:
                await self.review.see(key)
        return snapshot

    @cached_property
    def review(self) -> "Review":
        """What the tools claim, held against what was approved; imported when the first of them may run unasked."""
        from bridge.hub.review import Review

        return Review(self._owners, self._environ, self._redact, is_service=self._is_service)

    def _review(self) -> "Review":
        return self.review

    @property
    def unkept(self) -> str | None:
        """Why it cannot be kept what was approved; None too while nobody has tried."""
        return self.review.unkept if "review" in self.__dict__ else None

    async def find_unapproved(self, key: str) -> "Difference | None":
        """Find all that a server claims now and nobody has approved."""
        owner = self._owners[key]
        return None if key == BUILTIN or not owner.server.pin else await self.review.report(key)

    async def describe(self, ask: Ask = ask_nobody, globs: ToolGlobs | None = None) -> JsonObject:
        """Return the catalogue as JSON, with the tools that `globs` allow, once every server has been ready, has failed
        or is past its connect timeout.

        Where the hosts are one person's, they are offered with `ask` to sign in to servers that want it.
        """
        catalogue = await self.catalogue()
        if any(member.state == "needs sign-in" for member in self.members):
            async with anyio.create_task_group() as tasks:
                for member in self.members:
                    tasks.start_soon(member.offer_sign_in, ask)
            catalogue = await self.catalogue()
        return catalogue.narrow(globs).as_json

    def restore(self, described: JsonObject) -> Catalogue:
        """Restore a catalogue from what `describe` returned, also in another process."""
        known = self._snapshot.find(described) if self._snapshot is not None else None
        return known or restore_catalogue(described)

    async def prepare(self, catalogue: Catalogue, call: Call, ask: Ask) -> Send | CallOutput:
        """Check a function call by the catalogue alone, and ask the person if it needs approval.

        Return a function that sends it to the tool's owner, or its output if it must not run. What is sent unasked may
        still be asked for, if its tool is not what it was. Never raises: a failure is an output that explains it to the
        model.
        """
        bridged = catalogue.tools.get(call.name)
        if bridged is None:
            near: list[Json] = list(catalogue.find_near(call.name))
            return fail_call("unknown_tool", f"there is no tool {call.name!r}", near_names=near)
        try:
            may_be_null = not bridged.tool.input_schema.get("required")
            arguments = read_arguments(call.arguments, may_be_null=may_be_null)
        except ValueError as error:
            return bridged.fail("invalid_arguments", f"the arguments are not a JSON object: {error}")
        if not bridged.keeps_empty:
            arguments = drop_empty(arguments, bridged.tool.input_schema)
        if wrong := bridged.validator.find_error(arguments):
            return bridged.fail("invalid_arguments", wrong.message, **wrong.details)
        asked = Permission(self._owners, self._review, catalogue, bridged, arguments)
        permission = await asked.ask_first(ask)
        if isinstance(permission, Permission):
            return partial(self._send, permission)
        output = _refuse(bridged, permission)
        return {**output, "verdict": asked.judge(permission).to_json()} if self._config.serve.audit else output

    async def _send(self, permission: Permission, options: CallOptions) -> CallOutput:
        bridged = permission.bridged
        owner = self._owners.get(bridged.server)
        if owner is None:
            return bridged.fail("server_unavailable", f"{bridged.server} is not in the config any more")
        if owner.server.stateful and options.is_taken_over:
            return bridged.fail("outcome_unknown", STATE_LOST)
        try:
            result = await self._call(owner, permission, options)
        except CallFailed as failure:
            return bridged.fail(failure.code, self._redact.hide_learned(str(failure)))
        if not isinstance(result, types.CallToolResult):
            return result
        try:
            rendered = await render_result(
                result,
                limit_bytes=options.limit_bytes or self._config.limits.output_bytes,
                image_bytes=self._config.limits.image_bytes,
                policy=owner.server.structured_content,
                keep=self._hide_in(options.keep),
            )
        except Exception as error:  # boundary: no result of any shape ends a run
            logger.warning("%s: a result of %s cannot be read", bridged.server, bridged.tool.name, exc_info=True)
            return bridged.fail("unreadable_result", f"it was executed, but its result cannot be read: {error}")
        if is_mended(result):
            logger.warning("%s: in a result of %s, %s", bridged.server, bridged.tool.name, MENDED_WORDS)
        return {
            "output": self._hide_tokens(rendered.output),
            "is_error": rendered.is_error,
            "server": bridged.server,
            "tool": bridged.tool.name,
            "notices": [*bridged.notices, *_name_hidden(bridged, rendered.hidden)],
        }

    async def _call(
        self, owner: Member, permission: Permission, options: CallOptions
    ) -> types.CallToolResult | CallOutput:
        """Call the tool if it still may run; return its result, or the output that refuses the call."""
        bridged = permission.bridged
        checked = await permission.check(owner, options.ask)
        verdict = permission.judge(checked) if options.on_verdict else None
        if options.on_verdict and verdict:
            options.on_verdict(verdict)
        if isinstance(checked, Refusal):
            return _refuse(bridged, checked)
        if self._owners.get(bridged.server) is not owner:
            return bridged.fail("server_unavailable", f"{bridged.server} {LEFT}")
        result = await owner.call(bridged.tool, permission.arguments, options)
        if verdict:
            verdict.is_answered = True
        return result

    def _hide_tokens(self, output: str | list[JsonObject]) -> str | list[JsonObject]:
        """Blank the tokens of sign-ins, which a server may repeat."""
        if isinstance(output, str):
            return self._redact.hide_learned(output)
        return [
            part | {"text": self._redact.hide_learned(text)} if isinstance(text := part.get("text"), str) else part
            for part in output
        ]

    def _hide_in(self, keep: Keep | None) -> Keep | None:
        def keep_hidden(text: str, data: bytes) -> str:
            assert keep
            hidden = self._redact.hide_learned(text)
            return keep(text, data) if hidden == text else keep(hidden, hidden.encode())

        return keep_hidden if keep else None

    async def _convert(self, member: Member, tools: Sequence[types.Tool], pace: Pace) -> None:
        if self._owners.get(member.key) is member:
            await self._builder.convert(member, tools, pace)

    def _forget(self) -> None:
        self._snapshot = None
        self._on_change()


def _name_hidden(bridged: BridgedTool, hidden: Sequence[str]) -> list[Notice]:
    """Name the images of a result that are none, or too large: nobody sees them, nor the model."""
    words = f"{bridged.name}: {name_some(hidden)}"
    return [Notice(code="image_not_shown", message=words)] if hidden else []


def _refuse(bridged: BridgedTool, refusal: Refusal) -> CallOutput:
    notices = [Notice(code=refusal.code, message=refusal.notice)]
    return {**bridged.fail(refusal.code, refusal.message), "notices": notices}
