"""Tests which features a real endpoint supports: each trial is a small request, sent as a run would send it.

A refusal is learned from as in any run; a feature that is accepted and then ignored shows in the answers.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Literal, TypeAlias

from bridge.clock import Clock
from bridge.config.settings import UpstreamConfig
from bridge.errors import BridgeError, UpstreamError
from bridge.items import Last, Response, Turn, answer_call, find_calls, read_text
from bridge.json_text import Json, JsonObject, encode
from bridge.upstream.client import Upstream
from bridge.upstream.profile import Profile, choose_profile

OUTPUT_TOKENS = 120
"""The most that one answer may have."""
ANSWERS, INPUT_TOKENS = 14, 3000
"""At most, of all trials together; a refusal costs nothing."""
ANSWER_TIMEOUT_S = 60.0
"""Seconds that one answer may take."""
UNKNOWN = "no_such_parameter"
WORD = "kumquat"
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAAC0lEQVR4nGNgAAIAAAUAAXpeqz8AAAAASUVORK5CYII="
)

Verdict: TypeAlias = Literal["works", "does not", "unknown"]


@dataclass(frozen=True)
class Outcome:
    """The outcome of one trial."""

    feature: str
    verdict: Verdict
    words: str


def unlearn(config: UpstreamConfig) -> UpstreamConfig:
    """Return the config of the endpoint without any setting on what it supports, so that everything is tried."""
    said = {part.name: None for part in fields(Profile) if part.name in UpstreamConfig.model_fields}
    known = {"auth": choose_profile(config).auth, "state": "previous_response_id", "stream": "auto"}
    # No retries: they might cost again.
    return config.model_copy(update={**said, **known, "profile": "openai", "defaults": {}, "max_retries": 0})


@dataclass
class LiveCheck:
    """All trials on one endpoint, run one after the other."""

    upstream: Upstream
    """Made from a config that `unlearn` returned."""
    model: str
    clock: Clock
    outcomes: list[Outcome] = field(default_factory=list[Outcome])
    forgets: bool = False
    """True if it accepts the id of a response but does not know that response."""

    async def run(self, on_outcome: Callable[[Outcome], None]) -> None:
        """Try every feature, whether others fail or not; stop only where the endpoint gives no answer at all."""
        for feature, attempt in TRIALS.items():
            before, failure = self.upstream.profile_of(self.model), None
            try:
                verdict, words = await attempt(self)
                outcome = self._judge(feature, verdict, words, before)
            except BridgeError as error:
                failure = error
                outcome = Outcome(feature, "unknown" if _is_transient(error) else "does not", error.message)
            self.outcomes.append(outcome)
            on_outcome(outcome)
            if failure and feature == ANSWER:
                return

    def describe(self) -> JsonObject:
        """Return the `upstream` settings of the config file that describe the profile that was found."""
        found, begun = self.upstream.profile_of(self.model), self.upstream.profile
        parts = [part.name for part in fields(Profile) if part.name not in ("reasons", "drop")]
        changed = {name: getattr(found, name) for name in parts if getattr(found, name) != getattr(begun, name)}
        settings: JsonObject = {"profile": "openai", **changed}
        if begun.auth != "bearer":
            settings["auth"] = begun.auth
        if drop := [name for name in found.drop if name != UNKNOWN]:
            settings["drop"] = list[Json](drop)
        return settings | ({"state": "stateless"} if self.forgets else {})

    def _judge(self, feature: str, verdict: Verdict, words: str, before: Profile) -> Outcome:
        """Return the outcome: "does not" and the upstream's own words if the trial taught something, else `verdict`."""
        learned = self.upstream.profile_of(self.model).reasons
        news = [reason for about, reason in learned.items() if about not in before.reasons and about != UNKNOWN]
        return Outcome(feature, "does not", "; ".join(news)) if news else Outcome(feature, verdict, words)

    async def ask(
        self, *items: JsonObject, tools: Sequence[JsonObject] = (), last: Last | None = None, **parameters: Json
    ) -> Response:
        """Send one small request. Raises BridgeError, also for a response that failed."""
        sent: Mapping[str, Json] = {"model": self.model, "max_output_tokens": OUTPUT_TOKENS, **parameters}
        turn = Turn(sent, tuple(map(encode, items)), tuple(map(encode, tools)), last)
        deadline = self.clock.now() + ANSWER_TIMEOUT_S
        with self.clock.scope(deadline):
            response = await self.upstream.create(turn, deadline=deadline, on_event=lambda _: None)
            if error := response["error"]:
                raise UpstreamError(error["message"], code=error["code"])
            return response
        raise UpstreamError(f"there is no answer after {ANSWER_TIMEOUT_S:g} s", code="trial_timeout")


def _is_transient(error: BridgeError) -> bool:
    """Tell whether the error says nothing about what the endpoint supports."""
    return isinstance(error, UpstreamError) and (error.status in (None, 408, 409, 429) or error.status >= 500)


def say(text: str, role: str = "user") -> JsonObject:
    """Make a message item."""
    return {"role": role, "content": text}


def _function(name: str) -> JsonObject:
    parameters: JsonObject = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    return {
        "type": "function",
        "name": name,
        "description": f"Get the {name}",
        "parameters": parameters,
        "strict": False,
    }


TOOLS = (_function("weather"), _function("population"))
QUESTION = say("Call weather and population for Oslo, both at once.")
CALL: JsonObject = {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city":"Oslo"}'}
ANSWER = "an answer, streamed"


async def _answer(check: LiveCheck) -> tuple[Verdict, str]:
    response = await check.ask(say("Say: ok"))
    return "works", f"{response['model'] or 'no model named'}: {read_text(response['output'])[:60] or 'no text'}"


async def _developer(check: LiveCheck) -> tuple[Verdict, str]:
    await check.ask(say("Answer in one word.", "developer"), say("Say: ok"))
    return "works", "a developer message is accepted"


async def _parallel(check: LiveCheck) -> tuple[Verdict, str]:
    """Try parallel calls, then send them back with their own ids, and their outputs as parts."""
    response = await check.ask(QUESTION, tools=TOOLS, tool_choice="required", parallel_tool_calls=True)
    calls = find_calls(response["output"])
    if calls:
        outputs = [answer_call(call, [{"type": "input_text", "text": "12"}]) for call in calls]
        await check.ask(QUESTION, *response["output"], *outputs, tools=TOOLS)
    if len(calls) > 1:
        return "works", f"{len(calls)} calls at once, and their outputs accepted"
    return "unknown", f"{len(calls)} of 2 calls were made; a model may do that"


async def _parts(check: LiveCheck) -> tuple[Verdict, str]:
    await check.ask(QUESTION, CALL, _output({"type": "input_text", "text": "12"}), tools=TOOLS)
    return "works", "an output may be a list of parts"


async def _images(check: LiveCheck) -> tuple[Verdict, str]:
    await check.ask(QUESTION, CALL, _output({"type": "input_image", "image_url": PIXEL, "detail": "low"}), tools=TOOLS)
    return "works", "an output may hold images"


def _output(part: JsonObject) -> JsonObject:
    return {"type": "function_call_output", "call_id": "call_1", "output": [part]}


async def _state(check: LiveCheck) -> tuple[Verdict, str]:
    begin = say(f"The word is {WORD}. Say: ok")
    first = await check.ask(begin, store=True)
    if first["id"] is None:
        return "does not", "its responses have no id"
    before = [begin, *first["output"]]
    last = Last(first["id"], len(before))
    second = await check.ask(*before, say("Which is the word?"), last=last, store=True)
    text = read_text(second["output"])
    if WORD in text.lower():
        return "works", "previous_response_id is accepted, and it knows what was said before"
    if not text:
        return "unknown", "there was no text to tell it by"
    try:
        await check.ask(say("Say: ok"), previous_response_id="resp_nobody_has")
    except BridgeError:
        return "unknown", "previous_response_id is looked up; this answer does not show what was said before"
    check.forgets = True
    return "does not", "any previous_response_id is accepted, but the response is not known"


async def _reasoning(check: LiveCheck) -> tuple[Verdict, str]:
    question, sealed = say("Is 91 a prime number?"), list[Json](["reasoning.encrypted_content"])
    first = await check.ask(question, store=False, include=sealed)
    if not any(item.get("type") == "reasoning" for item in first["output"]):
        return "unknown", "this model shows no reasoning items"
    await check.ask(question, *first["output"], say("Say: ok"), store=False, include=sealed)
    return "works", "its reasoning is accepted when sent back"


async def _background(check: LiveCheck) -> tuple[Verdict, str]:
    await check.ask(say("Say: ok"), background=True, store=True)
    return "works", "a response can be made in the background"


async def _structured(check: LiveCheck) -> tuple[Verdict, str]:
    schema: JsonObject = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    schema |= {"additionalProperties": False}
    form: JsonObject = {"type": "json_schema", "name": "count", "schema": schema, "strict": True}
    response = await check.ask(say("How many legs has a spider?"), text={"format": form})
    try:
        has_form = isinstance(json.loads(read_text(response["output"]))["n"], int)
    except (ValueError, KeyError, TypeError):
        has_form = False
    return (
        ("works", "the answer has the form")
        if has_form
        else ("does not", "accepted, but the answer does not have the form")
    )


async def _unknown(check: LiveCheck) -> tuple[Verdict, str]:
    await check.ask(say("Say: ok"), no_such_parameter=1)
    if UNKNOWN in check.upstream.profile_of(check.model).drop:
        return "works", "an unknown parameter is refused by name"
    return "does not", "an unknown parameter is ignored: a mistake in `extra` goes unnoticed"


TRIALS: Mapping[str, Callable[[LiveCheck], Awaitable[tuple[Verdict, str]]]] = {
    ANSWER: _answer,
    "developer messages": _developer,
    "parallel calls": _parallel,
    "outputs in parts": _parts,
    "images in outputs": _images,
    "kept responses": _state,
    "reasoning sent back": _reasoning,
    "background": _background,
    "structured output": _structured,
    "unknown parameters": _unknown,
}
