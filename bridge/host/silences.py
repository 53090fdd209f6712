"""Hosts that were given a question which nobody answered: for a while they are not asked such a question again."""

from typing import NamedTuple

from bridge.clock import Clock
from bridge.host.principal import HostRequest, find_http, find_principal, name_host
from bridge.questions import Question
from bridge.run.asking import SILENT_S


class Asked(NamedTuple):
    """A host, as one that is asked: whose it is, which one, and where it runs."""

    principal: str
    name: str
    address: str


class Silences:
    """Remembers which hosts left a question unanswered, and of which kind; an answer to anything ends that."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[tuple[Asked, str | None], float] = {}
        self._answered: dict[Asked, float] = {}
        """When each host last answered anything."""

    def holds(self, host: Asked, question: Question) -> bool:
        """Tell whether the host has left a question of this kind unanswered not long ago."""
        return self._clock.now() < self._until.get((host, _find_kind(question)), 0.0)

    def begin(self, host: Asked, question: Question, since: float) -> bool:
        """Note that nobody answered the question, which was shown after `since`; return whether that counts. It does
        not where another was answered meanwhile."""
        now = self._clock.now()
        self._until = {key: until for key, until in self._until.items() if now < until}
        if is_silent := self._answered.get(host, 0.0) <= since:
            self._until[host, _find_kind(question)] = now + SILENT_S
        return is_silent

    def end(self, host: Asked) -> None:
        """Note that somebody is there."""
        now = self._clock.now()
        self._until = {key: until for key, until in self._until.items() if key[0] != host}
        self._answered = {other: at for other, at in self._answered.items() if now < at + SILENT_S} | {host: now}


def identify_asked(ctx: HostRequest) -> Asked:
    """Identify the host of a call."""
    request = find_http(ctx)
    address = request.client.host if request and request.client else ""
    return Asked(find_principal(ctx), name_host(ctx), address)


def _find_kind(question: Question) -> str | None:
    """Name the server whose question it is; None for our own, whether a call may run."""
    return None if question.is_approval else question.server
