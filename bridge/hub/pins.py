"""The pins of one server: the claims of its tools as they were first seen, or as a person has approved them since.

They are kept in the state folder, by the server's key and by the command or URL that it is reached with. Whatever is
odd about their file makes nothing approved; a folder that cannot be used makes them last as long as the process.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from typing import cast

from bridge.hub.claims import Claims
from bridge.json_text import JsonObject
from bridge.state import StateFolder, Suspect, Unusable

KIND = "pins"
VERSION = 1
MAX_KEPT = 4000
"""Pins of one server: of tools that it lists, and after them of tools that it has listed before."""


@dataclass(frozen=True)
class Change:
    """What one tool claims and nobody has approved."""

    before: Claims | None
    """What it claimed before; None where that is not known."""
    now: Claims
    fingerprint: str

    @property
    def name(self) -> str:
        return self.now.name


@dataclass(frozen=True)
class Place:
    """An entry of the config, and where it leads."""

    key: str
    target: str
    """The command or URL, as people may see it."""

    @property
    def prefix(self) -> str:
        """Begin the names of all files of this entry."""
        return f"{_hash(self.key)[:20]}-"

    @property
    def file(self) -> str:
        return f"{self.prefix}{_hash(self.target)[:20]}.json"


@dataclass
class Pins:
    """The pins of one server."""

    place: Place
    folder: StateFolder | None
    """None where nothing can be kept."""
    approved: dict[str, Claims] = field(default_factory=dict[str, Claims])
    """By plain name, what was approved last."""
    former: dict[str, Claims] = field(default_factory=dict[str, Claims])
    """By plain name, what was approved of the same entry while it led elsewhere."""
    former_target: str | None = None
    """Where it led then, if that is all that is known of it."""
    fault: str | None = None
    """Why what was approved is not known, though something was."""
    unkept: str | None = None
    """Why nothing can be kept."""
    is_new: bool = True
    """True until something of this server was pinned, here or earlier."""
    _fingerprints: set[str] = field(default_factory=set[str])
    """All that was approved while this process runs: a run may still hold what it began with."""

    def holds(self, fingerprint: str) -> bool:
        """Tell whether claims with this fingerprint were approved."""
        return fingerprint in self._fingerprints

    def load(self) -> None:
        """Read what was approved; also again, as another process may have added to it."""
        if self.folder is None:
            return
        try:
            self.folder.check()
            text = self.folder.read(self.place.file)
            if text is not None:
                self._take(_read(text, self.place.key))
            elif self.is_new:
                self._look_elsewhere(self.folder)
        except Unusable as error:
            self._give_up(str(error))
        except Suspect as error:
            self.is_new, self.fault = False, str(error)

    def see_first(self, seen: Iterable[Claims]) -> None:
        """Pin what a server claims that was never seen before. Another process may be faster: then its pins hold."""
        found = {claims.name: claims for claims in seen}
        if not found or not self.is_new:
            return
        if self.folder and not self._add(self.folder, found):
            self.load()
            return
        self._take(found)

    def approve(self, changes: Iterable[Change], *, listed: Iterable[str]) -> None:
        """Pin what a person has approved. Raises OSError or Unusable where that lasts only as long as the process."""
        accepted = list(changes)
        if self.former_target and self.former:
            self._take(dict(self.former))
        names = set(listed)
        self.approved |= {change.name: change.now for change in accepted if change.name in names}
        self._fingerprints |= {change.fingerprint for change in accepted}
        self._settle()
        if self.folder:
            first = {name: claims for name, claims in self.approved.items() if name in names}
            kept = dict(islice((first | self.approved).items(), MAX_KEPT))
            self.folder.replace(self.place.file, _write(self.place, kept))

    def _take(self, pins: Mapping[str, Claims]) -> None:
        self.approved = dict(pins)
        self._fingerprints |= {claims.fingerprint for claims in pins.values()}
        self._settle()

    def _settle(self) -> None:
        """Note that it is known what was approved."""
        self.is_new, self.fault, self.former_target = False, None, None
        self.former.clear()

    def _look_elsewhere(self, folder: StateFolder) -> None:
        """Look for pins of the same entry from when it led elsewhere."""
        for name in folder.find(self.place.prefix)[:1]:
            self.is_new = False
            text = folder.read(name) or ""
            self.former, self.former_target = _read(text, self.place.key), _read_target(text)

    def _add(self, folder: StateFolder, found: Mapping[str, Claims]) -> bool:
        try:
            return folder.add(self.place.file, _write(self.place, found))
        except (OSError, Unusable) as error:
            self._give_up(str(error))
            return True

    def _give_up(self, why: str) -> None:
        self.folder, self.unkept = None, why


def _hash(text: str) -> str:
    return sha256(text.encode("utf-8", "replace")).hexdigest()


def _write(place: Place, pins: Mapping[str, Claims]) -> str:
    tools = {name: {"sha256": claims.fingerprint, "claims": claims.text} for name, claims in pins.items()}
    content = {"version": VERSION, "server": place.key, "target": place.target, "tools": tools}
    return json.dumps(content)


def _read(text: str, key: str) -> dict[str, Claims]:
    """Read a file of pins. Raises Suspect for one that is not whole, or not of this server."""
    try:
        content = json.loads(text)
        if content["version"] != VERSION or content["server"] != key:
            raise Suspect("it is of another version or server")
        pins = {str(name): Claims(str(name), str(pin["claims"])) for name, pin in content["tools"].items()}
        is_whole = all(pin.fingerprint == content["tools"][name]["sha256"] for name, pin in pins.items())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Suspect("it is damaged") from None
    if not is_whole:
        raise Suspect("it is damaged")
    return pins


def _read_target(text: str) -> str:
    return str(cast("JsonObject", json.loads(text)).get("target"))
