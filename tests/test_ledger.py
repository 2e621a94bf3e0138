"""The ledger: whatever the order, the batches and the repetitions, what stands is what one fold of all events finds."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tribo.ledger import ledger as module
from tribo.ledger.ledger import Ledger, Reader
from tribo.ledger.sqlite import is_full
from tribo.measure.advance import Frontier
from tribo.measure.standards import compile_standards
from tribo.run.measure import measure_events
from tribo_schemas.config import BadConfig
from tribo_schemas.event import BadEvent, Event, event_of, stamp

MINUTE, DAY = 60_000, 86_400_000
BEGIN = 1_772_000_000_000
STANDARDS = compile_standards(None)
FACTS = (
    "opened", "assigned", "assigned", "promised", "kept", "informed", "answered", "customer_replied", "put_on_hold", "resumed",
    "resolved", "reopened", "closed", "queued", "complained", "repeated", "asked_if_fixed", "released", "praised",
)  # fmt: skip


def story(seed: int, customers: int = 8, length: int = 14) -> list[Event]:
    """Events of some customers: items that learn their customer late, links, retractions, conflicts in who owns what."""
    draw = random.Random(seed)
    events: list[Event] = []
    for customer in range(customers):
        time = BEGIN + draw.randrange(20 * DAY)
        items = [f"case:{customer}-{number}" for number in range(draw.randint(1, 3))]
        for number in range(length):
            time += draw.choice((0, MINUTE, 60 * MINUTE, 8 * 60 * MINUTE, DAY, 9 * DAY))
            fact = draw.choice(FACTS)
            row: dict[str, object] = {
                "id": f"{customer}-{number}", "source": draw.choice(("crm", "shop")), "time": stamp(time), "fact": fact,
                "touchpoint": draw.choice(("service", "returns", "purchase")), "item": draw.choice(items),
                "team": draw.choice(("a", "b", None)), "owner": draw.choice(("x", "y", None)),
            }  # fmt: skip
            if draw.random() < 0.6:
                row["customer"] = f"customer-{customer if draw.random() < 0.97 else 0}"
            if draw.random() < 0.1:
                row["about"] = [draw.choice(items)]
            if fact in ("promised", "kept", "informed", "released"):
                row["promise"] = draw.choice(("p", "q"))
            if fact in ("promised", "informed"):
                row["due"] = stamp(time + draw.choice((60 * MINUTE, DAY, 3 * DAY)))
            if draw.random() < 0.05 and events:
                row |= {"fact": "retracted", "source": events[-1].source, "retracts": events[-1].id}
            elif draw.random() < 0.03:
                row |= {"fact": draw.choice(("linked", "unlinked")), "customer": f"customer-{draw.randrange(customers)}"}
            try:
                events.append(event_of({key: value for key, value in row.items() if value is not None}))
            except BadEvent:
                continue
    return events


def table(ledger: Ledger) -> tuple[dict[str, object], dict[str, object], dict[str, int]]:
    with Reader(ledger.path) as reader:
        rows = {row.journey: row.row() for row in reader.all_journeys()}
        findings = {finding.id: finding.row() for finding in reader.standing()}
        return rows, findings, reader.tallies()


def expected(events: list[Event], now: int) -> tuple[dict[str, object], dict[str, object], dict[str, int]]:
    rows, findings, tally = measure_events(events, STANDARDS, now)
    return (
        {row.journey: row.row() for row in rows},
        {finding.id: finding.row() for finding in findings},
        {key: number for key, number in tally.items() if number},
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger.open(tmp_path)
    yield opened
    opened.close()


@pytest.mark.parametrize("seed", range(40))
def test_any_order_and_batches_give_what_one_fold_gives(seed: int, tmp_path: Path) -> None:
    events = story(seed)
    end = max(event.time for event in events) + 30 * DAY
    draw = random.Random(seed)
    size = (1, 7, 1000)[seed % 3]
    arriving = events + draw.sample(events, len(events) // 2)
    if seed % 2:
        draw.shuffle(arriving)
    ledger = Ledger.open(tmp_path)
    seen: set[str] = set()
    for begin in range(0, len(arriving), size):
        batch = arriving[begin : begin + size]
        now = end if seed % 2 else max(event.time for event in events[: begin + size])
        outcomes = ledger.apply(batch, Frontier(now, complete=True), STANDARDS)
        seen.update(outcomes)
        if begin // size % 11 == 5:
            while ledger.tick(Frontier(now, complete=True), STANDARDS, most=3):
                pass
            ledger.close()
            ledger = Ledger.open(tmp_path)
    while ledger.tick(Frontier(end, complete=True), STANDARDS, most=5):
        pass
    got, want = table(ledger), expected(events, end)
    ledger.close()
    assert got[0] == want[0]
    assert got[1] == want[1]
    assert got[2] == want[2]
    assert "duplicate" in seen
