"""`check --live`: tries each point of a profile on the real endpoint, records it, and prints the profile found."""

import argparse
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import anyio

from bridge import __version__
from bridge.cli.check import MARKS
from bridge.cli.exits import COMPLETED, FAILED, USAGE
from bridge.cli.output import print_json, tell
from bridge.clock import Clock
from bridge.config.settings import NO_MODEL, NO_UPSTREAM, Config, Price, UpstreamConfig
from bridge.errors import ArgumentError, NotConfigured
from bridge.json_text import JsonObject, encode
from bridge.recording.record import RecordingTransport
from bridge.recording.tape import Line, Tape
from bridge.telemetry import Redactor
from bridge.upstream.client import Upstream
from bridge.upstream.live_check import ANSWERS, INPUT_TOKENS, OUTPUT_TOKENS, LiveCheck, Outcome, unlearn
from bridge.upstream.transport import open_transport
from bridge.visible import show_exactly

MAX_COST = 0.05
"""The most that a check may cost, in the currency of the prices."""
ASSUMED_PRICE = Price(input=5, output=20)
"""Per million tokens, for models without a price in the config; more than most cost."""
FILE = Path("live-check.jsonl")
VERDICTS = {"works": "ok", "does not": "error", "unknown": "warning"}


@dataclass(frozen=True)
class Tried(Line):
    """The first line of the recording of a live check."""

    program: str
    time: str
    base_url: str
    model: str
    kind: str = "live"


@dataclass(frozen=True)
class Found(Line):
    """The last line: the outcome of each trial, and the settings of `upstream` that follow."""

    outcomes: list[JsonObject]
    settings: JsonObject
    kind: str = "profile"


def check_live(options: argparse.Namespace, config: Config, redact: Redactor) -> int:
    """Print the cost, and with `--yes` run the check. Exit code 1 if there was no answer at all.

    Raises NotConfigured without an upstream, and ArgumentError without a model or if it could cost too much.
    """
    upstream = config.upstream
    if upstream is None:
        raise NotConfigured(NO_UPSTREAM)
    if upstream.model is None:
        raise ArgumentError(NO_MODEL)
    tell(redact(_explain_cost(config, upstream, upstream.model)))
    if not options.yes:
        tell("Nothing was sent. Add --yes to run the check.")
        return USAGE
    check = _try(unlearn(upstream), upstream.model, redact, options)
    _print(check, redact, as_json=options.json)
    return COMPLETED if len(check.outcomes) > 1 else FAILED


def _explain_cost(config: Config, upstream: UpstreamConfig, model: str) -> str:
    price = config.prices.get(model)
    cost = _bound(price or ASSUMED_PRICE)
    if cost > MAX_COST:
        raise ArgumentError(
            f"--live: with {model} it could cost {cost:.2f}, and may cost {MAX_COST:g}; name another model"
        )
    assumed = f"for a model of up to ${ASSUMED_PRICE.input:g} and ${ASSUMED_PRICE.output:g} a million"
    basis = "by `prices`" if price else assumed
    return (
        f"Asks {model} at {upstream.base_url} at most {ANSWERS} times, for up to {OUTPUT_TOKENS} tokens each and about "
        f"{INPUT_TOKENS:,} of input in all: at most ${cost:.3f} {basis}."
    )


def _bound(price: Price) -> float:
    return (INPUT_TOKENS * price.input + ANSWERS * OUTPUT_TOKENS * price.output) / 1_000_000


def _try(upstream: UpstreamConfig, model: str, redact: Redactor, options: argparse.Namespace) -> LiveCheck:
    file: Path = options.record or FILE

    async def run() -> LiveCheck:
        with Tape(file, redact) as tape:
            tape.write(Tried(__version__, datetime.now(UTC).isoformat(timespec="seconds"), upstream.base_url, model))
            transport = RecordingTransport(open_transport(upstream.base_url), tape)
            clock = Clock()
            async with Upstream(upstream, clock=clock, redact=redact, transport=transport) as client:
                check = LiveCheck(client, model, clock)
                await check.run(lambda outcome: tell(redact(_describe(outcome))))
            tape.write(Found(_list_outcomes(check), check.describe()))
        tell(tape.explain_loss() or f"Recorded in {file}.")
        return check

    return anyio.run(run)


def _list_outcomes(check: LiveCheck) -> list[JsonObject]:
    return [cast("JsonObject", asdict(outcome)) for outcome in check.outcomes]


def _describe(outcome: Outcome) -> str:
    mark, _ = MARKS[VERDICTS[outcome.verdict]]
    return f"{mark} {outcome.feature}: {outcome.words}"


def _print(check: LiveCheck, redact: Redactor, *, as_json: bool) -> None:
    """Print the settings alone, ready to paste into `upstream`."""
    if as_json:
        report: JsonObject = {"outcomes": [*_list_outcomes(check)], "upstream": check.describe()}
        print_json(redact.clean(report))
    elif len(check.outcomes) > 1:
        settings = check.describe().items()
        lines = [show_exactly(f"  {encode(name)}: {encode(redact.clean(value))}") for name, value in settings]
        sys.stdout.write('"upstream": {\n' + ",\n".join(lines) + "\n}\n")
    sys.stdout.flush()
