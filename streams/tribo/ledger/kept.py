"""What a ledger keeps of what came: raw records, and events by their source and id. For mapping records anew.

These read through a connection that is given to them, so that a rehearsal sees what it changed itself.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from tribo.ledger.bodies import unpack_event
from tribo.ledger.database import Database
from tribo.measure.journeys import taken_back
from tribo.wire.rejects import Raw
from tribo_schemas.event import Event, order_key

AT_ONCE = 500
Key = tuple[str, str]
"""(source, id)"""
One = TypeVar("One")


class Standing(msgspec.Struct):
    """An event that the ledger has: itself, what takes it back (empty: it stands), and the ids of its source in its history."""

    event: Event
    taken_back_by: list[Event]
    ids: Collection[Key]


def chunks(many: Sequence[One], size: int = AT_ONCE) -> Iterator[Sequence[One]]:
    """A sequence in pieces."""
    return (many[begin : begin + size] for begin in range(0, len(many), size))


def raw_of(db: Database, mapping: str) -> Iterator[tuple[int, Raw]]:
    """The raw records that a mapping read, as they came: when (UTC ms), and what."""
    last = -1
    while True:
        rows = db.rows(
            "SELECT raw, received_at, input, body, form FROM raw WHERE raw > ? AND mapping = ? ORDER BY raw LIMIT 200", (last, mapping)
        )
        for number, received_at, name, body, form in rows:
            yield received_at, Raw(name, zlib.decompress(body), mapping, form)
            last = number
        if not rows:
            return


def standing(db: Database, keys: Iterable[Key]) -> dict[Key, Standing]:
    """Those of these events that the ledger has."""
    numbers = dict(db.rows("SELECT name, source FROM sources"))
    asked = sorted(key for key in keys if key[0] in numbers)
    histories: dict[int, list[Key]] = {}
    for some in chunks(asked):
        for source in sorted({source for source, _ in some}):
            ids = [identifier for of, identifier in some if of == source]
            for identifier, history in db.rows(
                "SELECT id, history FROM events WHERE length(body) > 0 AND source = ? AND id IN (?*)", (numbers[source], ids)
            ):
                histories.setdefault(history, []).append((source, identifier))
    found: dict[Key, Standing] = {}
    for some_histories in chunks(sorted(histories), 100):
        bodies: dict[int, list[Event]] = {}
        asking = "SELECT history, body FROM events WHERE length(body) > 0 AND history IN (?*)"
        for history, body in db.rows(asking, (list(some_histories),)):
            bodies.setdefault(history, []).append(unpack_event(body))
        for history, events in bodies.items():
            _of_history(events, histories[history], found)
    return found


def _of_history(events: list[Event], wanted: list[Key], found: dict[Key, Standing]) -> None:
    by_key = {(event.source, event.id): event for event in events}
    retractions = sorted((event for event in events if event.fact == "retracted"), key=order_key)
    gone = taken_back(retractions) if retractions else set()
    by_target: dict[Key, list[Event]] = {}
    for one in retractions:
        if (one.source, one.id) not in gone:
            by_target.setdefault((one.source, one.retracts or ""), []).append(one)
    for key in wanted:
        found[key] = Standing(by_key[key], by_target.get(key, []), by_key.keys())


def to_fold(db: Database) -> list[int]:
    """The histories that hold what no fold has seen."""
    return [history for (history,) in db.rows("SELECT history FROM histories WHERE dirty = 1 AND merged_into IS NULL ORDER BY history")]


def findings_of(db: Database, histories: Sequence[int]) -> dict[str, str]:
    """The kind of each standing finding of these histories, by its id."""
    found: dict[str, str] = {}
    for some in chunks(histories):
        rows: list[tuple[Any, ...]] = db.rows("SELECT id, kind FROM findings WHERE status = 0 AND history IN (?*)", (list(some),))
        found.update(rows)
    return found
