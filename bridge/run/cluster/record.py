"""What is written of a run, and read again: JSON texts that hold no secret."""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from bridge.events import Kept, read_event, write_event
from bridge.json_text import Json, JsonObject
from bridge.run.run import Run
from bridge.run.store.past import Past
from bridge.run.store.seal import Seal
from bridge.run.transcript import read_transcript

CLAIM = ":claim"
"""Ends the name of the step that notes an intent."""
INPUT = "input"
"""The step whose outcome is what the conversation begins with."""


class Paper:
    """How everything is written and read: as JSON, with a marker in place of each configured secret."""

    def __init__(self, secrets: Iterable[str], salt: str) -> None:
        """`salt`: the same for all processes, as each reads what the others write."""
        self._secrets, self._salt = frozenset(secrets), salt.encode()
        self._seal = Seal(self._secrets, self._salt)

    def add_secrets(self, secrets: Iterable[str]) -> None:
        """Put markers in place of these too, from now on."""
        self._secrets = self._secrets.union(secrets)
        self._seal = Seal(self._secrets, self._salt)

    def write(self, value: Any) -> str:
        """Write a value, in ASCII: PostgreSQL takes no half of an emoji."""
        return self._seal.close(json.dumps(value))

    def read(self, text: str) -> Any:
        """Read what `write` has written. Raises Missing where a secret is not configured any more."""
        return json.loads(self._seal.open(text))

    def show(self, text: str) -> Any:
        """Read it with such secrets blanked."""
        return json.loads(self._seal.show(text))


def digest(value: Json) -> str:
    """Return what equal values share, and nobody can read them from."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@dataclass
class SharedPast(Past):
    """What other processes have done of a run, as DBOS knows it."""

    errors: dict[str, Exception] = field(default_factory=dict[str, Exception])
    """Of the steps that have failed, by their keys."""
    last: int = 0
    """The highest number that DBOS has given a step."""


def write_batch(events: Iterable[Kept], used_s: float) -> JsonObject:
    """Write events that are told together, and for how long the run was driven by then."""
    return {"events": [write_event(event) for event in events], "used_s": used_s}


def read_batch(batch: JsonObject) -> list[Kept]:
    """Read the events of a batch."""
    return [cast("Kept", read_event(event)) for event in cast("list[JsonObject]", batch["events"])]


def rebuild_transcript(run: Run, outcomes: dict[str, Any]) -> None:
    """Give a run that has ended its conversation back: what it began with, and what it told."""
    begun = outcomes.get(INPUT)
    if isinstance(begun, dict) and "transcript" in begun:
        transcript = read_transcript(begun["transcript"])
        for event in run.events:
            transcript.add(event)
        run.transcript = transcript


def read_past(steps: Sequence[Any], read: Callable[[str], Any]) -> SharedPast:
    """Read the steps that DBOS has recorded of a run; those of its own have names of their own."""
    past = SharedPast(last=max((step["function_id"] for step in steps), default=0))
    for step in steps:
        name, output, error = step["function_name"], step["output"], step["error"]
        if name.startswith("DBOS."):
            continue
        if error is not None:
            past.errors[name] = error
        elif name.endswith(CLAIM):
            past.intents.add(name.removesuffix(CLAIM))
        else:
            past.outcomes[name] = read(output)
    past.intents -= past.outcomes.keys()
    return past
