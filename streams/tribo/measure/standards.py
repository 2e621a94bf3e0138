"""The standards, compiled: what is in force when, and when a wait or an implied promise is due."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import msgspec

from tribo.measure.hours import ALWAYS, DAY, LATEST, Calendar, Version, local_midnight

if TYPE_CHECKING:
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


_NONE: tuple[Entry, ...] = ()


class Standards:
    """All standards, each with its versions in order of time."""

    __slots__ = (
        "_begins", "_by_name", "_in_force", "default_calendar", "grouped", "groups", "names", "points", "teams", "topics", "unchanging",
    )  # fmt: skip

    def __init__(
        self, versions: Mapping[str, Sequence[tuple[int, Entry]]], default_calendar: Calendar, points: Mapping[str, int],
        teams: Iterable[str] = (), topics: Iterable[str] = (),
    ) -> None:  # fmt: skip
        """`versions`: by name, (from when on, entry). `teams`, `topics`: those that are counted by name, beside the entries' own."""
        self.points = {**POINTS, **points}
        self.default_calendar = default_calendar
        self._by_name = {name: sorted(entries, key=lambda pair: pair[0]) for name, entries in versions.items()}
        self.names = tuple(sorted(self._by_name))
        everything = [entry for entries in self._by_name.values() for _, entry in entries]
        self.teams = frozenset(teams) | {entry.team for entry in everything if entry.team is not None}
        self.topics = frozenset(topics) | {entry.topic for entry in everything if entry.topic is not None}
        self._begins = sorted({begin for entries in self._by_name.values() for begin, _ in entries})
        self._in_force = [self._at(begin) for begin in self._begins]
        self.unchanging = all(begin < LONG_AGO for begin in self._begins)
        self.grouped: object | None = None  # the fold's own grouping of entries, kept with what it groups
        self.groups: dict[int, object] = {}

    def _at(self, at: int) -> tuple[Entry, ...]:
        found = []
        for name in self.names:
            entries = [entry for begin, entry in self._by_name[name] if begin <= at]
            if entries:
                found.append(entries[-1])
        return tuple(found)

    def at(self, at: int) -> tuple[Entry, ...]:
        """The entries in force at an instant; the same tuple for the same stretch of time."""
        index = len(self._begins) - 1 if self._begins and at >= self._begins[-1] else bisect_right(self._begins, at) - 1
        return self._in_force[index] if index >= 0 else _NONE

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
