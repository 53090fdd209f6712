"""The Responses endpoint: `create` sends one turn in the form that this upstream bears, as often as it takes."""

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from types import TracebackType

import httpx2

from bridge.clock import Clock
from bridge.config.settings import UpstreamConfig
from bridge.config.values import is_secret
from bridge.errors import UpstreamError
from bridge.events import OnEvent, Retrying, TextArrived
from bridge.items import Notice, Response, Turn, read_usage
from bridge.telemetry import Redactor
from bridge.upstream.adapt import adapt
from bridge.upstream.background import Background
from bridge.upstream.learn import learn
from bridge.upstream.overflow import explain_overflow, is_overflow, read_window
from bridge.upstream.probe import Verdict, probe
from bridge.upstream.profile import Profile, choose_profile
from bridge.upstream.replies import read_failure
from bridge.upstream.retries import LONGEST_RETRY_AFTER_S, Transient, check_response, explain_tries, find_pause
from bridge.upstream.stream import StreamAccumulator
from bridge.upstream.wire import Form, Wire

PROBE_S = 15.0
"""How long a probe waits for an answer."""
MAX_LESSONS = 8
"""How often one request may be adapted to refusals, each time to another one."""
MAX_LEARNED_MODELS = 100
"""Callers name models as they like; what was learned is kept for so many."""


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
        """What is known of it beforehand."""
        self._learned: dict[str, Profile] = {}
        self._clock = clock
        self._redact = redact or Redactor(filter(is_secret, [config.api_key or ""]))
        self._wire = Wire(config, self.profile.auth, clock=clock, transport=transport)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._wire.close()

    def profile_of(self, model: str) -> Profile:
        """What is known of it by now for this model: one takes what another refuses."""
        return self._learned.get(model, self.profile)

    def find_window(self, model: str) -> int | None:
        """How many tokens this model takes; None where nobody has said so yet, or the upstream makes room by itself."""
        profile = self.profile_of(model)
        return None if profile.compaction else profile.context_window

    async def create(self, turn: Turn, *, deadline: float, on_event: OnEvent) -> Response:
        """Send one turn and return what it came to; its text arrives as events while it streams.

        What this upstream does not bear is changed beforehand, or when a refusal names it, and kept so for the model
        once a request has passed; notices in the response tell of it. Raises UpstreamError, or ArgumentError for what
        no change would make right.
        """
        model = str(turn.parameters.get("model"))
        known = self.profile_of(model)
        response, profile = await self._send_adapted(turn, known, deadline, on_event, lessons_left=MAX_LESSONS)
        profile = self._correct_window(profile, response)
        if profile != known and response["status"] != "failed":
            self._keep(model, profile)
            response["notices"] = [*response.get("notices", []), *_tell(known, profile)]
        return response

    async def probe(self) -> Verdict:
        """How it is, what of it works, and what to do about what does not."""
        level, message, hint = await probe(self._ask, self.config.model)
        return level, self._redact(message), hint

    async def _ask(self, method: str, path: str, body: bytes | None) -> httpx2.Response:
        return await self._wire.ask(method, path, body, timeout_s=PROBE_S)

    async def _send_adapted(
        self, turn: Turn, profile: Profile, deadline: float, on_event: OnEvent, *, lessons_left: int
    ) -> tuple[Response, Profile]:
        """What `turn` came to, and the profile under which it did."""
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
            raise explain_overflow(failure)
        if isinstance(outcome, UpstreamError):
            raise outcome
        response, form = outcome
        if form == "json" and profile.stream == "auto":
            profile = profile.learn("stream", "never", reason="it answers with JSON when asked for a stream")
        response["notices"] = notices
        return response, profile

    async def _send_with_retries(
        self, turn: Turn, profile: Profile, deadline: float, on_event: OnEvent
    ) -> tuple[Response, Form] | UpstreamError:
        """Repeat the request after a transient failure (408, 409, 429 without a quota code, 5xx, refused, cut, silent),
        as often as `max_retries` says and while a pause fits before `deadline`; a `retry` event comes before each
        pause, and the text begins anew after it. Its end is a response or, as a value, an error."""
        tries = 0
        while True:
            tries += 1
            try:
                response, form = await self._send(turn, profile, on_event)
                return self._clean(check_response(response)), form
            except Transient as failure:
                pause = find_pause(failure, tries)
                if tries > self.config.max_retries or not self._fits(failure, deadline):
                    return self._finish(failure.error, explain_tries(tries, failure))
                on_event(Retrying(pause_s=round(pause, 1), reason=self._redact(str(failure))))
                await self._clock.sleep(pause)
            except UpstreamError as error:
                return self._finish(error)

    async def _send(self, turn: Turn, profile: Profile, on_event: OnEvent) -> tuple[Response, Form]:
        form: Form = "json" if profile.stream == "never" else "stream"
        stream = StreamAccumulator(lambda delta: on_event(TextArrived(delta=delta)))
        if turn.parameters.get("background"):
            return await Background(self._wire, self._clock, stream, on_event).create(turn, form)
        return await self._wire.post(turn, stream, form=form)

    def _correct_window(self, profile: Profile, response: Response) -> Profile:
        """The profile without a window that this response was over: what was read from a refusal can be wrong, and
        would keep every later run too short."""
        if profile.context_window is None:
            return profile
        usage = read_usage(response["usage"])
        is_over = usage["input_tokens"] + usage["output_tokens"] > profile.context_window
        return replace(profile, context_window=self.profile.context_window) if is_over else profile

    def _keep(self, model: str, profile: Profile) -> None:
        self._learned[model] = profile
        if len(self._learned) > MAX_LEARNED_MODELS:
            self._learned.pop(next(iter(self._learned)))

    def _fits(self, failure: Transient, deadline: float) -> bool:
        """Whether the pause that the upstream asks for is worth it."""
        pause = failure.pause_s or 0.0
        return pause <= LONGEST_RETRY_AFTER_S and self._clock.now() + pause < deadline

    def _finish(self, error: UpstreamError, tried: str = "") -> UpstreamError:
        """The error as the caller sees it: without secrets, and with what was tried."""
        return UpstreamError(
            self._redact(error.message) + tried,
            code=self._redact(error.code),
            who=error.who,
            status=error.status,
            request_id=error.request_id,
        )

    def _clean(self, response: Response) -> Response:
        """A failed response is told in the upstream's own words too."""
        if error := response["error"]:
            response["error"] = {
                **error,
                "code": self._redact(error["code"]),
                "message": self._redact(error["message"]),
            }
        return response


def _tell(known: Profile, profile: Profile) -> Iterator[Notice]:
    """What was learned that changes nothing for the caller, told once; all else is told wherever it matters."""
    if profile.stream != known.stream:
        code, how = "upstream_does_not_stream", "without streaming"
        if profile.stream == "always":
            code, how = "upstream_adapted", "for streams"
        yield Notice(code=code, message=f"The upstream is asked {how} now: {profile.reasons['stream']}")
    if profile.state != known.state:
        message = f"The upstream gets the whole history with every request now: {profile.reasons['state']}"
        yield Notice(code="upstream_adapted", message=message)
