"""The client of the Responses endpoint: `create` sends one turn, adapted to the upstream and retried as needed."""

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from types import TracebackType

import httpx2

from bridge.clock import Clock
from bridge.config.settings import UpstreamConfig
from bridge.config.values import is_secret
from bridge.errors import COMPACTION_REFUSED, CONTEXT_EXCEEDED, UpstreamError
from bridge.events import OnEvent, Retrying, TextArrived
from bridge.items import Notice, Response, Turn, read_usage
from bridge.telemetry import Redactor
from bridge.upstream.adapt import adapt
from bridge.upstream.background import Background
from bridge.upstream.item_lessons import refuses_compaction
from bridge.upstream.learn import learn
from bridge.upstream.overflow import is_overflow, read_window
from bridge.upstream.probe import Verdict, probe
from bridge.upstream.profile import Profile, choose_profile
from bridge.upstream.replies import read_failure
from bridge.upstream.retries import Transient, check_response, choose_pause, explain_tries
from bridge.upstream.stream import StreamAccumulator
from bridge.upstream.times import LONGEST_RETRY_AFTER_S
from bridge.upstream.wire import Form, Wire

PROBE_S = 15.0
"""Seconds that one request of a probe waits for its reply."""
MAX_LESSONS = 8
"""How often one request may be adapted to a refusal, each time to a new one."""
MAX_LEARNED_MODELS = 100
"""Models whose learned profile is kept: callers can name any model."""


class Upstream(AbstractAsyncContextManager["Upstream"]):
    """The Responses endpoint of one bridge. `create` may be called by many runs at once."""

    def __init__(
        self,
        config: UpstreamConfig,
        *,
        clock: Clock,
        redact: Redactor | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.config = config
        self.profile = choose_profile(config)
        """The profile before anything was learned."""
        self._learned: dict[str, Profile] = {}
        self._clock = clock
        self._redact = redact or Redactor(filter(is_secret, [config.api_key or ""]))
        self._wire = Wire(config, self.profile.auth, clock=clock, transport=transport)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._wire.close()

    def profile_of(self, model: str) -> Profile:
        """Return the profile learned so far for this model; one model may support what another refuses."""
        return self._learned.get(model, self.profile)

    def find_window(self, model: str) -> int | None:
        """Return the model's context window in tokens; None where it is unknown or the upstream compacts by itself."""
        profile = self.profile_of(model)
        return None if profile.compaction else profile.context_window

    async def create(self, turn: Turn, *, deadline: float, on_event: OnEvent) -> Response:
        """Send one turn and return its response; `on_event` gets the text as it streams.

        Whatever this upstream does not support is changed before sending, or after a refusal that names it. What was
        learned is kept for the model once a request has succeeded, or was only too long, and notices in the response
        report it. Raises UpstreamError, or ArgumentError for a request that cannot be adapted.
        """
        model = str(turn.parameters.get("model"))
        known = self.profile_of(model)
        response, profile = await self._send_adapted(turn, known, deadline, on_event, lessons_left=MAX_LESSONS)
        profile = self._correct_window(profile, response)
        if profile != known and response["status"] != "failed":
            self._keep(model, profile)
            response["notices"] = [*response.get("notices", []), *_report_changes(known, profile)]
        return response

    async def probe(self) -> Verdict:
        """Check that the upstream is reachable, accepts the key and knows the model."""
        level, message, hint = await probe(self._send_probe, self.config.model)
        return level, self._redact(message), hint

    async def _send_probe(self, method: str, path: str, body: bytes | None) -> httpx2.Response:
        return await self._wire.fetch(method, path, body, timeout_s=PROBE_S)

    async def _send_adapted(
        self, turn: Turn, profile: Profile, deadline: float, on_event: OnEvent, *, lessons_left: int
    ) -> tuple[Response, Profile]:
        """Send `turn`, adapted again after each refusal that teaches something; return the response and its profile."""
        sent, notices = adapt(turn, profile)
        outcome = await self._send_with_retries(sent, profile, deadline, on_event)
        failure = outcome if isinstance(outcome, UpstreamError) else read_failure(outcome[0])
        if failure and lessons_left and (learned := learn(failure, sent, profile)):
            on_event(Retrying(pause_s=0, reason=failure.message))
            return await self._send_adapted(turn, learned, deadline, on_event, lessons_left=lessons_left - 1)
        if failure and is_overflow(failure):
            window = read_window(failure, sent)
            self._keep(
                str(turn.parameters.get("model")), profile.learn("context_window", window, reason=failure.message)
            )
            raise rename_error(failure, CONTEXT_EXCEEDED)
        if failure and refuses_compaction(failure, turn, sent):
            raise rename_error(failure, COMPACTION_REFUSED)
        if isinstance(outcome, UpstreamError):
            raise outcome
        response, form = outcome
        if form == "json" and profile.stream == "auto":
            profile = profile.learn("stream", "never", reason="it answers with JSON when asked for a stream")
        response["notices"] = [*notices, *response.get("notices", [])]
        return response, profile

    async def _send_with_retries(
        self, turn: Turn, profile: Profile, deadline: float, on_event: OnEvent
    ) -> tuple[Response, Form] | UpstreamError:
        """Send the request; repeat it after a transient failure (see `retries.py`; a connection that is refused, cut or
        silent), up to `max_retries` times and while the pause ends before `deadline`.

        A `retry` event precedes each pause; streamed text starts from the beginning after it. Returns an error instead
        of raising it.
        """
        tries, form = 0, _choose_form(profile)
        while True:
            tries += 1
            try:
                response, form = await self._send(turn, profile, on_event)
                return self._redact_response(check_response(response)), form
            except Transient as failure:
                pause = choose_pause(failure, tries)
                if tries > self.config.max_retries or not self._may_wait(failure, deadline):
                    error = self._redact_error(failure.error, explain_tries(tries, failure))
                    return (_put_error(failure.response, error), form) if failure.response else error
                on_event(Retrying(pause_s=round(pause, 1), reason=self._redact(str(failure))))
                await self._clock.sleep(pause)
            except UpstreamError as error:
                return self._redact_error(error)

    async def _send(self, turn: Turn, profile: Profile, on_event: OnEvent) -> tuple[Response, Form]:
        form = _choose_form(profile)
        stream = StreamAccumulator(lambda delta: on_event(TextArrived(delta=delta)))
        if turn.parameters.get("background"):
            return await Background(self._wire, self._clock, stream, on_event).create(turn, form)
        return await self._wire.post(turn, stream, form=form)

    def _correct_window(self, profile: Profile, response: Response) -> Profile:
        """Return the profile without a learned context window that this response has exceeded.

        A size read from a refusal can be wrong, and would make every later run too short.
        """
        if profile.context_window is None:
            return profile
        usage = read_usage(response["usage"])
        is_over = usage["input_tokens"] + usage["output_tokens"] > profile.context_window
        return replace(profile, context_window=self.profile.context_window) if is_over else profile

    def _keep(self, model: str, profile: Profile) -> None:
        self._learned[model] = profile
        if len(self._learned) > MAX_LEARNED_MODELS:
            self._learned.pop(next(iter(self._learned)))

    def _may_wait(self, failure: Transient, deadline: float) -> bool:
        """Tell whether the pause that the upstream asks for is short enough, and ends before the deadline."""
        pause = failure.pause_s or 0.0
        return pause <= LONGEST_RETRY_AFTER_S and self._clock.now() + pause < deadline

    def _redact_error(self, error: UpstreamError, tried: str = "") -> UpstreamError:
        """Return the error without secrets, with `tried` appended to its message."""
        return UpstreamError(
            self._redact(error.message) + tried,
            code=self._redact(error.code),
            who=error.who,
            status=error.status,
            request_id=self._redact(error.request_id) if error.request_id else None,
        )

    def _redact_response(self, response: Response) -> Response:
        """Remove secrets from what is in the upstream's own words: the model's name, the error of a failed response."""
        response["model"] = self._redact(response["model"]) if response["model"] else None
        if error := response["error"]:
            response["error"] = {
                **error,
                "code": self._redact(error["code"]),
                "message": self._redact(error["message"]),
                "request_id": self._redact(error["request_id"]) if error["request_id"] else None,
            }
        return response


def rename_error(error: UpstreamError, code: str) -> UpstreamError:
    """Return the error with one of our codes, which the run knows, in place of the upstream's own."""
    return UpstreamError(error.message, code=code, who="caller", status=error.status, request_id=error.request_id)


def _choose_form(profile: Profile) -> Form:
    return "json" if profile.stream == "never" else "stream"


def _put_error(response: Response, error: UpstreamError) -> Response:
    """Return a failed response with its error as it is told after the last try."""
    known = response["error"]
    return {**response, "error": {**known, "code": error.code, "message": error.message} if known else None}


def _report_changes(known: Profile, profile: Profile) -> Iterator[Notice]:
    """Report once what was learned about streams and state; `adapt` reports all other changes with each request."""
    if profile.stream != known.stream:
        code, how = "upstream_does_not_stream", "without streaming"
        if profile.stream == "always":
            code, how = "upstream_adapted", "for streams"
        yield Notice(code=code, message=f"The upstream is now asked {how}: {profile.reasons['stream']}")
    if profile.state != known.state:
        message = f"The upstream now gets the whole history with every request: {profile.reasons['state']}"
        yield Notice(code="upstream_adapted", message=message)
