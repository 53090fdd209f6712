"""`runs approve` and `runs deny`: a person at a terminal answers a call of a run that another process drives."""

import argparse
import sys
from collections.abc import Mapping
from functools import partial
from typing import Literal

import anyio

from bridge.cli.exits import COMPLETED, FAILED
from bridge.cli.kept import find_run, opened
from bridge.cli.parser import PROGRAM
from bridge.cli.screen.terminal import forget_typed, read_line
from bridge.config.settings import Config
from bridge.errors import BridgeError
from bridge.run.store.asked import Asked, Settled, build_message
from bridge.run.store.seal import Missing
from bridge.run.store.store import Store
from bridge.run.summary import Summary
from bridge.telemetry import Redactor
from bridge.visible import show_line, show_prose

TAKEN_S, LOOK_S = 5.0, 0.1
"""How long the process that drives the run has to take an answer, and how often it is looked whether it has."""
MOVED_ON = "The run has moved on: it does not ask this any more, and this answer does not count."
REFUSED = "It was not taken: the run asks something else by now. Look again."
LEFT = "It is not taken yet; it will be when the process that drives the run looks, if that still asks."
TAKEN = {"yes": "Taken: the call runs.", "no": "Taken: the call is refused."}
BEFORE = {
    "yes": "It was answered before, with a yes; this answer does not count.",
    "no": "It was answered before, with a no; this answer does not count.",
    "unanswered": "Its time is over, and the call was refused; this answer does not count.",
}

Yes = Literal["yes", "no"]


def answer(options: argparse.Namespace, config: Config, redact: Redactor) -> int:
    """Show what the run asks, and leave the answer; exit code 1 if none was given or it was not taken."""
    run = find_run(options.ids[0], config)
    call = options.ids[1] if len(options.ids) > 1 else None
    return anyio.run(_answer, f"runs {options.action}", run, call, config, redact)


async def _answer(command: str, run: Summary, call: str | None, config: Config, redact: Redactor) -> int:
    action: Yes = "yes" if command == "runs approve" else "no"
    async with opened(config) as store:
        try:
            questions = await _find_questions(store, run, call, command)
            one = partial(_answer_one, store, run.run_id, action, redact)
            codes = [await one(key, asked) for key, asked in questions.items()]
        except Missing:
            words = "the call has a secret that is not in this configuration (--config)"
            raise BridgeError(f"{command}: {words}") from None
    return max(codes)


async def _find_questions(store: Store, run: Summary, call: str | None, command: str) -> Mapping[str, Asked]:
    """Find the open questions that are meant. Raises BridgeError where there is none."""
    if run.ended is not None:
        raise BridgeError(f"{command}: the run has ended ({run.status}); there is nothing to answer")
    if not run.is_driven:
        resume = f"{PROGRAM} runs resume {run.run_id}"
        raise BridgeError(f"{command}: the run was interrupted; take it up first, then it asks again: {resume}")
    known = await store.mail.list_questions(run.run_id)
    if call is None:
        asked = {key: each for key, each in known.items() if isinstance(each, Asked) and each.is_approval}
        if asked:
            return asked
        hint = "one that `ask` began asks at its own terminal"
        raise BridgeError(f"{command}: the run goes on, and no call of it waits for a yes; {hint}")
    key = f"question-{call}" if call.isdecimal() else call
    return {key: _find_question(known, key, command)}


def _find_question(known: Mapping[str, Asked | Settled], key: str, command: str) -> Asked:
    match known.get(key):
        case None:
            names = ", ".join(name for name, each in known.items() if isinstance(each, Asked)) or "none"
            raise BridgeError(f"{command}: CALL: the run asks no {show_line(key)}; open are: {names}")
        case Settled(outcome, _):
            raise BridgeError(f"{command}: {BEFORE[outcome]}")
        case Asked(is_approval=False, server=server):
            raise BridgeError(f"{command}: it is a question of the server {show_line(server)}; a host answers it")
        case asked:
            return asked


async def _answer_one(store: Store, run_id: str, action: Yes, redact: Redactor, key: str, asked: Asked) -> int:
    _print(redact(asked.message))
    if not await _is_confirmed("Approve? [y/N] " if action == "yes" else "Refuse? [y/N] "):
        _print("Nothing was answered; the call waits on.")
        return FAILED
    message = build_message(run_id, key, asked, action)
    number = await store.mail.send(run_id, message)
    words = await _follow(store, run_id, key, str(message["sender"]), number)
    _print(words)
    return COMPLETED if words in TAKEN.values() else FAILED


async def _follow(store: Store, run_id: str, key: str, sender: str, number: int) -> str:
    """Look what becomes of an answer, for as long as that may take, and say it."""
    for _ in range(round(TAKEN_S / LOOK_S)):
        match (await store.mail.list_questions(run_id)).get(key):
            case None:
                return MOVED_ON
            case Settled(outcome, by):
                return TAKEN[outcome] if by == sender and outcome in TAKEN else BEFORE[outcome]
            case _:
                await anyio.sleep(LOOK_S)
    if await store.is_driven(run_id):
        return LEFT if await store.mail.has_message(number) else REFUSED
    await store.mail.withdraw(number)
    return f"The run was interrupted meanwhile. Take it up, then it asks again: {PROGRAM} runs resume {run_id}"


async def _is_confirmed(prompt: str) -> bool:
    forget_typed()
    sys.stdout.write(prompt)
    sys.stdout.flush()
    return (await read_line()).strip().lower() in ("y", "yes")


def _print(text: str) -> None:
    sys.stdout.write(show_prose(text) + "\n")
    sys.stdout.flush()
