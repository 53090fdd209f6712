"""All connected servers together: one catalogue of their tools, and each call to the server that owns it."""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Self, TypeAlias

import anyio
from mcp import types

from bridge.arguments import drop_empty, read_arguments
from bridge.call_options import CallOptions
from bridge.clock import Clock
from bridge.config.settings import BUILTIN, LEFT_OUT, Config, ServerConfig, UpstreamConfig
from bridge.hub.approval import ask_person
from bridge.hub.catalogue import BridgedTool, Catalogue, CatalogueBuilder, restore_catalogue
from bridge.hub.failures import CallFailed
from bridge.hub.member import Member
from bridge.hub.pace import Pace
from bridge.hub.results.outputs import render_result
from bridge.hub.transports.connect import Connectors
from bridge.hub.transports.in_process import InProcess
from bridge.items import Call, CallOutput, Notice, fail_call
from bridge.json_text import Json, JsonObject
from bridge.jsonrpc.messages import MENDED_WORDS, is_mended
from bridge.processes.children import Child
from bridge.questions import Ask
from bridge.telemetry import Redactor

logger = logging.getLogger(__name__)

Send: TypeAlias = Callable[[CallOptions], Awaitable[CallOutput]]


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
    ) -> None:
        self._config = config
        self._clock = clock
        self._on_change = on_change
        self._snapshot: Catalogue | None = None

        def build(server: ServerConfig) -> Member:
            return Member(
                server,
                clock=clock,
                environ=environ,
                connect_timeout_s=config.limits.connect_timeout_s,
                call_timeout_s=config.limits.call_timeout_s,
                message_bytes=config.limits.message_bytes,
                on_change=self._forget,
                convert=self._convert,
                redact=redact,
                in_process=in_process.get(server.key),
                child=(children or {}).get(server.key),
                connectors=connectors or Connectors(),
            )

        builtin = (
            [ServerConfig(key=BUILTIN, require_approval="never", structured_content="unless_text")]
            if config.builtin_tools
            else []
        )
        self.members = [build(server) for server in (*builtin, *config.servers)]
        self._owners = {member.key: member for member in self.members}
        lost = [notice for notice in config.notices if notice["code"] == LEFT_OUT]
        self._builder = CatalogueBuilder(self.members, config.upstream or UpstreamConfig(), lost)

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        async with anyio.create_task_group() as tasks:
            for member in self.members:
                tasks.start_soon(member.run, name=f"server {member.key}")
            yield self
            tasks.cancel_scope.cancel()

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
            if not member.is_offered:
                await member.settled.wait()
        if self._snapshot is None:
            await self._builder.prepare()
        return self.snapshot()

    async def describe(self) -> JsonObject:
        """Return the catalogue as JSON, once every server has been ready, has failed or is past its connect timeout."""
        return (await self.catalogue()).as_json

    def restore(self, described: JsonObject) -> Catalogue:
        """Restore a catalogue from what `describe` returned, also in another process."""
        if self._snapshot is not None and self._snapshot.as_json is described:
            return self._snapshot
        return restore_catalogue(described)

    async def prepare(self, catalogue: Catalogue, call: Call, ask: Ask) -> Send | CallOutput:
        """Check a function call by the catalogue alone, and ask the person if it needs approval.

        Return a function that sends it to the tool's owner, or its output if it must not run. Never raises: a failure
        is an output that explains it to the model.
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
        if bridged.approval == "ask":
            line = bridged.config_line
            if refusal := await ask_person(bridged.server, bridged.tool.name, arguments, ask, config_line=line):
                notices = [Notice(code=refusal.code, message=refusal.notice)]
                return {**bridged.fail(refusal.code, refusal.message), "notices": notices}
        return partial(self._send, bridged, arguments)

    async def _send(self, bridged: BridgedTool, arguments: JsonObject, options: CallOptions) -> CallOutput:
        owner = self._owners.get(bridged.server)
        if owner is None:
            return bridged.fail("server_unavailable", f"{bridged.server} is not in the config any more")
        try:
            result = await owner.call(bridged.tool, arguments, options)
        except CallFailed as failure:
            return bridged.fail(failure.code, str(failure))
        try:
            output, is_error = await render_result(
                result,
                limit_bytes=options.limit_bytes or self._config.limits.output_bytes,
                image_bytes=self._config.limits.image_bytes,
                policy=owner.server.structured_content,
                keep=options.keep,
            )
        except Exception as error:  # boundary: no result of any shape ends a run
            logger.warning("%s: a result of %s cannot be read", bridged.server, bridged.tool.name, exc_info=True)
            return bridged.fail("unreadable_result", f"it was executed, but its result cannot be read: {error}")
        if is_mended(result):
            logger.warning("%s: in a result of %s, %s", bridged.server, bridged.tool.name, MENDED_WORDS)
        return {
            "output": output,
            "is_error": is_error,
            "server": bridged.server,
            "tool": bridged.tool.name,
            "notices": bridged.notices,
        }

    async def _convert(self, member: Member, tools: Sequence[types.Tool], pace: Pace) -> None:
        await self._builder.convert(member, tools, pace)

    def _forget(self) -> None:
        self._snapshot = None
        self._on_change()
