"""Business time: the sum over a calendar's open intervals, as exact instants in its zone.

A calendar is a list of versions, each in force from an instant on and each applied to its own stretch. Opening hours are local
wall times; they are turned into instants day by day, so a day with a daylight-saving change is as long as it really is.
Days are built once and kept as prefix sums. Instants are UTC milliseconds, durations milliseconds.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import accumulate
from zoneinfo import ZoneInfo

DAY = 86_400_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
LATEST = 253402300799999
EPOCH_DAY = date(1970, 1, 1).toordinal()
MOST_YEARS = 60  # kept at once, and looked ahead for an opening
FIRST_DAY = date(1, 1, 2)
LAST_DAY = date(9999, 12, 30)

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


@lru_cache(maxsize=512)
def _new_year(number: int) -> int:
    """The instant at which a UTC year begins."""
    return (date(number, 1, 1).toordinal() - EPOCH_DAY) * DAY if number <= 9999 else LATEST + 1


def _year_of(at: int) -> int:
    """The UTC year of an instant."""
    number = min(max(1970 + at // 31_556_952_000, 1), 9999)
    if at < _new_year(number):
        return max(number - 1, 1)
    return number if number == 9999 or at < _new_year(number + 1) else number + 1


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


class Year:
    """A calendar's open intervals in one UTC year: when each opens and closes, and how much was open before and up to its end."""

    __slots__ = ("before", "closes", "opens", "total", "up_to")

    def __init__(self, intervals: Sequence[tuple[int, int]]) -> None:
        self.opens = [opens for opens, _ in intervals]
        self.closes = [closes for _, closes in intervals]
        self.up_to = list(accumulate(closes - opens for opens, closes in intervals))
        self.before = [0, *self.up_to[:-1]]
        self.total = self.up_to[-1] if self.up_to else 0

    def open_until(self, at: int) -> int:
        """Open time from the year's beginning to an instant in it."""
        index = bisect_right(self.opens, at) - 1
        return self.before[index] + min(at, self.closes[index]) - self.opens[index] if index >= 0 else 0


class Calendar:
    """When we are open."""

    __slots__ = ("_begins", "_last", "_open_days", "_totals", "_versions", "_years")

    def __init__(self, versions: Sequence[Version]) -> None:
        self._versions = sorted(versions, key=Version.begins)
        self._begins = [version.begins() for version in self._versions]
        self._years: dict[int, Year] = {}
        self._totals: dict[int, int] = {}
        self._open_days: dict[int, bool] = {}
        self._last = (0, 0, 0)

    def _version(self, at: int) -> int:
        return max(bisect_right(self._begins, at) - 1, 0)

    def _stretch(self, index: int) -> tuple[int, int]:
        """From when to when a version is in force; the first one also before it begins."""
        begin = -(1 << 62) if index == 0 else self._begins[index]
        return begin, self._begins[index + 1] if index + 1 < len(self._begins) else 1 << 62

    def _year(self, number: int) -> Year:
        """The open intervals of a UTC year, each version cut to its own stretch."""
        year = self._years.get(number)
        if year is None:
            first, end = _new_year(number), _new_year(number + 1)
            found = []
            for index, version in enumerate(self._versions):
                begin, until = self._stretch(index)
                begin, until = max(begin, first), min(until, end)
                if begin >= until:
                    continue
                for day in range((begin // DAY) + EPOCH_DAY - 1, (until - 1) // DAY + EPOCH_DAY + 2):
                    if FIRST_DAY.toordinal() <= day <= LAST_DAY.toordinal():
                        for opens, closes in version.intervals(date.fromordinal(day)):
                            if max(opens, begin) < min(closes, until):
                                found.append((max(opens, begin), min(closes, until)))
            if len(self._years) >= MOST_YEARS:
                self._years.clear()
            year = self._years[number] = Year(sorted(found))
        return year

    def _total(self, number: int) -> int:
        """How long a whole UTC year is open; in centuries that nobody lives in, by its weekdays alone."""
        total = self._totals.get(number)
        if total is None:
            if 1900 <= number <= 2200:
                total = self._year(number).total
            else:
                version = self._versions[self._version(_new_year(number))]
                first = date(number, 1, 1).toordinal()
                days = date(number, 12, 31).toordinal() - first + 1
                total = sum(
                    60_000 * sum(end - begin for begin, end in version.hours[(first + 6 + day) % 7]) * (days // 7 + (day < days % 7))
                    for day in range(7)
                )
            self._totals[number] = total
        return total

    def elapsed(self, start: int, end: int) -> int:
        """Business milliseconds in [start, end); 0 when end is not after start."""
        if end <= start:
            return 0
        if self._last[0] == start and self._last[1] == end:
            return self._last[2]
        first, last = _year_of(start), _year_of(end)
        if first == last:
            year = self._year(first)
            found = year.open_until(end) - year.open_until(start)
        else:
            found = self._year(first).total - self._year(first).open_until(start) + self._year(last).open_until(end)
            found += sum(map(self._total, range(first + 1, last)))
        self._last = (start, end, found)
        return found

    def due(self, start: int, business: int) -> int:
        """The last instant at which business time since `start` is still no more than `business`: when that is used up exactly
        at closing time, the next opening. Without any further opening, the end of time."""
        number = _year_of(start)
        year = self._year(number)
        target = year.open_until(start) + business
        for later in range(number, min(number + MOST_YEARS, 9999) + 1):
            year = self._year(later)
            if target < year.total:
                index = bisect_right(year.up_to, target)
                return max(year.opens[index] + target - year.before[index], start)
            target -= year.total
        return LATEST

    def add_days(self, start: int, days: int) -> int:
        """The same local time, `days` business days on. A business day is one with any opening hours."""
        index = self._version(start)
        zone = self._versions[index].zone
        local = (EPOCH + timedelta(milliseconds=min(max(start, -62135510400000), LATEST - 2 * DAY))).astimezone(zone)
        first = number = local.toordinal()
        left, limit = days, min(number + MOST_YEARS * 366 + 7 * days, LAST_DAY.toordinal())
        while left > 0:
            number += 1
            if number >= limit:
                return LATEST
            left -= self._is_business_day(number, index)
        moment = local.replace(tzinfo=None) + timedelta(days=number - first)
        return _local(moment, zone)

    def closed(self, start: int, end: int) -> list[tuple[int, int]]:
        """The intervals in [start, end) at which we are closed, in order."""
        found, reached = [], start
        for number in range(_year_of(start), _year_of(end) + 1):
            year = self._year(number)
            first = max(bisect_right(year.closes, start), 0)
            for opens, closes in zip(year.opens[first:], year.closes[first:], strict=True):
                if opens >= end:
                    break
                if opens > reached:
                    found.append((reached, opens))
                reached = max(reached, closes)
        if reached < end:
            found.append((reached, end))
        return found

    def _is_business_day(self, number: int, index: int) -> bool:
        found = self._open_days.get(number)
        if found is None:
            day = date.fromordinal(number)
            version = self._versions[index]
            if len(self._versions) > 1:
                version = self._versions[self._version(_instant(day, 12 * 60, version.zone))]
            found = self._open_days[number] = bool(version.hours[day.weekday()]) and not version.closed(day)
        return found


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
