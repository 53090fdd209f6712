"""The session of one connection: how a server tells that it has lost it, and when it may be opened anew."""

import math
import re
from collections.abc import Callable
from typing import cast

import httpx2
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND, ErrorData, JSONRPCError, RequestId
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from bridge.clock import Clock
from bridge.hub.transports.need import Need
from bridge.hub.transports.refusals import Refusal, read_refusal
from bridge.hub.transports.replies import NOT_EXECUTED, PAUSE, REFUSED, SESSION_GONE, build_failure
from bridge.hub.transports.words import fold, shorten
from bridge.json_text import JsonObject
from bridge.telemetry import Redactor

RENEWAL_S = 5.0
"""How long after a loss a session that has answered no call is not opened anew again: that would not help either."""
SESSION_HEADER = "mcp-session-id"
_TELLING = ("tools/call", "tools/list")
"""The methods whose refusal tells of a session: others open one, or may be refused by a server that has none."""
_JUDGED_CHARS = 2000

_ID = r"(?:[ _-]?ids?\b)?"
_GONE = (
    r"not[ _]found|(?:does|did)(?: no|n.)t exist|not exist|unknown|invalid|not valid|expired?|terminated|missing|"
    r"required|lost|no longer|gone|forgotten|stale|not recogni[sz]ed|unrecogni[sz]ed|not available|mismatch"
)
_GONE_BEFORE = (
    r"invalid|unknown|expired|missing|no(?: valid| active| such)?|stale|unrecogni[sz]ed|non-?existent|bad|dead|"
    r"(?:could|can)(?: ?no|n.)t find(?: the)?|not find|without(?: a)?(?: valid)?|requires? an?(?: valid)?"
)
_LOST = re.compile(
    rf"mcp-?session|(?<!\w)session{_ID}\W(?:[\w'\"-]+\W+){{0,6}}?(?:{_GONE})\b|"
    rf"\b(?:{_GONE_BEFORE})\W+(?:[\w-]+\W+){{0,2}}?(?:transport\W+found\W+for\W+)?session|"
    r"\bsession_?(?:not_?found|expired|terminated|invalid)|\b(?:invalid|unknown|expired)_session|"
    r"sessionid\b|(?:not|n.t)(?: been| yet)? initiali[sz]ed|uninitiali[sz]ed|before initiali[sz]|"
    r"initiali[sz]e(?:d)? (?:first|request|the (?:server|session|connection))|session initiali[sz]|"
    r"(?:must|should) (?:be )?initiali[sz]e|"
    r"会话.{0,12}(?:不存在|过期|无效|失效|未找到|丢失)|(?:无效|未知).{0,6}会话|未初始化",
    re.IGNORECASE,
)
_ANOTHER_KIND = re.compile(
    r"\b(?:agent|app|browser|chat|database|db|debug|game|kernel|login|notebook|page|payment|sandbox|shell|ssh|sso|"
    r"terminal|tmux|user|web)[ _-]session",
    re.IGNORECASE,
)


def speaks_of_session(words: str) -> bool:
    """Tell whether a server says that it does not know the session, or wants to be initialized first."""
    words = words[:_JUDGED_CHARS]
    return bool(_LOST.search(words)) and ("mcp" in words.lower() or not _ANOTHER_KIND.search(words))


class Renewals:
    """The sessions of one server that were opened anew: again after an answered call, or after RENEWAL_S."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._from = -math.inf

    @property
    def is_due(self) -> bool:
        """True if a lost session may be opened anew."""
        return self._clock.now() >= self._from

    def note_loss(self) -> None:
        """Note that a session was lost."""
        self._from = self._clock.now() + RENEWAL_S

    def note_answer(self) -> None:
        """Note that a call was answered."""
        self._from = -math.inf


class Session:
    """The session of one connection. `is_stream`: it is a stream that GET opened, as in the SSE transport.

    `on_doubt` is called when it may be lost, but a message may have been executed all the same.
    """

    def __init__(
        self,
        renewals: Renewals,
        clock: Clock,
        redact: Redactor,
        *,
        is_stream: bool,
        on_doubt: Callable[[], None],
        judge: Callable[[int, str], Need | None] = lambda *_: None,
    ) -> None:
        """`judge` tells, by its status and challenge, that a refusal asks for a sign-in."""
        self._renewals = renewals
        self._clock = clock
        self.redact = redact
        self._is_stream = is_stream
        self._on_doubt = on_doubt
        self._judge_need = judge
        self._is_gone = False
        self.refused_with: int | None = None
        """The HTTP status of the last refusal, if there was one."""
        self.need: Need | None = None
        """The sign-in that a refusal asked for, and no request was answered since."""

    def note_refusal(self, refusal: Refusal) -> Need | None:
        """Note what a server refused a request with; return the sign-in that it asks for, if it does. Where no request
        can be signed in any more, the connection is of no use."""
        self.refused_with = refusal.status
        need = refusal.own if isinstance(refusal.own, Need) else None
        if refusal.own is None:
            need = self._judge_need(refusal.status, refusal.challenge)
        self.need = need or self.need  # the SDK goes on with another handshake, and hears another refusal
        if need and need.is_of_all:
            self._on_doubt()
        return need

    def note_success(self) -> None:
        """Forget the last refusal: a request was answered."""
        self.refused_with = self.need = None

    async def explain(self, request: httpx2.Request, message: JsonObject, response: httpx2.Response) -> httpx2.Response:
        """Turn the refusal of a request into a JSON-RPC error: the server's own, if that says it all."""
        call = cast("RequestId", message["id"])
        refusal = await read_refusal(response, self._clock, self.redact)
        need = self.note_refusal(refusal)
        error = self._judge(request, message, refusal, need)
        return build_failure(request, call, refusal.status, error.code, error.message, error.data)

    def revise(self, request: httpx2.Request, message: JsonObject, error: JSONRPCError) -> JSONRPCError:
        """Return the error in a reply to a message, or that the session is lost if it says so."""
        words = error.error.message
        is_lost = message["method"] in _TELLING and _has_sessions(request) and speaks_of_session(words)
        if not is_lost or _is_own_error(message, error):
            return error
        code = SESSION_GONE if self._may_renew() else NOT_EXECUTED
        return JSONRPCError(jsonrpc="2.0", id=error.id, error=self._lose(self.redact(fold(words)), code))

    def _judge(self, request: httpx2.Request, message: JsonObject, refusal: Refusal, need: Need | None) -> ErrorData:
        pause = None if refusal.pause_s is None else {PAUSE: refusal.pause_s}
        if need and need.is_certain and message["method"] == "tools/call":
            words = need.words if refusal.own else f"{refusal.text}; {need.words}"
            return ErrorData(code=NOT_EXECUTED, message=words)
        if _is_lost(request, message, refusal, is_stream=self._is_stream):
            return self._lose(refusal.text, SESSION_GONE if self._may_renew() else NOT_EXECUTED)
        if refusal.is_not_executed:
            return ErrorData(code=NOT_EXECUTED, message=refusal.text, data=pause)
        if _is_doubtful(request, message, refusal) and self._may_renew():
            self._on_doubt()
        if refusal.error and pause is None:
            return refusal.error.error
        return ErrorData(code=REFUSED, message=refusal.text, data=pause)

    def _lose(self, words: str, code: int) -> ErrorData:
        return ErrorData(code=code, message=f"the server has forgotten the session: {shorten(words)}")

    def _may_renew(self) -> bool:
        """Tell whether a new session may take its place, the same one for every message that it was lost for."""
        if not self._is_gone and self._renewals.is_due:
            self._is_gone = True
            self._renewals.note_loss()
        return self._is_gone


def _is_lost(request: httpx2.Request, message: JsonObject, refusal: Refusal, *, is_stream: bool) -> bool:
    """Tell whether a server refused a message because it does not know the session any more.

    `is_stream`: the session is a stream that GET opened, as in the SSE transport.
    """
    if message["method"] not in _TELLING or refusal.is_not_executed:
        return False
    is_own = refusal.error is not None and _is_own_error(message, refusal.error)
    is_told = speaks_of_session(refusal.words)
    if refusal.status == 404 and (is_stream or SESSION_HEADER in request.headers):
        return is_told or not is_own
    return is_told and not is_own and (refusal.error is not None or 400 <= refusal.status < 500)


def _is_doubtful(request: httpx2.Request, message: JsonObject, refusal: Refusal) -> bool:
    """Tell whether a session may be lost, but the message executed: Gone, or a gateway that failed over the session."""
    if message["method"] not in _TELLING or not _has_sessions(request):
        return False
    is_gone = refusal.status == 410 and SESSION_HEADER in request.headers
    return is_gone or (refusal.status >= 500 and not refusal.error and speaks_of_session(refusal.words))


def _has_sessions(request: httpx2.Request) -> bool:
    """Tell whether a request belongs to an era with sessions, even if the server gave this one no id."""
    return request.headers.get("mcp-protocol-version") not in MODERN_PROTOCOL_VERSIONS


def _is_own_error(message: JsonObject, error: JSONRPCError) -> bool:
    """Tell whether an error is about a message's own content: it was read, and may speak of a session of its own."""
    if error.id is None or error.id != message.get("id"):
        return False
    is_about_content = error.error.code in (METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL_ERROR)
    return (is_about_content or _names_session(message)) and not _speaks_of_ours(error.error.message)


def _speaks_of_ours(words: str) -> bool:
    return "initiali" in words.lower() or "mcp" in words.lower()


def _names_session(message: JsonObject) -> bool:
    params = message.get("params")
    arguments = params.get("arguments") if isinstance(params, dict) else None
    return isinstance(arguments, dict) and any("session" in name.lower() for name in arguments)
