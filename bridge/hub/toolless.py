"""Servers without tools: they have prompts or resources only, which is no fault, and say so in several ways."""

import re

from mcp import MCPError, types
from mcp_types import CONNECTION_CLOSED, METHOD_NOT_FOUND, PARSE_ERROR, REQUEST_TIMEOUT

from bridge.hub.transports.replies import NOT_EXECUTED, NOT_SENT, REFUSED, SAID_CLOSED, SESSION_GONE, UNREACHABLE
from bridge.hub.transports.revisions import read_refusals

NO_ANSWER_S = 5.0
"""How long a server that does not announce tools may take to list them; after that, it has none."""
_OURS = (NOT_EXECUTED, NOT_SENT, PARSE_ERROR, REFUSED, SESSION_GONE, UNREACHABLE)
_AMBIGUOUS = (CONNECTION_CLOSED, REQUEST_TIMEOUT, SAID_CLOSED)
"""Error codes that tell nothing of tools by themselves: of a connection that was closed and a time that is over, and of
any fault of a server's, which many name by the first, -32000."""
_NONE = re.compile(r"(not|n't|un) ?(implement|support)|no tools|(method|handler) not found|no handler", re.IGNORECASE)


def may_have_tools(capabilities: types.ServerCapabilities) -> bool:
    """Tell whether a server announces tools, or nothing at all: one whose revision is set is not asked what it has.

    Some announce other things, and have tools all the same.
    """
    return capabilities.tools is not None or not capabilities.model_dump(exclude_none=True)


def has_no_tools(error: MCPError, capabilities: types.ServerCapabilities) -> bool:
    """Tell whether this refusal of `tools/list` means that there are none.

    From a server that announces only other things, every refusal does; another must say that it does not know the
    request.
    """
    if error.code in _OURS or read_refusals([error]) is not None:
        return False
    says_none = error.code == METHOD_NOT_FOUND or bool(_NONE.search(error.message))
    return says_none or not (may_have_tools(capabilities) or error.code in _AMBIGUOUS)


def describe_toolless(capabilities: types.ServerCapabilities) -> str:
    """Describe to people what a server without tools has instead."""
    others = [name for name in ("prompts", "resources") if getattr(capabilities, name) is not None]
    return f"no tools: it announces {' and '.join(others)}" if others else "no tools"
