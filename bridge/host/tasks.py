"""Tasks, the extension of MCP by which a host polls for a result: a run under a handle, which is the run's id.

They exist in the modern era alone. The SDK (mcp 2.3) has types for them and no more: here the era is checked, that the
host declares the extension with each request, and that the header `Mcp-Name` names the same task.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol, TypeAlias, cast
from weakref import WeakKeyDictionary

from mcp import MCPError, types
from mcp.server import Server
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value

from bridge.clock import Clock
from bridge.config.settings import Limits
from bridge.errors import ArgumentError, BridgeError
from bridge.events import Notified
from bridge.host.audience import HostAudience, build_elicitation
from bridge.host.cancellation import identify
from bridge.host.mcp_app.extension import add_timeline
from bridge.host.principal import HostRequest, find_http, find_principal, is_modern
from bridge.host.silences import Silences
from bridge.json_text import JsonObject
from bridge.questions import Question
from bridge.run.engine import Engine, Settle, Show, Stop
from bridge.run.progress import describe_event
from bridge.run.run import Run
from bridge.telemetry import Redactor

TASKS = "io.modelcontextprotocol/tasks"
NO_SETTINGS = dict[str, object]()
"""All that is said of the extension where it is announced."""
DIRECT_S = 1.0
"""A run that ends within this time is answered with its result, and no task is made of it."""
POLL_S, LONGEST_POLL_S = 1.0, 10.0
"""How often a host is asked to poll: a tenth of the run's age, within these bounds."""
UNKNOWN = "taskId: there is no such task; it may have expired, and must be that of an earlier result"

Render: TypeAlias = Callable[[Run], types.CallToolResult]
"""Renders a run that has ended. Raises MCPError where a call in the task's place would be answered with that error."""
Answer: TypeAlias = Callable[[HostRequest, Run, HostAudience], Awaitable[JsonObject]]


class Runs(Protocol):
    """The runs that tasks are made of."""

    @property
    def engine(self) -> Engine:
        """The engine that keeps them."""
        ...

    @property
    def limits(self) -> Limits:
        """The limits on them."""
        ...

    @property
    def keep_s(self) -> float:
        """Seconds after its end for which a run is kept."""
        ...

    @property
    def redact(self) -> Redactor:
        """Blank the secrets in what people are shown."""
        ...

    async def find(self, run_id: str, *, principal: str) -> Run:
        """Find a run of this principal. Raises ArgumentError where there is none, whatever the reason."""
        ...


class Tasks:
    """The extension's three methods, over the runs of one bridge."""

    def __init__(self, runs: Runs, render: Render, clock: Clock, silences: Silences) -> None:
        self._runs = runs
        self._render = render
        self._clock = clock
        self._silences = silences
        self._shown = WeakKeyDictionary[Run, set[str]]()
        """The questions that hosts were given, by run."""

    def add_to(self, server: Server[dict[str, object]]) -> None:
        """Serve the methods, and announce them."""
        answers = {"tasks/get": self._get, "tasks/update": self._update, "tasks/cancel": self._cancel}
        for method, answer in answers.items():
            server.add_request_handler(method, types.RequestParams, partial(self._answer, answer))
        server.extensions[TASKS] = dict(NO_SETTINGS)

    def hand_out(self, run: Run, notices: Sequence[Notified] = ()) -> JsonObject:
        """Describe a run that goes on as the result of the call that began it. Its questions are for the first poll."""
        said = {"statusMessage": notices[-1].message} if notices else {}
        return self._describe(run, "working") | said | {"resultType": "task"}

    async def _answer(self, answer: Answer, ctx: HostRequest, _params: types.RequestParams) -> JsonObject:
        """Find the task that a request names, and answer it. Each request counts as somebody who waits for the run."""
        if not is_modern(ctx):
            raise MCPError(types.METHOD_NOT_FOUND, "Method not found", ctx.method)
        require_tasks(ctx)
        run_id = _read_task_id(ctx)
        try:
            run = await self._runs.find(run_id, principal=find_principal(ctx))
        except ArgumentError:
            raise MCPError(types.INVALID_PARAMS, UNKNOWN) from None
        except BridgeError as error:
            raise MCPError(types.INTERNAL_ERROR, error.message) from None
        if request := find_http(ctx):
            from bridge.host.request_log import read_note  # late: not over stdio

            note = read_note(request.scope)
            note.run_id, note.is_poll = run_id, ctx.method == "tasks/get"
        if ctx.method != "tasks/cancel":
            run = await self._runs.engine.resume(run)
        audience = HostAudience(ctx, self._silences, self._clock)
        with self._runs.engine.attend(run, audience=audience, caller=identify(ctx)):
            return await answer(ctx, run, audience)

    async def _get(self, ctx: HostRequest, run: Run, audience: HostAudience) -> JsonObject:
        """Tell how far the run has come: its questions, or its result."""
        if run.ending:
            return self._describe_end(ctx, run, run.ending["status"] == "cancelled")
        questions = audience.pick(run.questions)
        for key in questions:
            await self._show(run, key, audience)
        if not questions:
            return self._describe(run, "working")
        return self._describe(run, "input_required") | {"inputRequests": _list_requests(questions)}

    async def _update(self, ctx: HostRequest, run: Run, audience: HostAudience) -> JsonObject:
        """Settle questions of the run. Answers to others are passed over, as the extension wants it."""
        for key, response in _read_responses(ctx).items():
            answer = audience.read_answer(response)  # also one that comes too late shows that somebody is there
            if key in run.questions:
                await self._runs.engine.send(run, Settle(key, answer))
        return {}

    async def _cancel(self, _ctx: HostRequest, run: Run, _audience: HostAudience) -> JsonObject:
        """Stop the run, unless it has ended."""
        await self._runs.engine.send(run, Stop())
        return {}

    async def _show(self, run: Run, key: str, audience: HostAudience) -> None:
        """Give the person time to answer, once: some hosts poll on and never show a question. No call is waiting, so
        they have as long as a run may go on unasked for."""
        shown = self._shown.setdefault(run, set())
        if key not in shown:
            shown.add(key)
            await self._runs.engine.send(run, Show(key, self._runs.limits.orphan_s, audience))

    def _describe_end(self, ctx: HostRequest, run: Run, is_cancelled: bool) -> JsonObject:
        try:
            result = add_timeline(ctx, self._render(run), run, self._clock.time(), self._runs.redact)
        except MCPError as error:
            said: JsonObject = {"statusMessage": error.message}
            return self._describe(run, "failed") | said | {"error": _dump(error.error)}
        if is_cancelled:  # such a task has no result: its words have to be in the message
            texts = [block.text for block in result.content if isinstance(block, types.TextContent)]
            return self._describe(run, "cancelled") | {"statusMessage": "\n".join(texts)}
        return self._describe(run, "completed") | {"result": _dump(result)}

    def _describe(self, run: Run, status: str) -> JsonObject:
        """Describe the run as a task. It is kept for a time after its end, and the extension counts from its start."""
        updated = run.events[-1].at if run.events else run.created
        age_s = max((updated if run.ending else self._clock.time()) - run.created, 0.0)
        said = None if run.ending else self._find_news(run)
        task: JsonObject = {
            "taskId": run.run_id,
            "status": status,
            "createdAt": _show_time(run.created),
            "lastUpdatedAt": _show_time(updated),
            "ttlMs": int(1000 * (age_s + self._runs.keep_s)),
            "pollIntervalMs": int(1000 * min(max(age_s / 10, POLL_S), LONGEST_POLL_S)),
        }
        return task | {"statusMessage": said} if said else task

    def _find_news(self, run: Run) -> str | None:
        """Find the latest that a person who waits would like to know."""
        lines = (describe_event(event, self._runs.redact) for event in reversed(run.events))
        return next((line.strip() for line in lines if line), None)


def declares_tasks(ctx: HostRequest) -> bool:
    """Tell whether the host takes a task as the result of this very request."""
    capabilities = ctx.session.client_capabilities
    return is_modern(ctx) and capabilities is not None and TASKS in (capabilities.extensions or {})


def require_tasks(ctx: HostRequest) -> None:
    """Raise MCPError where the host does not declare the extension with this request."""
    if not declares_tasks(ctx):
        missing = {"requiredCapabilities": {"extensions": {TASKS: NO_SETTINGS}}}
        message = f"{ctx.method}: declare the extension {TASKS} in the client capabilities of each request"
        raise MCPError(types.MISSING_REQUIRED_CLIENT_CAPABILITY, message, missing)


def _read_task_id(ctx: HostRequest) -> str:
    """Read which task a request is about. Proxies go by the header: one that names another task is refused."""
    task_id = (ctx.params or {}).get("taskId")
    if not isinstance(task_id, str) or not task_id:
        raise MCPError(types.INVALID_PARAMS, "taskId: it is missing; give that of an earlier result, as a text")
    request = find_http(ctx)
    named = request.headers.getlist(MCP_NAME_HEADER) if request else []
    if any(decode_header_value(name) != task_id for name in named):
        raise MCPError(types.HEADER_MISMATCH, "Mcp-Name: the header names another task than taskId in the body")
    return task_id


def _read_responses(ctx: HostRequest) -> Mapping[str, object]:
    responses = (ctx.params or {}).get("inputResponses")
    if not isinstance(responses, Mapping):
        raise MCPError(
            types.INVALID_PARAMS, "inputResponses: expected an object, with a response by the key of a question"
        )
    return cast("Mapping[str, object]", responses)


def _list_requests(questions: Mapping[str, Question]) -> JsonObject:
    return {key: _dump(build_elicitation(question)) for key, question in questions.items()}


def _dump(model: Any) -> JsonObject:
    return model.model_dump(by_alias=True, mode="json", exclude_none=True)


def _show_time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
