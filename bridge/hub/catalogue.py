"""The catalogue: an immutable snapshot of the tools now offered, by the name the model sees.

A run keeps the snapshot it began with, even if servers come, go or change meanwhile.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias, cast

import anyio.lowlevel
from mcp import types

from bridge.config.settings import BUILTIN, BUILTIN_NAMES, ToolGlobs, UpstreamConfig
from bridge.hub.approval import Approval, decide, quote_config_line
from bridge.hub.member import Member
from bridge.hub.naming import choose_prefixes, name_tool
from bridge.hub.pace import Pace
from bridge.items import OWN_NAMES, CallOutput, Notice, fail_call
from bridge.json_text import Json, JsonObject, scrub
from bridge.schemas.repair import build_function
from bridge.schemas.validate import ArgumentValidator
from bridge.search.near import find_near
from bridge.texts import estimate_tokens
from bridge.visible import show_name

if TYPE_CHECKING:
    from bridge.search.ranking import Entry, Index, Ranking

NameTool: TypeAlias = Callable[[Member, types.Tool], tuple[str, str]]

_WORDS = re.compile(r"(?=.{1,128}\Z)[\w,]+( [\w,]+)*", re.ASCII)
TOOLS_AT_ONCE = 16
"""Number of tools that are converted before other tasks get a turn of the event loop."""
TOOL_LEFT_OUT = "tool_left_out"
MISSING = "; its tools are missing"
"""How a notice of a server ends that is not connected."""
MAX_NAMED = 10
"""How many of one server's tools the notices name that are left out."""
INDEXED_ABOVE = 128
"""With more tools than this, each is indexed for searches when it is converted; else at the first search."""


@dataclass(frozen=True)
class BridgedTool:
    """One tool of one connected server as the model sees it."""

    name: str
    """The model name."""
    server: str
    """Key of the server that owns it."""
    tool: types.Tool = field(repr=False)
    approval: Approval
    config_line: str = field(repr=False)
    """The config line that would let it run without a question."""
    keeps_empty: bool
    """True if empty arguments go to its server as the model gave them."""
    is_polling: bool
    """True if it may be called again and again with the same result."""
    encoded: str = field(repr=False)
    """The function tool of a request, encoded once for all turns of all runs."""
    notes: tuple[str, ...] = ()
    """The differences between what the owner wrote and what the model sees, each with the reason."""

    @cached_property
    def validator(self) -> ArgumentValidator:
        """The validator of its arguments; compiled at the first call, since most tools are never called."""
        return ArgumentValidator(self.tool.input_schema)

    @cached_property
    def entry(self) -> "Entry":
        """Its entry in the search index."""
        from bridge.search.ranking import Entry, list_details

        tool, properties = self.tool, self.tool.input_schema.get("properties")
        arguments = list(properties) if isinstance(properties, dict) else []
        details = tuple(list_details(cast("JsonObject", tool.input_schema)))
        return Entry(self.name, self.server, tool.name, tool.title or "", tool.description or "", arguments, details)

    @cached_property
    def fingerprint(self) -> str:
        """The fingerprint of what it claims."""
        from bridge.hub.claims import read_claims

        return read_claims(self.tool).fingerprint

    @property
    def notices(self) -> list[Notice]:
        """The notices that go to the caller with each call of it."""
        note = self.validator.note
        return [Notice(code="schema_unusable", message=f"{self.name}: {note}")] if note else []

    def fail(self, code: str, message: str, **details: Json) -> CallOutput:
        """Return the output of a failed call of it."""
        return fail_call(code, message, server=self.server, tool=self.tool.name, **details)

    @cached_property
    def tokens(self) -> int:
        """The estimated tokens of its function tool."""
        return estimate_tokens(self.encoded)

    @cached_property
    def as_json(self) -> JsonObject:
        """It as JSON, from which another process can restore it."""
        tool = self.tool
        return {
            "name": self.name,
            "server": self.server,
            "tool": tool.name,
            "title": tool.title,
            "description": tool.description,
            "schema": cast("JsonObject", tool.input_schema),
            "output_schema": cast("JsonObject | None", tool.output_schema),
            "annotations": _write_hints(tool.annotations),
            "approval": self.approval,
            "config_line": self.config_line,
            "keeps_empty": self.keeps_empty,
            "is_polling": self.is_polling,
            "function": self.encoded,
            "notes": list[Json](self.notes),
        }


@dataclass(frozen=True)
class LeftOut:
    """A tool that cannot be offered, and the reason."""

    server: str
    tool: str
    """Its plain name, or words that stand for one or more: "tool 6 of its list"."""
    reason: str

    @property
    def shown(self) -> str:
        """The name or words for people; a name that holds anything but words is quoted."""
        return self.tool if _WORDS.fullmatch(self.tool) else show_name(self.tool)


@dataclass(frozen=True)
class Catalogue:
    """A snapshot of all tools in a stable order: built-in ones, then by server in config order."""

    tools: Mapping[str, BridgedTool]
    notices: tuple[Notice, ...] = ()
    """One per server that is missing and per tool that had to be left out."""
    left_out: tuple[LeftOut, ...] = ()
    """The tools that had to be left out; denied ones are not among them."""
    targets: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """By server, the command or URL that it is reached with."""
    is_restored: bool = False
    """True if it was made elsewhere, perhaps of another config and of other servers."""

    @cached_property
    def _parts(self) -> "dict[ToolGlobs, Catalogue]":
        """The catalogues that it was narrowed to."""
        return {}

    def narrow(self, globs: ToolGlobs | None) -> "Catalogue":
        """Return the catalogue of the tools that `globs` allow. It says nothing of those that are left out: whose they
        are may be what must not be seen."""
        if globs is None:
            return self
        if globs not in self._parts:
            tools = {name: tool for name, tool in self.tools.items() if globs.allows(name)}
            notices = tuple(notice for notice in self.notices if notice["code"] != TOOL_LEFT_OUT)
            self._parts[globs] = replace(self, tools=tools, notices=notices, left_out=())
        return self._parts[globs]

    def find(self, described: JsonObject) -> "Catalogue | None":
        """Find the catalogue whose `as_json` this very object is, among itself and those that it was narrowed to."""
        return next((each for each in (self, *self._parts.values()) if each.as_json is described), None)

    @cached_property
    def functions(self) -> Mapping[str, str]:
        """Each model name with its function tool as JSON text."""
        return {name: tool.encoded for name, tool in self.tools.items()}

    @cached_property
    def owners(self) -> Mapping[str, str]:
        """Each model name with the key of the server that owns it."""
        return {name: tool.server for name, tool in self.tools.items()}

    @cached_property
    def polling(self) -> frozenset[str]:
        """The model names of the tools that may be called again and again with the same result."""
        return frozenset(name for name, tool in self.tools.items() if tool.is_polling)

    @cached_property
    def harmless(self) -> frozenset[str]:
        """The model names of the tools that declare themselves read-only or idempotent."""
        return frozenset(name for name, tool in self.tools.items() if _is_harmless(tool.tool.annotations))

    @cached_property
    def unasked(self) -> frozenset[str]:
        """The keys of the connected servers of which a tool may run without a question."""
        return frozenset(tool.server for tool in self.tools.values() if tool.approval == "run") - {BUILTIN}

    @cached_property
    def tokens(self) -> Mapping[str, int]:
        """Each model name with the estimated tokens of its function tool."""
        return {name: tool.tokens for name, tool in self.tools.items()}

    @cached_property
    def plain_names(self) -> Mapping[str, str]:
        """Each model name with the name that its server gives the tool."""
        return {name: tool.tool.name for name, tool in self.tools.items()}

    def search(self, wish: str) -> "Ranking":
        """Return the model names of the tools that have to do with the wish, best first, and how many clearly fit."""
        return self._index.search(wish)

    def find_named(self, name: str) -> list[str]:
        """Return the model names of the tools of exactly this name, with or without their server's."""
        return self._index.find_named(name)

    @cached_property
    def _index(self) -> "Index":
        """The search index; built at the first search, since most catalogues are small enough to be sent whole."""
        from bridge.search.ranking import Index

        return Index(tool.entry for tool in self.tools.values())

    @cached_property
    def as_json(self) -> JsonObject:
        """The catalogue as JSON, with all that another process needs to continue a run."""
        return {
            "tools": [tool.as_json for tool in self.tools.values()],
            "notices": [cast("JsonObject", notice) for notice in self.notices],
            "targets": dict(self.targets),
        }

    def find_near(self, name: str) -> list[str]:
        """Return up to five names like `name`, for a model that misremembered one."""
        return find_near(name, self.tools, 5)


class CatalogueBuilder:
    """Builds catalogues from the tools of the members; each tool is converted once for as long as it is listed."""

    def __init__(self, members: Iterable[Member], upstream: UpstreamConfig, notices: Iterable[Notice] = ()) -> None:
        """`notices` are those of servers that are not connected at all."""
        self._members = list(members)
        self._upstream = upstream
        self._notices = tuple(notices)
        self._prefixes = choose_prefixes(member.key for member in self._members)
        has_builtin = any(member.key == BUILTIN for member in self._members)
        self._reserved = frozenset((*OWN_NAMES, *(BUILTIN_NAMES if has_builtin else ())))
        self._coming: dict[str, Sequence[types.Tool]] = {}
        """By server, the tools that it will offer next."""
        self._made: dict[int, tuple[types.Tool, BridgedTool | LeftOut | None]] = {}

    async def prepare(self) -> None:
        """Convert new tools, a few at a time, so that other tasks can run: a thousand take a tenth of a second."""
        count, is_large = 0, sum(len(member.tools) for member in self._members) > INDEXED_ABOVE
        for member in self._find_offered():
            for tool in member.tools:
                count += id(tool) not in self._made
                made = self._make(member, tool)
                if is_large and isinstance(made, BridgedTool):
                    _ = made.entry.terms
                if count == TOOLS_AT_ONCE:
                    count = 0
                    await anyio.lowlevel.checkpoint()

    async def convert(self, member: Member, tools: Sequence[types.Tool], pace: Pace) -> None:
        """Convert tools that `member` will offer next."""
        self._coming[member.key] = tools
        try:
            for tool in tools:
                made = self._make(member, tool)
                if isinstance(made, BridgedTool):
                    _ = made.entry.terms, made.as_json, made.tokens
                await pace.step()
        finally:
            del self._coming[member.key]

    def build(self) -> Catalogue:
        """Build the catalogue of the tools that the members offer now. Denied tools are not in it at all."""
        tools: dict[str, BridgedTool] = {}
        left_out: list[LeftOut] = []
        for member in self._find_offered():
            left_out += (LeftOut(member.key, name, reason) for name, reason in member.listing.skipped.items())
            for tool in member.tools:
                made = self._make(member, tool)
                if isinstance(made, LeftOut):
                    left_out.append(made)
                elif made and tools.setdefault(made.name, made) is not made:
                    left_out.append(LeftOut(member.key, tool.name, f"the name {made.name} is taken"))
        self._forget_old()
        notices = [_report(member) for member in self._members if not member.is_offered]
        targets = {member.key: member.target for member in self._find_offered()}
        return Catalogue(tools, (*self._notices, *notices, *_leave_out(left_out)), tuple(left_out), targets)

    def _find_offered(self) -> list[Member]:
        return [member for member in self._members if member.is_offered]

    def _make(self, member: Member, tool: types.Tool) -> BridgedTool | LeftOut | None:
        if id(tool) not in self._made:
            self._made[id(tool)] = tool, _make(member, tool, self._name, self._upstream)
        return self._made[id(tool)][1]

    def _name(self, member: Member, tool: types.Tool) -> tuple[str, str]:
        """Return the name of a tool, and the one that would be the plainest."""
        if member.key == BUILTIN:
            return tool.name, tool.name
        prefix = self._prefixes[member.key] if member.server.prefix else None
        name = name_tool(
            member.key, tool.name, prefix=prefix, taken=self._reserved, max_chars=self._upstream.name_chars
        )
        return name, tool.name if prefix is None else f"{prefix}__{tool.name}"

    def _forget_old(self) -> None:
        listed = {id(tool) for member in self._members for tool in member.tools}
        listed.update(id(tool) for tools in self._coming.values() for tool in tools)
        self._made = {key: made for key, made in self._made.items() if key in listed}


def _make(member: Member, tool: types.Tool, name: NameTool, upstream: UpstreamConfig) -> BridgedTool | LeftOut | None:
    """Convert a tool to what the model sees; return LeftOut if it cannot be offered, None if it is denied."""
    try:
        return _bridge(member, tool, name, upstream)
    except RecursionError:
        return LeftOut(member.key, tool.name, "its schema has too long a chain of references")
    except ValueError as error:
        return LeftOut(member.key, tool.name, str(error))


def _bridge(member: Member, tool: types.Tool, name_it: NameTool, upstream: UpstreamConfig) -> BridgedTool | None:
    """Convert a tool to what the model sees; return None if it is denied.

    Raises ValueError or RecursionError if it cannot be offered.
    """
    approval = decide(member.server, tool)
    if approval == "deny":
        return None
    name, wanted = name_it(member, tool)
    function = build_function(
        name,
        tool.description or tool.title or "",
        tool.input_schema,
        description_chars=upstream.description_chars,
        wants_strict=member.server.tools.wants_strict(tool.name),
    )
    renamed = [] if name == wanted else [f"renamed to {name}: {wanted} is not legal, too long, taken or ambiguous"]
    return BridgedTool(
        name,
        member.key,
        tool,
        approval,
        quote_config_line(member.server, tool.name),
        member.server.keep_empty,
        member.server.tools.polls(tool.name),
        function.encoded,
        (*renamed, *member.listing.notes.get(tool.name, ()), *function.notes),
    )


def _write_hints(annotations: types.ToolAnnotations | None) -> JsonObject | None:
    return {key: value for key, value in vars(annotations).items() if value is not None} if annotations else None


def _is_harmless(annotations: types.ToolAnnotations | None) -> bool:
    return bool(annotations and (annotations.read_only_hint or annotations.idempotent_hint))


def restore_catalogue(described: JsonObject) -> Catalogue:
    """Restore a catalogue from its `as_json`."""
    tools = [_restore(tool) for tool in cast("list[JsonObject]", described["tools"])]
    return Catalogue(
        {tool.name: tool for tool in tools},
        tuple(cast("list[Notice]", described["notices"])),
        targets=cast("dict[str, str]", described["targets"]),
        is_restored=True,
    )


def _restore(written: JsonObject) -> BridgedTool:
    tool = types.Tool(
        name=str(written["tool"]),
        title=cast("str | None", written["title"]),
        description=cast("str | None", written["description"]),
        input_schema=cast("dict[str, object]", written["schema"]),
        output_schema=cast("dict[str, object] | None", written["output_schema"]),
        annotations=types.ToolAnnotations.model_validate(written["annotations"]) if written["annotations"] else None,
    )
    return BridgedTool(
        str(written["name"]),
        str(written["server"]),
        tool,
        cast("Approval", written["approval"]),
        str(written["config_line"]),
        bool(written["keeps_empty"]),
        bool(written["is_polling"]),
        str(written["function"]),
        tuple(cast("list[str]", written["notes"])),
    )


def _leave_out(tools: Iterable[LeftOut]) -> Iterator[Notice]:
    """Name the tools that are left out, up to MAX_NAMED of each server, and count the others."""
    counts = Counter[str]()
    for tool in tools:
        counts[tool.server] += 1
        if counts[tool.server] <= MAX_NAMED:
            message = scrub(f"{show_name(tool.server)}: {tool.shown} is left out: {tool.reason}")
            yield Notice(code=TOOL_LEFT_OUT, message=message)
    for server, count in counts.items():
        if more := max(count - MAX_NAMED, 0):
            name = show_name(server)
            message = f"{name}: {more:,} more of its tools are left out; the command `tools {name}` names them"
            yield Notice(code=TOOL_LEFT_OUT, message=message)


def _report(member: Member) -> Notice:
    return Notice(code="server_unavailable", message=f"{member.describe()}{MISSING}")
