"""What the tools of the servers claim now, held against what was approved."""

import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import anyio.lowlevel
from mcp import types

from bridge.hub.approval import Approval, decide
from bridge.hub.catalogue import BridgedTool
from bridge.hub.claims import Claims, read_claims
from bridge.hub.differences import Difference, show
from bridge.hub.member import Member
from bridge.hub.pins import KIND, Change, Pins, Place
from bridge.questions import Question, show_before
from bridge.state import StateFolder, Unusable, find_state_folder
from bridge.telemetry import Redactor

logger = logging.getLogger(__name__)

TOOLS_AT_ONCE = 16
"""Number of tools that are read before other tasks get a turn of the event loop."""


class Review:
    """The pins of all servers. Each is read when a tool of its server is to run unasked, or somebody is asked."""

    def __init__(
        self, members: Mapping[str, Member], environ: Mapping[str, str], redact: Redactor, *, is_service: bool
    ) -> None:
        """`is_service`: several people can be asked, and none of them accepts anything for the others."""
        self._members = members
        self._is_service = is_service
        self._redact = redact
        self._pins: dict[str, Pins] = {}
        self.unkept: str | None = None
        """Why pins cannot be kept."""
        try:
            self._folder: StateFolder | None = StateFolder(find_state_folder(environ), KIND)
        except Unusable as error:
            self._folder = None
            self._note_unkept(str(error))

    async def see(self, server: str) -> Pins:
        """Pin what a server claims, if that was never seen before."""
        member = self._members[server]
        pins = self.look(server)
        if pins.is_new and member.listing.is_whole:
            pins.see_first([claims async for claims in _read_all(member.tools)])
            self._note_unkept(pins.unkept)
        return pins

    def look(self, server: str) -> Pins:
        """Return the pins of a server, and pin nothing."""
        if server not in self._pins:
            pins = self._pins[server] = Pins(Place(server, self._members[server].target), self._folder)
            pins.load()
            self._note_unkept(pins.unkept)
        return self._pins[server]

    def forget(self, server: str) -> None:
        """Read the pins of a server anew when they are needed: it is another program by now, or none."""
        self._pins.pop(server, None)

    async def find(self, bridged: BridgedTool, current: types.Tool, approval: Approval) -> Difference | None:
        """Find what nobody has approved: of a tool that is asked for, what it claims now; where one would run unasked
        that is not approved, as its run knows it and as it is now, of all of its server that would."""
        pins = await self.see(bridged.server)
        if approval == "ask":
            change = _change(read_claims(current), pins)
            is_shown = change.before is not None and not pins.holds(change.fingerprint)
            return _compare(bridged.server, [change], pins) if is_shown else None
        if pins.is_new or not list(_list_changes(bridged, current, pins)):
            return None
        pins.load()  # another process may have accepted them
        if not (called := list(_list_changes(bridged, current, pins))):
            return None
        member = self._members.get(bridged.server)
        if member is None:  # it has left the config meanwhile, and is not called
            return None
        others = [claims async for claims in _read_all(member.tools, member) if claims.name != bridged.tool.name]
        changed = [_change(claims, pins) for claims in others if not pins.holds(claims.fingerprint)]
        return _compare(bridged.server, [*called, *changed], pins)

    async def report(self, server: str) -> Difference | None:
        """Find all that a server claims and nobody has approved, asked for or not; None too if it was never seen."""
        pins = self.look(server)
        if pins.is_new:
            return None
        all_claims = [claims async for claims in _read_all(self._members[server].tools)]
        found = [_change(claims, pins) for claims in all_claims if not pins.holds(claims.fingerprint)]
        return _compare(server, found, pins) if found else None

    def show(self, question: Question, difference: Difference, *, is_cause: bool = False) -> Question:
        """Show a difference in a question, so that a yes of who reads it approves what is shown, but for a service.

        `is_cause` says that the call needs a yes because of it alone.
        """
        shown = show(difference, can_accept=not self._is_service)
        return replace(
            show_before(question, self._redact(shown.text)),
            about=difference.identify(shown.changes) if is_cause else "",
            on_yes=None if self._is_service else partial(self.approve, difference.server, shown.changes),
        )

    def approve(self, server: str, changes: Sequence[Change]) -> None:
        """Note that a person has approved these changes; where that cannot be kept, the log says why."""
        try:
            self.keep(server, changes)
        except (OSError, Unusable) as error:
            self._note_unkept(str(error))

    def keep(self, server: str, changes: Sequence[Change]) -> None:
        """Keep that a person has approved these changes. Raises OSError or Unusable where that cannot be kept."""
        member, pins = self._members[server], self._pins[server]
        logger.info("%s: %d changed definitions were approved", server, len(changes))
        pins.load()  # another process may have kept something meanwhile
        pins.approve(changes, listed=[tool.name for tool in member.tools])

    def _note_unkept(self, why: str | None) -> None:
        if why and self.unkept is None:
            self.unkept = why
            logger.warning("%s", describe_unkept(why))


def describe_unkept(why: str) -> str:
    """Say what follows from a state folder that cannot be used."""
    return f"what tools claim is not remembered when the bridge ends, so later changes go unnoticed: {why}"


async def _read_all(tools: Sequence[types.Tool], unasked: Member | None = None) -> AsyncIterator[Claims]:
    """Read what the tools claim, or those of them alone that run unasked."""
    for count, tool in enumerate(tools, 1):
        if unasked is None or decide(unasked.server, tool) == "run":
            yield read_claims(tool)
        if count % TOOLS_AT_ONCE == 0:
            await anyio.lowlevel.checkpoint()


def _list_changes(bridged: BridgedTool, current: types.Tool, pins: Pins) -> Iterator[Change]:
    """List what is not approved of a tool: as it is now, and as its run knows it."""
    if current is not bridged.tool:
        claims = read_claims(current)
        if not pins.holds(claims.fingerprint):
            yield _change(claims, pins)
        if claims.fingerprint == bridged.fingerprint:
            return
    if not pins.holds(bridged.fingerprint):
        yield _change(read_claims(bridged.tool), pins, bridged.fingerprint)


def _change(claims: Claims, pins: Pins, fingerprint: str = "") -> Change:
    before = pins.approved.get(claims.name) or pins.former.get(claims.name)
    return Change(before, claims, fingerprint or claims.fingerprint)


def _compare(server: str, changes: Sequence[Change], pins: Pins) -> Difference:
    return Difference(server, tuple(changes), pins.place.target, pins.former_target, pins.fault)
