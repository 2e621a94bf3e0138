"""The reading side of the ledger: what metrics, page and report ask. Each reader has a connection of its own that can't write.

Instants are UTC milliseconds; customers are plain, as the events say: who shows them makes pseudonyms.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from tribo.ledger.bodies import unpack_counters, unpack_event, unpack_finding, unpack_journey, unpack_outcomes
from tribo.ledger.database import Database, Where, open_reading
from tribo.ledger.tables import STATUSES
from tribo_schemas.event import Event, order_key
from tribo_schemas.finding import Finding
from tribo_schemas.journey import JourneyRow

MOST_ROWS = 1000
OUTCOMES_SHOWN = 10


class Told(msgspec.Struct):
    """A finding as the ledger knows it: which revision, found or withdrawn, when (UTC ms), and whether it came with an import."""

    finding: Finding
    revision: int
    status: str
    found_at: int
    historical: bool


class Story(msgspec.Struct):
    """All that is known of one journey: its row, its items' events in order, its findings (earlier revisions among them)."""

    row: JourneyRow
    events: list[Event]
    findings: list[Told]


class Change(msgspec.Struct):
    """A finding or a journey row as a transaction left it. `subject` is a Finding (then `status` is found or withdrawn), a JourneyRow, or
    None for a row that is no more: publish that as a deletion of `id`. Of one id a higher revision goes before a lower, wherever it
    was published: a repeat, or one that was overtaken, is harmless to who keeps the highest."""

    kind: str
    """finding or journey."""
    id: str
    revision: int
    status: str
    subject: Finding | JourneyRow | None


class Reader:
    """Reads one ledger: of a data folder, or of a postgresql:// URL. Raises BadConfig at the start if there is none."""

    def __init__(self, where: Where) -> None:
        self.db: Database = open_reading(where)

    def close(self) -> None:
        """Let the connection go."""
        self.db.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query that both databases understand: `?` for a value, `IN (?*)` for a list of them."""
        return self.db.rows(sql, parameters)

    def counters(self) -> dict[str, tuple[int, int]]:
        """Each counter's (found, withdrawn), added up over the partitions. Both only rise."""
        total: dict[str, tuple[int, int]] = {}
        for (body,) in self.db.rows("SELECT counters FROM partitions"):
            for key, (found, withdrawn) in unpack_counters(body).items():
                before = total.get(key, (0, 0))
                total[key] = (before[0] + found, before[1] + withdrawn)
        return total

    def live_counters(self) -> dict[str, tuple[int, int]]:
        """As `counters`, without what came with an import: these may page somebody. Every counter is here, if only as (0, 0)."""
        total = self.counters()
        for (body,) in self.db.rows("SELECT historical FROM partitions WHERE historical IS NOT NULL"):
            for key, (found, withdrawn) in unpack_counters(body).items():
                before = total[key]
                total[key] = (before[0] - found, before[1] - withdrawn)
        return total

    def last_outcomes(self) -> dict[str, list[str]]:
        """The last ten judged occasions of each standard ('met' or 'missed'), the latest last, over all partitions. Imports judge nobody
        now; an occasion that was withdrawn is not among them."""
        by_standard: dict[str, list[tuple[int, int]]] = {}
        for (body,) in self.db.rows("SELECT outcomes FROM partitions WHERE outcomes IS NOT NULL ORDER BY partition"):
            for name, outcomes in unpack_outcomes(body).items():
                by_standard.setdefault(name, []).extend(outcomes)
        return {
            name: [("missed", "met")[outcome] for _, outcome in sorted(outcomes, key=lambda one: one[0])[-OUTCOMES_SHOWN:]]
            for name, outcomes in by_standard.items()
            if outcomes
        }

    def published(self, partition: int) -> int:
        """The number up to which a partition's changes were published, as `Ledger.published` noted it; 0: none."""
        rows = self.db.rows("SELECT coalesce(published, 0) FROM partitions WHERE partition = ?", (partition,))
        return int(rows[0][0]) if rows else 0

    def changes(self, partition: int, after: int, limit: int = 1000) -> tuple[list[Change], int]:
        """What a partition's transactions changed after the number `after`, in their order: all of the next ones, until `limit` is
        reached; and the number that these go up to (`after` itself: nothing changed).

        Publish them, then note the number with `Ledger.published`, and go on from there (after a restart: from `published`). So each
        change is published at least once. Of a journey that changed several times only the latest row comes; of a finding each revision.
        Customers are plain: make pseudonyms of them. On SQLite, which publishes nothing, this reads whole tables.
        """
        found: list[tuple[int, Change]] = []
        with self.db.snapshot():
            upto = self._changed_upto(partition, after, limit)
            scope = (partition, after, upto)
            for table in ("revisions", "findings"):
                for changed, identifier, revision, status, body in self.db.rows(
                    f"SELECT changed, id, revision, status, body FROM {table} WHERE partition = ? AND changed > ? AND changed <= ?", scope
                ):
                    found.append((changed, Change("finding", identifier, revision, STATUSES[status], unpack_finding(body))))
            for changed, identifier, revision, body in self.db.rows(
                "SELECT changed, journey, revision, body FROM journeys WHERE partition = ? AND changed > ? AND changed <= ?", scope
            ):
                row = unpack_journey(body)
                found.append((changed, Change("journey", identifier, revision, row.status, row)))
            for changed, kind, identifier, revision in self.db.rows(
                "SELECT changed, kind, id, revision FROM gone WHERE partition = ? AND changed > ? AND changed <= ?", scope
            ):
                found.append((changed, Change(kind, identifier, revision, "gone", None)))
        found.sort(key=lambda one: (one[0], one[1].kind, one[1].id, one[1].revision))
        return [change for _, change in found], max((changed for changed, _ in found), default=after)

    def _changed_upto(self, partition: int, after: int, limit: int) -> int:
        """The last number whose changes still fit the limit, but at least the next: a transaction's changes stay together."""
        upto, following = 2**62, 2**62
        for table in ("revisions", "findings", "journeys", "gone"):
            beyond = f"SELECT changed FROM {table} WHERE partition = ? AND changed > ? ORDER BY changed LIMIT 1"
            for (changed,) in self.db.rows(f"{beyond} OFFSET ?", (partition, after, limit)):
                upto = min(upto, changed - 1)
            for (changed,) in self.db.rows(beyond, (partition, after)):
                following = min(following, changed)
        return max(upto, following) if upto < 2**62 else upto

    def tallies(self) -> dict[str, int]:
        """Each counter's found − withdrawn: how things stand. Not how many events an import brought, which is nothing that was found."""
        counters = self.counters().items()
        return {key: found - withdrawn for key, (found, withdrawn) in counters if found != withdrawn and not key.startswith("imported|")}

    def sources(self) -> list[dict[str, Any]]:
        """A row per source: name, watermark, heard_at, last_event_at, skew (ms), and events by outcome, over all partitions."""
        names = ("name", "watermark", "heard_at", "last_event_at", "skew", "applied", "duplicate", "conflict", "late", "rejected", "erased")
        sums = ", ".join(f"CAST(sum({name}) AS bigint)" for name in names[5:])
        rows = self.db.rows(
            f"SELECT s.name, max(watermark), max(heard_at), max(last_event_at), max(skew), {sums} "
            "FROM sources s JOIN heard h ON h.source = s.source GROUP BY s.name ORDER BY s.name"
        )
        return [dict(zip(names, row, strict=True)) for row in rows]

    def setting(self, name: str) -> str | None:
        """The text of a setting, or None."""
        rows = self.db.rows("SELECT value FROM settings WHERE name = ?", (name,))
        return str(rows[0][0]) if rows else None

    def standards(self) -> list[str]:
        """The texts of the standards file, each version that was in force, the last one last."""
        return self.texts("standards")

    def texts(self, name: str) -> list[str]:
        """Each version of a setting's text that was ever remembered, such as `mapping:NAME`, the last one last."""
        rows = self.db.rows("SELECT value FROM settings WHERE name = ?", (name,))
        return msgspec.json.decode(rows[0][0], type=list[str]) if rows else []

    def journeys(self, limit: int = 50) -> list[JourneyRow]:
        """The open journeys with most friction, more than 4 points each."""
        sql = "SELECT body FROM journeys WHERE status = 'open' AND friction > 4 ORDER BY friction DESC LIMIT ?"
        return [unpack_journey(body) for (body,) in self.db.rows(sql, (min(limit, MOST_ROWS),))]

    def all_journeys(self) -> Iterator[JourneyRow]:
        """Every journey's row."""
        return (unpack_journey(body) for (body,) in self.db.stream("SELECT body FROM journeys"))

    def standing(self) -> Iterator[Finding]:
        """Every finding that stands."""
        return (unpack_finding(body) for (body,) in self.db.stream("SELECT body FROM findings WHERE status = 0"))

    def history_of(self, item: str) -> int | None:
        """The history that holds an item, or None if nobody knows the item."""
        return history_of(self.db, item)

    def journey(self, item: str) -> Story | None:
        """The journey that an item belongs to, or None."""
        with self.db.snapshot():
            history = self.history_of(item)
            bodies = self.db.rows("SELECT body FROM journeys WHERE history = ?", (history,)) if history is not None else []
            row = next((row for row in (unpack_journey(body) for (body,) in bodies) if item in row.items), None)
            if row is None:
                return None
            items = set(row.items)
            kept = self.db.rows("SELECT body FROM events WHERE history = ? AND length(body) > 0", (history,))
            events = [event for event in (unpack_event(body) for (body,) in kept) if event.item in items]
            told = []
            for table in ("revisions", "findings"):
                for body, revision, status, found_at, historical in self.db.rows(
                    f"SELECT body, revision, status, found_at, historical FROM {table} WHERE history = ?", (history,)
                ):
                    finding = unpack_finding(body)
                    if finding.item in items:
                        told.append(Told(finding, revision, STATUSES[status], found_at, bool(historical)))
        told.sort(key=lambda one: (one.finding.at, one.finding.id, one.revision))
        return Story(row, sorted(events, key=order_key), told)

    def latest(self, limit: int = 50, since: int | None = None) -> list[Told]:
        """The findings found or withdrawn last, newest first; `since`: only those at that instant (UTC ms) or later."""
        return [
            Told(unpack_finding(body), revision, STATUSES[status], found_at, bool(historical))
            for body, revision, status, found_at, historical in self.db.rows(
                "SELECT body, revision, status, found_at, historical FROM findings WHERE found_at >= ? ORDER BY found_at DESC LIMIT ?",
                (-(2**62) if since is None else since, min(limit, MOST_ROWS)),
            )
        ]

    def next_dues(self) -> list[tuple[str, str | None, bool, int]]:
        """Of promises at risk: touchpoint, team, whether the customer was told, and when the first of them is due (UTC ms)."""
        rows = self.db.rows(
            "SELECT p.touchpoint, p.team, p.told, min(p.due) FROM findings f "
            "JOIN promises p ON p.history = f.history AND p.item = f.item AND p.promise = f.promise "
            "WHERE f.status = 0 AND f.kind IN ('promise_at_risk', 'promise_unknown') AND p.state = 'open' AND p.synthetic = 0 "
            "GROUP BY p.touchpoint, p.team, p.told"  # both kinds, as the index has them
        )
        return [(touchpoint, team, bool(told), due) for touchpoint, team, told, due in rows]

    def rejects(self, limit: int = 50, source: str | None = None) -> list[dict[str, Any]]:
        """Rejected records, newest first: received_at, source, input, line, reason, payload, and encoding where it is base64."""
        names = ("reject", "received_at", "source", "input", "line", "reason", "payload", "encoding", "mapping", "place")
        which, values = ("", ()) if source is None else ("WHERE source = ?", (source,))
        rows = self.db.rows(f"SELECT {', '.join(names)} FROM rejects {which} ORDER BY reject DESC LIMIT ?", (*values, limit))
        return [{name: value for name, value in zip(names, row, strict=True) if value is not None} for row in rows]

    def rejects_after(self, number: int, source: str | None = None, limit: int = 500) -> list[dict[str, Any]]:
        """Rejected records in the order in which they came, after the one of that number."""
        names = ("reject", "source", "input", "line", "reason", "payload", "encoding", "mapping")
        which, values = ("", ()) if source is None else ("AND source = ?", (source,))
        rows = self.db.rows(
            f"SELECT {', '.join(names)} FROM rejects WHERE reject > ? {which} ORDER BY reject LIMIT ?", (number, *values, limit)
        )
        return [dict(zip(names, row, strict=True)) for row in rows]

    def reject_counts(self, source: str | None = None) -> list[dict[str, Any]]:
        """How many records were rejected, by source, mapping, its line, and reason; and when the latest came (UTC ms)."""
        names = ("source", "mapping", "place", "reason", "count", "latest")
        which, values = ("", ()) if source is None else ("WHERE source = ?", (source,))
        rows = self.db.rows(
            "SELECT source, mapping, place, reason, CAST(count(*) AS bigint), max(received_at) "
            f"FROM rejects {which} GROUP BY source, mapping, place, reason", values,
        )  # fmt: skip
        return [dict(zip(names, row, strict=True)) for row in rows]

    def set_aside(self, limit: int = 50) -> list[dict[str, Any]]:
        """Histories whose fold crashed three times: their number, crashes, and one item of each."""
        found = []
        sql = "SELECT history, crashes FROM histories WHERE dirty = 1 AND set_aside = 1 LIMIT ?"  # all are dirty, which has an index
        for history, crashes in self.db.rows(sql, (limit,)):
            rows = self.db.rows("SELECT body FROM events WHERE history = ? AND length(body) > 0 LIMIT 1", (history,))
            found.append({"history": history, "crashes": crashes, "item": unpack_event(rows[0][0]).item if rows else ""})
        return found

    def size(self) -> dict[str, int]:
        """How much there is: events taken so far, the database in bytes, how many transactions there were."""
        ((events,),) = self.db.rows("SELECT CAST(coalesce(sum(applied + late), 0) AS bigint) FROM heard")
        ((version,),) = self.db.rows("SELECT CAST(coalesce(sum(version), 0) AS bigint) FROM partitions")
        return {"events": events, "bytes": self.db.bytes_used(), "version": version}


def history_of(db: Database, item: str) -> int | None:
    """The history that holds an item, through all that it was merged into; None if nobody knows the item."""
    rows = db.rows("SELECT history FROM links WHERE name = ?", ("i:" + item,))
    while rows:
        history = int(rows[0][0])
        rows = db.rows("SELECT merged_into FROM histories WHERE history = ? AND merged_into IS NOT NULL", (history,))
        if not rows:
            return history
    return None
