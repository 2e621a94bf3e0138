"""What a journey adds up to now: its row, and its part in the counters that say how things stand."""

from __future__ import annotations

from typing import Any

from tribo.measure.history import Item, Journey
from tribo.measure.journeys import DAY
from tribo.measure.standards import Standards
from tribo.measure.standing import OPEN
from tribo_schemas.journey import PROMISE_STATES, JourneyRow

REPEAT_WITHIN = 7 * DAY
ENDED_AFTER = 14 * DAY
STALE_AFTER = 90 * DAY
BANDS = ((0, "0"), (4, "1-4"), (9, "5-9"), (19, "10-19"))
NO_PROMISES = dict.fromkeys(("made", *PROMISE_STATES, "moved", "moved_late", "early"), 0)


def band(friction: int) -> str:
    """The band of friction that a journey's points fall into."""
    for most, name in BANDS:
        if friction <= most:
            return name
    return "20+"


def row_of(journey: Journey, items: list[Item], now: int) -> tuple[JourneyRow, int | None]:
    """A journey's row at `now`, and when time alone will next change it (None: never)."""
    promises = NO_PROMISES.copy()
    waits: dict[str, tuple[int, int, int, int]] = {}
    waiting: set[str] = set()
    steps, all_done, any_open, first_contact = 0, True, False, True
    service_done: int | None = None  # when the last service item was done; now, while one isn't
    for item in items:
        steps = max(steps, item.steps)
        all_done = all_done and item.done
        if item.clocks:
            waiting.update(item.clocks)
        for clock, wait in item.waits.items():
            before = waits.get(clock)
            waits[clock] = wait if before is None else (
                before[0] + wait[0], before[1] + wait[1], before[2] + wait[2], max(before[3], wait[3])
            )  # fmt: skip
        for promise in item.promises.values():
            any_open = any_open or promise.state == OPEN
            promises["made"] += 1
            promises["unknown" if promise.unknown else promise.state] += 1
            promises["moved"] += promise.moved
            promises["moved_late"] += promise.moved_late
            promises["early"] += promise.early
        if item.touchpoint == "service":
            done = item.done_at if item.done else now
            service_done = done if service_done is None else max(service_done, done)
            first_contact = first_contact and item.first_resolved and not (item.handoffs or item.reopened or item.repeat_contacts)
    last = journey.last_event_at
    settled = None if service_done is None else service_done + REPEAT_WITHIN
    ends = last + ENDED_AFTER
    ended_at = last if all_done and not any_open and now >= ends else None
    status = "ended" if ended_at is not None else "stale" if now - last >= STALE_AFTER else "open"
    row = JourneyRow(
        journey=journey.id, customer=journey.customer, status=status, opened_at=min([item.started_at for item in items]),
        ended_at=ended_at, last_event_at=last, items=tuple(sorted(journey.items)),
        touchpoints=tuple(sorted({item.touchpoint for item in items})), events=journey.events, handoffs=journey.handoffs,
        team_handoffs=journey.team_handoffs, ping_pongs=journey.ping_pongs, channel_switches=journey.channel_switches, steps=steps,
        repeat_contacts=journey.repeat_contacts, repeated=journey.repeated, holds=journey.holds, reopened=journey.reopened,
        abandoned=journey.abandoned, escalated=journey.escalated, offered=journey.offered, complaints=journey.complaints,
        praises=journey.praises, surprises=journey.surprises, rating=journey.rating_sum / journey.ratings if journey.ratings else None,
        recovered=journey.recovered, repeat_purchase=journey.repeat_purchase,
        first_contact_resolved=first_contact if settled is not None and now > settled else None, promises=promises, waits=waits,
        waiting=tuple(sorted(waiting)), friction=journey.friction, delight=journey.delight, synthetic=journey.synthetic,
    )  # fmt: skip
    next_change = last + STALE_AFTER if last + STALE_AFTER >= now else None
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
