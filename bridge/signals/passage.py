"""Passage of a trace by HTTP: taken from the headers of a host's request, and sent in those to the upstream."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import cast

import httpx2
from opentelemetry import propagate, trace
from opentelemetry.context import attach, detach
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer
from starlette.types import ASGIApp, Receive, Scope, Send
from typing_extensions import override

from bridge.signals import names

TRACEPARENT = b"traceparent"


class IncomingTrace:
    """ASGI middleware by which a request belongs to the trace that its headers name. What a message itself names in its
    `_meta` comes before that: one HTTP request may be of a proxy's trace."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not any(name == TRACEPARENT for name, _ in scope.get("headers", ())):
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        token = attach(propagate.extract(headers))
        try:
            await self._app(scope, receive, send)
        finally:
            detach(token)


@dataclass
class TracingTransport(httpx2.AsyncBaseTransport):
    """A transport with a span for each request, which is in its headers. The address has no query and no password."""

    inner: httpx2.AsyncBaseTransport
    tracer: Tracer

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        span = self.tracer.start_span(request.method, kind=SpanKind.CLIENT, attributes=_describe(request))
        carrier: dict[str, str] = {}
        propagate.inject(carrier, trace.set_span_in_context(span))
        request.headers.update(carrier)
        try:
            reply = await self.inner.handle_async_request(request)
        except BaseException as error:
            _fail(span, type(error).__qualname__)
            span.end()
            raise
        span.set_attribute(names.STATUS_CODE, reply.status_code)
        if reply.status_code >= 400:
            _fail(span, str(reply.status_code))
        return httpx2.Response(reply.status_code, headers=reply.headers, stream=_TracedBody(reply, span))

    @override
    async def aclose(self) -> None:
        await self.inner.aclose()


def _describe(request: httpx2.Request) -> Mapping[str, str | int]:
    url = request.url
    return {
        names.METHOD: request.method,
        names.ADDRESS: url.host,
        names.PORT: url.port or (443 if url.scheme == "https" else 80),
        names.URL: f"{url.scheme}://{url.netloc.decode('ascii').rpartition('@')[2]}{url.path}",
    }


def _fail(span: Span, error: str) -> None:
    span.set_attribute(names.ERROR, error)
    span.set_status(StatusCode.ERROR)


@dataclass
class _TracedBody(httpx2.AsyncByteStream):
    """The body of a reply; the span of the request ends with it."""

    reply: httpx2.Response
    span: Span

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in cast("httpx2.AsyncByteStream", self.reply.stream):  # `aiter_raw` would count them again
                yield chunk
        except GeneratorExit:  # it has read enough
            raise
        except BaseException as error:
            _fail(self.span, type(error).__qualname__)
            raise

    @override
    async def aclose(self) -> None:
        try:
            await self.reply.aclose()
        finally:
            self.span.end()
