"""What a `measure` worker says of itself: its own process's numbers. What was found stands in the ledger, and `tribo serve` shows it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from tribo.run.distributed.measure_worker import MeasureWorker

LABELS = ("partition",)
SIZES = (1, 10, 100, 1000, 5000, 20_000)


class Numbers(Collector):
    """The numbers of one worker, by partition; a partition that is let go keeps its counters here."""

    def __init__(self, worker: MeasureWorker) -> None:
        self._worker = worker
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(self)
        self._seconds = Histogram(
            "tribo_measure_batch_seconds", "How long a transaction took, folding included.", LABELS, registry=self.registry
        )
        self._events = Histogram(
            "tribo_measure_batch_events", "Events in a transaction.", LABELS, registry=self.registry, buckets=SIZES
        )
        self._past: dict[int, list[int]] = {}

    def batch(self, partition: int, events: int, seconds: float) -> None:
        """Note down a transaction."""
        self._events.labels(partition).observe(events)
        self._seconds.labels(partition).observe(seconds)

    def let_go(self, partition: int, counts: list[int]) -> None:
        """Keep what a share counted."""
        self._past[partition] = [one + other for one, other in zip(self._past.get(partition, [0] * len(counts)), counts, strict=True)]

    def collect(self) -> Iterator[Metric]:
        """The partitions' numbers as they are now."""
        counters = [
            CounterMetricFamily(f"tribo_measure_{name}", text, labels=LABELS)
            for name, text in (
                ("events", "Events folded."),
                ("rejects", "Events refused in records of tribo.events."),
                ("skipped", "Records that came again after they were taken."),
                ("gaps", "Gaps in the offsets, read again."),
                ("lost", "Offsets that were missing the second time as well."),
                ("outpaced", "Transactions dropped because another worker moved the partition or was in the way."),
                ("published", "Rows sent to tribo.findings and tribo.journeys."),
            )
        ]
        lag = GaugeMetricFamily("tribo_measure_lag_records", "Records not folded yet.", labels=LABELS)
        held = GaugeMetricFamily("tribo_measure_held", "1: this worker holds the partition.", labels=LABELS)
        shares = dict(self._worker.shares)
        for number in sorted(shares.keys() | self._past.keys()):
            label = (str(number),)
            share = shares.get(number)
            past = self._past.get(number, [0] * len(counters))
            now = share.counts() if share is not None else [0] * len(counters)
            for counter, one, other in zip(counters, past, now, strict=True):
                counter.add_metric(label, one + other)
            held.add_metric(label, int(share is not None))
            if share is not None:
                lag.add_metric(label, max(share.high - share.offsets.following, 0) + len(share.inbox))
        up = GaugeMetricFamily("tribo_measure_database_up", "1: the ledger's database answers.", value=not self._worker.database_away)
        yield from (*counters, lag, held, up)
