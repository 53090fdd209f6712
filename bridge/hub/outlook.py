"""The outlook of a failed server: how long the pauses between two attempts to connect it may become.

What can be back at any moment is tried soon, and what somebody must mend first is not asked ten thousand times a day
meanwhile.
"""

from collections.abc import Iterable

import httpx2
from mcp import MCPError

from bridge.hub.transports.replies import NOT_SENT, SESSION_GONE, UNREACHABLE

SOON_S, LATER_S, MENDED_FIRST_S = 30.0, 300.0, 3600.0
"""The longest pause, by outlook: nothing was reached, which costs nobody anything; it is up but not well; it refuses
us, or its command does not run, and will not until somebody changes something."""
TRANSIENT = (408, 425, 429)


def judge(causes: Iterable[BaseException], status: int | None, *, has_exited: bool, was_ready: bool) -> float:
    """Return the longest pause after an attempt that failed of `causes`.

    `status`: of the last HTTP reply that was an error. A command that has worked may do so again without us: a download
    that fails without a network ends it, too.
    """
    causes = list(causes)
    status = next((cause.response.status_code for cause in causes if isinstance(cause, httpx2.HTTPStatusError)), status)
    if has_exited or any(map(_is_startless, causes)):
        return LATER_S if was_ready else MENDED_FIRST_S
    if any(map(_is_unreached, causes)):
        return SOON_S
    is_refused = status is not None and 400 <= status < 500 and status not in TRANSIENT
    return MENDED_FIRST_S if is_refused else LATER_S


def _is_startless(cause: BaseException) -> bool:
    """Tell whether the command could not be started."""
    return isinstance(cause, OSError) and not isinstance(cause, ConnectionError | TimeoutError)


def _is_unreached(cause: BaseException) -> bool:
    if isinstance(cause, MCPError):
        return cause.code in (NOT_SENT, UNREACHABLE, SESSION_GONE)
    return isinstance(cause, httpx2.TransportError | ConnectionError)
