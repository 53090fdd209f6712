"""Requests of connected servers: questions to the person; and their lines for the log.

Sampling and roots are not announced to servers; one that asks for them all the same is told so, by the SDK in the
handshake era and as a failed call in the modern one.
"""

import logging
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import TypeAlias, cast

from mcp import types
from mcp.client import ClientRequestContext

from bridge.clock import Clock
from bridge.hub.calls import Result
from bridge.hub.failures import CallFailed
from bridge.json_text import JsonObject, encode
from bridge.questions import MAX_SHOWN_CHARS, Answer, Ask, Question
from bridge.telemetry import Redactor

logger = logging.getLogger(__name__)

Send: TypeAlias = Callable[[types.CallToolRequestParams], Awaitable[Result]]

MAX_ROUNDS = 10
"""How often one call may come back with questions: as many as the SDKs allow."""
LINES, LINES_S, LINE_CHARS = 20, 10.0, 2000
"""A server may log so many lines, in so many seconds, of so many characters."""

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "notice": logging.INFO, "warning": logging.WARNING}
"""MCP's levels by ours; those that are not here are errors."""


class ServerRequests:
    """Those of one server, and the runs whose calls it has in hand."""

    def __init__(self, key: str, clock: Clock, redact: Redactor) -> None:
        self._key = key
        self._clock = clock
        self._redact = redact
        self._asks: list[Ask] = []
        self._lines = 0
        self._lines_until = 0.0

    @contextmanager
    def during(self, ask: Ask) -> Generator[None]:
        """While a call of the run that asks with `ask` is in the server's hands."""
        self._asks.append(ask)
        try:
            yield
        finally:
            self._asks.remove(ask)

    async def complete(self, send: Send, params: types.CallToolRequestParams, ask: Ask) -> types.CallToolResult:
        """The result of a call that may come back with questions first, as in the modern era; it is sent again with
        the answers. Raises CallFailed for what cannot be answered."""
        for _ in range(MAX_ROUNDS):
            result = await send(params)
            if isinstance(result, types.CallToolResult):
                return result
            answers = {key: await self._answer(asked, ask) for key, asked in (result.input_requests or {}).items()}
            params = params.model_copy(
                update={"input_responses": answers or None, "request_state": result.request_state}
            )
        raise CallFailed("input_required", f"{self._key} came back with questions {MAX_ROUNDS} times")

    async def _answer(self, asked: types.InputRequest, ask: Ask) -> types.ElicitResult:
        if not isinstance(asked, types.ElicitRequest):
            raise CallFailed("input_required", f"{self._key} asks for {asked.method}, which it cannot have here")
        answer = await self._ask(asked.params, ask)
        if answer["action"] == "unasked":
            words = f"{self._key} asks the user: {asked.params.message!r}, and {answer['reason']}"
            raise CallFailed("input_required", words)
        return _write_answer(answer)

    async def elicit(
        self,
        context: ClientRequestContext,  # noqa: ARG002 - it does not name the call either
        params: types.ElicitRequestParams,
    ) -> types.ElicitResult | types.ErrorData:
        """Answer a question that the server pushes, as in the handshake era. It does not say which call it is for, so
        it is asked only where all its calls are of one run."""
        asks = set(self._asks)
        if len(asks) != 1:
            return _refuse("several runs use this server, and it is not said whose user is asked" if asks else "no run")
        answer = await self._ask(params, asks.pop())
        return _refuse(answer["reason"]) if answer["action"] == "unasked" else _write_answer(answer)

    async def _ask(self, params: types.ElicitRequestParams, ask: Ask) -> Answer:
        if isinstance(params, types.ElicitRequestURLParams):
            return {"action": "unasked", "content": {}, "reason": "no page is opened for a server here"}
        message = "".join(c if c.isprintable() or c == "\n" else f"\\u{ord(c):04x}" for c in params.message)
        shown = f'The server "{self._key}" asks: {message[:MAX_SHOWN_CHARS]}'
        return await ask(Question(self._key, shown, cast("JsonObject", params.requested_schema)))

    async def log(self, params: types.LoggingMessageNotificationParams) -> None:
        """A line of the server's for our log, under its name; more than a few at a time are left out."""
        now = self._clock.now()
        if now >= self._lines_until:
            self._lines, self._lines_until = 0, now + LINES_S
        self._lines += 1
        if self._lines <= LINES:
            text = params.data if isinstance(params.data, str) else encode(params.data)
            logger.log(LEVELS.get(params.level, logging.ERROR), "%s: %s", self._key, self._redact(text[:LINE_CHARS]))
        elif self._lines == LINES + 1:
            logger.warning("%s: more than %d lines in %g s; the rest is left out", self._key, LINES, LINES_S)


def find_log_level() -> types.LoggingLevel:
    """What servers of the modern era are to send: what our log would show."""
    shown = logger.getEffectiveLevel()
    levels: tuple[tuple[int, types.LoggingLevel], ...] = (
        (logging.DEBUG, "debug"),
        (logging.INFO, "info"),
        (logging.WARNING, "warning"),
    )
    return next((name for level, name in levels if shown <= level), "error")


def _write_answer(answer: Answer) -> types.ElicitResult:
    action = answer["action"]
    assert action != "unasked"
    content = answer["content"] if action == "accept" else None
    return types.ElicitResult.model_validate({"action": action, "content": content})


def _refuse(reason: str) -> types.ErrorData:
    """In words, and not as a person's no that nobody has said."""
    return types.ErrorData(code=types.INVALID_REQUEST, message=f"The user cannot be asked: {reason}")
