"""What a journey adds up to now: its row, and its part in the counters that say how things stand."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from tribo.measure.history import Journey
from tribo.measure.journeys import DAY
from tribo.measure.standards import Standards
from tribo_schemas.journey import COUNTS, JourneyRow

REPEAT_WITHIN = 7 * DAY
ENDED_AFTER = 14 * DAY
STALE_AFTER = 90 * DAY
BANDS = ((0, "0"), (4, "1-4"), (9, "5-9"), (19, "10-19"))
NOTHING: dict[str, int] = dict.fromkeys(COUNTS, 0)


def band(friction: int) -> str:
    """The band of friction that a journey's points fall into."""
    for most, name in BANDS:
        if friction <= most:
            return name
    return "20+"


def row_of(journey: Journey, now: int) -> tuple[JourneyRow, int | None]:
    """A journey's row at `now`, and when time alone will next change it (None: never)."""
    last, promises = journey.last_event_at, journey.promises
    ends, stale = last + ENDED_AFTER, last + STALE_AFTER
    all_done = journey.undone == 0
    ended_at = last if all_done and now >= ends and not (promises.open or promises.unknown) else None
    status = "ended" if ended_at is not None else "stale" if now >= stale else "open"
    settled = None  # when it is clear whether service resolved it at first contact
    if journey.service:
        settled = (now if journey.service_undone else journey.service_done_at) + REPEAT_WITHIN
    first_contact = None
    if settled is not None and now > settled:
        first_contact = journey.service_resolved == journey.service and not journey.service_troubles
    row = JourneyRow(
        journey=journey.id, customer=journey.customer, status=status, opened_at=journey.opened_at, ended_at=ended_at, last_event_at=last,
        items=tuple(sorted(journey.items)), touchpoints=journey.touchpoints, events=journey.events,
        rating=journey.rating_sum / journey.ratings if journey.ratings else None, recovered=journey.recovered,
        repeat_purchase=journey.repeat_purchase, first_contact_resolved=first_contact,
        promises=replace(promises), waits=journey.waits.copy(), waiting=tuple(sorted(journey.waiting)),
        friction=journey.friction, delight=journey.delight, synthetic=journey.synthetic,
        **(NOTHING | journey.counts),
    )  # fmt: skip
    next_change = stale if stale >= now else None
    if settled is not None and now <= settled and (next_change is None or settled < next_change):
        next_change = settled
    if all_done and now <= ends and (next_change is None or ends < next_change):
        next_change = ends
    return row, next_change


def scoreboard(standards: Standards, tally: dict[str, int]) -> list[dict[str, Any]]:
    """A row per standard, by name: expected, actual and the gap between them."""
    board = []
    for name in sorted(standards.names):
        entry = standards.published(name)
        met, missed, running, told = (tally.get(f"standard|{name}|{what}", 0) for what in ("met", "missed", "running", "as_told"))
        actual = round(met / (met + missed), 6) if met + missed else None
        row: dict[str, Any] = {
            "name": name,
            "says": entry.says,
            "expected": round(entry.objective, 6),
            "actual": actual,
            "gap": None if actual is None else round(entry.objective - met / (met + missed), 6),
            "met": met,
            "missed": missed,
            "running": running,
        }
        if entry.kind in ("promise", "implied"):
            row["actual_as_told"] = None if actual is None else round((met + told) / (met + missed), 6)
        board.append(row)
    return board
