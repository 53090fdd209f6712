"""Permission of one call: checked before it is sent by what held when its run began, and again as it is sent by today.

Where the config was read again meanwhile, and in a run that was taken up from another process, the two can differ: in
the config, in what servers list and claim, and
in which program answers to a server's name. The stricter holds.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from mcp import types

from bridge.config.settings import BUILTIN
from bridge.hub.approval import (
    NEEDED,
    Approval,
    Refusal,
    decide,
    forbid,
    miss,
    name_remedy,
    name_rule,
    quote_config_line,
    refuse,
)
from bridge.hub.catalogue import BridgedTool, Catalogue
from bridge.hub.member import Member
from bridge.json_text import JsonObject
from bridge.questions import Answer, Ask, Question, Who, ask_approval, find_who, show_before
from bridge.visible import quote, show_name

if TYPE_CHECKING:
    from bridge.hub.review import Difference, Review
    from bridge.verdicts import Verdict

START_ANEW = "A new call of `respond` begins with the config as it is now."


class Grant(NamedTuple):
    """Reason for which a call may run."""

    by: Who
    rule: str
    """Rule of the config that lets it run, or the question that was asked."""


ASKED, CHANGED = "asked", "changed definition"


@dataclass(frozen=True)
class Permission:
    """The permission of one call."""

    owners: Mapping[str, Member]
    review: "Callable[[], Review]" = field(repr=False)
    """Returns the review of what tools claim; called only where a call needs it."""
    catalogue: Catalogue
    bridged: BridgedTool
    arguments: JsonObject
    answer: Answer | None = None
    """Answer of the person to this call; None where it needed no yes when its run began."""

    async def ask_first(self, ask: Ask) -> "Permission | Refusal":
        """Ask the person, if it needed a yes when its run began. The question is moot where the call cannot run anyway:
        then `check` says why."""
        if self.bridged.approval != "ask":
            return self
        owner = self._owner
        difference = await self._compare(owner, "ask") if owner else None
        answer = await self._ask(ask, difference)
        if answer["action"] != "moot" and (refusal := self._refuse(answer)):
            return refusal
        return replace(self, answer=answer)

    async def check(self, owner: Member, ask: Ask) -> Refusal | Grant:
        """Check it by what holds now, and ask the person where it needs a yes that it has not, or that was to something
        else. Raises CallFailed where its server is not there.

        This is a part of sending: a resumed run takes the outcome, whatever holds by then.
        """
        name = self.bridged.tool.name
        if decide(owner.server, self.bridged.tool) == "deny":
            return forbid(owner.key, name)
        if self.catalogue.is_restored:
            await owner.reach()
            if owner.listing.is_whole and owner.find_tool(name) is None:
                return miss(owner.key, name)
        if owner.key == BUILTIN:
            return Grant("config", name_rule(owner.server, self.bridged.tool))
        if self.bridged.approval == "ask" or self._has_moved:
            if self.answer and self._holds():
                return Grant(find_who(self.answer), ASKED)
            return await self._ask_now(owner, ask)
        return await self._check_unasked(owner, ask)

    async def _check_unasked(self, owner: Member, ask: Ask) -> Refusal | Grant:
        """Check what ran unasked when its run began: whether its tool is asked for now, and whether its server claims
        what nobody has approved."""
        approval = decide(owner.server, self._current)
        while approval == "run" and (difference := await self._compare(owner, approval)):
            question = ask_approval(owner.key, self.bridged.tool.name, self.arguments)
            answer = await ask(self.review().show(question, difference, is_cause=True))
            if answer["action"] != "elsewhere":
                refusal = refuse(owner.key, self.bridged.tool.name, answer, difference.remedy, difference.cause)
                return refusal or Grant(find_who(answer), CHANGED)
        rule = name_rule(owner.server, self._current)
        return Grant("config", rule) if approval == "run" else await self._ask_now(owner, ask)

    async def _ask_now(self, owner: Member, ask: Ask) -> Refusal | Grant:
        answer = await self._ask(ask, await self._compare(owner, "ask"))
        return self._refuse(answer) or Grant(find_who(answer), ASKED)

    async def _ask(self, ask: Ask, difference: "Difference | None") -> Answer:
        """Ask the person whether it may run, and show what has changed."""
        question = ask_approval(self.bridged.server, self.bridged.tool.name, self.arguments)
        question = replace(question, remedy=self._remedy, identify=self._identify, is_moot=self._is_moot)
        if self._has_moved and not (difference and difference.former_target):
            question = show_before(question, self._tell_move())
        return await ask(self._show(question, difference))

    def _show(self, question: Question, difference: "Difference | None") -> Question:
        return self.review().show(question, difference) if difference else question

    async def _compare(self, owner: Member, approval: Approval) -> "Difference | None":
        """Compare what its tool claims with what was approved."""
        if owner.key == BUILTIN or not owner.server.pin or owner is not self._owner:
            return None
        return await self.review().find(self.bridged, self._current, approval)

    def _refuse(self, answer: Answer) -> Refusal | None:
        """Return None if the person's answer lets it run, else the refusal."""
        server = self.bridged.server
        moved = f"the config reaches {show_name(server)} elsewhere than when this run began"
        cause = moved if self._has_moved else NEEDED
        return refuse(server, self.bridged.tool.name, answer, self._remedy, cause)

    def judge(self, checked: Grant | Refusal) -> "Verdict":
        """Return the verdict that an audit has of the call."""
        from bridge.verdicts import Verdict  # late: few keep an audit

        if isinstance(checked, Refusal):
            definition = self._name_definition()
            return Verdict(is_allowed=False, by=checked.by, rule=checked.code, definition=definition)
        return Verdict(is_allowed=True, by=checked.by, rule=checked.rule, definition=self._name_definition())

    def _name_definition(self) -> str:
        from bridge.hub.claims import read_claims

        current = self._current
        return self.bridged.fingerprint if current is self.bridged.tool else read_claims(current).fingerprint

    def _is_moot(self) -> bool:
        return self._owner is None or decide(self._owner.server, self.bridged.tool) == "deny"

    def _holds(self) -> bool:
        """Tell whether there is a yes, and it is to what the call is now."""
        if self.answer is None or self.answer["action"] != "accept":
            return False
        subject = self.answer.get("subject")
        return (
            not (self.catalogue.is_restored or self._has_moved) if subject is None else subject == [*self._identify()]
        )

    def _identify(self) -> tuple[str, ...]:
        """Identify the tool by what its run knows of it, what it claims now and where its server is: one that has
        changed is another one."""
        from bridge.hub.claims import read_claims

        target = self._owner.target if self._owner else ""
        claimed = read_claims(self._current).fingerprint
        return self.bridged.server, self.bridged.tool.name, self.bridged.fingerprint, claimed, target

    def _tell_move(self) -> str:
        owner, before = self._owner, self.catalogue.targets.get(self.bridged.server, "")
        now = quote(owner.target) if owner else ""
        return f"{quote(self.bridged.server)} was reached with {quote(before)} when this run began, now with {now}."

    @property
    def _owner(self) -> Member | None:
        return self.owners.get(self.bridged.server)

    @property
    def _current(self) -> types.Tool:
        """Its tool as of the last listing; where that has none, as its run knows it."""
        listed = self._owner.find_tool(self.bridged.tool.name) if self._owner else None
        return listed or self.bridged.tool

    @property
    def _has_moved(self) -> bool:
        """True if its server is another program, or at another place, than when its run began."""
        owner = self._owner
        if owner is None:
            return False
        return self.catalogue.targets.get(owner.key, "") != owner.target

    @property
    def _remedy(self) -> str:
        owner = self._owner
        if owner is None:
            return name_remedy(self.bridged.config_line)
        if self._has_moved or (self.catalogue.is_restored and decide(owner.server, self._current) == "run"):
            return START_ANEW
        return name_remedy(quote_config_line(owner.server, self.bridged.tool.name))
