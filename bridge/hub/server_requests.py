"""Server-initiated messages: elicitation, of forms and of pages to open, and logging.

Sampling and roots are not announced to servers. One that requests them all the same gets an error: from the SDK in the
handshake era, as a failed call in the modern era.
"""

import logging
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import TypeAlias, cast

import anyio
from mcp import types
from mcp.client import ClientRequestContext, IncomingMessage

from bridge.clock import Clock
from bridge.config.settings import ServerConfig
from bridge.config.values import is_loopback
from bridge.hub.calls import Result
from bridge.hub.failures import CallFailed, PagesRequired
from bridge.json_text import JsonObject, write
from bridge.pages import read_page
from bridge.questions import DONE, MAX_SHOWN_CHARS, Answer, Ask, Question, ask_to_open, leave_unasked, show_form
from bridge.telemetry import COUNTED, Redactor
from bridge.visible import quote_name, show_prose

logger = logging.getLogger(__name__)

Send: TypeAlias = Callable[[types.CallToolRequestParams], Awaitable[Result]]

PAGE_S = 120.0
"""How long a call waits for the server to say that what was opened is done; some servers never say so."""
MAX_ROUNDS = 10
"""How often one call may return questions instead of a result: as often as the SDKs allow."""
LINES, LINES_S, LINE_CHARS = 20, 10.0, 2000
"""The log lines of one server: at most so many, in so many seconds, of so many characters each."""

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "notice": logging.INFO, "warning": logging.WARNING}
"""MCP's log levels as Python's; all others are errors."""


class ServerRequests:
    """Answers the questions of one server, and logs its lines."""

    def __init__(self, server: ServerConfig, clock: Clock, redact: Redactor) -> None:
        self._key = server.key
        self._is_local = server.url is None or is_loopback(server.url)
        self._clock = clock
        self._redact = redact
        self._asks: list[Ask] = []  # of the runs whose calls are in progress
        self._done: dict[str, list[anyio.Event]] = {}
        """The pages that calls wait for, by the server's ids."""
        self._lines = 0
        self._lines_until = 0.0

    @contextmanager
    def during(self, ask: Ask) -> Generator[None]:
        """Answer the server's questions with `ask` for the length of a call."""
        self._asks.append(ask)
        try:
            yield
        finally:
            self._asks.remove(ask)

    async def complete(self, send: Send, params: types.CallToolRequestParams, ask: Ask) -> types.CallToolResult:
        """Send a call and return its result; if it returns questions, as in the modern era, send it again with answers.

        Raises CallFailed for a question that cannot be answered.
        """
        opened = set[str]()
        for _ in range(MAX_ROUNDS):
            try:
                result = await send(params)
            except PagesRequired as failure:
                await self._open_all(failure, opened, ask)
                continue
            if isinstance(result, types.CallToolResult):
                return result
            answers = {key: await self._answer(asked, ask) for key, asked in (result.input_requests or {}).items()}
            params = params.model_copy(
                update={"input_responses": answers or None, "request_state": result.request_state}
            )
        raise CallFailed("input_required", f"{self._key} returned questions instead of a result {MAX_ROUNDS} times")

    async def _open_all(self, failure: PagesRequired, opened: set[str], ask: Ask) -> None:
        """Have the pages opened that a call needs, each once, and wait until they are done with. Raises CallFailed."""
        if not failure.asked:
            raise failure
        asked_before = frozenset(opened)
        for page in failure.asked:
            words = f"{self._key} wants the user to open a page first ({page.message!r})"
            if page.message in asked_before:
                words += ", and they are not done with it yet; call again once they say that they are"
                raise CallFailed("input_required", words)
            opened.add(page.message)
            answer = await self._open(page, ask)
            if answer["action"] != "accept":
                raise CallFailed("input_required", f"{words}, and {_explain_no(answer)}; it was not executed")

    async def _open(self, page: types.ElicitRequestURLParams, ask: Ask) -> Answer:
        """Have a page opened, and wait until the person or the server says that they are done, or for PAGE_S."""
        with self._expecting(page.elicitation_id) as done:
            answer = await self._ask(page, ask)
            if answer["action"] == "accept" and answer["reason"] != DONE:
                with self._clock.scope(self._clock.now() + PAGE_S):
                    await done.wait()
        return answer

    @contextmanager
    def _expecting(self, page_id: str | None) -> Generator[anyio.Event]:
        done = anyio.Event()
        waiting = self._done.setdefault(page_id or "", [])
        waiting.append(done)
        try:
            yield done
        finally:
            waiting.remove(done)
            if not waiting:
                del self._done[page_id or ""]

    def note_done(self, message: IncomingMessage) -> None:
        """Note that the person is done with a page, where a notification says so."""
        if isinstance(message, types.ElicitCompleteNotification):
            for done in self._done.get(message.params.elicitation_id, ()):
                done.set()

    async def _answer(self, asked: types.InputRequest, ask: Ask) -> types.ElicitResult:
        if not isinstance(asked, types.ElicitRequest):
            raise CallFailed("input_required", f"{self._key} requests {asked.method}, which is not supported here")
        answer = await self._ask(asked.params, ask)
        if answer["action"] == "unasked":
            words = f"{self._key} asks the user: {asked.params.message!r}, and {answer['reason']}"
            raise CallFailed("input_required", words)
        return _write_answer(answer, asked.params)

    def find_ask(self) -> Ask | None:
        """Find who is asked by the one run that uses the server; None where there are several, or none."""
        asks = set(self._asks)
        return asks.pop() if len(asks) == 1 else None

    async def elicit(
        self,
        context: ClientRequestContext,  # noqa: ARG002 - does not name the call either
        params: types.ElicitRequestParams,
    ) -> types.ElicitResult | types.ErrorData:
        """Answer a question that the server pushes, as in the handshake era.

        Such a question does not name its call, so it is asked only if all calls in progress belong to one run.
        """
        ask = self.find_ask()
        if ask is None:
            several = "several runs use this server, and the question does not name the call it is for"
            return _refuse(several if self._asks else "no run uses this server")
        answer = await self._ask(params, ask)
        return _refuse(answer["reason"]) if answer["action"] == "unasked" else _write_answer(answer, params)

    async def _ask(self, params: types.ElicitRequestParams, ask: Ask) -> Answer:
        if isinstance(params, types.ElicitRequestURLParams):
            return await self._ask_to_open(params, ask)
        form = show_form(cast("JsonObject", params.requested_schema))
        if form is None:
            return leave_unasked("its form has a name or a choice with characters that are not seen")
        shown = f"The server {quote_name(self._key)} asks: {self._show(params.message)}"
        return await ask(Question(self._key, shown, form))

    async def _ask_to_open(self, params: types.ElicitRequestURLParams, ask: Ask) -> Answer:
        """Ask the person to open a page: nobody else opens any."""
        try:
            page = read_page(params.url, is_local=self._is_local)
        except ValueError as error:
            return leave_unasked(f"its address is not shown to anybody: {self._redact(str(error))}")
        if self._redact(page.address) != page.address:
            return leave_unasked("its address is not shown to anybody: it holds a secret of the configuration")
        return await ask(ask_to_open(self._key, page, self._show(params.message)))

    def _show(self, text: str) -> str:
        return show_prose(self._redact(text))[:MAX_SHOWN_CHARS]

    async def log(self, params: types.LoggingMessageNotificationParams) -> None:
        """Log a line of the server, under its key; lines over the limit are left out."""
        now = self._clock.now()
        if now >= self._lines_until:
            self._lines, self._lines_until = 0, now + LINES_S
        self._lines += 1
        if self._lines <= LINES:
            text = params.data if isinstance(params.data, str) else write(params.data)
            line = self._redact(text)[:LINE_CHARS]  # half a secret would not be found
            logger.log(LEVELS.get(params.level, logging.ERROR), "%s: %s", self._key, line, extra=COUNTED)
        elif self._lines == LINES + 1:
            logger.warning("%s: more than %d lines in %g s; the rest is left out", self._key, LINES, LINES_S)


def find_log_level() -> types.LoggingLevel:
    """Return the lowest level that our log shows: servers of the modern era are asked to send no less."""
    shown = logger.getEffectiveLevel()
    levels: tuple[tuple[int, types.LoggingLevel], ...] = (
        (logging.DEBUG, "debug"),
        (logging.INFO, "info"),
        (logging.WARNING, "warning"),
    )
    return next((name for level, name in levels if shown <= level), "error")


def _explain_no(answer: Answer) -> str:
    if answer["action"] == "unasked":
        return answer["reason"]
    return f"the user did not want to{f' ({reason})' if (reason := answer['reason']) else ''}"


def _write_answer(answer: Answer, asked: types.ElicitRequestParams) -> types.ElicitResult:
    action = answer["action"]
    assert action != "unasked"
    has_form = isinstance(asked, types.ElicitRequestFormParams)
    content = answer["content"] if action == "accept" and has_form else None
    return types.ElicitResult.model_validate({"action": action, "content": content})


def _refuse(reason: str) -> types.ErrorData:
    """Answer with an error: a `decline` would claim that a person said no."""
    return types.ErrorData(code=types.INVALID_REQUEST, message=f"The user cannot be asked: {reason}")
