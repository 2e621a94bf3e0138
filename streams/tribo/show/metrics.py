"""`/metrics`: the ledger's counters for Prometheus. Nothing is counted here: what the ledger says is what is shown, so that a restart
resets nothing.

Every series of the configuration exists from the start at 0. Labels come from the configuration: a team that no standard names is
`other`, and what strangers can choose (customers, items, channels) is no label at all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.aiohttp import make_aiohttp_handler
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from tribo.ledger.reader import Reader
from tribo.measure.fold import bucket_bounds
from tribo.measure.standards import Standards
from tribo_schemas.event import TOUCHPOINTS
from tribo_schemas.finding import BY_TEAM, KINDS
from tribo_schemas.journey import CLOCKS, PROMISE_STATES

OUTCOMES = ("applied", "duplicate", "conflict", "late", "rejected")
BANDS = ("0", "1-4", "5-9", "10-19", "20+")
FATES = ("confirmed", "contradicted", "assumed", "never_asked")
OTHER = "other"
MOST_SOURCES = 200  # more than that share the label `other`

Counters = dict[str, tuple[int, int]]
ReaderFactory = Callable[[], Reader]


class LedgerCollector(Collector):
    """Reads the ledger at each scrape."""

    def __init__(self, reader_factory: ReaderFactory, standards: Standards) -> None:
        self.reader_factory = reader_factory
        self.standards = standards
        self.teams = {entry.team for name in standards.names for entry in standards.entries(name) if entry.team is not None}

    def describe(self) -> list[Metric]:
        """Nothing beforehand: names come with the scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All metrics, from one look at the ledger."""
        reader = self.reader_factory()
        try:
            counters, sources = reader.counters(), reader.sources()
            set_aside = len(reader.set_aside(1000))
        finally:
            reader.close()
        yield InfoMetricFamily("tribo_build", "The version that runs.", value={"version": version("tribo")})
        yield from self._sources(sources)
        yield from self._findings(counters)
        yield self._waits(counters)
        yield from self._states(counters)
        yield from self._standards(counters)
        yield GaugeMetricFamily("tribo_histories_set_aside", "Histories whose fold crashed, kept aside until mended.", value=set_aside)

    def _sources(self, sources: list[dict[str, Any]]) -> Iterator[Metric]:
        events = CounterMetricFamily("tribo_events", "Events by source and by what became of them.", labels=("source", "outcome"))
        gauges = {
            "last_event_at": GaugeMetricFamily(
                "tribo_source_last_event_timestamp_seconds", "When the last event of a source happened.", labels=("source",)
            ),
            "watermark": GaugeMetricFamily(
                "tribo_source_watermark_timestamp_seconds", "How far a source has been heard.", labels=("source",)
            ),
            "heard_at": GaugeMetricFamily(
                "tribo_source_heard_timestamp_seconds", "When something last came from a source.", labels=("source",)
            ),
        }
        rejects = CounterMetricFamily("tribo_source_rejects", "Rejected records by source.", labels=("source",))
        totals: dict[tuple[str, str], int] = defaultdict(int)
        for index, row in enumerate(sources):
            name = _clean(row["name"]) if index < MOST_SOURCES else OTHER
            for outcome in OUTCOMES:
                totals[name, outcome] += row[outcome]
            if index < MOST_SOURCES:
                for field, gauge in gauges.items():
                    if row[field] is not None:
                        gauge.add_metric((name,), row[field] / 1000)
        for (name, outcome), number in totals.items():
            events.add_metric((name, outcome), number)
            if outcome == "rejected":
                rejects.add_metric((name,), number)
        yield events
        yield rejects
        yield from gauges.values()

    def _findings(self, counters: Counters) -> Iterator[Metric]:
        by_kind = {(kind, touchpoint): (0, 0) for kind in KINDS for touchpoint in TOUCHPOINTS}
        by_team = {(kind, team): (0, 0) for kind in BY_TEAM for team in (*sorted(self.teams), OTHER)}
        for key, number in counters.items():
            if key.startswith("finding|"):
                _, kind, touchpoint, team = key.split("|", 3)
                _add(by_kind, (kind, touchpoint), number)
                if kind in BY_TEAM:
                    _add(by_team, (kind, team if team in self.teams else OTHER), number)
        for name, text, labels, table in (
            ("tribo_findings", "Findings", ("kind", "touchpoint"), by_kind),
            ("tribo_team_findings", "Findings by the team that held the item", ("kind", "team"), by_team),
        ):
            for index, (suffix, what) in enumerate((("", "found"), ("_withdrawn", "withdrawn again by what came later"))):
                family = CounterMetricFamily(name + suffix, f"{text}, {what}.", labels=labels)
                for values, numbers in sorted(table.items()):
                    family.add_metric(values, numbers[index])
                yield family

    def _waits(self, counters: Counters) -> Metric:
        family = HistogramMetricFamily(
            "tribo_wait_seconds", "Finished waits as customers lived through them.", labels=("clock", "touchpoint")
        )
        bounds = bucket_bounds(self.standards)
        counts: dict[tuple[str, str, str], int] = defaultdict(int)
        sums: dict[tuple[str, str], int] = defaultdict(int)
        for key, (found, _) in counters.items():
            if key.startswith("wait|"):
                _, clock, touchpoint, limit = key.split("|")
                counts[clock, touchpoint, limit] += found
            elif key.startswith("wait_ms|"):
                _, clock, touchpoint = key.split("|")
                sums[clock, touchpoint] += found
        for clock in CLOCKS:
            for touchpoint in TOUCHPOINTS:
                limits = {float(name) for _, name in bounds[clock]}
                limits |= {float(limit) for of, at, limit in counts if (of, at) == (clock, touchpoint) and limit != "+Inf"}
                total, buckets = 0, []
                for bound in sorted(limits):
                    total += counts.get((clock, touchpoint, f"{bound:g}"), 0)
                    buckets.append((str(bound), total))
                total += counts.get((clock, touchpoint, "+Inf"), 0)
                family.add_metric((clock, touchpoint), [*buckets, ("+Inf", total)], sums[clock, touchpoint] / 1000)
        return family

    def _states(self, counters: Counters) -> Iterator[Metric]:
        def now(key: str) -> int:
            found, withdrawn = counters.get(key, (0, 0))
            return found - withdrawn

        promises = GaugeMetricFamily("tribo_promises", "Promises by how they stand.", labels=("state", "touchpoint"))
        risk = GaugeMetricFamily("tribo_promises_at_risk", "Open promises that may soon break.", labels=("touchpoint",))
        for touchpoint in TOUCHPOINTS:
            for state in PROMISE_STATES:
                promises.add_metric((state, touchpoint), now(f"promise|{state}|{touchpoint}"))
            risk.add_metric((touchpoint,), now(f"finding|promise_at_risk|{touchpoint}|"))
        yield promises
        yield risk
        moved = CounterMetricFamily("tribo_promise_moves", "Moved promises, by whether the customer was told in time.", labels=("told",))
        for told, kind in (("in_time", "promise_moved"), ("late", "promise_moved_late")):
            moved.add_metric((told,), sum(counters.get(f"finding|{kind}|{touchpoint}|", (0, 0))[0] for touchpoint in TOUCHPOINTS))
        yield moved
        journeys = GaugeMetricFamily("tribo_open_journeys", "Open journeys by their points of friction.", labels=("friction",))
        for band in BANDS:
            journeys.add_metric((band,), now(f"journey|{band}"))
        yield journeys
        fates = CounterMetricFamily("tribo_resolutions", "What became of resolutions.", labels=("fate",))
        for fate in FATES:
            fates.add_metric((fate,), counters.get(f"resolution|{fate}", (0, 0))[0])
        yield fates

    def _standards(self, counters: Counters) -> Iterator[Metric]:
        judged = CounterMetricFamily("tribo_standard_judged", "Occasions judged by a standard.", labels=("standard", "outcome"))
        taken_back = CounterMetricFamily(
            "tribo_standard_judged_withdrawn", "Judgements withdrawn again by what came later.", labels=("standard", "outcome")
        )
        running = GaugeMetricFamily("tribo_standard_running", "Occasions not decided yet.", labels=("standard",))
        objective = GaugeMetricFamily("tribo_standard_objective_ratio", "The share that is promised.", labels=("standard",))
        for name in self.standards.names:
            for outcome in ("met", "missed"):
                found, withdrawn = counters.get(f"standard|{name}|{outcome}", (0, 0))
                judged.add_metric((name, outcome), found)
                taken_back.add_metric((name, outcome), withdrawn)
            found, withdrawn = counters.get(f"standard|{name}|running", (0, 0))
            running.add_metric((name,), found - withdrawn)
            objective.add_metric((name,), self.standards.published(name).objective)
        yield from (judged, taken_back, running, objective)


def _add(table: dict[tuple[str, str], tuple[int, int]], key: tuple[str, str], number: tuple[int, int]) -> None:
    if key in table:
        before = table[key]
        table[key] = (before[0] + number[0], before[1] + number[1])


def _clean(name: str) -> str:
    """A source's name as a label: at most 100 letters, and only such as can be written as UTF-8."""
    return name[:100].encode("utf-8", "replace").decode()


def metrics_routes(reader_factory: ReaderFactory, standards: Standards, settings: object) -> list[web.RouteDef]:
    """GET /metrics, in the form that the scraper asks for."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(LedgerCollector(reader_factory, standards))
    return [web.get("/metrics", make_aiohttp_handler(registry))]
