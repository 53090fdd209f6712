"""`/metrics`: the metrics of the service, for those who may see figures of everybody."""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from bridge.config.principals import DEFAULT
from bridge.config.settings import ServeConfig
from bridge.host.principals import read_verified
from bridge.signals.counts import Counts, Read

PATH = "/metrics"


def build_route(find_settings: Callable[[], ServeConfig], counts: Counts, read: Read) -> Route:
    """Build the route. The gate has checked the token; figures of everybody are for an operator, and for whoever sends
    `serve.token`, which sees no runs of others: a monitoring system needs no more. `find_settings` finds
    those that hold now."""

    async def tell(request: Request) -> Response:
        name = read_verified(request.scope).name
        if not (name in (None, DEFAULT) or getattr(find_settings().principals.get(name), "operator", False)):
            return PlainTextResponse("Only for operators (serve.principals.NAME.operator) and serve.token", 403)
        from bridge.signals.prometheus import write_metrics  # late: many services are never asked

        text, kind = write_metrics(counts, read, request.headers.get("accept", ""))
        return Response(text, headers={"Content-Type": kind, "Cache-Control": "no-store"})

    return Route(PATH, tell, methods=["GET"])
