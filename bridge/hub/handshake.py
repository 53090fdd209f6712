"""The answers that open a connection, as the SDK accepts them: decoration of any shape does not keep a server out.

The SDK (mcp 2.3) fails the connection over an empty list where an object belongs, as PHP writes it, over a serverInfo
without a version, and over a revision that it does not know.
"""

import re
from contextlib import suppress
from functools import partial
from typing import cast

from mcp import types
from mcp_types import SERVER_INFO_META_KEY
from mcp_types.methods import parse_server_result
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, LATEST_HANDSHAKE_VERSION, MODERN_PROTOCOL_VERSIONS

from bridge.hub.pruning import prune
from bridge.json_text import Json, JsonObject, cut_levels, decode, write

_REVISION = re.compile(r"\d{4}-\d\d-\d\d")
_KNOWN = (*HANDSHAKE_PROTOCOL_VERSIONS, *MODERN_PROTOCOL_VERSIONS)
_HANDSHAKE_FIELDS = {"protocolVersion", "capabilities", "serverInfo"}
"""Fields of an answer to `initialize`; a result with an `error` and none of them is a refusal."""
_MODERN_FIELDS = ("resultType", "ttlMs", "cacheScope")
"""Fields that results have in the modern era alone."""


def mend_handshake(method: str, result: JsonObject, requested: str | None) -> list[str]:
    """Change a result of `initialize` or `server/discover`, in place, to what the SDK accepts; return what was odd.

    `requested` is the revision that the handshake asked for, None the newest. What answers `server/discover` in no way
    of the modern era is left to the SDK, which goes on with the handshake.
    """
    match method:
        case "initialize" if "error" not in result or result.keys() & _HANDSHAKE_FIELDS:
            odd = _mend_initialize(result, requested or LATEST_HANDSHAKE_VERSION)
            return odd + _prune_initialize(result)
        case "server/discover" if _is_modern(result):
            return [*_mend_versions(result), *_mend_tools(result), *prune(result, types.DiscoverResult.model_validate)]
        case _:
            return []


def _prune_initialize(result: JsonObject) -> list[str]:
    judge = partial(parse_server_result, "initialize", LATEST_HANDSHAKE_VERSION)
    with suppress(ValueError, RecursionError):
        return prune(result, judge)
    result |= cast("JsonObject", decode(cut_levels(write(result))))  # nested too deeply for the SDK
    return ["what is nested too deeply", *prune(result, judge)]


def _mend_initialize(result: JsonObject, requested: str) -> list[str]:
    odd = _mend_tools(result)
    said = result.get("protocolVersion")
    if said not in HANDSHAKE_PROTOCOL_VERSIONS:
        named = [revision for revision in _find_revisions(said) if revision in HANDSHAKE_PROTOCOL_VERSIONS]
        result["protocolVersion"] = named[0] if named else requested
        odd.append(f"protocolVersion (taken for {result['protocolVersion']})")
    info = result.get("serverInfo")
    if not (isinstance(info, dict) and isinstance(info.get("name"), str) and isinstance(info.get("version"), str)):
        given = info if isinstance(info, dict) else {"name": info}
        result["serverInfo"] = given | {key: _write(given.get(key)) for key in ("name", "version")}
        odd.append("serverInfo")
    return odd


def _mend_versions(result: JsonObject) -> list[str]:
    """Let `supportedVersions` be those that are named; if none is, the answer itself shows that ours is supported."""
    said = result.get("supportedVersions")
    known = _find_revisions(said)
    if known and isinstance(said, list) and all(isinstance(revision, str) for revision in said):
        return []
    result["supportedVersions"] = [*(known or MODERN_PROTOCOL_VERSIONS)]
    return ["supportedVersions"]


def _mend_tools(result: JsonObject) -> list[str]:
    """Let the capabilities be an object, and that of tools announced if anything but nothing stands there."""
    given = result.get("capabilities")
    if not isinstance(given, dict):
        result["capabilities"] = JsonObject()
        return ["capabilities"]
    tools = given.get("tools")
    if tools is None or isinstance(tools, dict):
        return []
    given["tools"] = JsonObject()
    return ["capabilities.tools"]


def _is_modern(result: JsonObject) -> bool:
    """Tell whether a server that gave this answer speaks the modern era: it says so, or answers in its way."""
    if any(revision in MODERN_PROTOCOL_VERSIONS for revision in _find_revisions(result.get("supportedVersions"))):
        return True
    meta = result.get("_meta")
    is_stamped = isinstance(meta, dict) and SERVER_INFO_META_KEY in meta
    says_other = bool(_find_revisions(result.get("supportedVersions"))) or "protocolVersion" in result
    return not says_other and (is_stamped or any(field in result for field in _MODERN_FIELDS))


def _find_revisions(said: Json) -> list[str]:
    """Find the known revisions in a text, or in a list or object of any shape, each once."""
    try:
        return list(dict.fromkeys(word for word in _REVISION.findall(str(said)) if word in _KNOWN))
    except (ValueError, RecursionError):  # an endless number, or too much nesting
        return []


def _write(value: Json) -> str:
    return value if isinstance(value, str) else write(value) if isinstance(value, int | float) else ""
