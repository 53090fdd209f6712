"""Interjections: the `input` of a call that names a run which goes on. It is put before the next turn of that run."""

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple

from bridge.errors import ArgumentError, GivenUp
from bridge.events import Said
from bridge.json_text import Json, JsonObject
from bridge.run.engine import Caller, Engine, Say
from bridge.run.run import Interjection, Run
from bridge.run.transcript import read_input

OF_AN_INTERJECTION = ("run_id", "input", "detail")
"""The arguments of a call that brings one; others must be those that the run has."""
ROLES = ("user", "system", "developer", "assistant")


class Interjected(NamedTuple):
    """A run that was spoken to."""

    run: Run
    message_id: str
    arguments: JsonObject
    """Those of the call that speaks."""
    is_found: bool = False
    """True where an equal call that was given up had said it before."""

    @property
    def is_waiting(self) -> bool:
        """True while it may yet be heard."""
        return self.run.ending is None and not self.run.has_heard(self.message_id)

    @property
    def is_left_out(self) -> bool:
        """True where the run has ended without it, and was not stopped: nobody wants to see that go on by itself."""
        ending = self.run.ending
        return ending is not None and ending["status"] != "cancelled" and not self.run.has_heard(self.message_id)


@dataclass(frozen=True)
class Interjector:
    """Speaks to runs for the calls that name one."""

    engine: Engine
    attach: Callable[[JsonObject], Awaitable[JsonObject]]
    """The arguments with the content of the files that they name; raises ArgumentError."""
    model: str | None
    """The model of a run whose arguments name none."""

    async def say(self, run: Run, arguments: JsonObject, caller: Caller) -> Interjected | None:
        """Say the `input` of checked arguments to the run, or find where an equal call did; None where the run has
        ended and never heard it. Raises ArgumentError where it is nothing that can be said to a run."""
        items = await self._read(run, arguments) if run.ending is None else []
        name = name_interjection(arguments)
        if found := await self.engine.find_said(run, name, caller=caller):
            return Interjected(run, found, arguments, is_found=True)
        if run.ending:
            return None
        if caller.is_gone():
            raise GivenUp("this call was given up before its message was put")
        message_id = f"{name}.{len(list_said(run, name))}"
        await self.engine.send(run, Say(Interjection(message_id=message_id, items=items)))
        return Interjected(run, message_id, arguments)

    async def _read(self, run: Run, arguments: JsonObject) -> list[JsonObject]:
        own = {"model": self.model} | run.arguments
        for name, value in arguments.items():
            if name not in OF_AN_INTERJECTION and own.get(name) != value:
                raise ArgumentError(
                    f"{name}: this run still goes on, with the arguments that it began with; speak to it with run_id "
                    "and input alone, or call respond_wait for its result and go on from that"
                )
        items = list(read_input(arguments["input"]))
        for place, item in enumerate(items):
            _check_message(item, f"input[{place}]")
        given = await self.attach(arguments)
        return [item for item in read_input(given["input"]) if isinstance(item, dict)]


def name_interjection(arguments: JsonObject) -> str:
    """Name what a call says: calls with equal arguments say the same."""
    return "said_" + hashlib.sha256(json.dumps(arguments, sort_keys=True).encode()).hexdigest()[:32]


def list_said(run: Run, name: str) -> list[str]:
    """List the ids of the interjections of this name: those that the run has heard, and while it goes on those that it
    may yet hear."""
    heard = [event.message_id for event in run.events if isinstance(event, Said)]
    waiting = [one["message_id"] for one in run.inbox] if run.ending is None else []
    return [message_id for message_id in (*heard, *waiting) if message_id.rpartition(".")[0] == name]


def _check_message(item: Json, position: str) -> None:
    """Check that an item is a message. Anything else could stand between a call of the run and its output, and what is
    no message at all would end the run with the upstream's refusal."""
    kind = item.get("type", "message") if isinstance(item, dict) else None
    if kind != "message":
        raise ArgumentError(
            f"{position}: this run still goes on and can be told messages alone, no {kind}; call respond_wait for its "
            "result"
        )
    assert isinstance(item, dict)
    if item.get("role") not in ROLES:
        raise ArgumentError(f"{position}.role: expected {', '.join(ROLES[:-1])} or {ROLES[-1]}")
    content = item.get("content")
    if not isinstance(content, str) and not _are_parts(content):
        raise ArgumentError(f"{position}.content: expected a text, or a list of parts that have a type")


def _are_parts(content: Json) -> bool:
    parts = content if isinstance(content, list) else []
    return bool(parts) and all(isinstance(part, dict) and "type" in part for part in parts)
