"""Responses that the upstream makes in the background: looked at, taken up again, cancelled, or made in front."""

from typing import Any

import anyio
import pytest

from bridge.config.settings import UpstreamConfig
from bridge.items import Turn
from bridge.upstream.client import Upstream
from tests.fakes.bridges import ask, open_bridge
from tests.fakes.clock import PATIENCE_S, VirtualClock
from tests.fakes.events import lifecycle
from tests.fakes.upstream import (
    Reply,
    Request,
    ScriptedUpstream,
    api_error,
    call,
    cut,
    html,
    http_error,
    message,
    responds,
)

pytestmark = pytest.mark.anyio

Json = dict[str, Any]
BACKGROUND = {"extra": {"background": True}}
PATIENT = {"soft_deadline_s": 3600, "timeout_s": 3600}
TEXT = "A long answer, made while nobody waited"


def resp(status: str = "completed", *items: Json) -> Reply:
    return responds(*(items or (message(TEXT),)), id="resp_1", status=status, as_json=True)


QUEUED, RUNNING = (responds(id="resp_1", status=status, as_json=True) for status in ("queued", "in_progress"))
DONE = resp()


def paths(requests: list[Request]) -> list[str]:
    return [f"{request.method} {request.path.removeprefix('/v1')}" for request in requests]


async def test_a_response_in_the_background_is_looked_at_ever_less_often_until_it_is_there() -> None:
    clock = VirtualClock(autojump=True)
    script = [QUEUED, QUEUED, *[RUNNING] * 8, DONE]
    receipt, requests = await ask(script, None, BACKGROUND, clock=clock, limits=PATIENT, upstream={"stream": "never"})
    assert receipt["output_text"] == TEXT
    assert requests[0].json["background"] is True
    assert paths(requests) == ["POST /responses", *["GET /responses/resp_1"] * 10]
    assert clock.sleeps[:3] == [1, 1.5, 2.25]
    assert clock.sleeps[-1] == 10
    assert receipt["notices"] == []


async def test_every_turn_of_a_run_is_made_in_the_background() -> None:
    script = [QUEUED, resp("completed", call("current_time")), QUEUED, DONE]
    clock = VirtualClock(autojump=True)
    receipt, requests = await ask(
        script, None, BACKGROUND, builtin_tools=True, clock=clock, upstream={"stream": "never"}
    )
    assert (receipt["output_text"], receipt["turns"]) == (TEXT, 2)
    assert [request.json.get("background") for request in requests if request.method == "POST"] == [True, True]


EVENTS = lifecycle({"id": "resp_1", "object": "response", "status": "completed", "output": [message(TEXT)]})


def after(number: int) -> Reply:
    rest = [event for event in EVENTS if isinstance(event, dict) and event["sequence_number"] > number]
    return responds(events=rest, as_sse=True)


async def take(script: list[Reply]) -> tuple[Json, str, list[Request]]:
    """The response, the text that was told while it came, and the requests."""
    told: list[str] = []
    turn = Turn({"model": "m", "background": True}, ('{"role":"user","content":"x"}',), ())
    async with ScriptedUpstream(script) as server:
        config = UpstreamConfig(base_url=server.base_url)
        async with Upstream(config, clock=VirtualClock(autojump=True)) as upstream:
            response = await upstream.create(
                turn, deadline=1e9, on_event=lambda event: told.append(str(getattr(event, "delta", "")))
            )
        server.assert_complete()
    return dict(response), "".join(told), server.requests


@pytest.mark.parametrize("rest", [after(6), after(-1)], ids=["only the rest", "all of it again"])
async def test_a_cut_stream_is_taken_up_behind_the_last_event_that_came(rest: Reply) -> None:
    begun = cut('"sequence_number": 6', responds(events=EVENTS))
    response, told, requests = await take([begun, rest])
    assert paths(requests) == ["POST /responses", "GET /responses/resp_1?stream=true&starting_after=6"]
    assert response["output"][0]["content"][0]["text"] == TEXT
    assert told == TEXT, "nothing is told twice and nothing is missing"


async def test_a_stream_that_is_cut_again_and_again_is_taken_up_each_time() -> None:
    begun = cut('"sequence_number": 5', responds(events=EVENTS))
    again = cut('"sequence_number": 7', after(5))
    response, told, requests = await take([begun, again, html(502), after(7)])
    assert [path.rpartition("=")[2] for path in paths(requests)[1:]] == ["5", "7", "7"]
    assert (response["status"], told) == ("completed", TEXT)


async def test_where_a_stream_cannot_be_taken_up_the_response_is_looked_at() -> None:
    begun = cut('"sequence_number": 6', responds(events=EVENTS))
    response, _, requests = await take([begun, api_error(400, "starting_after: no"), RUNNING, DONE])
    assert paths(requests)[2:] == ["GET /responses/resp_1"] * 2
    assert response["output"][0]["content"][0]["text"] == TEXT


async def test_a_stream_that_is_cut_before_it_names_its_response_is_asked_for_anew() -> None:
    _, told, requests = await take([cut(0, responds()), responds(events=EVENTS)])
    assert (paths(requests), told) == (["POST /responses"] * 2, TEXT)


async def test_a_look_that_fails_is_repeated_and_five_in_a_row_are_the_end() -> None:
    clock = VirtualClock(autojump=True)
    down = [api_error(503, "down"), html(502)] * 2
    options: Json = {"clock": clock, "upstream": {"stream": "never"}, "limits": PATIENT}
    receipt, _ = await ask([QUEUED, *down, RUNNING, *down, DONE], None, BACKGROUND, **options)
    assert receipt["status"] == "completed"
    receipt, requests = await ask([QUEUED, *down, html(502)], None, BACKGROUND, **options)
    assert (receipt["error"]["status"], len(requests)) == (502, 6)


async def test_the_caller_hears_early_which_response_is_waited_for() -> None:
    heard: list[str | None] = []

    async def listen(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001
        heard.append(message)

    clock = VirtualClock(autojump=True)
    async with open_bridge(script=[QUEUED, DONE], clock=clock) as bridge:
        await bridge.client.call_tool("respond", {"input": "x", **BACKGROUND}, progress_callback=listen)
    assert "  · resp_1 is made in the background and waited for" in heard


# Its end


@pytest.mark.rule("R25")
@pytest.mark.parametrize("stream", ["auto", "never"])
async def test_a_response_in_the_background_is_cancelled_with_its_caller(stream: str) -> None:
    begun = cut('"sequence_number": 6', responds(events=EVENTS)) if stream == "auto" else QUEUED
    async with (
        open_bridge(
            script=[begun, http_error(200, {"id": "resp_1"})], clock=VirtualClock(), upstream={"stream": stream}
        ) as bridge,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(lambda: bridge.respond(**BACKGROUND))
        await bridge.upstream.arrivals.wait()
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    with anyio.fail_after(PATIENCE_S):
        await bridge.upstream.arrivals.wait(2)
    assert paths(bridge.requests)[1:] == ["POST /responses/resp_1/cancel"]


async def test_a_response_that_stays_queued_is_cancelled_when_the_time_of_the_run_is_over() -> None:
    clock = VirtualClock()

    def answer(request: Request) -> Reply:
        return http_error(200, {}) if request.path.endswith("/cancel") else QUEUED

    async with (
        open_bridge(
            script=answer, clock=clock, limits=PATIENT | {"timeout_s": 60}, upstream={"stream": "never"}
        ) as bridge,
        anyio.create_task_group() as tasks,
    ):
        receipts: list[Json] = []

        async def run() -> None:
            receipts.append(await bridge.respond(**BACKGROUND))

        tasks.start_soon(run)
        await bridge.upstream.arrivals.wait()
        await clock.advance(60)
    assert receipts[0]["incomplete_details"] == {"reason": "timeout"}
    assert paths(bridge.requests)[-1] == "POST /responses/resp_1/cancel"


# Upstreams without it

FRONT = responds(message("made in front"))


@pytest.mark.parametrize(
    "script",
    [
        [http_error(400, {"detail": "Unsupported parameter: background"})],
        [api_error(400, "background mode is not enabled on this server")],
        [QUEUED, http_error(404, {"detail": "Not Found"})],
        [QUEUED, html(404)],
        [QUEUED, html(200)],
        [QUEUED, api_error(405, "Method Not Allowed")],
    ],
)
async def test_where_there_is_no_background_the_run_says_so_and_is_made_in_front(script: list[Reply]) -> None:
    clock = VirtualClock(autojump=True)
    receipt, requests = await ask([*script, FRONT], None, BACKGROUND, clock=clock, upstream={"stream": "never"})
    assert receipt["output_text"] == "made in front"
    assert "background" not in requests[-1].json
    (notice,) = receipt["notices"]
    assert notice["message"].startswith("The run is in the foreground, as this upstream has no background (")


async def test_an_upstream_that_is_known_to_have_none_is_not_asked_for_it() -> None:
    receipt, (asked,) = await ask([FRONT], None, BACKGROUND, upstream={"profile": "new-api"})
    assert "background" not in asked.json
    assert receipt["notices"][0]["message"] == "The run is in the foreground, as this upstream has no background"


async def test_an_upstream_that_answers_at_once_all_the_same_is_believed() -> None:
    receipt, requests = await ask([FRONT], None, BACKGROUND)
    assert (receipt["output_text"], len(requests)) == ("made in front", 1)
