"""The page's routes: the document, and what it asks for as JSON."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias, cast

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from bridge import __version__
from bridge.clock import Clock
from bridge.errors import BridgeError, Busy
from bridge.host.gate import PAGE, Access
from bridge.host.page.answers import answer, cancel, check
from bridge.host.page.door import SESSION_S, Door, Visitor, is_ours, is_proven, write_cookie
from bridge.host.page.listing import list_runs
from bridge.host.page.news import News
from bridge.host.page.replies import (
    DATA_POLICY,
    HEADERS,
    NOT_OURS,
    SIGNED_OUT,
    UNKNOWN,
    WRONG_TOKEN,
    Refusal,
    read_object,
    refuse,
    reply,
)
from bridge.host.page.usage import Usage
from bridge.host.page.whole import describe_part, describe_run
from bridge.host.page.words import Words
from bridge.host.server import Runner
from bridge.json_text import Json, JsonObject
from bridge.run.run import Run
from bridge.run.summary import Summary

SESSION = "/page/session"
READS, CHANGES = ("GET", "HEAD"), ("POST", "DELETE")
Handler: TypeAlias = Callable[[Request, Visitor], Awaitable[Response]]
OfRun: TypeAlias = Callable[[Request, Visitor, Run, Summary, str], Awaitable[Response]]
"""Handles a request about a run; the text is the rest of the path."""


class Page:
    """An ASGI application. Whoever is not signed in gets the document, and one answer to all else."""

    def __init__(self, runner: Runner, access: Access, clock: Clock) -> None:
        self._runner = runner
        self._clock = clock
        self._door = Door(runner, access, clock)
        self._words = Words(runner.redact)
        self._news = News(runner, self._words, clock)
        self._usage = Usage(runner, self._words)
        self._handlers: dict[tuple[str, str], Handler] = {
            ("GET", "session"): self._tell_session,
            ("DELETE", "session"): self._sign_out,
            ("GET", "runs"): self._list_runs,
            ("GET", "news"): self._tell_news,
            ("GET", "servers"): self._tell_servers,
            ("GET", "usage"): self._tell_usage,
        }
        self._of_run: dict[tuple[str, str], OfRun] = {
            ("GET", ""): self._tell_run,
            ("GET", "texts"): self._tell_text,
            ("POST", "answer"): self._answer,
            ("POST", "cancel"): self._cancel,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._respond(request)
        except Busy as busy:
            seconds = {"Retry-After": str(busy.retry_after_s)}
            response = refuse(Refusal(503, "busy", str(busy)), seconds)
        except BridgeError as error:
            response = refuse(Refusal(400, "invalid", str(error)))
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        path = request.scope["path"]
        if path == PAGE:
            return _show_document(request)
        if path == SESSION and request.method == "POST":
            return await self._sign_in(request)
        visitor = await self._door.find(request)
        if visitor is None:
            return refuse(SIGNED_OUT)
        if request.method not in READS and not is_proven(request, visitor):
            return refuse(NOT_OURS)
        method = "GET" if request.method == "HEAD" else request.method
        name, _, rest = path.removeprefix("/page/").partition("/")
        if name == "runs" and rest:
            return await self._handle_run(request, visitor, method, rest)
        handle = self._handlers.get((method, name))
        return await handle(request, visitor) if handle and not rest else refuse(UNKNOWN)

    async def _handle_run(self, request: Request, visitor: Visitor, method: str, rest: str) -> Response:
        """Handle a request about a run. One that is not there, and one of somebody else, get the same answer."""
        run_id, _, rest = rest.partition("/")
        what, _, more = rest.partition("/")
        handle = self._of_run.get((method, what))
        found = await self._runner.engine.look_up(run_id) if handle else None
        if handle is None or found is None or not visitor.sees(found[0].principal):
            return refuse(UNKNOWN)
        return await handle(request, visitor, *found, more)

    # -- who looks ----------------------------------------------------------------------------------------------------

    async def _sign_in(self, request: Request) -> Response:
        if not is_ours(request):
            return refuse(NOT_OURS)
        token = (await read_object(request)).get("token")
        found = await self._door.sign_in(request, token) if isinstance(token, str) else None
        if found is None:
            return refuse(WRONG_TOKEN)
        visitor, cookie = found
        return reply(_describe(visitor), headers=write_cookie(request, cookie, round(SESSION_S)))

    async def _tell_session(self, _request: Request, visitor: Visitor) -> Response:
        return reply(_describe(visitor))

    async def _sign_out(self, request: Request, _visitor: Visitor) -> Response:
        self._door.sign_out(request)
        return reply({}, headers=write_cookie(request, "", 0))

    # -- what it sees -------------------------------------------------------------------------------------------------

    async def _list_runs(self, request: Request, visitor: Visitor) -> Response:
        news = self._news.look()
        listed = await list_runs(self._runner.engine, visitor, request.query_params, self._words)
        return reply(listed | {"news": news})

    async def _tell_run(self, _request: Request, visitor: Visitor, run: Run, summary: Summary, rest: str) -> Response:
        if rest:
            return refuse(UNKNOWN)
        told = describe_run(run, summary, self._clock.time(), self._words)
        return reply(told | {"may_answer": check(visitor, run) is None})

    async def _tell_text(self, request: Request, _visitor: Visitor, run: Run, _summary: Summary, part: str) -> Response:
        start = request.query_params.get("from", "0")
        is_number = start.isascii() and start.isdecimal() and len(start) <= 12
        found = describe_part(run, part, int(start), self._words) if is_number else None
        return reply(found) if found else refuse(UNKNOWN)

    async def _tell_servers(self, _request: Request, _visitor: Visitor) -> Response:
        described = await self._runner.describe_hub()
        servers: list[Json] = [_add_tokens(server) for server in cast("list[JsonObject]", described["servers"])]
        return reply(self._words.clean({"servers": servers, "request": described["request"]}))

    async def _tell_usage(self, _request: Request, visitor: Visitor) -> Response:
        return reply(await self._usage.describe(visitor, self._clock.time()))

    async def _tell_news(self, request: Request, visitor: Visitor) -> Response:
        self._news.check_room(visitor)
        after = request.headers.get("last-event-id") or request.query_params.get("after")
        stream = self._news.listen(visitor, after, partial(self._door.find, request))
        sent = {**HEADERS, "Content-Security-Policy": DATA_POLICY, "X-Accel-Buffering": "no"}
        return StreamingResponse(stream, headers=sent, media_type="text/event-stream")

    # -- what it does -------------------------------------------------------------------------------------------------

    async def _answer(self, request: Request, visitor: Visitor, run: Run, _summary: Summary, _rest: str) -> Response:
        if refusal := check(visitor, run):
            return refuse(refusal)
        body = await read_object(request)
        refusal = await answer(self._runner.engine, visitor, run, body)
        return refuse(refusal) if refusal else reply({})

    async def _cancel(self, request: Request, visitor: Visitor, run: Run, _summary: Summary, _rest: str) -> Response:
        if refusal := check(visitor, run):
            return refuse(refusal)
        await read_object(request)
        refusal = await cancel(self._runner.engine, run)
        return refuse(refusal) if refusal else reply({})


def _show_document(request: Request) -> Response:
    if request.method not in READS:
        return refuse(Refusal(405, "method", "The page is only read."), {"Allow": "GET, HEAD"})
    from bridge.host.page.document import serve

    html, policy = serve()
    return Response(html, headers={**HEADERS, "Content-Security-Policy": policy}, media_type="text/html")


def _describe(visitor: Visitor) -> JsonObject:
    return visitor.describe() | {"version": __version__}


def _add_tokens(server: JsonObject) -> JsonObject:
    """Add what all tools of a server cost in each request."""
    tools = cast("list[JsonObject]", server["tools"])
    return server | {"tokens": sum(cast("int", tool["tokens"]) for tool in tools)}
