"""The dashboard and the page about metrics name what there is: `python -m tests.signals.test_documents` writes its
tables."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.signals.names import COUNTED, READ, Instrument, spell, spell_metric

METRICS = (*COUNTED, *READ)
USED = re.compile(r"\b((?:mcp_responses_bridge|gen_ai)_\w+)\{([^}]*)\}")
"""A metric in a query, and what is asked of its labels."""
BY = re.compile(r"by \(([^)]*)\)")


def name_samples(instrument: Instrument) -> set[str]:
    """The names that a metric has in Prometheus."""
    name = spell_metric(instrument)
    match instrument.kind:
        case "counter":
            return {f"{name}_total"}
        case "histogram":
            return {f"{name}_{end}" for end in ("bucket", "count", "sum")}
        case _:
            return {name}


SAMPLES = {name: metric for metric in METRICS for name in name_samples(metric)}


def queries(repository: Path) -> Iterator[str]:
    dashboard: Any = json.loads((repository / "configs" / "grafana.json").read_text(encoding="utf-8"))
    for panel in dashboard["panels"]:
        assert panel["description"]
        yield from (target["expr"] for target in panel["targets"])


def test_every_query_of_the_dashboard_asks_for_metrics_and_labels_that_there_are(repository: Path) -> None:
    found = list(queries(repository))
    for query in found:
        [(name, matchers), *more] = USED.findall(query)
        assert not more
        assert name in SAMPLES, query
        labels = {spell(label) for label in SAMPLES[name].labels} | {"job", "le"}
        named = re.findall(r"(\w+)(?:=~|!=|=)", matchers)
        grouped = [label for group in BY.findall(query) for label in group.split(", ")]
        assert {*named, *grouped} <= labels, query
    assert found


def test_every_metric_is_on_the_dashboard(repository: Path) -> None:
    shown = {SAMPLES[name] for query in queries(repository) for name, _ in USED.findall(query)}
    assert shown == set(METRICS)


def write_table() -> str:
    rows = ["| Prometheus | OTLP | kind | labels | what |", "|---|---|---|---|---|"]
    for metric in METRICS:
        name = spell_metric(metric) + ("_total" if metric.kind == "counter" else "")
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        rows.append(f"| `{name}` | `{metric.name}` | {metric.kind} | {labels} | {metric.text} |")
    return "\n".join(rows)


def test_the_page_names_every_metric_with_its_labels(repository: Path) -> None:
    page = (repository / "docs" / "telemetry.md").read_text(encoding="utf-8")
    assert write_table() in page


def test_no_metric_has_a_label_that_a_caller_could_fill(repository: Path) -> None:
    assert repository
    free = {"run.id", "response.id", "tool.call.id", "url", "session", "request.id"}
    assert not [label for metric in METRICS for label in metric.labels if any(label.endswith(name) for name in free)]


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_name_is_spelt_as_a_collector_spells_it(metric: Instrument) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*", spell_metric(metric))
    assert metric.unit == "s" or metric.unit.startswith("{"), "other units would be added to the name on the way"


if __name__ == "__main__":
    print(write_table())  # noqa: T201
