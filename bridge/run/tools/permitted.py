"""The servers' tools that a principal may use: the others are neither shown nor run, whatever names them."""

from dataclasses import dataclass
from typing import Generic

from bridge.call_options import CallOptions
from bridge.config.settings import ToolGlobs
from bridge.items import Call, CallOutput, fail_call
from bridge.json_text import JsonObject
from bridge.questions import Ask
from bridge.run.protocols import C, Send, Tools


@dataclass(frozen=True)
class PermittedTools(Generic[C]):
    """A part of the servers' tools."""

    servers: Tools[C]
    globs: ToolGlobs

    async def describe(self, ask: Ask, globs: ToolGlobs | None = None) -> JsonObject:
        """Describe these tools as JSON, and no other: what a run begins with holds wherever it is taken up."""
        return await self.servers.describe(ask, globs or self.globs)

    def restore(self, described: JsonObject) -> C:
        """Make the catalogue that was described."""
        return self.servers.restore(described)

    async def prepare(self, catalogue: C, call: Call, ask: Ask) -> Send | CallOutput:
        """Check a call. What is forbidden here is not sent, also where the run began with it elsewhere."""
        prepared = await self.servers.prepare(catalogue, call, ask)
        if not callable(prepared) or self.globs.allows(call.name):
            return prepared

        async def refuse(_: CallOptions) -> CallOutput:
            return fail_call("not_allowed", "this tool is not allowed any more for whom this run belongs to")

        return refuse
