"""Every error the bridge raises on purpose, and who has to act on it.

    BridgeError                       who has to act
    ├── ConfigError                   operator   the config file, a flag or the environment is wrong
    ├── NotConfigured                 operator   no upstream is set
    ├── ArgumentError                 caller     an argument of `respond` is wrong; nothing was sent
    ├── GivenUp                       caller     the call was given up before a run began for it
    ├── Busy                          caller     too many runs wait already; nothing was sent
    ├── UsedUp                        caller     a day's budget of the caller is used up; nothing was sent
    ├── NeedsSignIn                   operator   a server wants a sign-in; the message names the command
    ├── SignInFailed                  operator   a sign-in did not come about; the message says what to change
    ├── ReplayError                   operator   a replayed run differs from its recording
    └── UpstreamError                 by status  the upstream refused, failed or went silent

A failed tool call is not in this tree: it is data for the model (`items.CallOutput`), never an exception.
"""

from typing import Literal

Who = Literal["operator", "upstream", "caller"]

CONTEXT_EXCEEDED = "context_length_exceeded"
"""The code of an UpstreamError for a request that is too long for the model."""

COMPACTION_REFUSED = "compaction_refused"
"""The code of an UpstreamError for a compaction that the upstream does not take back."""

DAY_BUDGET = "day_budget"
"""The code of an error for what a principal has used up in a day."""


class BridgeError(Exception):
    """An error with one clear sentence for people, and a stable `code` for programs."""

    code = "bridge_error"
    who: Who = "operator"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ConfigError(BridgeError):
    """The configuration is wrong; the message names the file, the path in it, the fault, and what would be right."""

    code = "config"


class NotConfigured(BridgeError):
    """`respond` was called and no upstream is configured; the message says what to set."""

    code = "no_upstream"


class ArgumentError(BridgeError):
    """An argument of `respond` is wrong; the message names it. Nothing was sent."""

    code = "invalid_argument"
    who: Who = "caller"


class NotResumable(BridgeError):
    """A run was cut off, and what is kept of it is not enough to go on; the message says what is missing."""

    code = "not_resumable"


class GivenUp(BridgeError):
    """A call was given up while it waited for the run of an equal one; no run was begun for it."""

    code = "given_up"
    who: Who = "caller"


class Busy(BridgeError):
    """Too many runs wait for their turn; no run was begun. The message says when to try again."""

    code = "busy"
    who: Who = "caller"

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UsedUp(Busy):
    """Refuses a new run: the principal's day's budget is used up. The message says when the next day begins."""

    code = DAY_BUDGET


class NeedsSignIn(BridgeError):
    """A server wants a person to sign in; `scope` is what it wants beyond what was granted, if that is all,
    and "" where it does not name it."""

    code = "needs_sign_in"

    def __init__(self, message: str, *, scope: str | None = None) -> None:
        super().__init__(message)
        self.scope = scope
        self.status = 401 if scope is None else 403
        """The HTTP status that a server asks for it with."""


class SignInFailed(BridgeError):
    """A sign-in, or its renewal, did not come about; the message says why, and what to change.

    `is_transient`: it may come about later, without anybody's doing.
    """

    code = "sign_in_failed"

    def __init__(self, message: str, *, is_transient: bool = False) -> None:
        super().__init__(message)
        self.is_transient = is_transient
        self.status = 503 if is_transient else 401
        """The HTTP status that stands for it where one is wanted."""


class ReplayError(BridgeError):
    """A replayed run differs from its recording; the message says where, what was recorded, and what there is now."""

    code = "replay"


class UpstreamError(BridgeError):
    """The upstream refused a request, failed, or broke the protocol.

    `status` is the HTTP status, None if there was none (connection refused or cut, timeout); `code` is the upstream's
    own code if it sent one; `request_id` is what its operator needs to find the request.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        who: Who = "upstream",
        status: int | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.who = who
        self.status = status
        self.request_id = request_id
