"""The standards file: what the company publishes, as people write it.

A standard may be written more than once under the same name, or as a list, each time with `from:` (a date): the entries are
its time line. A calendar may be a list with `from:` likewise.
"""

from __future__ import annotations

import re
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, field_validator, model_validator

from tribo_schemas.config import BadConfig, Document, read_yaml, validate
from tribo_schemas.event import FACTS, Touchpoint
from tribo_schemas.finding import KINDS
from tribo_schemas.journey import Count

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DURATION = re.compile(r"(\d{1,9})(s|m|h|d|bd)", re.ASCII)
SPAN = re.compile(r"(\d\d):(\d\d)-(\d\d):(\d\d)", re.ASCII)
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

Clock = Literal["queue", "hold", "first_response", "next_response", "resolution", "total_resolution", "authority"]


def _duration(value: Any) -> Any:
    if not isinstance(value, str) or not DURATION.fullmatch(value):
        raise ValueError(f"{value!r} is no duration: write such as 90s, 10m, 4h, 2d or 5bd (business days)")
    if int(DURATION.fullmatch(value).group(1)) * SECONDS.get(value[-1], 1) > 3660 * 86_400:  # type: ignore[union-attr]
        raise ValueError(f"{value!r} is longer than ten years")
    return value


def _objective(value: Any) -> Any:
    try:
        share = float(value[:-1]) / 100 if isinstance(value, str) and value.endswith("%") else float(value)
    except (TypeError, ValueError):
        share = -1.0
    if not 0 <= share <= 1:
        raise ValueError(f"{value!r} is no share: write such as 99% or 0.99")
    return round(share, 9)


def _date(value: Any) -> Any:
    try:
        return value if isinstance(value, date) else date.fromisoformat(str(value))
    except ValueError:
        raise ValueError(f"{value!r} is no date: write such as 2026-03-02") from None


Duration = Annotated[str, BeforeValidator(_duration), WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,9}(s|m|h|d|bd)$"})]
Objective = Annotated[
    float, BeforeValidator(_objective),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "string", "pattern": "^[0-9]+([.][0-9]*)?%?$"}]}),
]  # fmt: skip
Day = Annotated[date, BeforeValidator(_date), WithJsonSchema({"type": "string", "format": "date"})]
Fact = Annotated[str, WithJsonSchema({"enum": list(FACTS)})]
Hours = Annotated[
    dict[str, list[str]],
    WithJsonSchema({
        "type": "object", "propertyNames": {"pattern": f"^({'|'.join(DAYS)})(-({'|'.join(DAYS)}))?$"},
        "additionalProperties": {"type": "array", "items": {"type": "string", "pattern": "^[0-2][0-9]:[0-5][0-9]-[0-2][0-9]:[0-5][0-9]$"}},
    }),
]  # fmt: skip
Points = Annotated[
    dict[str, int],
    WithJsonSchema({
        "type": "object", "additionalProperties": False,
        "properties": {kind: {"type": "integer", "minimum": 0, "maximum": 1000} for kind in KINDS},
    }),
]  # fmt: skip
Known = Annotated[str, Field(min_length=1, max_length=100)]
MOST_KNOWN = 100
"""How many teams, and how many topics, may be counted by name."""


class Strict(BaseModel):
    """Unknown fields are an error: a slip of the pen must not go unnoticed."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, frozen=True)


class CalendarEntry(Strict):
    """When we are open: an IANA zone, hours by days (`mon-fri: ["09:00-17:00"]`), holidays (dates)."""

    zone: str
    hours: Hours
    holidays: list[Day] = []
    since: Day | None = Field(None, alias="from")

    @field_validator("zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError(f"{value!r} is no IANA zone: write such as Europe/Berlin")
        return value

    @field_validator("hours")
    @classmethod
    def _hours(cls, value: dict[str, list[str]]) -> dict[str, list[str]]:
        week(value)
        return value

    def location(self) -> ZoneInfo:
        """The zone."""
        return ZoneInfo(self.zone)

    def week(self) -> list[tuple[tuple[int, int], ...]]:
        """Opening hours by weekday (Monday first), in minutes since midnight."""
        return week(self.hours)


def week(hours: dict[str, list[str]]) -> list[tuple[tuple[int, int], ...]]:
    """Opening hours by weekday (Monday first): intervals in minutes since midnight. Raises ValueError with a remedy."""
    found: list[list[tuple[int, int]]] = [[] for _ in DAYS]
    for days, spans in hours.items():
        first, _, last = days.partition("-")
        if first not in DAYS or (last and last not in DAYS) or (last and DAYS.index(last) < DAYS.index(first)):
            raise ValueError(f"{days!r} are no days: write such as mon, mon-fri or sat-sun")
        for text in spans:
            match = SPAN.fullmatch(text)
            if not match:
                raise ValueError(f"{text!r} are no hours: write such as 09:00-17:00")
            begin_hour, begin_minute, end_hour, end_minute = map(int, match.groups())
            begin, end = begin_hour * 60 + begin_minute, end_hour * 60 + end_minute
            if begin_minute > 59 or end_minute > 59 or not begin < end <= 1440:
                raise ValueError(f"{text!r}: the end must come after the start, and 24:00 is the latest")
            for index in range(DAYS.index(first), DAYS.index(last or first) + 1):
                found[index].append((begin, end))
    for spans_of_day in found:
        spans_of_day.sort()
        for (_, end), (begin, _) in pairwise(spans_of_day):
            if begin < end:
                raise ValueError("hours of the same day overlap: join them")
    return [tuple(spans_of_day) for spans_of_day in found]


class ImpliedPromise(Strict):
    """A promise made without a word: by one fact, kept by another, on items of a touchpoint."""

    touchpoint: Touchpoint | None = None
    made_by: Fact
    kept_by: Fact

    @field_validator("made_by", "kept_by")
    @classmethod
    def _fact(cls, value: str) -> str:
        if value not in FACTS:
            raise ValueError(f"{value!r} is no fact: write one of {', '.join(FACTS)}")
        return value


class StandardEntry(Strict):
    """One standard: its name, the sentence customers read, and exactly one of clock, promise, count and practice."""

    name: str = Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    says: str = Field(min_length=1, max_length=500)
    clock: Clock | None = None
    promise: str | ImpliedPromise | None = None
    count: Count | None = None
    practice: Literal["expectation", "alternative", "confirmation"] | None = None
    within: Duration | None = None
    at_most: int | None = Field(None, ge=0)
    objective: Objective = 1.0
    touchpoint: Touchpoint | None = None
    team: str | None = None
    topic: str | None = None
    channel: str | None = None
    calendar: str | None = None
    at_risk: Duration | None = None
    owner: str | None = None
    runbook: str | None = None
    since: Day | None = Field(None, alias="from")

    @model_validator(mode="after")
    def _one_measure(self) -> StandardEntry:
        measures = [name for name in ("clock", "promise", "count", "practice") if getattr(self, name) is not None]
        if len(measures) != 1:
            raise ValueError(f"write exactly one of clock, promise, count and practice, not {' and '.join(measures) or 'none'}")
        needs_within = self.clock is not None or isinstance(self.promise, ImpliedPromise)
        if needs_within != (self.within is not None):
            raise ValueError("add `within`, such as within: 4h" if needs_within else "`within` belongs to a clock or an implied promise")
        if (self.count is not None) != (self.at_most is not None):
            raise ValueError("add `at_most`, such as at_most: 1" if self.count else "`at_most` belongs to a count")
        implied = self.promise.touchpoint if isinstance(self.promise, ImpliedPromise) else None
        if implied is not None and self.touchpoint not in (None, implied):
            raise ValueError(f"`touchpoint` is {self.touchpoint}, its promise's is {implied}: write it once")
        if self.at_risk is not None and (self.promise is None or self.at_risk.endswith("bd")):
            raise ValueError("`at_risk` belongs to a promise, and is a plain time before the due, such as 4h")
        return self


class StandardsFile(Strict):
    """The whole file."""

    calendar: str | None = None
    calendars: dict[str, CalendarEntry | list[CalendarEntry]] = {}
    standards: list[StandardEntry] = []
    points: Points = {}
    teams: list[Known] = Field([], max_length=MOST_KNOWN)
    topics: list[Known] = Field([], max_length=MOST_KNOWN)

    @field_validator("points")
    @classmethod
    def _points(cls, value: dict[str, int]) -> dict[str, int]:
        for kind, points in value.items():
            if kind not in KINDS:
                raise ValueError(f"{kind!r} is no kind of finding: write one of {', '.join(KINDS)}")
            if not 0 <= points <= 1000:
                raise ValueError(f"{kind}: write a whole number from 0 to 1000")
        return value


def load_standards(path: Path | str) -> StandardsFile:
    """Read a standards file. Raises BadConfig, a line for each thing that is wrong."""
    return standards_of(read_yaml(path))


def standards_of(document: Document) -> StandardsFile:
    """The standards of a document, lists of entries laid out flat."""
    root = document.root
    entries = root.get("standards") if isinstance(root, dict) else None
    if isinstance(entries, list):
        flat: list[Any] = []
        for entry in entries:
            if isinstance(entry, list):
                named = entry[0] if entry and isinstance(entry[0], dict) else {}
                for version in entry:
                    if isinstance(version, dict):
                        for key in ("name", "says"):
                            if key not in version and key in named:
                                version[key] = named[key]
                    flat.append(version)
            else:
                flat.append(entry)
        if len(flat) != len(entries):
            root["standards"] = flat
    file = validate(StandardsFile, document)
    seen: dict[str, set[date | None]] = {}
    if file.calendar is not None and file.calendar not in file.calendars:
        raise document.wrong(("calendar",), f"{file.calendar!r} isn't among the calendars: {', '.join(file.calendars) or 'add it there'}")
    for index, entry in enumerate(file.standards):
        if entry.calendar is not None and entry.calendar not in file.calendars:
            known = ", ".join(file.calendars) or "none yet"
            raise document.wrong(("standards", index, "calendar"), f"{entry.calendar!r} isn't among the calendars ({known}): add it there")
        if entry.name in seen and entry.since is None:
            text = f"{entry.name!r} stands twice: add `from:` with the date from which this one holds"
            raise document.wrong(("standards", index, "name"), text)
        if entry.since in seen.get(entry.name, ()):
            raise document.wrong(("standards", index, "from"), f"{entry.name!r} has two entries from {entry.since}: give each its own date")
        seen.setdefault(entry.name, set()).add(entry.since)
    for name, calendar in file.calendars.items():
        if isinstance(calendar, list) and (not calendar or any(version.since is None for version in calendar[1:])):
            raise document.wrong(("calendars", name), "each version but the first needs `from:`, a date")
    return file


__all__ = ["BadConfig", "CalendarEntry", "ImpliedPromise", "StandardEntry", "StandardsFile", "load_standards", "standards_of", "week"]
