"""Metrics as Prometheus reads them. Imported when somebody asks for them."""

from collections import defaultdict
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry
from typing_extensions import override

from bridge.signals.counts import Counts, Labels, Read
from bridge.signals.names import COUNTED, READ, Instrument, spell, spell_metric


class _Metrics(Collector):
    """The numbers of this process, in a registry of their own."""

    def __init__(self, counts: Counts, read: Read) -> None:
        self._counts = counts
        self._read = read

    @override
    def collect(self) -> Iterator[Metric]:
        for instrument in COUNTED:
            yield self._spread(instrument) if instrument.kind == "histogram" else self._sum_up(instrument)
        readings = defaultdict[Instrument, dict[Labels, float]](dict)
        for instrument, value, labels in self._read():
            readings[instrument][labels] = value
        for instrument in READ:
            family = GaugeMetricFamily(spell_metric(instrument), instrument.text, labels=_label(instrument))
            for labels, value in readings[instrument].items():
                family.add_metric(labels, value)
            yield family

    def _sum_up(self, instrument: Instrument) -> Metric:
        family = CounterMetricFamily(spell_metric(instrument), instrument.text, labels=_label(instrument))
        for labels, value in self._counts.sums.get(instrument, {}).items():
            family.add_metric(labels, value)
        return family

    def _spread(self, instrument: Instrument) -> Metric:
        family = HistogramMetricFamily(spell_metric(instrument), instrument.text, labels=_label(instrument))
        for labels, spread in self._counts.spreads.get(instrument, {}).items():
            count, buckets = 0, list[tuple[str, float]]()
            for bound, among in zip((*instrument.bounds, float("inf")), spread.buckets, strict=True):
                count += among
                buckets.append(("+Inf" if bound == float("inf") else str(bound), count))
            family.add_metric(labels, buckets, spread.total)
        return family


def _label(instrument: Instrument) -> list[str]:
    return [spell(name) for name in instrument.labels]


def write_metrics(counts: Counts, read: Read, accept: str) -> tuple[bytes, str]:
    """Write all metrics in a form that is accepted; return them with the type of their text."""
    registry = CollectorRegistry()
    registry.register(_Metrics(counts, read))
    encode, kind = choose_encoder(accept)
    return encode(registry), kind
