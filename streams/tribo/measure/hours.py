"""Business time: the sum over a calendar's open intervals, as exact instants in its zone.

A calendar is a list of versions, each in force from an instant on and each applied to its own stretch. Opening hours are local
wall times; they are turned into instants day by day, so a day with a daylight-saving change is as long as it really is.
Days are built once and kept as prefix sums. Instants are UTC milliseconds, durations milliseconds.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

DAY = 86_400_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
LATEST = 253402300799999
FIRST_DAY = date(1, 1, 2)
LAST_DAY = date(9999, 12, 30)
SEARCH_DAYS = 3700  # a calendar that is closed for ten years on end has no next opening

Minutes = tuple[tuple[int, int], ...]  # open intervals of a day, minutes since local midnight


class Version:
    """A calendar as it stands from `since` (a local date) on: its zone, its hours by weekday (Monday 0), its holidays."""

    __slots__ = ("closed", "hours", "since", "zone")

    def __init__(self, zone: ZoneInfo, hours: Sequence[Minutes], closed: Callable[[date], bool], since: date | None = None) -> None:
        self.zone = zone
        self.hours = tuple(hours)
        self.closed = closed
        self.since = since

    def begins(self) -> int:
        """From when on it is in force."""
        return -(1 << 62) if self.since is None else _instant(self.since, 0, self.zone)

    def intervals(self, day: date) -> list[tuple[int, int]]:
        """The open intervals of a local day, as instants."""
        if self.closed(day):
            return []
        found = []
        for begin, end in self.hours[day.weekday()]:
            start, stop = _instant(day, begin, self.zone), _instant(day, end, self.zone)
            if stop > start:
                found.append((start, stop))
        return found


def _instant(day: date, minutes: int, zone: ZoneInfo) -> int:
    """A local wall time as an instant: the first of two, and the instant after the gap where there is none."""
    moment = datetime(day.year, day.month, day.day) + timedelta(minutes=minutes)
    return _local(moment, zone)


def local_midnight(day: date, zone: ZoneInfo) -> int:
    """The instant at which a local day begins."""
    return _instant(day, 0, zone)


def _local(moment: datetime, zone: ZoneInfo) -> int:
    aware = moment.replace(tzinfo=zone)
    found = (aware - EPOCH) // MILLISECOND
    there = (EPOCH + timedelta(milliseconds=found)).astimezone(zone).replace(tzinfo=None)
    if there != moment:  # in a gap: the offset before it and after it differ by the gap's length
        before, after = aware.utcoffset(), moment.replace(tzinfo=zone, fold=1).utcoffset()
        if before is not None and after is not None and before != after:
            low, high = sorted((found, found + (before - after) // MILLISECOND))
            while high - low > 1:
                middle = (low + high) // 2
                if (EPOCH + timedelta(milliseconds=middle)).astimezone(zone).utcoffset() == before:
                    low = middle
                else:
                    high = middle
            return high
    return found


class Calendar:
    """When we are open."""

    __slots__ = ("_begins", "_days", "_versions")

    def __init__(self, versions: Sequence[Version]) -> None:
        self._versions = sorted(versions, key=Version.begins)
        self._begins = [version.begins() for version in self._versions]
        self._days: dict[tuple[int, int], tuple[list[tuple[int, int]], int]] = {}

    def _version(self, at: int) -> int:
        return max(bisect_right(self._begins, at) - 1, 0)

    def _stretch(self, index: int) -> tuple[int, int]:
        """From when to when a version is in force; the first one also before it begins."""
        begin = -(1 << 62) if index == 0 else self._begins[index]
        return begin, self._begins[index + 1] if index + 1 < len(self._begins) else 1 << 62

    def _day(self, index: int, number: int) -> tuple[list[tuple[int, int]], int]:
        """A version's open intervals on the local day `number` (days since 0001-01-01), cut to the version's stretch, and their sum."""
        key = (index, number)
        found = self._days.get(key)
        if found is None:
            if len(self._days) > 50_000:
                self._days.clear()
            begin, end = self._stretch(index)
            cut = [
                (max(start, begin), min(stop, end))
                for start, stop in self._versions[index].intervals(date.fromordinal(number))
                if max(start, begin) < min(stop, end)
            ]
            found = self._days[key] = (cut, sum(stop - start for start, stop in cut))
        return found

    def _number(self, index: int, at: int) -> int:
        """The local day on which an instant falls."""
        moment = EPOCH + timedelta(milliseconds=min(max(at, -62135510400000), LATEST - 2 * DAY))
        day = moment.astimezone(self._versions[index].zone).date()
        return min(max(day, FIRST_DAY), LAST_DAY).toordinal()

    def elapsed(self, start: int, end: int) -> int:
        """Business milliseconds in [start, end); 0 when end is not after start."""
        total = 0
        while start < end:
            index = self._version(start)
            stop = min(end, self._stretch(index)[1])
            first, last = self._number(index, start), self._number(index, stop)
            for number in range(first, last + 1):
                intervals, whole = self._day(index, number)
                if first < number < last:
                    total += whole
                else:
                    for opens, closes in intervals:
                        if opens < stop and closes > start:
                            total += min(closes, stop) - max(opens, start)
            start = stop
        return total

    def due(self, start: int, business: int) -> int:
        """The last instant at which business time since `start` is still no more than `business`: when that is used up exactly
        at closing time, the next opening. Without any further opening, the end of time."""
        left = business
        index = self._version(start)
        while True:
            stretch_end = self._stretch(index)[1]
            number = self._number(index, start)
            for later in range(number, min(number + SEARCH_DAYS, LAST_DAY.toordinal())):
                for opens, closes in self._day(index, later)[0]:
                    if closes <= start:
                        continue
                    opens = max(opens, start)
                    if left < closes - opens:
                        return opens + left
                    left -= closes - opens
                if index + 1 < len(self._versions) and _instant(date.fromordinal(later + 1), 0, self._versions[index].zone) >= stretch_end:
                    break
            if index + 1 >= len(self._versions):
                return LATEST
            start, index = stretch_end, index + 1

    def add_days(self, start: int, days: int) -> int:
        """The same local time, `days` business days on. A business day is one with any opening hours."""
        index = self._version(start)
        zone = self._versions[index].zone
        local = (EPOCH + timedelta(milliseconds=min(max(start, -62135510400000), LATEST - 2 * DAY))).astimezone(zone).replace(tzinfo=None)
        number = local.toordinal()
        left, limit = days, min(number + SEARCH_DAYS + 7 * days, LAST_DAY.toordinal())
        while left > 0:
            number += 1
            if number >= limit:
                return LATEST
            day = date.fromordinal(number)
            noon = _instant(day, 12 * 60, zone)
            version = self._versions[self._version(noon)]
            if version.hours[day.weekday()] and not version.closed(day):
                left -= 1
        day = date.fromordinal(number)
        return _local(local.replace(year=day.year, month=day.month, day=day.day), zone) + start % 1000 - local.microsecond // 1000


class _Always(Calendar):
    """Round the clock."""

    def __init__(self) -> None:
        super().__init__([Version(ZoneInfo("UTC"), [((0, 1440),)] * 7, lambda day: False)])

    def elapsed(self, start: int, end: int) -> int:
        return max(end - start, 0)

    def due(self, start: int, business: int) -> int:
        return min(start + business, LATEST)

    def add_days(self, start: int, days: int) -> int:
        return min(start + days * DAY, LATEST)


ALWAYS: Calendar = _Always()
