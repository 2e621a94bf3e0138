"""The standards, compiled: what is in force when, and when a wait or an implied promise is due."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import msgspec

from tribo.measure.hours import ALWAYS, DAY, LATEST, Calendar, Version, local_midnight
from tribo_schemas.event import TOUCHPOINTS
from tribo_schemas.journey import CLOCKS

if TYPE_CHECKING:
    from tribo.measure.history import Item, Promise
    from tribo_schemas.standard import CalendarEntry, StandardEntry, StandardsFile

POINTS: dict[str, int] = {
    "handoff": 2, "ping_pong": 3, "channel_switch": 1, "hold": 1, "repeat_contact": 4, "repeated": 3, "reopened": 5, "abandoned": 6,
    "promise_broken": 10, "promise_moved_late": 4, "standard_missed": 3, "complaint": 5, "no_alternative": 3, "unconfirmed": 1,
    "no_expectation": 1, "praise": 2, "surprise": 2, "early": 1, "recovered": 5,
}  # fmt: skip


LONG_AGO = -(1 << 60)


class Entry(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One standard as it stands for a while. `kind` is clock, promise, implied, count or practice; durations are milliseconds.

    Of a target exactly one is set: `within_ms` (business time in `calendar`), `elapsed_ms` (days of 24 hours, which no pause
    moves) or `business_days`.
    """

    name: str
    says: str
    kind: str
    clock: str | None = None
    promise: str | None = None
    made_by: str | None = None
    kept_by: str | None = None
    count: str | None = None
    at_most: int | None = None
    practice: str | None = None
    touchpoint: str | None = None
    team: str | None = None
    topic: str | None = None
    channel: str | None = None
    calendar: Calendar = ALWAYS
    within_ms: int | None = None
    elapsed_ms: int | None = None
    business_days: int | None = None
    at_risk_ms: int | None = None
    objective: float = 1.0
    owner: str | None = None
    runbook: str | None = None

    def due(self, start: int) -> int:
        """When a wait that started then, or a promise made then, is due."""
        if self.within_ms is not None:
            return self.calendar.due(start, self.within_ms)
        if self.elapsed_ms is not None:
            return min(start + self.elapsed_ms, LATEST)
        return self.calendar.add_days(start, self.business_days or 0)

    def expected_ms(self, start: int) -> int:
        """The target: business time of one in hours, what elapses until it of one in days."""
        return self.within_ms if self.within_ms is not None else self.due(start) - start


class InForce:
    """The entries in force for a stretch of time, by what they judge."""

    __slots__ = ("clocks", "counts", "entries", "implied", "practices", "promises")

    def __init__(self, entries: tuple[Entry, ...]) -> None:
        self.entries = entries
        self.clocks: dict[str, list[Entry]] = {}
        self.implied: list[Entry] = []
        self.promises: list[Entry] = []
        self.counts: list[Entry] = []
        self.practices: dict[str, list[Entry]] = {}
        for entry in entries:
            if entry.kind == "clock" and entry.clock:
                self.clocks.setdefault(entry.clock, []).append(entry)
            elif entry.kind == "implied":
                self.implied.append(entry)
                self.promises.append(entry)
            elif entry.kind == "promise":
                self.promises.append(entry)
            elif entry.kind == "count":
                self.counts.append(entry)
            elif entry.practice:
                self.practices.setdefault(entry.practice, []).append(entry)


def applies(entry: Entry, item: Item, team: str | None) -> bool:
    """Whether a standard's entry speaks of this item, now held by `team`."""
    return (
        (entry.touchpoint is None or entry.touchpoint == item.touchpoint)
        and (entry.team is None or entry.team == team)
        and (entry.topic is None or entry.topic == item.topic)
        and (entry.channel is None or entry.channel == item.channel)
    )


def known(name: str | None, names: frozenset[str]) -> str:
    """A team or topic as counters may name it: one that the configuration knows, else ''. Events can invent any number of others."""
    return name if name is not None and name in names else ""


def speaks_of(entry: Entry, promise: Promise) -> bool:
    """Whether a promise standard speaks of this promise."""
    if entry.kind == "implied":
        return promise.standard == entry.name
    return entry.promise in ("any", promise.id)


BASE_BOUNDS = (10, 20, 60, 300, 900, 3600, 4 * 3600, 86_400, 3 * 86_400, 7 * 86_400, 30 * 86_400)  # seconds
BEFORE_ALL = InForce(())


class Standards:
    """All standards, each with its versions in order of time.

    `bounds`: for each clock the upper bounds of its wait buckets (milliseconds), a base list and the standards' targets; `bucket_keys`:
    for each clock and touchpoint the tally keys of these buckets, the last for what is above them all, and the key of their sum;
    `implies`, `judges_total`: whether any entry is an implied promise, or about `total_resolution`.
    """

    __slots__ = (
        "_begins", "_by_name", "_constant", "_in_force", "bounds", "bucket_keys", "default_calendar", "implies", "judges_total", "names",
        "points", "teams", "topics",
    )  # fmt: skip

    def __init__(
        self, versions: Mapping[str, Sequence[tuple[int, Entry]]], default_calendar: Calendar, points: Mapping[str, int],
        teams: Iterable[str] = (), topics: Iterable[str] = (),
    ) -> None:  # fmt: skip
        """`versions`: by name, (from when on, entry). `teams`, `topics`: those that are counted by name, beside the entries' own."""
        self.points = {**POINTS, **points}
        self.default_calendar = default_calendar
        self._by_name = {name: sorted(entries, key=lambda pair: pair[0]) for name, entries in versions.items()}
        everything = [entry for entries in self._by_name.values() for _, entry in entries]
        self.teams = frozenset(teams) | {entry.team for entry in everything if entry.team is not None}
        self.topics = frozenset(topics) | {entry.topic for entry in everything if entry.topic is not None}
        self.names = tuple(sorted(self._by_name))
        self._begins = sorted({begin for entries in self._by_name.values() for begin, _ in entries})
        self._in_force = [self._at(begin) for begin in self._begins]
        nothing_changes = all(begin < LONG_AGO for begin in self._begins)
        self._constant = (self._in_force[-1] if self._in_force else BEFORE_ALL) if nothing_changes else None
        self.judges_total = any(entry.clock == "total_resolution" for entry in everything)
        self.implies = any(there.implied for there in self._in_force)
        self.bounds = {clock: self._bounds(clock) for clock in CLOCKS}
        self.bucket_keys = {
            (clock, touchpoint): (
                [f"wait|{clock}|{touchpoint}|{limit / 1000:g}" for limit in limits] + [f"wait|{clock}|{touchpoint}|+Inf"],
                f"wait_ms|{clock}|{touchpoint}",
            )
            for clock, limits in self.bounds.items()
            for touchpoint in TOUCHPOINTS
        }

    def _at(self, at: int) -> InForce:
        found = []
        for name in self.names:
            entries = [entry for begin, entry in self._by_name[name] if begin <= at]
            if entries:
                found.append(entries[-1])
        return InForce(tuple(found))

    def _bounds(self, clock: str) -> tuple[int, ...]:
        targets = {
            entry.within_ms if entry.within_ms is not None else entry.elapsed_ms
            for name in self.names
            for entry in self.entries(name)
            if entry.clock == clock
        }
        return tuple(sorted({second * 1000 for second in BASE_BOUNDS} | {target for target in targets if target is not None}))

    def at(self, at: int) -> InForce:
        """What is in force at an instant; the same object for the same stretch of time."""
        if self._constant is not None:
            return self._constant
        index = bisect_right(self._begins, at) - 1
        return self._in_force[index] if index >= 0 else BEFORE_ALL

    def entries(self, name: str) -> tuple[Entry, ...]:
        """All versions of a standard."""
        return tuple(entry for _, entry in self._by_name[name])

    def published(self, name: str) -> Entry:
        """The last version: what we publish."""
        return self._by_name[name][-1][1]


def compile_standards(file: StandardsFile | None) -> Standards:
    """The standards of a file, ready for the fold; None: no standards, default points, round the clock."""
    if file is None:
        return Standards({}, ALWAYS, {})
    calendars = {name: _calendar(entry if isinstance(entry, list) else [entry]) for name, entry in file.calendars.items()}
    default = calendars[file.calendar] if file.calendar is not None else ALWAYS
    versions: dict[str, list[tuple[int, Entry]]] = {}
    for entry in file.standards:
        name = entry.calendar or file.calendar
        begin = -(1 << 62)
        if entry.since is not None:
            zone = ZoneInfo("UTC")
            if name is not None:
                named = file.calendars[name]
                zone = (named[-1] if isinstance(named, list) else named).location()
            begin = local_midnight(entry.since, zone)
        versions.setdefault(entry.name, []).append((begin, _entry(entry, calendars[name] if name is not None else ALWAYS)))
    return Standards(versions, default, file.points, file.teams, file.topics)


def _calendar(entries: Sequence[CalendarEntry]) -> Calendar:
    versions = []
    for entry in entries:
        closed = frozenset(entry.holidays).__contains__
        versions.append(Version(entry.location(), entry.week(), closed, entry.since))
    return Calendar(versions)


def _entry(entry: StandardEntry, calendar: Calendar) -> Entry:
    implied = entry.promise if entry.promise is not None and not isinstance(entry.promise, str) else None
    kind = "implied" if implied else "clock" if entry.clock else "promise" if entry.promise else "count" if entry.count else "practice"
    within: dict[str, int] = {}
    if entry.within is not None:
        number, unit = int(entry.within.rstrip("smhbd")), entry.within.lstrip("0123456789")
        if unit == "bd":
            within["business_days"] = number
        elif unit == "d":
            within["elapsed_ms"] = number * DAY
        else:
            within["within_ms"] = number * {"s": 1000, "m": 60_000, "h": 3_600_000}[unit]
    at_risk = None
    if entry.at_risk is not None:
        at_risk = int(entry.at_risk[:-1]) * {"s": 1000, "m": 60_000, "h": 3_600_000, "d": DAY}[entry.at_risk[-1]]
    return Entry(
        name=entry.name,
        says=entry.says,
        kind=kind,
        clock=entry.clock,
        promise=entry.promise if isinstance(entry.promise, str) else None,
        made_by=implied.made_by if implied else None,
        kept_by=implied.kept_by if implied else None,
        count=entry.count,
        at_most=entry.at_most,
        practice=entry.practice,
        touchpoint=entry.touchpoint or (implied.touchpoint if implied else None),
        team=entry.team,
        topic=entry.topic,
        channel=entry.channel,
        calendar=calendar,
        at_risk_ms=at_risk,
        objective=entry.objective,
        owner=entry.owner,
        runbook=entry.runbook,
        **within,
    )
