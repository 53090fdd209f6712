"""The labelled corpus: over a thousand tools, published and generated, and what each of the questions asks for."""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from bridge.search.ranking import Entry, list_details
from tests.search.generated import SYSTEMS, generate_tools

DATA = Path(__file__).parents[1] / "data"
KEYS = {
    "arxiv-mcp-server": "arxiv",
    "awslabs.aws-api-mcp-server": "aws",
    "awslabs.aws-documentation-mcp-server": "awsdocs",
    "awslabs.dynamodb-mcp-server": "dynamodb",
    "blender-mcp": "blender",
    "brave-search-mcp-server": "brave",
    "chrome-devtools-mcp": "chrome",
    "desktop-commander": "desktop",
    "excel-mcp-server": "excel",
    "firecrawl-mcp": "firecrawl",
    "hubspot-mcp-server": "hubspot",
    "mcp-atlassian": "atlassian",
    "mcp-gitlab": "gitlab",
    "mcp-server-fetch": "fetch",
    "mcp-server-git": "git",
    "mcp-server-kubernetes": "kubernetes",
    "mcp-server-sqlite": "sqlite",
    "mcp-server-time": "time",
    "mobile-mcp": "mobile",
    "mongodb-mcp-server": "mongodb",
    "n8n-mcp": "n8n",
    "notion-mcp-server": "notion",
    "office-powerpoint-mcp-server": "powerpoint",
    "office-word-mcp-server": "word",
    "playwright-mcp": "playwright",
    "sentry-mcp-server": "sentry",
    "server-everything": "everything",
    "server-filesystem": "filesystem",
    "server-github": "github",
    "server-memory": "memory",
    "server-slack": "slack",
    "workspace-mcp": "google",
    "xcodebuildmcp": "xcode",
    "invented-home": "home",
    "invented-lab": "lab",
    "invented-office": "office",
    "invented-shop": "shop",
}
"""Each stored catalogue with the key that a user would give its server."""


def load_tools() -> dict[str, list[dict[str, Any]]]:
    """The tools by the key of their server."""
    stored = {
        KEYS[file.stem]: json.loads(file.read_text(encoding="utf-8"))["tools"]
        for folder in ("published", "catalogues")
        for file in sorted((DATA / folder).glob("*.json"))
        if file.stem in KEYS
    }
    return stored | {system: generate_tools(system) for system in SYSTEMS}


def load_entries() -> list[Entry]:
    """The tools as the ranking reads them; a name is `<key>/<tool>`."""
    return [describe(key, tool) for key, tools in load_tools().items() for tool in tools]


def describe(key: str, tool: dict[str, Any]) -> Entry:
    title, description = tool.get("title") or "", tool.get("description") or ""
    arguments = list(tool["inputSchema"].get("properties", {}))
    details = tuple(list_details(tool["inputSchema"]))
    return Entry(f"{key}/{tool['name']}", key, tool["name"], title, description, arguments, details)


class Question(NamedTuple):
    """One wish, and what would do."""

    language: str
    """en or zh."""
    text: str
    tools: frozenset[str]
    """Any one of these would do; none: nothing that is there would."""

    is_later: bool
    """Written to tune on, when the others had been measured for the first time."""

    @property
    def is_held_out(self) -> bool:
        """Whether nothing was ever tuned on it: a half of the questions, by a hash."""
        return not self.is_later and int(hashlib.sha256(self.text.encode()).hexdigest(), 16) % 2 == 1


def load_questions() -> list[Question]:
    """All of them, tuned on and held out."""
    stored = json.loads((DATA / "tool_questions.json").read_text(encoding="utf-8"))["questions"]
    return [Question(q["language"], q["question"], frozenset(q["tools"]), "is_later" in q) for q in stored]


class Wish(NamedTuple):
    """A wish of somebody who had seen the catalogues and nothing else."""

    style: str
    text: str
    tools: frozenset[str]
    """Any one of these would do; none: nothing that is there would."""


STRANGERS = {
    "people, English": ("english", "dd0002cecbe2014b0aed4a3840834178109987cbb6fd0700c89298e3fe441ade"),
    "people, Chinese": ("chinese", "bdde8ad769aa11be10401dcca23ca72125c636e16091b1dbe9d8225d5b86f0e8"),
    "a model": ("model", "0730288ff46f9efb49a12396d038d0bf5d4be0a0389459bbbf44c580d2915fc0"),
}
"""The sets that nothing was tuned on: file, and its hash when it was frozen, before any change that it measures."""
TUNED = "tuned"
"""The set of the same kind that the ranking was tuned on."""


def load_wishes(file: str) -> list[Wish]:
    """The wishes of one set."""
    stored = json.loads((DATA / "strangers" / f"{file}.json").read_text(encoding="utf-8"))
    return [Wish(wish["style"], wish["text"], frozenset(wish["tools"])) for wish in stored]


def hash_wishes(file: str) -> str:
    return hashlib.sha256((DATA / "strangers" / f"{file}.json").read_bytes()).hexdigest()
