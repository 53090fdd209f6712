"""`tools accept SERVER`: shows what a server claims and nobody has approved, and takes a person's yes to it."""

import os
import sys
from collections.abc import Mapping

import anyio

from bridge.app import Bridge
from bridge.cli.exits import COMPLETED, FAILED
from bridge.cli.screen.terminal import read_line
from bridge.config.settings import Config
from bridge.errors import ArgumentError, BridgeError
from bridge.hub.differences import Difference, describe_cause, describe_change
from bridge.hub.hub import Hub
from bridge.hub.member import Member
from bridge.processes.children import Child
from bridge.state import Unusable
from bridge.telemetry import Redactor
from bridge.visible import show_line, show_name


def accept(config: Config, redact: Redactor, children: Mapping[str, Child]) -> int:
    """Connect the one server of this config, show what has changed and ask; exit code 1 if the answer is no."""
    [server] = config.servers
    if not server.pin:
        raise ArgumentError(f'tools accept: nothing of {server.key} is held against it: its entry says "pin": false')
    outcome = anyio.run(_connect, config, redact, children)
    if isinstance(outcome, BridgeError):
        raise outcome
    return outcome


async def _connect(config: Config, redact: Redactor, children: Mapping[str, Child]) -> int | BridgeError:
    async with Bridge(config, environ=os.environ, redact=redact, children=children) as bridge:
        [member] = bridge.hub.members
        await member.settled.wait()
        try:
            return await _accept(bridge.hub, member, redact)
        except BridgeError as error:  # raised when the servers have ended: their task group would wrap it
            return error


async def _accept(hub: Hub, member: Member, redact: Redactor) -> int:
    if member.state != "ready":
        raise BridgeError(show_line(redact(f"tools accept: {member.describe()}")))
    difference = await hub.find_unapproved(member.key)
    if difference is None:
        return await _say_how_it_is(hub, member)
    _print(redact("\n".join([describe_cause(difference), *_list_changes(difference)])))
    if not await _is_accepted():
        _print("Nothing was accepted.")
        return FAILED
    _keep(hub, difference)
    _print("Accepted.")
    return COMPLETED


async def _say_how_it_is(hub: Hub, member: Member) -> int:
    """Say that there is nothing to accept; what a server claims that was never seen is pinned."""
    is_new = hub.review.look(member.key).is_new
    await hub.review.see(member.key)
    if hub.unkept:
        raise BridgeError(f"tools accept: it cannot be kept: {hub.unkept}")
    seen = "was seen for the first time, and is remembered" if is_new else "has not changed since it was approved"
    _print(f"What {show_name(member.key)} claims {seen}.")
    return COMPLETED


def _list_changes(difference: Difference) -> list[str]:
    lines = [line for change in difference.changes for line in describe_change(change)]
    return [*lines, f"Tools: {len(difference.changes):,}."]


def _keep(hub: Hub, difference: Difference) -> None:
    try:
        hub.review.keep(difference.server, difference.changes)
    except (OSError, Unusable) as error:
        raise BridgeError(f"tools accept: it cannot be kept: {error}") from None


async def _is_accepted() -> bool:
    sys.stdout.write("Accept? [y/N] ")
    sys.stdout.flush()
    return (await read_line()).strip().lower() in ("y", "yes")


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
