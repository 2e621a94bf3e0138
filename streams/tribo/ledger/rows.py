"""Rows of the ledger's tables: what a finding, a journey and a promise are written as, and how findings change hands."""

from __future__ import annotations

from functools import lru_cache
from operator import attrgetter
from typing import Any

from tribo.ledger.database import Database
from tribo.ledger.tables import PROMISE_BITS, TOUCHPOINT_BITS
from tribo.measure.history import Item, Promise
from tribo_schemas.journey import JourneyRow

FOUND_AGAIN = (
    "DO UPDATE SET partition = excluded.partition, changed = excluded.changed, revision = findings.revision + 1, status = 0, "
    "found_at = excluded.found_at, historical = excluded.historical, kind = excluded.kind, at = excluded.at, "
    "touchpoint = excluded.touchpoint, team = excluded.team, standard = excluded.standard, topic = excluded.topic, "
    "from_team = excluded.from_team, level = excluded.level, promise = excluded.promise, "
    "channel = excluded.channel, item = excluded.item, journey = excluded.journey, points = excluded.points, body = excluded.body "
    "WHERE findings.status <> 0 OR findings.body <> excluded.body"
)
"""A finding that stands as it was keeps its revision."""


def move_findings(db: Database, gone: int, into: int) -> None:
    """Findings and their revisions go with their events; of two of one id, the one with the higher revision stays."""
    both = "(SELECT id FROM findings o WHERE o.history = ? AND o.revision {} findings.revision)"
    db.run(f"DELETE FROM findings WHERE history = ? AND id IN {both.format('>=')}", (gone, into))
    db.run(f"DELETE FROM findings WHERE history = ? AND id IN {both.format('<')}", (into, gone))
    db.run(
        "DELETE FROM revisions WHERE history = ? AND id IN "
        "(SELECT id FROM revisions o WHERE o.history = ? AND o.revision = revisions.revision)",
        (gone, into),
    )
    for table in ("findings", "revisions"):
        db.run(f"UPDATE {table} SET history = ? WHERE history = ?", (into, gone))


def promise_bits(row: JourneyRow) -> int:
    """A bit for each state that some promise of the journey is in."""
    if not row.promises.made:
        return 0
    return _some_promise_bits(_promise_counts(row.promises))


_promise_counts = attrgetter(*PROMISE_BITS)


@lru_cache(4096)
def _some_promise_bits(counts: tuple[int, ...]) -> int:
    return sum(bit for bit, count in zip(PROMISE_BITS.values(), counts, strict=True) if count)


def pledge_row(history: int, item: Item, promise: Promise, customer: str | None, synthetic: bool) -> tuple[Any, ...]:
    """A promise's row in `promises`."""
    is_open = promise.state == "open"
    return (
        history, item.id, promise.id, item.journey, item.touchpoint, item.team if promise.team is None else promise.team,
        item.owner if is_open else None, customer, "unknown" if promise.unknown else promise.state,
        int(is_open and (promise.at_risk or promise.unknown)), int(promise.told), promise.moved, promise.moved_late, promise.asked,
        promise.first_due, promise.due, int(synthetic),
    )  # fmt: skip


@lru_cache(64)
def touchpoint_bits(touchpoints: tuple[str, ...]) -> int:
    """A bit for each touchpoint of a journey."""
    return sum(TOUCHPOINT_BITS[touchpoint] for touchpoint in touchpoints)
