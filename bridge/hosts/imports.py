"""What an import changes: our config, which gets a host's servers, and with a move the host's file, which keeps us."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from bridge.config.entries import is_switched_off
from bridge.config.faults import Fault, KeyPath, join_path
from bridge.config.load import default_file
from bridge.config.places import PROJECTS, Entry, find_entries
from bridge.errors import ConfigError
from bridge.hosts import file as host_file
from bridge.hosts.edits import Change, Remove, Set, find_value, read_value
from bridge.hosts.file import HostFile
from bridge.hosts.known import Host
from bridge.hosts.records import Record, Records, clear, digest, save
from bridge.hosts.secret_names import Secret
from bridge.hosts.shapes import Start, build_entry, choose_path, list_changes, list_own
from bridge.hosts.translation import Taken, Translation, Translator
from bridge.json_text import Json, JsonObject
from bridge.visible import show_line

SECTION: Final[KeyPath] = ("mcpServers",)
_TARGET = ("command", "args", "env", "env_vars", "envFile", "cwd", "url", "headers", "type")
"""Keys of an entry in which two servers of one name must be equal to be one."""
_OURS = ("OPENAI_", "MCP_RESPONSES_BRIDGE_")
"""How variables begin that mean something to us: no host passes these on for the sake of a server."""
MAX_NAMES = 50


@dataclass(frozen=True)
class Import:
    """One import, worked out and not done yet."""

    host: Host
    theirs: HostFile
    ours: HostFile
    translation: Translation
    known: frozenset[str]
    """Names, in our config, of servers that are there already."""
    ours_after: bytes | None
    """Our config afterwards; None: as it is."""
    section: KeyPath
    """Where the servers are in our config."""
    theirs_after: bytes | None = None
    """The host's file afterwards; None: as it is."""
    own_path: KeyPath = ()
    """Where our entry is in the host's file."""
    is_new_there: bool = False
    """True if the host had no entry of ours before."""
    unpassed: tuple[str, ...] = ()
    """Variables that a server wants from the host's environment, and that would mean something to us."""

    @property
    def new(self) -> list[Taken]:
        return [taken for taken in self.translation.taken if taken.name not in self.known]

    def list_secrets(self) -> dict[str, tuple[Taken, Secret]]:
        """List what stays in the host's file, by the names that our config has for it."""
        return {name: (taken, secret) for taken in self.translation.taken for name, secret in taken.kept.items()}

    def list_values(self) -> set[str]:
        """List the secrets themselves, which nobody may see."""
        return {secret.value for _, secret in self.list_secrets().values() if not secret.is_reference}


def plan_import(
    host: Host, theirs: HostFile, ours: HostFile, environ: Mapping[str, str], platform: str, project: str | None = None
) -> Import:
    """Work out an import into our config. Raises ConfigError for a file that is broken."""
    translation, known, section = _translate(host, theirs, ours, environ, platform, project, moves=False)
    after = _write_ours(ours, translation, known, section)
    return Import(host, theirs, ours, translation, known, after, section)


def plan_move(
    host: Host,
    theirs: HostFile,
    ours: HostFile,
    start: tuple[Start, list[JsonObject]],
    environ: Mapping[str, str],
    platform: str,
    project: str | None = None,
) -> Import:
    """Work out a move: the host keeps our entry, which holds the secrets; `start` is how it starts us, and the inputs
    that this refers to.

    Raises ConfigError for a file that is broken, and for an entry of ours there that reads another config.
    """
    translation, known, section = _translate(host, theirs, ours, environ, platform, project, moves=True)
    after = _write_ours(ours, translation, known, section)
    value, (how, inputs) = theirs.read_value(), start
    path = choose_path(host, value)
    if own := list_own(host, value):
        _check_config(theirs, own[0], ours.path, environ)
    kept = {name: secret.value for taken in translation.taken for name, secret in taken.kept.items()}
    wanted = dict.fromkeys(name for taken in translation.taken for name in taken.passed)
    passed = tuple(name for name in wanted if not name.startswith(_OURS)) if host.shape == "codex" else ()
    whole = replace(how, env={**how.env, **kept}, passed=tuple(dict.fromkeys((*how.passed, *passed))))
    entry = _merge(find_value(value, path) if own else None, build_entry(host, whole), kept, passed)
    removals: list[Change] = [Remove(taken.path) for taken in translation.taken]
    changes = [*removals, *list_changes(host, value, entry, [] if own else inputs)]
    unpassed = tuple(name for name in wanted if name.startswith(_OURS)) if host.shape == "codex" else ()
    moved = theirs.edit(changes) if translation.taken else None
    return Import(host, theirs, ours, translation, known, after, section, moved, path, not own, unpassed)


def _translate(
    host: Host,
    theirs: HostFile,
    ours: HostFile,
    environ: Mapping[str, str],
    platform: str,
    project: str | None,
    *,
    moves: bool,
) -> tuple[Translation, frozenset[str], KeyPath]:
    """Translate the entries under names that are free in our config, or are those of the same servers there."""
    if theirs.target == ours.target:
        raise ConfigError(f"{theirs.path}: is our own config file, so its servers are read already")
    raw = theirs.read_value()
    there, section = _list_ours(ours)
    translate = partial(Translator, raw, theirs.path, host.name, environ=environ, platform=platform, project=project)
    try:
        translator = translate(moves=moves)
        copies = {taken.called: taken.entry for taken in translate(moves=False).translate({}).taken} if moves else {}
    except Fault as fault:
        raise theirs.refuse(fault) from None
    names: dict[str, str] = {}
    for number in range(1, MAX_NAMES):
        translation = translator.translate(names)
        known, taken_names = set[str](), set[str]()
        clashes: list[Taken] = []
        for taken in translation.taken:
            is_same = _is_same(there.get(taken.name), taken.entry)
            is_copy = _is_same(there.get(taken.name), copies.get(taken.called, {}))
            if taken.name in taken_names or not (is_same or is_copy):
                clashes.append(taken)
            elif taken.name in there and is_same:
                known.add(taken.name)
            taken_names.add(taken.name)
        if not clashes:
            return translation, frozenset(known), section
        suffix = f"-{host.name}" + (f"-{number}" if number > 1 else "")
        names |= {taken.called: f"{taken.called}{suffix}" for taken in clashes}
    raise ConfigError(f"{ours.path}: has servers under every name that {host.name}'s could have")


def _list_ours(ours: HostFile) -> tuple[dict[str, Entry], KeyPath]:
    """List the servers of our config, and find the section in which one is written."""
    try:
        places = find_entries(ours.read_value(), None)
    except Fault as fault:
        raise ours.refuse(fault) from None
    for fault in places.lost:
        raise ours.refuse(fault)
    named = [found.path for found in places.entries if found.path[-1] == found.name and found.path[0] != PROJECTS]
    return {found.name: found.entry for found in places.entries}, named[0][:-1] if named else SECTION


def _is_same(there: Entry | None, entry: Entry) -> bool:
    """Tell whether a server of our config is this one; further settings of ours do not matter. None is any."""
    if there is None:
        return True
    if _is_off(there):
        return False
    rules, given = entry.get("tools"), there.get("tools")
    rules = rules if isinstance(rules, dict) else {}
    given = given if isinstance(given, dict) else {}
    is_as_strict = all(given.get(key) == value for key, value in rules.items())
    return is_as_strict and all(there.get(key) == entry.get(key) for key in _TARGET)


def _write_ours(ours: HostFile, translation: Translation, known: frozenset[str], section: KeyPath) -> bytes | None:
    new = [taken for taken in translation.taken if taken.name not in known]
    there = find_value(ours.read_value(), section)
    copies = there if isinstance(there, dict) else {}
    entries = {taken.name: _renew(copies.get(taken.name), taken.entry) for taken in new}
    return ours.edit([Set((*section, name), entry) for name, entry in entries.items()]) if new else None


def _renew(copy: Json, entry: Entry) -> JsonObject:
    """Return an entry with what a person has added to its copy, whose place it takes."""
    return {**(copy if isinstance(copy, dict) else {}), **entry}


def _check_config(theirs: HostFile, path: KeyPath, ours: Path, environ: Mapping[str, str]) -> None:
    """Raise ConfigError where our entry is off, or reads another config than the one that the servers come to."""
    entry = find_value(theirs.read_value(), path)
    if isinstance(entry, dict) and _is_off(entry):
        raise ConfigError(
            show_line(f"{theirs.path}: our entry there, {join_path(path)}, is switched off; switch it on")
        )
    named = _find_config(entry)
    default = default_file(environ)
    if ours.resolve() != (Path(named).resolve() if named else default and default.resolve()):
        other = f"--config {named}" if named else "no --config"
        what = f"our entry there has {other}, so it would not see these servers; import with that"
        raise ConfigError(show_line(f"{theirs.path}: {what}"))


def _is_off(entry: Entry) -> bool:
    try:
        return is_switched_off(entry, ())
    except Fault:
        return False


def _find_config(entry: Json) -> str | None:
    """Find the config that an entry of ours names, as an argument or in its variables."""
    args = entry.get("args") if isinstance(entry, dict) else None
    command = entry.get("command") if isinstance(entry, dict) else None
    words = [*(command if isinstance(command, list) else ()), *(args if isinstance(args, list) else ())]
    for word, following in zip(words, [*words[1:], None], strict=True):
        if word == "--config":
            return str(following)
        if isinstance(word, str) and word.startswith("--config="):
            return word.removeprefix("--config=")
    sections = [entry.get(key) for key in ("env", "environment")] if isinstance(entry, dict) else []
    named = [section.get("MCP_RESPONSES_BRIDGE_CONFIG") for section in sections if isinstance(section, dict)]
    return next((str(each) for each in named if each), None)


def _merge(there: Json, built: JsonObject, kept: Mapping[str, str], passed: tuple[str, ...]) -> JsonObject:
    """Add the secrets to our entry as it is there; without one, return that which was built."""
    if not isinstance(there, dict):
        return built
    key = "environment" if "environment" in built else "env"
    own = there.get(key)
    merged: JsonObject = {**there, key: {**(own if isinstance(own, dict) else {}), **kept}} if kept else {**there}
    names = there.get("env_vars")
    listed: list[Json] = [*names] if isinstance(names, list) else []
    listed += [name for name in passed if name not in listed]
    return merged | ({"env_vars": listed} if listed else {})


def digest_entry(entry: Json) -> str:
    """Return the digest of an entry, by which a later change to it is known."""
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()


def save_import(plan: Import, environ: Mapping[str, str]) -> list[Path]:
    """Write our config, then the host's file; if the second fails, the first is as it was. Return the backups.

    Raises ConfigError.
    """
    for file, after in ((plan.ours, plan.ours_after), (plan.theirs, plan.theirs_after)):
        if after is not None:
            host_file.check_unchanged(file)
            host_file.check_writable(file)
    backups = [_save_ours(plan, environ)] if plan.ours_after is not None else []
    if plan.theirs_after is None:
        return [backup for backup in backups if backup]
    if plan.ours_after is None:
        _note_use(plan, environ)
    records = Records(plan.theirs.target, environ)
    details: JsonObject = {
        "moved": [list(taken.path) for taken in plan.translation.taken],
        "entry": digest_entry(_read_own_entry(plan)),
        "names": list(plan.list_secrets()),
        "ours": str(plan.ours.path.absolute()),
    }
    try:
        added = (plan.own_path,)
        backups.append(
            save(
                plan.theirs, plan.theirs_after, records, kind="move", host=plan.host.name, added=added, details=details
            )
        )
    except ConfigError:
        _take_back(plan, environ)
        raise
    return [backup for backup in backups if backup]


def _read_own_entry(plan: Import) -> Json:
    assert plan.theirs_after is not None
    return find_value(read_value(plan.theirs.decode(plan.theirs_after), plan.theirs.suffix), plan.own_path)


def _save_ours(plan: Import, environ: Mapping[str, str]) -> Path | None:
    assert plan.ours_after is not None
    paths = tuple((*plan.section, taken.name) for taken in plan.new)
    details: JsonObject = {
        "theirs": str(plan.theirs.path),
        "uses": list[Json](sorted(plan.known)) if plan.theirs_after is not None else [],
        "entries": {taken.name: digest_entry(dict(taken.entry)) for taken in plan.new},
    }
    records = Records(plan.ours.target, environ)
    return save(plan.ours, plan.ours_after, records, kind="import", host=plan.host.name, added=paths, details=details)


def _note_use(plan: Import, environ: Mapping[str, str]) -> None:
    """Remember which servers of our config a move has found there, so that no other import takes them out with it."""
    now = digest(plan.ours.data) or ""
    details: JsonObject = {"theirs": str(plan.theirs.path), "uses": list[Json](sorted(plan.known))}
    use = Record(kind="import", host=plan.host.name, before=now, after=now, backup=None, added=(), details=details)
    Records(plan.ours.target, environ).add(use)


def _take_back(plan: Import, environ: Mapping[str, str]) -> None:
    """Put our config back as it was before this import, also where nothing could be remembered."""
    records = Records(plan.ours.target, environ)
    if plan.ours_after is not None:
        now = host_file.read(plan.ours.path)
        if plan.ours.data is None:
            host_file.delete(now)
        else:
            host_file.write(now, plan.ours.data)
    if records.records:
        clear(records.records[-1:], records)
