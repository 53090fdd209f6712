"""A host that takes tasks: the SDK's client with an extension that polls for the result, as a host would."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal

import anyio
from mcp.client import ClientExtension
from mcp.client.extension import ClaimContext, ResultClaim
from mcp.client.session import ClientSession
from mcp.types import CallToolResult, Request, Result
from pydantic import ConfigDict
from typing_extensions import override

from bridge.host.tasks import TASKS
from tests.fakes.items import Json

ENDS = ("completed", "failed", "cancelled")


class TaskRequest(Request[Json, str]):
    """One of the extension's requests; over HTTP its header names the task."""

    name_param = "taskId"


class Told(Result):
    """What the server tells of a task."""

    model_config = ConfigDict(extra="allow")

    @property
    def task(self) -> Json:
        return self.model_dump(by_alias=True)


class Handle(Told):
    """What `tools/call` returns in a result's place."""

    result_type: Literal["task"]


class Polling(ClientExtension):
    """`handles` and `polls` are what was told, in order; `pause` waits as long as the server asks for, and `answer`
    says what a person would, by their key."""

    identifier = TASKS

    def __init__(
        self,
        pause: Callable[[float], Awaitable[object]] = anyio.sleep,
        answer: Callable[[Json], Json] = lambda _: {},
    ) -> None:
        self.handles: list[Json] = []
        self.polls: list[Json] = []
        self._pause = pause
        self._answer = answer

    @override
    def claims(self) -> Sequence[ResultClaim[Any]]:
        return [ResultClaim(result_type="task", model=Handle, resolve=self._poll)]

    async def _poll(self, handle: Handle, context: ClaimContext) -> CallToolResult:
        task = handle.task
        self.handles.append(task)
        while task["status"] not in ENDS:
            task = await send(context.session, "tasks/get", task["taskId"])
            self.polls.append(task)
            if responses := self._answer(task.get("inputRequests", {})):
                await send(context.session, "tasks/update", task["taskId"], inputResponses=responses)
            await self._pause(task["pollIntervalMs"] / 1000)
        return CallToolResult.model_validate(task["result"])


async def send(session: ClientSession, method: str, task_id: str, **params: Any) -> Json:
    """One request about a task."""
    request = TaskRequest(method=method, params={"taskId": task_id, **params})
    return (await session.send_request(request, Told)).task
