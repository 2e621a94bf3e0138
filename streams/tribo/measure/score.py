"""What a journey adds up to now: its row, and its part in the counters that say how things stand."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from tribo.measure.fold import REPEAT_WITHIN, Fold, applies, in_force, known
from tribo.measure.history import Item, Journey
from tribo.measure.journeys import DAY
from tribo.measure.promises import BROKEN, KEPT, KEPT_AS_MOVED, KEPT_LATE, OPEN, speaks_of
from tribo.measure.standards import Standards
from tribo_schemas.journey import PROMISE_STATES, JourneyRow

ENDED_AFTER = 14 * DAY
STALE_AFTER = 90 * DAY
BANDS = ((0, "0"), (4, "1-4"), (9, "5-9"), (19, "10-19"))
COUNTS = (
    "handoffs", "team_handoffs", "ping_pongs", "channel_switches", "repeat_contacts", "repeated", "holds", "reopened", "abandoned",
    "escalated", "offered", "complaints", "praises", "surprises",
)  # fmt: skip
counts_of = attrgetter(*COUNTS)


def band(friction: int) -> str:
    """The band of friction that a journey's points fall into."""
    for most, name in BANDS:
        if friction <= most:
            return name
    return "20+"


def view(fold: Fold, journey: Journey) -> tuple[JourneyRow, dict[str, int], int | None]:
    """The journey's row, its gauges by tally key, and when time alone will next change the row (None: never)."""
    now = fold.frontier.now
    items = [fold.items[name] for name in journey.items]
    promises = dict.fromkeys(("made", *PROMISE_STATES, "moved", "moved_late", "early"), 0)
    waits: dict[str, tuple[int, int, int, int]] = {}
    waiting: set[str] = set()
    gauges: dict[str, int] = {}
    totals = dict.fromkeys(COUNTS, 0)
    steps, all_done, any_open = 0, True, False
    last_service_done, service, first_contact = 0, False, True
    for item in items:
        for name, count in zip(COUNTS, counts_of(item), strict=True):
            if count:
                totals[name] += count
        steps = max(steps, item.steps)
        all_done = all_done and item.done
        for clock in item.clocks:
            waiting.add(clock)
            _add(gauges, f"waiting|{clock}|{item.touchpoint}")
            if clock == "queue":
                _add(gauges, f"queueing|{known(item.team, fold.standards.teams)}")
        for clock, (count, customer, business, longest) in item.waits.items():
            before = waits.get(clock, (0, 0, 0, 0))
            waits[clock] = (before[0] + count, before[1] + customer, before[2] + business, max(before[3], longest))
        for promise in item.promises.values():
            state = "unknown" if promise.unknown else promise.state
            any_open = any_open or promise.state == OPEN
            promises["made"] += 1
            promises[state] += 1
            promises["moved"] += promise.moved
            promises["moved_late"] += promise.moved_late
            promises["early"] += promise.early
            _add(gauges, f"promise|{state}|{item.touchpoint}")
            if promise.at_risk:
                told = "told" if promise.told else "untold"
                _add(gauges, f"at_risk|{item.touchpoint}|{known(item.team, fold.standards.teams)}|{told}")
        if item.touchpoint == "service":
            service = True
            last_service_done = max(last_service_done, item.done_at if item.done else now)
            first_contact = (
                first_contact and item.first_resolved and not (item.handoffs or item.reopened or item.repeat_contacts)
            )
        _standards(fold, item, gauges)
    settled = last_service_done + REPEAT_WITHIN
    ended_at = journey.last_event_at if all_done and not any_open and now - journey.last_event_at >= ENDED_AFTER else None
    status = "ended" if ended_at is not None else "stale" if now - journey.last_event_at >= STALE_AFTER else "open"
    if status == "open":
        _add(gauges, f"journey|{band(journey.friction)}")
    if journey.synthetic:
        gauges = {}
    next_change = [
        at
        for at, matters in (
            (settled, service), (journey.last_event_at + ENDED_AFTER, all_done), (journey.last_event_at + STALE_AFTER, True)
        )
        if matters and at >= now
    ]  # fmt: skip
    row = JourneyRow(
        journey=journey.id,
        customer=journey.customer,
        status=status,
        opened_at=min(item.started_at for item in items),
        ended_at=ended_at,
        last_event_at=journey.last_event_at,
        items=tuple(sorted(journey.items)),
        touchpoints=tuple(sorted({item.touchpoint for item in items})),
        events=journey.events,
        steps=steps,
        rating=journey.rating_sum / journey.ratings if journey.ratings else None,
        recovered=journey.recovered,
        repeat_purchase=journey.repeat_purchase,
        first_contact_resolved=first_contact if service and now > settled else None,
        promises=promises,
        waits=waits,
        waiting=tuple(sorted(waiting)),
        friction=journey.friction,
        delight=journey.delight,
        synthetic=journey.synthetic,
        **totals,
    )
    return row, gauges, min(next_change, default=None)


def _add(gauges: dict[str, int], key: str) -> None:
    gauges[key] = gauges.get(key, 0) + 1


def _standards(fold: Fold, item: Item, gauges: dict[str, int]) -> None:
    """How each standard stands with this item, where that follows from the item's state."""
    standards = in_force(fold.standards, item.started_at)
    for clock in item.clocks:
        for entry in standards.clocks.get(clock, ()):
            if applies(entry, item, item.team) and f"{clock}|{entry.name}|{item.clocks[clock][1]}" not in item.missed:
                _add(gauges, f"standard|{entry.name}|running")
    for entry in standards.counts:
        if applies(entry, item, item.team):
            outcome = "running" if not item.done else "met" if getattr(item, entry.count or "") <= (entry.at_most or 0) else "missed"
            _add(gauges, f"standard|{entry.name}|{outcome}")
    for entry in standards.practices.get("expectation", ()):
        if item.expectation != "not judged" and item.touchpoint in ("purchase", "returns", "service") and applies(entry, item, item.team):
            _add(gauges, f"standard|{entry.name}|{item.expectation or 'running'}")
    for entry in standards.practices.get("alternative", ()):
        if item.problem_event is not None and applies(entry, item, item.team):
            outcome = "met" if item.offered else "missed" if item.done else "running"
            _add(gauges, f"standard|{entry.name}|{outcome}")
    if item.resolution is not None and not item.resolution.asked:
        for entry in standards.practices.get("confirmation", ()):
            if applies(entry, item, item.team):
                _add(gauges, f"standard|{entry.name}|running")
    for promise in item.promises.values():
        for entry in in_force(fold.standards, promise.asked).promises:
            if speaks_of(entry, promise) and applies(entry, item, promise.team if promise.team is not None else item.team):
                if promise.state == KEPT:
                    _add(gauges, f"standard|{entry.name}|met")
                elif promise.state in (BROKEN, KEPT_LATE, KEPT_AS_MOVED):
                    _add(gauges, f"standard|{entry.name}|missed")
                    if promise.state == KEPT_AS_MOVED:
                        _add(gauges, f"standard|{entry.name}|as_told")
                elif promise.state == OPEN and not promise.unknown:
                    _add(gauges, f"standard|{entry.name}|running")


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
