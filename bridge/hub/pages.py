"""One listing of a server's tools in progress: its pages, mended before the SDK reads them, and merged."""

from collections.abc import Callable, Iterable
from typing import TypeAlias, cast

from mcp import types
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from bridge.hub.definitions import is_sound, list_definitions, mend_definition
from bridge.hub.pace import Pace
from bridge.json_text import Json, JsonObject, cut_levels, decode, write
from bridge.jsonrpc.messages import BARE

MAX_PAGES = 50
MANY = 200
"""A page with more tools is held back from the SDK (mcp 2.3), which validates all of them twice, in one go."""

MAX_TOOLS = 2000
"""How many tools one server may have: every run looks through all of them."""

Absorb: TypeAlias = Callable[[types.Tool], bool]
"""Tells whether the SDK accepts a tool, and lets it note what it needs of it for calls."""
QUOTED_CHARS = 200
_FIELDS = ("resultType", "ttlMs", "cacheScope", "_meta", "nextCursor")
"""What a page has besides its tools."""


class Pages:
    """What the pages read so far have brought. A tool that was listed `before`, and is the same, stays that object."""

    def __init__(self, before: Iterable[types.Tool] = ()) -> None:
        self._before = {tool.name: tool for tool in before}
        self.tools: dict[str, types.Tool] = {}
        self.skipped: dict[str, str] = {}
        """What had to be left out, each with the reason."""
        self.notes: dict[str, tuple[str, ...]] = {}
        """What was odd in the definitions of tools that were not left out, by their names."""
        self.count = 0
        self.is_whole = True
        """False if a page behind this could not be read."""
        self.cuts_levels = False
        """True once the SDK could not read a page that is nested too deeply: what is too deep is cut from then on."""
        self._places = self._listed = 0
        self._is_full = False
        self._given: list[JsonObject] = []
        self._held: list[Json] = []
        self._cursors: dict[str, Json] = {}
        self._seen = set[str]()

    def repair(self, result: JsonObject) -> None:
        """Change a page, in place, to what the SDK accepts: it rejects the whole page over one odd part."""
        if self.cuts_levels:
            result |= cast("JsonObject", decode(cut_levels(write(result))))
        _complete(result)
        self._keep_cursor(result)
        definitions = list_definitions(self._find_tools(result))
        self._given = []
        self._listed, self._held = 0, definitions
        result["tools"] = list[Json]()
        self._cut()
        if len(self._held) <= MANY:
            for tool in self._held:
                self._accept(tool)
            result["tools"], self._held = list[Json](self._given), list[Json]()

    def _cut(self) -> None:
        """Leave out what is over MAX_TOOLS."""
        room = MAX_TOOLS - len(self.tools)
        if len(self._held) > room:
            self._held = self._held[:room]
            self.skipped[f"every tool after {MAX_TOOLS:,}"] = "one server may have so many"
            self._is_full = True

    def _accept(self, tool: Json) -> bool:
        self._listed += 1
        try:
            self._given.append(self._mend(tool))
        except (ValueError, RecursionError) as error:
            self.skipped[f"tool {self._places + self._listed} of its list"] = str(error)
            return False
        return True

    async def release(self, page: types.ListToolsResult, absorb: Absorb, pace: Pace) -> None:
        """Put the tools into `page` that `repair` held back."""
        for definition in self._held:
            if self._accept(definition):
                tool = types.Tool.model_validate(self._given[-1], by_name=False)
                if absorb(tool):
                    page.tools.append(self._reuse(tool))
            await pace.step()
        self._held = []

    def _reuse(self, tool: types.Tool) -> types.Tool:
        before = self._before.get(tool.name)
        return before if before is not None and before == tool else tool

    def prepare(self, params: JsonObject) -> None:
        """Put the cursor into a request as the server gave it, if it was no text."""
        if isinstance(cursor := params.get("cursor"), str):
            params["cursor"] = self._cursors.get(cursor, cursor)

    def add(self, page: types.ListToolsResult, era: str) -> str | None:
        """Add a page; return the cursor of the next one."""
        self.count += 1
        self._places += self._listed
        for tool in page.tools if len(page.tools) > MANY else map(self._reuse, page.tools):
            known = self.tools.setdefault(tool.name, tool)
            if known is not tool and known != tool:
                self.skipped[f"a second {tool.name}"] = "a name can be called for one tool only"
        if len(page.tools) < len(self._given):
            self._name_refused(page)
        return self._judge_cursor(page.next_cursor, era)

    def fail(self, reason: str) -> None:
        """Note that the next page could not be read."""
        self.is_whole = False
        self.end_early(reason)

    def end_early(self, reason: str) -> None:
        """Note that what comes behind the pages read so far is missing."""
        self.skipped[f"every page after {self.count}"] = reason

    def _find_tools(self, result: JsonObject) -> Json:
        """Find the tools of a page: in their place, as the result itself, or one level down.

        No tools are no fault. Where the answer is something else, it is named.
        """
        if "tools" in result or BARE in result:
            return result.get("tools", result.get(BARE))
        for inner in result.values():
            if isinstance(inner, dict) and "tools" in inner:
                return inner["tools"]
        if other := {key: value for key, value in result.items() if key not in _FIELDS}:
            self.skipped["every tool"] = f"its answer has no list of tools, but {write(other)[:QUOTED_CHARS]}"
        return None

    def _mend(self, tool: Json) -> JsonObject:
        if is_sound(tool):
            return tool
        mended, notes = mend_definition(tool)
        if notes:
            self.notes.setdefault(str(mended["name"]), tuple(notes))
        return mended

    def _keep_cursor(self, result: JsonObject) -> None:
        """Let the cursor be a text or absent; one of another type is kept, to be sent back as it is."""
        cursor = result.get("nextCursor", result.get("next_cursor"))
        if isinstance(cursor, str):
            result["nextCursor"] = cursor
            self._cursors.pop(cursor, None)
        elif cursor:
            text = write(cursor)
            result["nextCursor"], self._cursors[text] = text, cursor
        else:
            result.pop("nextCursor", None)

    def _judge_cursor(self, cursor: str | None, era: str) -> str | None:
        """Return a cursor that leads on. An empty one is a cursor in the modern era, and the end in the other."""
        if cursor is None or self._is_full or (not cursor and era not in MODERN_PROTOCOL_VERSIONS):
            return None
        if cursor in self._seen:
            self.end_early("its nextCursor is one that it has given before")
            return None
        if self.count == MAX_PAGES:
            self.end_early("a list must end")
            return None
        self._seen.add(cursor)
        return cursor

    def _name_refused(self, page: types.ListToolsResult) -> None:
        """Name the tools that the SDK has dropped, as the modern era demands, over their `x-mcp-header`."""
        from mcp.shared.inbound import find_invalid_x_mcp_header

        kept = {tool.name for tool in page.tools}
        for tool in self._given:
            if (name := str(tool["name"])) not in kept:
                self.skipped[name] = find_invalid_x_mcp_header(tool["inputSchema"]) or "the SDK refuses it"


def _complete(page: JsonObject) -> None:
    """Add what the modern era demands of a page and nothing here depends on, and drop what is of a wrong type."""
    if not isinstance(page.get("resultType"), str):
        page["resultType"] = "complete"
    if not (isinstance(lives_ms := page.get("ttlMs"), int) and lives_ms >= 0):
        page["ttlMs"] = 0
    if page.get("cacheScope") not in ("public", "private"):
        page["cacheScope"] = "private"
    if not isinstance(page.get("_meta"), dict):
        page.pop("_meta", None)
