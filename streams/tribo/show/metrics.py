"""`/metrics`: the ledger's counters for Prometheus. What is counted about customers is counted in the ledger and only shown here, so
that a restart resets nothing; the process adds how it is doing itself (`Vitals`).

Every series of the configuration exists from the start at 0. Labels come from the configuration: a team or topic that the standards
file doesn't name is `other`, and so is every source beyond the 200 that were heard most. What strangers can choose (customers, items,
channels) is no label at all.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

from aiohttp import web
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from tribo.ledger.reader import Reader
from tribo.measure.queues import QUEUE_ENDS, WITHIN_SECONDS, is_within, queue_service
from tribo.measure.standards import Standards
from tribo.show.runbooks import runbook_routes
from tribo_schemas.event import TOUCHPOINTS
from tribo_schemas.finding import BY_TEAM, KINDS
from tribo_schemas.journey import CLOCKS, PROMISE_STATES

OUTCOMES = ("applied", "duplicate", "conflict", "late", "rejected")
BANDS = ("0", "1-4", "5-9", "10-19", "20+")
FATES = ("confirmed", "contradicted", "assumed", "never_asked")
TOLD = {"yes": "told", "no": "untold"}
OTHER = "other"
MOST_SOURCES = 200  # more than that share the label `other`

Counters = dict[str, tuple[int, int]]
ReaderFactory = Callable[[], Reader]


class Vitals(NamedTuple):
    """How the writing process is doing now. `commits` is (upper bound in seconds, how many transactions took at most that), the
    last bound infinite; `behind_seconds` how long ago time last had nothing left to decide."""

    queue_events: int
    queue_limit_events: int
    full: bool
    broken: bool
    behind_seconds: float
    commits: Sequence[tuple[float, int]]
    commit_seconds: float


VitalsNow = Callable[[], Vitals]


def _wall() -> int:
    return time.time_ns() // 1_000_000


class LedgerCollector(Collector):
    """Reads the ledger at each scrape."""

    def __init__(
        self, reader_factory: ReaderFactory, standards: Standards, vitals: VitalsNow | None = None, now: Callable[[], int] | None = None
    ) -> None:
        """`now` is the receive clock, UTC ms: the demo's runs faster than the host's."""
        self.reader_factory = reader_factory
        self.standards = standards
        self.vitals = vitals
        self.now = now or _wall
        self.teams = (*sorted(standards.teams - {OTHER}), OTHER)
        self.topics = (*sorted(standards.topics - {OTHER}), OTHER)
        self._most_of_others = dict.fromkeys(OUTCOMES, 0)

    def describe(self) -> list[Metric]:
        """Nothing beforehand: names come with the scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All metrics, from one look at the ledger."""
        reader = self.reader_factory()
        try:
            counters, live, last = reader.counters(), reader.live_counters(), reader.last_outcomes()
            sources, size, dues = reader.sources(), reader.size(), reader.next_dues()
            set_aside, versions = len(reader.set_aside(1000)), len(reader.standards())
        finally:
            reader.close()
        yield InfoMetricFamily("tribo_build", "The version that runs.", value={"version": version("tribo")})
        yield _gauge("tribo_clock_timestamp_seconds", "The receive clock.", self.now() / 1000)
        yield _gauge("tribo_config_standards_version", "Which version of the standards file is in force, counted from 1.", versions)
        yield from self._sources(sources, counters)
        yield from self._findings(live)
        yield from self._waits(live)
        yield from self._now(counters)
        yield self._next_dues(dues)
        yield from self._fates(live)
        yield from self._judged(live)
        yield from self._standards(counters, last)
        yield from _ledger(live, size, set_aside)
        if self.vitals is not None:
            yield from _process(self.vitals())

    def _sources(self, rows: list[dict[str, Any]], counters: Counters) -> Iterator[Metric]:
        """By source, for those heard most; what the others sent is added up. Their sum never falls, whoever comes and goes."""
        gauges = {
            "last_event_at": _family("tribo_source_last_event_timestamp_seconds", "When the last event of a source happened.", "source"),
            "watermark": _family("tribo_source_watermark_timestamp_seconds", "How far a source has been heard.", "source"),
            "heard_at": _family("tribo_source_heard_timestamp_seconds", "When something last came from a source.", "source"),
            "skew": _family("tribo_source_skew_seconds", "How far its last event was ahead of the receive clock (behind: < 0).", "source"),
        }
        imported: dict[tuple[str, ...], int] = {}
        for key, (found, _) in counters.items():
            what, _, name = key.partition("|")
            if what == "imported":
                imported[tuple(name.rsplit("|", 1))] = found
        rows = [row | {outcome: row[outcome] - imported.get((row["name"], outcome), 0) for outcome in OUTCOMES} for row in rows]
        rows = [row for row in rows if any(row[outcome] for outcome in OUTCOMES)]  # nobody waits for what was only imported
        rows.sort(key=lambda row: -sum(row[outcome] for outcome in OUTCOMES))  # stable: of equals the first by name
        totals: dict[tuple[str, str], int] = defaultdict(int)
        future = {_clean(key.split("|", 1)[1]): found for key, (found, _) in counters.items() if key.startswith("future|")}
        for index, row in enumerate(rows):
            name = _clean(row["name"]) if index < MOST_SOURCES else OTHER
            for outcome in OUTCOMES:
                totals[name, outcome] += row[outcome]
            for field, gauge in gauges.items() if index < MOST_SOURCES else ():
                if row[field] is not None:
                    gauge.add_metric((name,), row[field] / 1000)
        if len(rows) > MOST_SOURCES:
            for outcome, before in self._most_of_others.items():
                totals[OTHER, outcome] = self._most_of_others[outcome] = max(before, totals[OTHER, outcome])
        events = CounterMetricFamily("tribo_events", "Events by source and by what became of them.", labels=("source", "outcome"))
        early = CounterMetricFamily("tribo_source_future_events", "Events refused as from the future, by source.", labels=("source",))
        for (name, outcome), number in totals.items():
            events.add_metric((name, outcome), number)
            if outcome == "rejected":
                early.add_metric((name,), future.get(name, 0))
        yield events
        yield early
        yield from gauges.values()
        yield _gauge("tribo_sources", "Sources that were ever heard.", len(rows))

    def _findings(self, counters: Counters) -> Iterator[Metric]:
        by_kind = {(kind, touchpoint): (0, 0) for kind in KINDS for touchpoint in TOUCHPOINTS}
        by_team = {(kind, team): (0, 0) for kind in BY_TEAM for team in self.teams}
        by_topic = {(topic,): (0, 0) for topic in self.topics}
        for key, number in counters.items():
            if key.startswith("finding|"):
                _, kind, touchpoint, team = key.split("|", 3)
                _add(by_kind, (kind, touchpoint), number)
                if kind in BY_TEAM:
                    _add(by_team, (kind, self._team(team)), number)
            elif key.startswith("complaint|"):
                _, topic = key.split("|", 1)
                _add(by_topic, (topic if topic in self.topics else OTHER,), number)
        yield from _both("tribo_findings", "Findings", ("kind", "touchpoint"), by_kind)
        yield from _both("tribo_team_findings", "Findings by the team that held the item", ("kind", "team"), by_team)
        yield from _both("tribo_complaints", "Complaints by what they are about", ("topic",), by_topic)

    def _team(self, name: str) -> str:
        return name if name in self.teams else OTHER

    def _waits(self, counters: Counters) -> Iterator[Metric]:
        bounds = {clock: {limit / 1000 for limit in limits} for clock, limits in self.standards.bounds.items()}
        waits = {(clock, touchpoint): _Wait(bounds[clock]) for clock in CLOCKS for touchpoint in TOUCHPOINTS}
        queues = {(team,): _Wait(bounds["queue"]) for team in self.teams}
        for key, numbers in counters.items():
            what, *parts = key.split("|")
            if what == "wait":
                waits[parts[0], parts[1]].counts[parts[2]] = numbers
            elif what == "wait_ms":
                waits[parts[0], parts[1]].milliseconds = numbers
            elif what in ("queue", "queue_ms"):  # a team's name may hold any letter
                limit = parts.pop() if what == "queue" else ""
                queues[self._team("|".join(parts)),].add(limit, numbers)
        labels = ("clock", "touchpoint")
        yield _histogram("tribo_wait_seconds", "Finished waits as customers lived through them.", labels, waits, 0)
        yield _histogram("tribo_wait_withdrawn_seconds", "Waits taken back again by what came later.", labels, waits, 1)
        yield _histogram("tribo_team_queue_seconds", "Finished waits in a live queue, by team.", ("team",), queues, 0)
        exits = {(touchpoint, ended, within): (0, 0) for touchpoint in TOUCHPOINTS for ended in QUEUE_ENDS for within in ("yes", "no")}
        for key, numbers in counters.items():
            if key.startswith("queued|"):
                _, ended, touchpoint, limit = key.split("|")
                _add(exits, (touchpoint, ended, "yes" if is_within(limit) else "no"), numbers)
        yield from _both(
            "tribo_queue_exits", f"Waits in a live queue by how they ended, and whether within {WITHIN_SECONDS:g} s",
            ("touchpoint", "ended", "within"), exits,
        )  # fmt: skip

    def _now(self, counters: Counters) -> Iterator[Metric]:
        """How things stand, wherever the events came from."""

        def now(key: str) -> int:
            found, withdrawn = counters.get(key, (0, 0))
            return max(found - withdrawn, 0)

        promises = _family("tribo_promises", "Promises by how they stand.", "state", "touchpoint")
        running = _family("tribo_waits_running", "Customers waiting now, by what for.", "clock", "touchpoint")
        for touchpoint in TOUCHPOINTS:
            for state in PROMISE_STATES:
                promises.add_metric((state, touchpoint), now(f"promise|{state}|{touchpoint}"))
            for clock in CLOCKS:
                running.add_metric((clock, touchpoint), now(f"waiting|{clock}|{touchpoint}"))
        yield from (promises, running)
        level = _family("tribo_queue_service_level_ratio", "Answered in time, of those who did not give up at once.", "touchpoint")
        abandoned = _family("tribo_queue_abandoned_ratio", "Gave up waiting in a live queue, of all who waited there.", "touchpoint")
        standing = {key: now(key) for key in counters if key.startswith("queued|")}
        for touchpoint in TOUCHPOINTS:
            served = queue_service(standing, touchpoint)
            for family, share in ((level, served.service_level), (abandoned, served.abandon_rate)):
                if share is not None:
                    family.add_metric((touchpoint,), share)
        yield from (level, abandoned)
        queueing = _family("tribo_team_queue_running", "Customers waiting now in a live queue, by team.", "team")
        risk = _family(
            "tribo_promises_at_risk", "Open promises that may soon break, by whether the customer was told.", "touchpoint", "team", "told"
        )
        for team in self.teams:
            name = "" if team == OTHER else team
            queueing.add_metric((team,), now(f"queueing|{name}"))
            for touchpoint in TOUCHPOINTS:
                for told, word in TOLD.items():
                    risk.add_metric((touchpoint, team, told), now(f"at_risk|{touchpoint}|{name}|{word}"))
        yield from (queueing, risk)
        journeys = _family("tribo_open_journeys", "Open journeys by their points of friction.", "friction")
        for band in BANDS:
            journeys.add_metric((band,), now(f"journey|{band}"))
        yield journeys

    def _next_dues(self, dues: list[tuple[str, str | None, bool, int]]) -> Metric:
        family = _family(
            "tribo_promises_next_due_timestamp_seconds", "When the first of the promises at risk is due.", "touchpoint", "team", "told"
        )
        first: dict[tuple[str, str, str], int] = {}
        for touchpoint, team, told, due in dues:
            key = (touchpoint, self._team(team or ""), "yes" if told else "no")
            first[key] = min(first.get(key, due), due)
        for key, due in first.items():
            family.add_metric(key, due / 1000)
        return family

    def _fates(self, counters: Counters) -> Iterator[Metric]:
        moves = {
            (told,): _sum(counters.get(f"finding|{kind}|{touchpoint}|", (0, 0)) for touchpoint in TOUCHPOINTS)
            for told, kind in (("in_time", "promise_moved"), ("late", "promise_moved_late"))
        }
        fates = {(fate,): counters.get(f"resolution|{fate}", (0, 0)) for fate in FATES}
        yield from _both("tribo_promise_moves", "Moved promises by whether the customer was told in time", ("told",), moves)
        yield from _both("tribo_resolutions", "Resolutions by what became of them", ("fate",), fates)

    def _judged(self, counters: Counters) -> Iterator[Metric]:
        judged = {
            (name, outcome): counters.get(f"standard|{name}|{outcome}", (0, 0))
            for name in self.standards.names for outcome in ("met", "missed")
        }  # fmt: skip
        yield from _both("tribo_standard_judged", "Occasions judged by a standard", ("standard", "outcome"), judged)

    def _standards(self, counters: Counters, last: dict[str, list[str]]) -> Iterator[Metric]:
        info = _family(
            "tribo_standard_info", "What each standard says, always 1.", "standard", "says", "owner", "measures", "touchpoint", "team"
        )
        running = _family("tribo_standard_running", "Occasions not decided yet.", "standard")
        objective = _family("tribo_standard_objective_ratio", "The share that is promised.", "standard")
        target = _family("tribo_standard_target_seconds", "The target of a standard in hours, minutes or days.", "standard")
        occasions = _family("tribo_standard_occasions", "Occasions as they stand, those of imported history too.", "standard", "outcome")
        last_judged = _family("tribo_standard_last_judged", "How many occasions were judged last: ten, or fewer at first.", "standard")
        last_missed = _family("tribo_standard_last_missed", "Of the ten occasions judged last, how many were missed.", "standard")
        for name in self.standards.names:
            entry = self.standards.published(name)
            told = (entry.owner, entry.kind, entry.touchpoint, entry.team)
            info.add_metric((name, _clean(entry.says, 500), *(_clean(text or "") for text in told)), 1)
            objective.add_metric((name,), entry.objective)
            within = entry.within_ms if entry.within_ms is not None else entry.elapsed_ms
            if within is not None:
                target.add_metric((name,), within / 1000)
            found, withdrawn = counters.get(f"standard|{name}|running", (0, 0))
            running.add_metric((name,), found - withdrawn)
            for outcome in ("met", "missed", "as_told"):
                numbers = counters.get(f"standard|{name}|{outcome}", (0, 0))
                occasions.add_metric((name, outcome), numbers[0] - numbers[1])
            last_judged.add_metric((name,), len(last.get(name, ())))
            last_missed.add_metric((name,), last.get(name, []).count("missed"))
        yield from (info, running, objective, target, occasions, last_judged, last_missed)


class _Wait:
    """A histogram in the making: counts by bound (as text), and the sum, each (found, withdrawn)."""

    def __init__(self, bounds: set[float]) -> None:
        self.bounds = bounds
        self.counts: dict[str, tuple[int, int]] = {}
        self.milliseconds = (0, 0)

    def add(self, limit: str, numbers: tuple[int, int]) -> None:
        """Add to a bucket, or with '' to the sum."""
        if limit:
            self.counts[limit] = _sum((self.counts.get(limit, (0, 0)), numbers))
        else:
            self.milliseconds = _sum((self.milliseconds, numbers))


def _histogram(name: str, text: str, labels: Sequence[str], waits: dict[Any, _Wait], which: int) -> Metric:
    family = HistogramMetricFamily(name, text, labels=labels)
    for values, wait in waits.items():
        total, buckets = 0, []
        for bound in sorted(wait.bounds | {float(limit) for limit in wait.counts if limit != "+Inf"}):
            total += wait.counts.get(f"{bound:g}", (0, 0))[which]
            buckets.append((str(bound), total))
        total += wait.counts.get("+Inf", (0, 0))[which]
        family.add_metric(values, [*buckets, ("+Inf", total)], wait.milliseconds[which] / 1000)
    return family


def _ledger(counters: Counters, size: dict[str, int], set_aside: int) -> Iterator[Metric]:
    yield _gauge("tribo_histories_set_aside", "Histories whose fold crashed, kept aside until mended.", set_aside)
    crashes = counters.get("crash", (0, 0))[0]
    yield CounterMetricFamily("tribo_fold_crashes", "Times that a fold crashed: a fault of Tribo.", value=crashes)
    refused = CounterMetricFamily("tribo_joins_refused", "Items that two customers claim, or that join strangers.", labels=("by",))
    for by in ("customer", "about"):
        refused.add_metric((by,), counters.get(f"conflict|{by}", (0, 0))[0])
    yield refused
    yield CounterMetricFamily("tribo_ledger_transactions", "Transactions of the ledger.", value=size["version"])
    yield _gauge("tribo_ledger_events", "Events in the ledger.", size["events"])
    yield _gauge("tribo_ledger_bytes", "Size of the ledger's database.", size["bytes"])


def _process(vitals: Vitals) -> Iterator[Metric]:
    yield _gauge("tribo_queue_events", "Events that wait to be written.", vitals.queue_events)
    yield _gauge("tribo_queue_limit_events", "How many may wait before senders are told to come again.", vitals.queue_limit_events)
    yield _gauge("tribo_ledger_full", "1 while the disk is full.", vitals.full)
    yield _gauge("tribo_ledger_broken", "1 when the ledger can't be written any more.", vitals.broken)
    yield _gauge("tribo_behind_seconds", "How long there has been something due that isn't decided yet.", vitals.behind_seconds)
    commits = HistogramMetricFamily("tribo_commit_seconds", "How long transactions take.", labels=())
    commits.add_metric((), [("+Inf" if bound == float("inf") else str(bound), number) for bound, number in vitals.commits],
                       vitals.commit_seconds)  # fmt: skip
    yield commits


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))


def _family(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=labels)


def _both(name: str, text: str, labels: Sequence[str], table: dict[Any, tuple[int, int]]) -> Iterator[Metric]:
    """A counter of what was found, and its counterpart of what was withdrawn again."""
    for index, (suffix, what) in enumerate((("", "found"), ("_withdrawn", "withdrawn again by what came later"))):
        family = CounterMetricFamily(name + suffix, f"{text}, {what}.", labels=labels)
        for values, numbers in sorted(table.items()):
            family.add_metric(values, numbers[index])
        yield family


def _sum(pairs: Iterable[tuple[int, int]]) -> tuple[int, int]:
    found = withdrawn = 0
    for one, other in pairs:
        found, withdrawn = found + one, withdrawn + other
    return found, withdrawn


def _add(table: dict[Any, tuple[int, int]], key: Any, number: tuple[int, int]) -> None:
    if key in table:
        table[key] = _sum((table[key], number))


def _clean(name: str, most: int = 100) -> str:
    """Text as a label: not too long, and only such letters as can be written as UTF-8."""
    return name[:most].encode("utf-8", "replace").decode()


def metrics_routes(
    reader_factory: ReaderFactory, standards: Standards, settings: object, vitals: VitalsNow | None = None,
    now: Callable[[], int] | None = None,
) -> list[web.RouteDef]:  # fmt: skip
    """GET /metrics, in the form that the scraper asks for, and the runbooks. The ledger is read in a thread, by one scrape at a time."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(LedgerCollector(reader_factory, standards, vitals, now))
    ProcessCollector(registry=registry)
    one_at_a_time = asyncio.Lock()

    async def scrape(request: web.Request) -> web.Response:
        encode, kind = choose_encoder(",".join(request.headers.getall("Accept", ())))
        async with one_at_a_time:
            body = await asyncio.get_running_loop().run_in_executor(None, encode, registry)
        answer = web.Response(body=body, headers={"Content-Type": kind, "Cache-Control": "no-store"})
        answer.enable_compression()
        return answer

    return [web.get("/metrics", scrape), *runbook_routes()]
