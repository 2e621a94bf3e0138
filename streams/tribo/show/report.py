"""The report that a manager reads: what customers complained about, what went best and worst, the standards, and what it did to trust.

One stretch of time (a week, unless said), one look at the ledger. The same figures are written as a page, as Markdown and as CSV.
What is told of standards is what was decided in that time, as far as the ledger has readings of that time; else all that was ever
decided, and the report says so.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import partial
from math import sqrt
from typing import Any

import msgspec

from tribo.ledger import search
from tribo.ledger.reader import Reader
from tribo.measure.queues import WITHIN_SECONDS, queue_service
from tribo.measure.score import BANDS
from tribo.measure.standards import Standards
from tribo.show.page.flows import Pair, pairs
from tribo.show.words import KIND_WORDS, share, span
from tribo_schemas.config import BadConfig
from tribo_schemas.event import TOUCHPOINTS, stamp
from tribo_schemas.finding import DELIGHT, FRICTION

DAY, WEEK = 86_400_000, 604_800_000
WEEK_NAME = re.compile(r"([0-9]{4})-W([0-9]{2})")
TOP = 3
REPEAT_DAYS = 90
"""Whether customers came back is looked at for purchases of so many days."""
PROBLEMS = ("complaint", "reopened", "promise_broken", "no_alternative")
Z = 1.959964  # 95 % of a normal distribution


class Topic(msgspec.Struct):
    """Complaints about something: how many, out of how many journeys, and the praise for the same."""

    topic: str
    complaints: int
    praises: int


class Thing(msgspec.Struct):
    """Something that was good or bad about dealing with us: a kind of finding at a touchpoint."""

    kind: str
    touchpoint: str
    number: int
    points: int


class Standing(msgspec.Struct):
    """A standard: what is expected, what was measured (and out of how many), and what customers and employees think of it (their mean
    rating, 0 to 1, and how many rated)."""

    name: str
    says: str
    expected: float
    actual: float | None
    decided: int
    gap: float | None
    customers: float | None
    customers_asked: int
    employees: float | None
    employees_asked: int


class Queue(msgspec.Struct):
    """The live queues of a touchpoint: how many waited there, the service level, and the share that gave up, beside which it is read."""

    touchpoint: str
    offered: int
    service_level: float | None
    abandon_rate: float | None


class Band(msgspec.Struct):
    """Purchases by friction, and the share after which the customer bought again, with its 95 % interval (Wilson's)."""

    friction: str
    purchases: int
    again: int
    low: float
    high: float

    @property
    def share(self) -> float | None:
        """The share that came again."""
        return self.again / self.purchases if self.purchases else None


class Report(msgspec.Struct):
    """All figures of a stretch of time, UTC ms. `whole`: what is told of standards and queues was decided over all time, since the ledger
    has no reading of the beginning of that time."""

    name: str
    since: int
    until: int
    complaints: list[Topic]
    complained: int
    praised: int
    best: list[Thing]
    worst: list[Thing]
    whole: bool
    standards: list[Standing]
    queues: list[Queue]
    problems: int
    recovered: int
    bands: list[Band]
    handoffs: list[Pair]
    journeys: int


def wilson(hits: int, number: int) -> tuple[float, float]:
    """The 95 % interval of a share, by Wilson's score: it stays within 0 and 1, and holds for few and for none."""
    if not number:
        return 0.0, 1.0
    share_ = hits / number
    middle = share_ + Z * Z / (2 * number)
    spread = Z * sqrt(share_ * (1 - share_) / number + Z * Z / (4 * number * number))
    below = 1 + Z * Z / number
    return max((middle - spread) / below, 0.0), min((middle + spread) / below, 1.0)


def week(text: str | None, now: int) -> tuple[str, int, int]:
    """A week of ISO 8601 (`2026-W10`), or the last whole one before an instant: its name, and from when to when. Raises BadConfig."""
    if text is None:
        monday = (datetime.fromtimestamp(now / 1000, UTC) - timedelta(days=7)).isocalendar()
        text = f"{monday.year}-W{monday.week:02d}"
    match = WEEK_NAME.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        begin = date.fromisocalendar(int(match[1]), int(match[2]), 1)
    except ValueError:
        raise BadConfig(f"week: {text[:40]!r} is no week: write such as 2026-W10") from None
    since = int(datetime(begin.year, begin.month, begin.day, tzinfo=UTC).timestamp()) * 1000
    return text, since, since + WEEK


Look = Callable[[Reader], dict[str, Any]]


def report_of(reader: Reader, standards: Standards, name: str, since: int, until: int) -> Report:
    """The figures of a stretch of time, from one look at the ledger."""
    found, stood = (look(reader) for look in halves(standards, since, until))
    return Report(name=name, since=since, until=until, **found, **stood)


def halves(standards: Standards, since: int, until: int) -> tuple[Look, Look]:
    """Two looks that take about equally long, and find all of a report but its name and time: what was found then, and how things stood.
    Who has two readers of the same state may ask both at once."""
    return partial(_found, since=since, until=until), partial(_stood, standards=standards, since=since, until=until)


def _found(reader: Reader, since: int, until: int) -> dict[str, Any]:
    def of(*kinds: str) -> search.Wanted:
        return search.Wanted(since=since, until=until, kinds=kinds)

    complaints = {topic or "no topic": number for topic, number, _ in search.counted(reader, of("complaint"), "topic", limit=200)}
    praises = {topic or "no topic": number for topic, number, _ in search.counted(reader, of("praise"), "topic", limit=200)}
    ranked = sorted(complaints, key=lambda topic: (-complaints[topic], topic))
    things = [Thing(*row) for row in search.by_touchpoint(reader, of(*FRICTION, *sorted(DELIGHT)))]
    problems, recovered = search.journeys_with_both(reader, of(*PROBLEMS), search.Wanted(since=since, kinds=("recovered",)))
    return {
        "complaints": [Topic(topic, complaints[topic], praises.get(topic, 0)) for topic in ranked[:TOP]],
        "complained": sum(thing.number for thing in things if thing.kind == "complaint"),
        "praised": sum(thing.number for thing in things if thing.kind == "praise"),
        "best": [thing for thing in things if thing.kind in DELIGHT][:TOP],
        "worst": [thing for thing in things if thing.kind in FRICTION][:TOP],
        "problems": problems,
        "recovered": recovered,
    }


def _stood(reader: Reader, standards: Standards, since: int, until: int) -> dict[str, Any]:
    decided, whole = _decided(reader, since, until)
    journeys, bought = search.going_on(reader, since, until, REPEAT_DAYS, [most for most, _ in BANDS])
    return {
        "whole": whole,
        "standards": _standards(decided, standards),
        "queues": _queues(decided),
        "bands": _bands(bought),
        "handoffs": pairs(reader, search.Wanted(since=since, until=until))[0][:5],
        "journeys": journeys,
    }


def _decided(reader: Reader, since: int, until: int) -> tuple[dict[str, int], bool]:
    """What was decided in a stretch of time, by the tallies' keys; or over all time (then True), where no reading tells how it began."""
    first = search.reading(reader, since)
    if first is None:
        return reader.tallies(), True
    last = search.reading(reader, until) or {}
    return {key: max(number - first.get(key, 0), 0) for key, number in last.items()}, False


def _standards(decided: dict[str, int], standards: Standards) -> list[Standing]:
    found = []
    for name in standards.names:
        entry = standards.published(name)

        def rated(who: str, name: str = name) -> tuple[float | None, int]:
            number, total = (decided.get(f"{key}|{name}|{who}", 0) for key in ("rating", "rating_sum"))
            return (total / 1000 / number, number) if number > 0 else (None, 0)

        met, missed = (decided.get(f"standard|{name}|{what}", 0) for what in ("met", "missed"))
        actual = met / (met + missed) if met + missed else None
        customers, employees = rated("customer"), rated("human")
        found.append(
            Standing(
                name=name, says=entry.says, expected=entry.objective, actual=actual, decided=met + missed,
                gap=None if actual is None else entry.objective - actual, customers=customers[0], customers_asked=customers[1],
                employees=employees[0], employees_asked=employees[1],
            )
        )  # fmt: skip
    found.sort(key=lambda one: (one.gap is None, -(one.gap or 0.0), one.name))
    return found


def _queues(decided: dict[str, int]) -> list[Queue]:
    served = {touchpoint: queue_service(decided, touchpoint) for touchpoint in TOUCHPOINTS}
    return [Queue(name, one.offered, one.service_level, one.abandon_rate) for name, one in served.items() if one.offered]


def _bands(bought: list[tuple[int, int, int]]) -> list[Band]:
    names = [name for _, name in BANDS] + ["20+"]
    known = {number: (many, again) for number, many, again in bought}
    found = []
    for number, name in enumerate(names):
        many, again = known.get(number, (0, 0))
        found.append(Band(name, many, again, *wilson(again, many)))
    return found


# -- as text -----------------------------------------------------------------------------------------------------------


class Row(msgspec.Struct, frozen=True):
    """A row of the report as a table; None where something does not apply."""

    section: str
    what: str
    number: int | None = None
    share: float | None = None
    low: float | None = None
    high: float | None = None
    expected: float | None = None
    gap: float | None = None
    note: str = ""


def rows(report: Report) -> list[Row]:
    """The report as one table."""
    found = [Row("report", report.name, report.journeys, note=f"{stamp(report.since)} to {stamp(report.until)}")]
    found += [Row("complaints", one.topic, one.complaints, note=f"{one.praises} praises") for one in report.complaints]
    found += [Row("complaints beside praise", "complaints", report.complained), Row("complaints beside praise", "praises", report.praised)]
    for section, things in (("best", report.best), ("worst", report.worst)):
        found += [Row(section, f"{KIND_WORDS[one.kind]} ({one.touchpoint})", one.number, note=f"{one.points} points") for one in things]
    note = "over all time" if report.whole else ""
    for one in report.standards:
        found.append(Row("standard", one.name, one.decided, one.actual, expected=one.expected, gap=one.gap, note=note))
        found.append(Row("rated by customers", one.name, one.customers_asked, one.customers))
        found.append(Row("rated by employees", one.name, one.employees_asked, one.employees))
    for queue in report.queues:
        within = ", ".join(filter(None, (f"answered within {WITHIN_SECONDS:g} s", note)))
        found.append(Row("service level", queue.touchpoint, queue.offered, queue.service_level, note=within))
        found.append(Row("gave up waiting", queue.touchpoint, queue.offered, queue.abandon_rate, note=note))
    won = report.recovered / report.problems if report.problems else None
    found.append(Row("recovery", "journeys with a problem that were won back", report.problems, won))
    for band in report.bands:
        found.append(Row("bought again", f"friction {band.friction}", band.purchases, band.share, band.low, band.high, note="95 %"))
    for pair in report.handoffs:
        note = f"{pair.ping_pongs} came back, {pair.points} points, typically kept {span(pair.median_ms)} before"
        found.append(Row("handoffs", f"{pair.sender} to {pair.receiver}", pair.handoffs, note=note))
    return found


def cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula: text that begins like one gets an apostrophe before it. Shares to six decimals."""
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, str) and value and (value[0] in "=+-@\t\r\n|%" or value.lstrip()[:1] in ("=", "+", "-", "@")):
        return "'" + value
    return "" if value is None else value


def as_csv(report: Report) -> str:
    """The report's table as CSV (RFC 4180)."""
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(Row.__struct_fields__)
    writer.writerows([cell(value) for value in msgspec.structs.astuple(row)] for row in rows(report))
    return out.getvalue()


SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~&-])")


def plain(text: str) -> str:
    """Text as Markdown that says nothing but itself, on one line."""
    return SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _table(head: tuple[str, ...], body: list[tuple[str, ...]]) -> list[str]:
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *("| " + " | ".join(row) + " |" for row in body), ""]


def as_markdown(report: Report) -> str:
    """The report as Markdown."""
    won = share(report.recovered / report.problems) if report.problems else "–"
    days = f"{stamp(report.since)[:10]} up to {stamp(report.until)[:10]} (UTC)"
    lines = [f"# Dealing with us, {plain(report.name)}", "", f"{days}. {report.journeys} journeys went on.", ""]
    lines += _ranked(
        "The top complaints",
        [f"{plain(topic.topic)}: {topic.complaints} complaints, {topic.praises} praises" for topic in report.complaints],
        "Nobody complained.",
    )
    lines += [f"In all {report.complained} complaints beside {report.praised} praises.", ""]
    for title, things in (("The best about dealing with us", report.best), ("The worst about dealing with us", report.worst)):
        said = [f"{KIND_WORDS[one.kind].capitalize()} ({one.touchpoint}): {one.number} times, {one.points} points" for one in things]
        lines += _ranked(title, said, "Nothing stands out.")
    lines += ["## What we tell customers to expect", ""]
    lines += _table(
        ("Standard", "Expected", "Actual", "Gap", "Decided", "Customers say", "Employees say"), [_standing(one) for one in report.standards]
    )
    if report.queues:
        lines += ["## In live queues", ""]
        head = ("Touchpoint", "Waited", f"Service level ({WITHIN_SECONDS:g} s)", "Gave up")
        lines += _table(head, [
            (one.touchpoint, str(one.offered), share(one.service_level), share(one.abandon_rate))
            for one in report.queues
        ])  # fmt: skip
    if report.whole:
        lines += ["Decided over all time: the ledger has no readings of the beginning of this week.", ""]
    lines += ["## Winning back trust", ""]
    lines += [f"Of {report.problems} journeys with a problem {report.recovered} were won back ({won}).", ""]
    lines += ["## Who bought again, by friction", ""]
    lines += _table(("Friction", "Purchases", "Bought again", "95 % interval"), [_bought(band) for band in report.bands])
    lines += ["## The costliest handoffs", ""]
    lines += _table(("From", "To", "Handoffs", "Came back", "Points", "Kept before, typical"), [_handed(pair) for pair in report.handoffs])
    return "\n".join(lines).rstrip() + "\n"


def _ranked(title: str, said: list[str], nothing: str) -> list[str]:
    return [f"## {title}", "", *([f"{rank}. {text}" for rank, text in enumerate(said, 1)] or [nothing]), ""]


def _standing(one: Standing) -> tuple[str, ...]:
    gap = "" if one.gap is None else f"{100 * one.gap:+.1f}"
    said = _said(one.customers, one.customers_asked), _said(one.employees, one.employees_asked)
    return (plain(one.says), share(one.expected), share(one.actual), gap, str(one.decided), *said)


def _bought(band: Band) -> tuple[str, ...]:
    interval = f"{share(band.low)} to {share(band.high)}" if band.purchases else ""
    return band.friction.replace("-", "–"), str(band.purchases), share(band.share), interval


def _handed(pair: Pair) -> tuple[str, ...]:
    return plain(pair.sender), plain(pair.receiver), str(pair.handoffs), str(pair.ping_pongs), str(pair.points), span(pair.median_ms)


def _said(rating: float | None, asked: int) -> str:
    return "" if rating is None else f"{share(rating, 0)} ({asked})"
