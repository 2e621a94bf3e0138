"""The reading side of the ledger: what metrics, page and report ask. Each reader has a connection of its own that can't write.

Instants are UTC milliseconds; customers are plain, as the events say: who shows them makes pseudonyms.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from tribo.ledger.bodies import unpack_counters, unpack_event, unpack_finding, unpack_journey
from tribo.ledger.sqlite import database, reader
from tribo.ledger.tables import STATUSES
from tribo.measure.advance import decode_history
from tribo_schemas.event import Event, order_key
from tribo_schemas.finding import Finding
from tribo_schemas.journey import JourneyRow

MOST_ROWS = 1000


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


class Risk(msgspec.Struct):
    """A promise at risk, or unknown: the finding, the promise's due (UTC ms; None if it is no longer open), its journey's customer."""

    finding: Finding
    due: int | None
    customer: str | None


class Reader:
    """Reads one ledger. Raises BadConfig at the start if there is none."""

    def __init__(self, folder: str | Path) -> None:
        self.db: sqlite3.Connection = reader(database(folder))

    def close(self) -> None:
        """Let the connection go."""
        self.db.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def counters(self) -> dict[str, tuple[int, int]]:
        """Each counter's (found, withdrawn), added up over the partitions. Both only rise."""
        total: dict[str, tuple[int, int]] = {}
        for (body,) in self.db.execute("SELECT counters FROM partitions"):
            for key, (found, withdrawn) in unpack_counters(body).items():
                before = total.get(key, (0, 0))
                total[key] = (before[0] + found, before[1] + withdrawn)
        return total

    def tallies(self) -> dict[str, int]:
        """Each counter's found − withdrawn: how things stand."""
        return {key: found - withdrawn for key, (found, withdrawn) in self.counters().items() if found != withdrawn}

    def sources(self) -> list[dict[str, Any]]:
        """A row per source: name, watermark, heard_at, last_event_at, skew (ms), and events by outcome."""
        names = ("name", "watermark", "heard_at", "last_event_at", "skew", "applied", "duplicate", "conflict", "late", "rejected")
        rows = self.db.execute(f"SELECT {', '.join(names)} FROM sources ORDER BY name")
        return [dict(zip(names, row, strict=True)) for row in rows]

    def standards(self) -> list[str]:
        """The texts of the standards file, each version that was in force, the last one last."""
        row = self.db.execute("SELECT value FROM settings WHERE name = 'standards'").fetchone()
        return msgspec.json.decode(row[0], type=list[str]) if row else []

    def journeys(self, order: str = "friction", limit: int = 50) -> list[JourneyRow]:
        """Journeys: open ones with most friction (`friction`), or all as they stand in the ledger (`any`)."""
        limit = min(limit, MOST_ROWS) if order == "friction" else limit
        sql = (
            "SELECT body FROM journeys WHERE status = 'open' AND friction > 4 ORDER BY friction DESC LIMIT ?"
            if order == "friction"
            else "SELECT body FROM journeys LIMIT ?"
        )
        return [unpack_journey(body) for (body,) in self.db.execute(sql, (limit,))]

    def all_journeys(self) -> Iterable[JourneyRow]:
        """Every journey's row."""
        return (unpack_journey(body) for (body,) in self.db.execute("SELECT body FROM journeys"))

    def standing(self) -> Iterable[Finding]:
        """Every finding that stands."""
        return (unpack_finding(body) for (body,) in self.db.execute("SELECT body FROM findings WHERE status = 0"))

    def history_of(self, item: str) -> int | None:
        """The history that holds an item, or None if nobody knows the item."""
        row = self.db.execute("SELECT history FROM links WHERE name = ?", ("i:" + item,)).fetchone()
        while row is not None:
            into = self.db.execute("SELECT merged_into FROM histories WHERE history = ?", row).fetchone()
            if into is None or into[0] is None:
                return int(row[0])
            row = into
        return None

    def journey(self, item: str) -> Story | None:
        """The journey that an item belongs to, or None."""
        self.db.execute("BEGIN")
        try:
            history = self.history_of(item)
            rows = self.db.execute("SELECT body FROM journeys WHERE history = ?", (history,))
            row = next((row for row in map(unpack_journey, (body for (body,) in rows)) if item in row.items), None)
            if row is None:
                return None
            items = set(row.items)
            events = [
                event
                for event in (unpack_event(body) for (body,) in self.db.execute("SELECT body FROM events WHERE history = ?", (history,)))
                if event.item in items
            ]
            told = []
            for table in ("revisions", "findings"):
                for body, revision, status, found_at, historical in self.db.execute(
                    f"SELECT body, revision, status, found_at, historical FROM {table} WHERE history = ?", (history,)
                ):
                    finding = unpack_finding(body)
                    if finding.item in items:
                        told.append(Told(finding, revision, STATUSES[status], found_at, bool(historical)))
        finally:
            self.db.execute("COMMIT")
        told.sort(key=lambda one: (one.finding.at, one.finding.id, one.revision))
        return Story(row, sorted(events, key=order_key), told)

    def latest(self, limit: int = 50, since: int | None = None) -> list[Told]:
        """The findings found or withdrawn last, newest first; `since`: only those at that instant (UTC ms) or later."""
        return [
            Told(unpack_finding(body), revision, STATUSES[status], found_at, bool(historical))
            for body, revision, status, found_at, historical in self.db.execute(
                "SELECT body, revision, status, found_at, historical FROM findings WHERE found_at >= ? ORDER BY found_at DESC LIMIT ?",
                (-(2**62) if since is None else since, min(limit, MOST_ROWS)),
            )
        ]

    def at_risk(self, limit: int = 50) -> list[Risk]:
        """Promises at risk or unknown, the next due first."""
        found = []
        for history, body in self.db.execute(
            "SELECT history, body FROM findings WHERE status = 0 AND kind IN ('promise_at_risk', 'promise_unknown') LIMIT ?", (MOST_ROWS,)
        ).fetchall():
            finding = unpack_finding(body)
            state = self.db.execute("SELECT state FROM histories WHERE history = ?", (history,)).fetchone()
            item = decode_history(state[0]).items.get(finding.item) if state and state[0] is not None else None
            promise = item.promises.get(finding.promise or "") if item is not None else None
            found.append(Risk(finding, promise.due if promise is not None else None, item.customer if item is not None else None))
        found.sort(key=lambda risk: (risk.due is None, risk.due or 0, risk.finding.id))
        return found[:limit]

    def rejects(self, limit: int = 50, source: str | None = None) -> list[dict[str, Any]]:
        """Rejected records, newest first: received_at, source, input, line, reason, payload, and encoding where it is base64."""
        names = ("reject", "received_at", "source", "input", "line", "reason", "payload", "encoding", "mapping", "place")
        rows = self.db.execute(
            f"SELECT {', '.join(names)} FROM rejects WHERE ?1 IS NULL OR source = ?1 ORDER BY reject DESC LIMIT ?2", (source, limit)
        )
        return [{name: value for name, value in zip(names, row, strict=True) if value is not None} for row in rows]

    def set_aside(self, limit: int = 50) -> list[dict[str, Any]]:
        """Histories whose fold crashed three times: their number, crashes, and one item of each."""
        found = []
        for history, crashes in self.db.execute("SELECT history, crashes FROM histories WHERE set_aside = 1 LIMIT ?", (limit,)).fetchall():
            row = self.db.execute("SELECT body FROM events WHERE history = ? LIMIT 1", (history,)).fetchone()
            found.append({"history": history, "crashes": crashes, "item": unpack_event(row[0]).item if row else ""})
        return found

    def size(self) -> dict[str, int]:
        """How much there is: events and histories (by their numbers), the database in bytes, the version of the last transaction."""
        (events,) = self.db.execute("SELECT coalesce(max(event), 0) FROM events").fetchone()
        (histories,) = self.db.execute("SELECT coalesce(max(history), 0) FROM histories").fetchone()
        (pages,) = self.db.execute("PRAGMA page_count").fetchone()
        (page,) = self.db.execute("PRAGMA page_size").fetchone()
        (version,) = self.db.execute("SELECT sum(version) FROM partitions").fetchone()
        return {"events": events, "histories": histories, "bytes": pages * page, "version": version}
