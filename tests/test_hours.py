"""Business time against a slow and obviously right program: walk through the minutes, and count the open ones."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tribo.measure.hours import ALWAYS, DAY, LATEST, Calendar, Version

MINUTE = 60_000
HOUR = 60 * MINUTE
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# A zone, and the local dates of two changes: Lord Howe moves by half an hour, Santiago at midnight, Kolkata never.
NIGHTS = [
    ("Europe/Berlin", date(2026, 3, 29), date(2026, 10, 25)),
    ("America/New_York", date(2026, 3, 8), date(2026, 11, 1)),
    ("Australia/Lord_Howe", date(2026, 10, 4), date(2026, 4, 5)),
    ("America/Santiago", date(2026, 9, 6), date(2026, 4, 4)),
    ("Asia/Kolkata", date(2026, 3, 29), date(2026, 10, 25)),
]
Week = list[tuple[tuple[int, int], ...]]


def ms(text: str) -> int:
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(milliseconds=1)


def office(zone: str = "Europe/Berlin", holidays: tuple[date, ...] = (), since: date | None = None) -> Version:
    hours: Week = [((540, 720), (780, 1050))] * 5 + [((600, 840),), ()]
    return Version(ZoneInfo(zone), hours, frozenset(holidays).__contains__, since)


class Walk:
    """The oracle: local wall time of each minute of a few days; an interval runs from the first minute at or after its beginning
    to the first at or after its end."""

    def __init__(self, zone: str, middle: date, hours: Week, holidays: frozenset[date]) -> None:
        begin = datetime(middle.year, middle.month, middle.day, tzinfo=UTC) - timedelta(days=5)
        self.begin = (begin - EPOCH) // timedelta(milliseconds=1)
        place = ZoneInfo(zone)
        walls = [(begin + timedelta(minutes=n)).astimezone(place).replace(tzinfo=None) for n in range(10 * 1440)]
        self.open = [False] * len(walls)
        for offset in range(-6, 7):
            day = middle + timedelta(days=offset)
            if day in holidays:
                continue
            midnight = datetime(day.year, day.month, day.day)
            for opens, closes in hours[day.weekday()]:
                first = next((n for n, wall in enumerate(walls) if wall >= midnight + timedelta(minutes=opens)), len(walls))
                last = next((n for n, wall in enumerate(walls) if wall >= midnight + timedelta(minutes=closes)), len(walls))
                for n in range(first, last):
                    self.open[n] = True

    def elapsed(self, start: int, end: int) -> int:
        return sum(self.open[start:end]) * MINUTE

    def due(self, start: int, business: int) -> int | None:
        """The last minute at which no more than `business` has passed: the one that begins the first open minute beyond it."""
        left = business
        for n in range(start, len(self.open)):
            if self.open[n]:
                if not left:
                    return n
                left -= MINUTE
        return None


@st.composite
def weeks(draw: st.DrawFn) -> Week:
    found: Week = []
    for _ in range(7):
        edges = sorted(draw(st.sets(st.integers(0, 48).map(lambda half: half * 30), max_size=4)))
        found.append(tuple(zip(edges[::2], edges[1::2], strict=False)))
    return found


@settings(max_examples=50, deadline=None)
@given(
    night=st.sampled_from([(zone, day) for zone, *days in NIGHTS for day in days]),
    hours=weeks(),
    closed=st.sets(st.integers(-2, 2), max_size=2),
    points=st.lists(st.tuples(st.integers(2 * 1440, 8 * 1440), st.integers(2 * 1440, 8 * 1440)), min_size=1, max_size=10),
    business=st.integers(0, 2000),
)
def test_agrees_with_walking_through_the_minutes(
    night: tuple[str, date], hours: Week, closed: set[int], points: list[tuple[int, int]], business: int
) -> None:
    zone, middle = night
    holidays = frozenset(middle + timedelta(days=offset) for offset in closed)
    walk = Walk(zone, middle, hours, holidays)
    calendar = Calendar([Version(ZoneInfo(zone), hours, holidays.__contains__)])
    for start, end in points:
        assert calendar.elapsed(walk.begin + start * MINUTE, walk.begin + end * MINUTE) == (walk.elapsed(start, end) if end > start else 0)
        due = walk.due(start, business * MINUTE)
        if due is not None and due < 8 * 1440:  # the walk ends; the calendar doesn't
            assert calendar.due(walk.begin + start * MINUTE, business * MINUTE) == walk.begin + due * MINUTE


@settings(max_examples=200, deadline=None)
@given(start=st.integers(0, 40 * 365 * DAY), business=st.integers(0, 90 * HOUR), later=st.integers(0, 10 * DAY))
def test_due_is_the_last_instant_in_time(start: int, business: int, later: int) -> None:
    calendar = Calendar([office(holidays=(date(1990, 1, 1),))])
    due = calendar.due(start, business)
    assert calendar.elapsed(start, due) == business
    assert calendar.elapsed(start, due + 1) == business + 1
    middle = start + later
    assert calendar.elapsed(start, middle) + calendar.elapsed(middle, middle + later) == calendar.elapsed(start, middle + later)


@pytest.mark.parametrize(
    ("zone", "night", "hours"),
    [
        ("Europe/Berlin", "2026-03-29", 23),
        ("Europe/Berlin", "2026-10-25", 25),
        ("America/New_York", "2026-03-08", 23),
        ("America/New_York", "2026-11-01", 25),
        ("Australia/Lord_Howe", "2026-10-04", 23.5),
        ("Australia/Lord_Howe", "2026-04-05", 24.5),
        ("America/Santiago", "2026-09-06", 23),
        ("America/Santiago", "2026-04-04", 25),
        ("Asia/Kolkata", "2026-03-29", 24),
    ],
)
def test_a_day_is_as_long_as_it_is(zone: str, night: str, hours: float) -> None:
    day = date.fromisoformat(night)
    calendar = Calendar([Version(ZoneInfo(zone), [((0, 1440),)] * 7, lambda other: other != day)])
    middle = ms(f"{night}T12:00:00Z")
    assert calendar.elapsed(middle - 3 * DAY, middle + 3 * DAY) == hours * HOUR


def test_split_shifts_a_holiday_and_a_weekend() -> None:
    calendar = Calendar([office(holidays=(date(2026, 5, 1),))])
    # Thursday 11:30 to Monday 10:00: half an hour, the afternoon, Saturday, an hour
    assert calendar.elapsed(ms("2026-04-30T11:30:00+02:00"), ms("2026-05-04T10:00:00+02:00")) == (0.5 + 4.5 + 4 + 1) * HOUR
    assert calendar.elapsed(ms("2026-05-01T00:00:00+02:00"), ms("2026-05-02T00:00:00+02:00")) == 0
    assert calendar.elapsed(ms("2026-05-04T10:00:00+02:00"), ms("2026-05-04T09:00:00+02:00")) == 0


def test_used_up_at_closing_time_is_due_at_the_next_opening() -> None:
    calendar = Calendar([office()])
    start = ms("2026-03-06T14:30:00+01:00")  # a Friday, three hours before closing
    assert calendar.due(start, 3 * HOUR) == ms("2026-03-07T10:00:00+01:00")
    assert calendar.due(start, 3 * HOUR - 1) == ms("2026-03-06T17:30:00+01:00") - 1
    assert calendar.due(start, 7 * HOUR) == ms("2026-03-09T09:00:00+01:00")


def test_each_version_applies_to_its_own_stretch() -> None:
    short: Week = [((540, 600),)] * 7
    calendar = Calendar([office(), Version(ZoneInfo("Europe/Berlin"), short, lambda day: False, date(2026, 3, 4))])
    start, end = ms("2026-03-03T00:00:00+01:00"), ms("2026-03-05T00:00:00+01:00")
    assert calendar.elapsed(start, end) == (7.5 + 1) * HOUR
    assert calendar.elapsed(start, ms("2026-03-04T00:00:00+01:00")) == 7.5 * HOUR
    assert calendar.due(start, 8 * HOUR) == ms("2026-03-04T09:30:00+01:00")


@pytest.mark.parametrize(
    ("start", "days", "end"),
    [
        ("2026-03-02T10:00:00+01:00", 5, "2026-03-07T10:00:00+01:00"),  # Saturday is open
        ("2026-03-02T10:00:00+01:00", 6, "2026-03-09T10:00:00+01:00"),
        ("2026-03-08T10:00:00+01:00", 1, "2026-03-09T10:00:00+01:00"),  # from a Sunday
        ("2026-03-02T23:00:00+01:00", 1, "2026-03-03T23:00:00+01:00"),  # outside the hours
        ("2026-03-27T10:00:00+01:00", 2, "2026-03-30T10:00:00+02:00"),  # over the change
        ("2026-03-02T10:00:00+01:00", 0, "2026-03-02T10:00:00+01:00"),
    ],
)
def test_business_days(start: str, days: int, end: str) -> None:
    assert Calendar([office()]).add_days(ms(start), days) == ms(end)


def test_business_days_into_the_gap_and_the_fold() -> None:
    calendar = Calendar([Version(ZoneInfo("Europe/Berlin"), [((0, 1440),)] * 7, lambda day: False)])
    assert calendar.add_days(ms("2026-03-28T02:30:00+01:00"), 1) == ms("2026-03-29T03:00:00+02:00")
    assert calendar.add_days(ms("2026-10-24T02:30:00+02:00"), 1) == ms("2026-10-25T02:30:00+02:00")


def test_holidays_are_no_business_days() -> None:
    calendar = Calendar([office(holidays=(date(2026, 4, 3), date(2026, 4, 6)))])
    assert calendar.add_days(ms("2026-04-02T10:00:00+02:00"), 2) == ms("2026-04-07T10:00:00+02:00")


def test_the_end_of_time_is_reached_and_not_passed() -> None:
    never = Calendar([Version(ZoneInfo("UTC"), [()] * 7, lambda day: False)])
    assert never.due(ms("2026-03-02T00:00:00Z"), 1) == LATEST
    assert never.add_days(ms("2026-03-02T00:00:00Z"), 1) == LATEST
    assert never.elapsed(ms("2026-03-02T00:00:00Z"), ms("2036-03-02T00:00:00Z")) == 0
    for calendar in (Calendar([office()]), never, ALWAYS):
        for start in (ms("0001-01-01T00:00:00Z"), ms("9999-12-31T12:00:00Z")):
            assert calendar.due(start, 10**9 * 1000) <= LATEST
            assert calendar.add_days(start, 3000) <= LATEST
            assert 0 <= calendar.elapsed(start, LATEST) <= LATEST - start


def test_always_is_always_open() -> None:
    assert ALWAYS.elapsed(5, 12) == 7
    assert ALWAYS.elapsed(12, 5) == 0
    assert ALWAYS.due(5, 7) == 12
    assert ALWAYS.add_days(5, 2) == 5 + 2 * DAY
