"""One transaction of a partition: what is known of the ledger in memory, and how it is written, all or nothing.

The partition's row moves by compare-and-swap in every transaction, so who was outpaced drops its work.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, Self

import msgspec

from tribo.ledger.bodies import live_tallies, pack, unpack_counters, unpack_outcomes
from tribo.ledger.database import Database, Outpaced, Where, open_writing
from tribo.ledger.rows import FOUND_AGAIN
from tribo.ledger.work import JUDGED, Held, Source, Work, judge
from tribo.measure.journeys import DAY
from tribo.pseudonym import key_of_environment

HISTORIES_KEPT = 5_000
"""How many histories stay in memory."""
NAMES_KEPT = 100_000

_json = msgspec.json.Encoder().encode


class Transactions:
    """A partition's database, what is remembered of it, and the transaction; see `Ledger`, which stands on it."""

    def __init__(self, where: Where, db: Database, partition: int, key: bytes) -> None:
        self._key = key
        self.where = where
        """What `Reader` is given to read this ledger."""
        self.db = db
        self.partition = partition
        self.histories_kept = HISTORIES_KEPT
        """How many histories stay in memory."""
        self._standards = 0
        self._before: dict[int, Any] = {}
        self._rehearsing = False
        self._expired_up_to = 0
        self._forget()

    @classmethod
    def open(cls, where: Where, standards_text: str = "", partition: int = 0, key: bytes | None = None) -> Self:
        """Open (or make) a ledger for writing: `where` is a data folder (SQLite) or a postgresql:// URL.

        `standards_text` is the standards file as it stands: another one than last time begins a new version, with which each
        history is folded anew when it is next touched. `key` is that of the pseudonyms (default: as the environment says); what was
        erased is known again by it alone. Raises BadConfig: another process writes to the folder, no server, damaged, newer.
        """
        ledger = cls(where, open_writing(where), partition, key_of_environment() if key is None else key)
        try:
            ledger._standards = ledger._version_of("standards", standards_text)
        except BaseException:
            ledger.close()
            raise
        return ledger

    def close(self) -> None:
        """Close the database and let the lock go."""
        self.db.close()

    def _forget(self) -> None:
        """Drop everything known from memory; it is read again when needed."""
        self._recalled = False
        self._version = 0
        self._offset = 0
        self._day = 0
        self._counters: dict[str, list[int]] = {}
        self._historical: dict[str, list[int]] = {}
        self._outcomes: dict[str, list[tuple[int, int]]] = {}
        self._cache: dict[int, Held] = {}
        self._locked: set[int] = set()
        self._names: dict[str, int] = {}
        self._hubs: frozenset[str] = frozenset()
        self._anything_erased = False
        self._sources: dict[str, Source] = {}
        self._numbers: dict[int, str] = {}
        self._swept: dict[str, tuple[str, tuple[int, int] | None]] = {}
        self.db.forget()

    def _recall(self) -> None:
        """Know the partition's row, the sources and the hubs, if they were forgotten. Raises Unreachable."""
        if self._recalled:
            return
        db = self.db
        with db.translated():
            row = "SELECT version, next_offset, counters, historical, outcomes FROM partitions WHERE partition = ?"
            rows = db.rows(row, (self.partition,))
            if not rows:
                fresh = (self.partition, pack({}))
                fields = "(partition, version, next_offset, counters)"
                db.run(f"INSERT INTO partitions {fields} VALUES (?, 0, 0, ?) ON CONFLICT DO NOTHING", fresh)
                rows = db.rows(row, (self.partition,))
            self._version, self._offset, counters, historical, outcomes = rows[0]
            self._counters = unpack_counters(counters)
            self._historical = {} if historical is None else unpack_counters(historical)
            self._outcomes = {} if outcomes is None else unpack_outcomes(outcomes)
            ((self._day,),) = db.rows("SELECT coalesce(max(day), -1000000) FROM days WHERE partition = ?", (self.partition,))
            self._hubs = self._all_hubs()
            self._anything_erased = bool(db.rows("SELECT 1 FROM erased LIMIT 1"))
            for number, name, watermark, heard_at, last_event_at, skew, *counts in db.rows(
                "SELECT s.source, s.name, watermark, heard_at, last_event_at, skew, applied, duplicate, conflict, late, rejected, erased "
                "FROM sources s LEFT JOIN heard h ON h.source = s.source AND h.partition = ?", (self.partition,),
            ):  # fmt: skip
                source = self._sources[name] = Source(number, name)
                source.watermark, source.heard_at, source.last_event_at, source.skew = watermark, heard_at, last_event_at, skew
                source.counts = dict(zip(source.counts, (count or 0 for count in counts), strict=True))
        self._numbers = {source.number: name for name, source in self._sources.items()}
        self._recalled = True

    def reread(self) -> int:
        """Forget what is known of the ledger, as others may have moved it; returns the partition's offset. Raises Unreachable."""
        self._forget()
        return self.offset

    @property
    def offset(self) -> int:
        """The partition's next offset, as the last transaction left it."""
        self._recall()
        return self._offset

    @property
    def counters(self) -> dict[str, list[int]]:
        """This partition's counters: (found, withdrawn) by key, not to be changed."""
        self._recall()
        return self._counters

    def _all_hubs(self) -> frozenset[str]:
        return frozenset(name for (name,) in self.db.rows("SELECT name FROM hubs"))

    @contextmanager
    def rehearsal(self) -> Iterator[None]:
        """What is done inside is seen by this ledger alone, and undone at the end."""
        with self.db.translated():
            self.db.begin()
        self._rehearsing = True
        try:
            yield
        finally:
            self._rehearsing = False
            self.db.rollback()
            self._forget()

    @contextmanager
    def _transaction(self, historical: bool = False) -> Iterator[Work]:
        """All or nothing; on any error nothing was written and nothing is remembered. Raises Outpaced, NoRoom, Unreachable."""
        self._recall()
        db = self.db
        try:
            with db.translated():
                if not self._rehearsing:
                    db.begin()
                if db.shared:
                    self._alone()
                work = Work(historical)
                yield work
                self._write(work)
                if not self._rehearsing:
                    db.commit()
        except BaseException:
            db.rollback()
            self._forget()
            raise
        self._version += 1
        self._locked.clear()
        _keep_last(self._cache, self.histories_kept)
        _keep_last(self._names, NAMES_KEPT)

    def _alone(self) -> None:
        """Take the partition's row before anything else, and believe nothing that others may have changed."""
        rows = self.db.rows("SELECT version FROM partitions WHERE partition = ? FOR UPDATE", (self.partition,))
        if rows != [(self._version,)]:
            raise Outpaced("another writer moved this partition; its work stands, this one's was dropped")
        self._names.clear()
        self._locked.clear()
        if self.db.rows("SELECT count(*) FROM hubs") != [(len(self._hubs),)]:
            self._hubs = self._all_hubs()
        self._anything_erased = bool(self.db.rows("SELECT 1 FROM erased LIMIT 1"))

    def _write(self, work: Work) -> None:
        db = self.db
        partition, version = self.partition, self._version + 1
        rows = []
        for held in work.histories.values():
            held.version += 1
            held.new = False
            held.touched_at = max(held.touched_at, work.now)
            rows.append((
                held.id, held.version, held.partition, held.packed, held.standards, held.crashes, int(held.set_aside), int(held.dirty),
                held.into, pack(held.deadlines) if held.deadlines else None, held.touched_at,
            ))  # fmt: skip
        rows.sort(key=lambda row: row[0])
        db.put("histories", rows)
        if work.gone:
            db.remove("journeys", [(history, journey) for history, journey, _ in work.gone])
            standing = {row[1] for row in work.journeys}
            gone = [("journey", journey, revision) for _, journey, revision in work.gone if journey not in standing]
            if db.shared:
                db.put("gone", [(partition, version, *row) for row in gone])
        db.put("journeys", work.journeys)
        db.run_many("DELETE FROM promises WHERE history = ?", work.pledges_anew)
        db.put("promises", work.pledges)
        db.put("findings", work.findings, FOUND_AGAIN)
        db.run_many(
            "UPDATE findings SET revision = revision + 1, status = 1, found_at = ?, historical = ?, partition = ?, changed = ? "
            "WHERE history = ? AND id = ? AND status = 0",
            work.withdrawn,
        )
        # a transaction may note a deadline and drop it again: what the histories say in the end is what stands
        db.remove("deadlines", [row for row in work.deadlines_out if not work.stands(*row)])
        db.put("deadlines", [row for row in work.deadlines_in if work.stands(*row)])
        db.put("heard", [
            (partition, source.number, source.watermark, source.heard_at, source.last_event_at, source.skew, *source.counts.values())
            for source in map(self._sources.__getitem__, sorted(work.sources))
        ])  # fmt: skip
        if work.now and work.now // DAY > self._day:
            self._day = work.now // DAY
            db.put("days", [(partition, self._day, pack(live_tallies(self._counters, self._historical)))])
        self._count(work)
        values = [self._offset, pack(self._counters)]
        more = ""
        if work.historical:
            more = ", historical = ?"
            values.append(pack(self._historical))
        elif work.judged:
            more = ", outcomes = ?"
            values.append(pack(self._outcomes))
        moved = db.run(
            f"UPDATE partitions SET version = version + 1, next_offset = ?, counters = ?{more} WHERE partition = ? AND version = ?",
            (*values, partition, self._version),
        )
        if moved != 1:
            raise Outpaced("another writer moved this partition; its work stands, this one's was dropped")

    def _count(self, work: Work) -> None:
        """Let the counters rise. What is historical is noted a second time, and judges nobody now."""
        for net in work.netted.values():
            work.count(net)
        for counters in (self._counters, self._historical) if work.historical else (self._counters,):
            for place, changes in enumerate((work.found, work.withdrew)):
                for key, change in changes.items():
                    counters.setdefault(key, [0, 0])[place] += change
        for key, number in work.judged if not work.historical else ():
            name, _, outcome = key[9:].rpartition("|")
            if outcome in JUDGED and number:
                judge(self._outcomes.setdefault(name, []), JUDGED.index(outcome), number, work.now)

    def texts(self, name: str) -> list[str]:
        """Each version of a setting's text that was ever remembered, the last one last."""
        rows = self.db.rows("SELECT value FROM settings WHERE name = ?", (name,))
        return msgspec.json.decode(rows[0][0], type=list[str]) if rows else []

    def remember_text(self, name: str, text: str) -> None:
        """Remember a setting's text as its latest version, such as `mapping:NAME`."""
        self._version_of(name, text)

    def keep_text(self, name: str, text: str) -> None:
        """Keep a setting's text over what stood, in a transaction of its own. Raises NoRoom, Unreachable and Outpaced."""
        with self._transaction():
            self.db.put("settings", [(name, text)])

    def _version_of(self, name: str, text: str) -> int:
        """The number of this text among the versions of a setting; a new text gets the next."""
        query = f"SELECT value FROM settings WHERE name = ?{self.db.for_update}"
        versions = self.texts(name)
        if not versions or versions[-1] != text:
            with self._transaction():
                self.db.run("INSERT INTO settings VALUES (?, '[]') ON CONFLICT DO NOTHING", (name,))
                versions = msgspec.json.decode(self.db.rows(query, (name,))[0][0], type=list[str])
                if not versions or versions[-1] != text:
                    versions.append(text)
                    self.db.put("settings", [(name, _json(versions).decode())])
        return len(versions)

    def _source(self, name: str, work: Work) -> Source:
        source = self._sources.get(name)
        if source is None:
            self.db.run("INSERT INTO sources (name) VALUES (?) ON CONFLICT DO NOTHING", (name,))
            ((number,),) = self.db.rows("SELECT source FROM sources WHERE name = ?", (name,))
            source = self._sources[name] = Source(number, name)
            self._numbers[source.number] = name
            work.sources.add(name)
        return source


def _keep_last(remembered: dict[Any, Any], most: int) -> None:
    """Forget what was used longest ago. All at once: the first key of a dictionary is found past the places of those that went."""
    for key in list(islice(remembered, max(len(remembered) - most, 0))):
        del remembered[key]
