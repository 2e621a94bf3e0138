"""The ledger: what was accepted, and what follows from it, in one transaction a batch.

`Ledger.apply` is the whole of it. A batch of events is routed to histories by the names that each event mentions (its item,
its customer, what it is about); names that turn out to belong together merge their histories. Each history then takes its new
events through `advance`, or, when only all of its events can say, through `fold`, whose answer is compared with what stood.
Events, states, journeys, findings, counters, deadlines and the inputs' offsets move together or not at all; the partition's row
moves by compare-and-swap in every transaction, so who was outpaced drops its work.

What may change here: how a history is found and kept. What must not: events are only ever added, counters only rise, and a
finding changes by a new revision. A history whose fold crashes three times is set aside: its events are kept, the others go on.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from itertools import islice
from typing import Any, Literal

import msgspec

from tribo.ledger.bodies import (
    live_tallies,
    pack,
    pack_event,
    pack_struct,
    unpack_counters,
    unpack_deadlines,
    unpack_event,
    unpack_finding,
    unpack_outcomes,
)
from tribo.ledger.database import Database, NoRoom, Outpaced, Unreachable, Where, open_writing
from tribo.ledger.reader import Reader, history_of
from tribo.ledger.rows import FOUND_AGAIN, move_findings, pledge_row, promise_bits, touchpoint_bits
from tribo.ledger.work import JUDGED, Arrived, Held, Known, Source, Work, judge, passes
from tribo.measure.advance import Frontier, History, Step, advance, encode_history, fold
from tribo.measure.fold import SILENT_FOR
from tribo.measure.journeys import DAY, MOST_ITEMS_JOINED, Groups
from tribo.measure.standards import Standards
from tribo.measure.whole import happened, hubs_of
from tribo.pseudonym import key_of_environment
from tribo.wire.rejects import Raw, Reject
from tribo_schemas.event import Event, order_key, same, smaller

Outcome = Literal["applied", "duplicate", "conflict", "late", "erased"]
MOST_CRASHES = 3
READINGS_KEPT = 400 * DAY
"""How long the counters' daily readings are kept (ms): totals, nobody's name."""
HISTORIES_KEPT = 5_000
"""How many histories stay in memory."""
NAMES_KEPT = 100_000
DELIVERIES_KEPT = 3_600_000
"""How long a signed delivery is remembered (ms): much more than twice the tolerance of any signature."""
FUTURE = "time: future:"
"""How the reason begins for which an event from the future is refused."""
MOST_NAMED = 1000
"""Sources with a number up to this are named in counters, of what came from the future or with an import: such names are kept for good."""
FOLDED_AT_ONCE = 200
"""How many histories are read and folded whole at a time, to bound memory."""
LOOKED_AT_ONCE = 5_000
"""How many histories a call of `expire` looks at."""
AWAITED = b""
"""The body of an event that has not come yet, though a retraction of it has."""

_json = msgspec.json.Encoder().encode


class Erased(msgspec.Struct):
    """How much an erasure removed. `shredded`: the database's files hold no byte of it any more; else somebody reads them just now,
    and `tribo erase` of the same customer, once more, does it."""

    events: int = 0
    journeys: int = 0
    raw: int = 0
    rejects: int = 0
    shredded: bool = False


class Ledger:
    """The writing side of one partition: one thread at a time, one process for a data folder, any number for PostgreSQL.

    Every transaction moves the partition's row from the version that this object read to the next. If somebody else moved it,
    Outpaced is raised and nothing was written. On Unreachable the connection is made anew by the next call.
    """

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
    def open(cls, where: Where, standards_text: str = "", partition: int = 0, key: bytes | None = None) -> Ledger:
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

    # -- the transaction --------------------------------------------------------------------------------------------

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

    # -- a batch ----------------------------------------------------------------------------------------------------

    def apply(
        self, batch: Sequence[Event], frontier: Frontier, standards: Standards, *, received_at: int | None = None,
        raw: Sequence[Raw] = (), rejects: Sequence[tuple[str, Reject]] = (), historical: bool = False,
        offset: int | None = None, inputs: Mapping[str, tuple[int, int, int]] | None = None, folded: bool = True,
        deliveries: Sequence[tuple[str, bytes]] = (), replayed: Sequence[int] = (), replacing: bool = False,
        lost: int = 0,
    ) -> list[Outcome]:  # fmt: skip
        """Take a batch in one transaction and say of each event what became of it; when this returns, all of it is on disk.

        `raw`: bodies as they came; `rejects`: (source or '', reject); `inputs`: name → (inode, offset, line) now reached;
        `deliveries`: (source, digest) to remember; `replayed`: rejects that are events now, and go; `replacing`: an event whose
        (source, id) is known takes the place of what stood, whichever is smaller (for a mapping that was corrected);
        `offset`: the partition's next; `lost`: how many records before it are missing for good; `received_at`: UTC ms, default
        `frontier.now`. With `folded=False` events are only kept and their histories marked, for `fold_dirty`. Raises NoRoom, Unreachable
        and Outpaced; then nothing was taken.
        """
        received_at = frontier.now if received_at is None else received_at
        with self._transaction(historical) as work:
            work.now = max(received_at, frontier.now)
            if lost:
                work.count({"lost": lost})
            outcomes: list[Outcome] = ["applied"] * len(batch)
            if replacing:  # nobody said anything: what they had said is read otherwise
                for name in sorted({event.source for event in batch}):
                    self._source(name, work)
                    work.sources.add(name)
            else:
                self._heard(batch, frontier, received_at, work)
            refused = self._refused(rejects, work)
            arrived = self._sort_out(batch, outcomes, received_at, replacing)
            groups, touched = self._route(batch, arrived, work)
            self._keep(groups, arrived, batch)
            if folded:
                self._fold_all(groups, touched, frontier, standards, historical, work)
                late = _late(groups, self._before)
                if late:
                    for index in arrived.new:
                        if outcomes[index] == "applied" and (batch[index].source, batch[index].id) in late:
                            outcomes[index] = "late"
            else:
                for history in groups.keys() | touched:
                    held = self._cache[history]
                    held.dirty = True
                    self._own(held, work)
                    work.histories[history] = held
            if replacing:  # what takes another's place is no conflict
                outcomes = ["applied" if outcome == "conflict" else outcome for outcome in outcomes]
            for event, outcome in zip(batch, outcomes, strict=True):
                self._sources[event.source].counts[outcome] += 1
            self.db.add("rejects", [(received_at, *row) for row in refused])
            self.db.add("raw", [(received_at, one.input, zlib.compress(one.body, 1), one.mapping, one.form) for one in raw])
            self.db.put("deliveries", [(name, digest, received_at) for name, digest in deliveries])
            self.db.run_many("DELETE FROM rejects WHERE reject = ?", [(number,) for number in replayed])
            self.db.put("inputs", [(name, *place) for name, place in (inputs or {}).items()])
            if offset is not None:
                self._offset = offset
            if historical:
                self._note_imported(batch, outcomes, [row[0] for row in refused], work)
        return outcomes

    def _heard(self, batch: Sequence[Event], frontier: Frontier, received_at: int, work: Work) -> None:
        latest: dict[str, int] = {}
        for event in batch:
            if latest.get(event.source, event.time - 1) < event.time:
                latest[event.source] = event.time
        for name in sorted(latest):
            at = latest[name]
            source = self._source(name, work)
            source.heard_at = max(source.heard_at or received_at, received_at)
            source.last_event_at = at if source.last_event_at is None else max(source.last_event_at, at)
            source.skew = at - received_at
            watermark = frontier.heard.get(name)
            if watermark is not None:
                source.watermark = watermark if source.watermark is None else max(source.watermark, watermark)
            work.sources.add(name)

    def _note_imported(self, batch: Sequence[Event], outcomes: Sequence[Outcome], refused: Iterable[str], work: Work) -> None:
        """Note what of a source's counts came with an import, so that nobody takes it for what the source sends now."""
        noted: dict[str, int] = {}
        for name, outcome in (*((event.source, outcome) for event, outcome in zip(batch, outcomes, strict=True)),
                              *((name, "rejected") for name in refused)):  # fmt: skip
            if self._sources[name].number <= MOST_NAMED:
                key = f"imported|{name}|{outcome}"
                noted[key] = noted.get(key, 0) + 1
        work.count(noted)

    def _refused(self, rejects: Sequence[tuple[str, Reject]], work: Work) -> list[tuple[Any, ...]]:
        """Count rejects by their sources, and give their rows."""
        rows = []
        for said, reject in rejects:
            name = said if reject.through or said in self._sources else ""  # whoever sends rubbish can't make up sources
            source = self._source(name, work)
            source.counts["rejected"] += 1
            work.sources.add(name)
            if reject.reason.startswith(FUTURE) and source.number <= MOST_NAMED:
                work.count({f"future|{name}": 1})
            payload, encoding = reject.payload, reject.encoding
            if "\0" in payload:  # no database keeps it in text
                payload, encoding = base64.b64encode(payload.encode()).decode("ascii"), "base64"
            texts = [text.replace("\0", "\N{REPLACEMENT CHARACTER}") for text in (reject.input, reject.reason)]
            rows.append((name, texts[0], reject.line, texts[1], payload, encoding, reject.through, reject.mapping))
        return rows

    def _sort_out(self, batch: Sequence[Event], outcomes: list[Outcome], received_at: int, replacing: bool) -> Arrived:
        """What of a batch is new, and what replaces an event that is kept already."""
        by_source: dict[str, list[str]] = defaultdict(list)
        for event in batch:
            by_source[event.source].append(event.id)
        known: dict[tuple[str, str], Known] = {}
        for name, ids in by_source.items():
            for event_row, identifier, history, body in self.db.rows(
                "SELECT event, id, history, body FROM events WHERE source = ? AND id IN (?*)", (self._sources[name].number, ids)
            ):
                known[name, identifier] = Known(event_row, history, body)
        arrived = Arrived([], {}, [])
        first: dict[tuple[str, str], int] = {}
        again: list[int] = []
        gone = self._erased_among(batch) if self._anything_erased else ()
        for index, event in enumerate(batch):
            if gone and index in gone:
                outcomes[index] = "erased"
                continue
            key = (event.source, event.id)
            kept = known.get(key)
            if first.setdefault(key, index) == index and (kept is None or kept.body == AWAITED):
                arrived.new.append(index)
                if kept is not None:
                    arrived.awaited[index] = kept
            else:
                again.append(index)
        if again:
            self._contend(batch, again, outcomes, received_at, arrived, first, known, replacing)
        return arrived

    def _erased_among(self, batch: Sequence[Event]) -> set[int]:
        """The places of events that were erased, or are no later than the erasure of their item or customer."""
        hashes: dict[bytes, list[tuple[int, int]]] = {}
        for index, event in enumerate(batch):
            hashes.setdefault(self._hash("e", event.source, event.id), []).append((index, -(2**62)))
            hashes.setdefault(self._hash("i", event.item), []).append((index, event.time))
            if event.customer is not None:
                hashes.setdefault(self._hash("c", event.customer), []).append((index, event.time))
        found: set[int] = set()
        asked = list(hashes)
        for begin in range(0, len(asked), 500):
            for digest, at in self.db.rows_of("erased", "hash, at", asked[begin : begin + 500]):
                found.update(index for index, time in hashes[digest] if time <= at)
        return found

    def _hash(self, *parts: str) -> bytes:
        """A keyed hash of what was erased: who has the ledger and not the key can't try names."""
        return blake2b("\0".join(parts).encode(), key=self._key, digest_size=16).digest()

    def _contend(
        self, batch: Sequence[Event], again: Sequence[int], outcomes: list[Outcome], received_at: int, arrived: Arrived,
        first: Mapping[tuple[str, str], int], known: Mapping[tuple[str, str], Known],
        replacing: bool,
    ) -> None:  # fmt: skip
        """The same (source, id) again: a duplicate, or a conflict of which the smaller holds; both are kept."""
        holds: dict[tuple[str, str], Event] = {}
        losers: dict[tuple[str, str], list[Event]] = {}
        lost: list[tuple[int, str, int, bytes]] = []
        places: dict[tuple[str, str], int] = {}
        for index in again:
            event = batch[index]
            key = (event.source, event.id)
            kept = known.get(key)
            if key not in holds:
                holds[key] = batch[first[key]] if kept is None or kept.body == AWAITED else unpack_event(kept.body)
            held = holds[key]
            outcomes[index] = "duplicate"
            if same(held, event):
                continue
            number = self._sources[event.source].number
            if key not in losers:
                rows = self.db.rows("SELECT body FROM conflicts WHERE source = ? AND id = ?", (number, event.id))
                losers[key] = [unpack_event(body) for (body,) in rows]
            if not replacing and any(same(other, event) for other in losers[key]):
                continue
            outcomes[index] = "conflict"
            loser = event
            if (replacing and key in known) or smaller(held, event) is event:
                loser, holds[key], places[key] = held, event, index
            losers[key].append(loser)
            lost.append((number, event.id, received_at, pack_event(loser)))
        for key, index in places.items():
            kept = known.get(key)
            if kept is not None and kept.body != AWAITED:
                arrived.replaced.append((batch[index], kept))
                continue
            arrived.new[arrived.new.index(first[key])] = index
            if kept is not None:
                arrived.awaited[index] = arrived.awaited.pop(first[key])
        self.db.add("conflicts", lost)

    # -- who belongs to whom ----------------------------------------------------------------------------------------

    def _names_of(self, event: Event) -> list[str]:
        """What an event can be found by: its item, its customer, what it is about. Hubs join nothing."""
        names = ["i:" + event.item]
        if event.customer is not None:
            names.append("c:" + event.customer)
        if event.about:
            names += ["i:" + other for other in event.about]
        if self._hubs:
            names = names[:1] if names[0] in self._hubs else [name for name in names if name not in self._hubs]
        return names

    def _route(self, batch: Sequence[Event], arrived: Arrived, work: Work) -> tuple[dict[int, list[Event]], set[int]]:
        """New events by history (made or merged where needed), and the histories that must be folded whole: those that took others
        in, and those of which an event was replaced.

        Others may make the same links at the same time. So links are made first, in the order of their names; then the histories are
        locked, in the order of their numbers; and only then is it settled which become one.
        """
        links = self._names
        events = [batch[index] for index in arrived.new] + [event for event, _ in arrived.replaced]
        kept_rows = [arrived.awaited.get(index) for index in arrived.new] + [kept for _, kept in arrived.replaced]
        mentioned = [self._names_of(event) for event in events]
        targets, away = self._meet(events, mentioned)
        self._look_up({name for names in mentioned for name in names if name not in links})
        joined: dict[int, int] = {}
        fresh: set[int] = set()
        placed, added = self._place(mentioned, kept_rows, joined, fresh)
        for name, history in added.items():
            added[name] = links[name] = _root(joined, history)
        made = sorted(row for row in added.items() if row[0][0] != "e")
        taken = self.db.claim("links", made)
        if taken:  # another worker made these first
            for name in taken:
                del links[name]
            self._look_up(taken)
            for name in taken:
                _join(joined, added[name], links[name], fresh)
        placed = [_root(joined, history) for history in placed]
        used = fresh.intersection(placed).union(fresh.intersection(history for _, history in made))
        for history in used:
            self._cache[history] = Held(history, self.partition)
        self._load({history for history in (*placed, *joined) if history not in fresh})
        if self.db.shared:
            self._look_again([kept for kept in kept_rows if kept is not None])
        merges = self._settle(joined)
        groups: dict[int, list[Event]] = {}
        for event, history in zip(events[: len(arrived.new)], placed, strict=False):
            held = self._cache[history]
            groups.setdefault(history if held.into is None else self._now(history), []).append(event)
        self._merge(merges, work)
        whole = {self._now(history) for history in merges}
        for event, kept in arrived.replaced:
            self.db.run("UPDATE events SET body = ? WHERE event = ?", (pack_event(event), kept.event))
            whole.add(self._now(kept.history))
        self.db.add("events", [
            (self._sources[source].number, identifier, self._now(links[_event_name(source, identifier)]), AWAITED)
            for source, identifier in away
        ])  # fmt: skip
        for source, identifier in targets:
            del links[_event_name(source, identifier)]
        for history in whole:
            groups.setdefault(history, [])
        return groups, whole

    def _meet(self, events: Sequence[Event], mentioned: Sequence[list[str]]) -> tuple[set[tuple[str, str]], list[tuple[str, str]]]:
        """Let each retraction meet what it takes back, by a name of that event's own. Returns all (source, id) that are taken back,
        and those of them that have not come yet."""
        targets = {(event.source, event.retracts or "") for event in events if event.fact == "retracted"}
        if not targets:
            return targets, []
        away = set(targets)
        for event, names in zip(events, mentioned, strict=True):
            if event.fact == "retracted":
                names.append(_event_name(event.source, event.retracts or ""))
            if (event.source, event.id) in targets:
                names.append(_event_name(event.source, event.id))
                away.discard((event.source, event.id))
        for source in {source for source, _ in away}:
            ids = [identifier for of, identifier in away if of == source]
            for identifier, history in self.db.rows(
                "SELECT id, history FROM events WHERE source = ? AND id IN (?*)", (self._sources[source].number, ids)
            ):
                self._names[_event_name(source, identifier)] = history
                away.discard((source, identifier))
        return targets, sorted(away)

    def _look_up(self, names: Iterable[str]) -> None:
        """Know the histories of these names, as far as the ledger has them."""
        asked = list(names)
        if asked:
            self._names.update(self.db.rows("SELECT name, history FROM links WHERE name IN (?*)", (asked,)))

    def _place(
        self, mentioned: Sequence[list[str]], kept_rows: Sequence[Known | None], joined: dict[int, int], fresh: set[int]
    ) -> tuple[list[int], dict[str, int]]:
        """A history for each event, and for each name that had none; what turns out to be one is noted in `joined`."""
        links = self._names
        placed: list[int] = []
        added: dict[str, int] = {}
        for names, kept in zip(mentioned, kept_rows, strict=True):
            target = None if kept is None else kept.history
            missing = []
            for name in names:
                known = links.get(name)
                if known is None:
                    missing.append(name)
                elif target is None:
                    target = known
                elif known != target:
                    _join(joined, target, known, fresh)
            if target is None:
                target = self.db.new_history()
                fresh.add(target)
            for name in missing:
                links[name] = added[name] = target
            placed.append(target)
        return placed, added

    def _look_again(self, kept_rows: Sequence[Known]) -> None:
        """With the histories locked: is what was read before still so?"""
        if self.db.rows("SELECT count(*) FROM hubs") != [(len(self._hubs),)]:
            raise Outpaced("another worker learnt of a name that joins too much")
        if kept_rows:
            now = dict(self.db.rows("SELECT event, body FROM events WHERE event IN (?*)", ([kept.event for kept in kept_rows],)))
            if any(now.get(kept.event) != kept.body for kept in kept_rows):
                raise Outpaced("another worker took one of these events")

    def _settle(self, joined: Mapping[int, int]) -> dict[int, int]:
        """Which history goes into which: of two, the one with the higher number."""
        merges: dict[int, int] = {}
        for history in sorted(joined):
            if history in self._cache:
                one, other = self._now(history), self._now(_root(joined, history))
                if one != other:
                    kept, gone = min(one, other), max(one, other)
                    self._cache[gone].into = kept
                    merges[gone] = kept
        return merges

    def _now(self, history: int) -> int:
        """The history that this one is part of now."""
        while True:
            held = self._cache.get(history)
            if held is None:
                self._load({history})
                held = self._cache[history]
            if held.into is None:
                return history
            history = held.into

    def _load(self, histories: set[int]) -> None:
        """Have these histories in memory, and those that they were merged into; the ones used last stay longest. Where others write
        too, they are locked, and what is remembered is only believed while its version stands."""
        cache = self._cache
        if self.db.shared:
            self._read(self._lock(histories))
            return
        wanted = []
        for history in histories:
            held = cache.pop(history, None)
            if held is None:
                wanted.append(history)
            else:
                cache[history] = held
        while wanted:
            self._read(sorted(wanted))
            further = {into for history in wanted if (into := cache[history].into) is not None}
            wanted = [history for history in further if history not in cache]

    def _lock(self, histories: Iterable[int]) -> list[int]:
        """Lock what these histories are part of now, in the order of their numbers, and say which of them are not known as they stand.

        What was merged into another stays so for ever and needs no lock. Raises Outpaced if that changes just now: to lock one more
        out of order could block another worker.
        """
        cache = self._cache
        ends: set[int] = set()
        wanted = {history for history in histories if history not in self._locked and not (history in cache and cache[history].new)}
        while wanted:
            standing = [history for history in wanted if history not in cache or cache[history].into is None]
            merged = dict(self.db.rows(
                "SELECT history, merged_into FROM histories WHERE history IN (?*) AND merged_into IS NOT NULL", (standing,)
            )) if standing else {}  # fmt: skip
            for history, into in merged.items():
                held = cache[history] = Held(history, self.partition)
                held.into, held.new = into, False
            ends.update(history for history in standing if history not in merged)
            wanted = {into for history in wanted if (into := cache[history].into if history in cache else None) is not None}
            wanted -= self._locked | ends
        if not ends:
            return []
        rows = self.db.rows(
            "SELECT history, version, merged_into FROM histories WHERE history IN (?*) ORDER BY history FOR UPDATE", (sorted(ends),)
        )
        if len(rows) != len(ends) or any(into is not None for _, _, into in rows):
            raise Outpaced("another worker merged or erased a history just now")
        self._locked.update(ends)
        stale = []
        for history, version, _ in rows:
            if history in cache and cache[history].version == version:
                cache[history] = cache.pop(history)  # the ones used last stay longest
            else:
                stale.append(history)
        return stale

    def _read(self, histories: Sequence[int]) -> None:
        """Have these histories in memory as they stand."""
        if not histories:
            return
        for history in histories:
            self._cache[history] = Held(history, self.partition)
        for history, version, partition, packed, standards, crashes, set_aside, dirty, into, deadlines, touched_at in self.db.rows(
            "SELECT history, version, partition, state, standards, crashes, set_aside, dirty, merged_into, deadlines, touched_at "
            "FROM histories WHERE history IN (?*)", (list(histories),),
        ):  # fmt: skip
            held = self._cache[history]
            held.packed = packed
            held.version, held.partition, held.standards, held.crashes, held.into = version, partition, standards, crashes, into
            held.set_aside, held.dirty, held.new = bool(set_aside), bool(dirty), False
            held.deadlines = {} if deadlines is None else unpack_deadlines(deadlines)
            held.touched_at = touched_at

    def _merge(self, merges: Mapping[int, int], work: Work) -> None:
        """Move everything of the histories that are no more to those that took them in."""
        db = self.db
        for gone in merges:
            into = self._now(gone)
            held, kept = self._cache[gone], self._cache[into]
            kept.dirty = True
            kept.crashes = max(kept.crashes, held.crashes)
            kept.set_aside |= held.set_aside
            kept.version = max(kept.version, held.version)
            if not held.new:
                db.run("UPDATE events SET history = ? WHERE history = ?", (into, gone))
                move_findings(db, gone, into)
                db.run("DELETE FROM promises WHERE history = ?", (gone,))
                for journey, revision in db.rows("SELECT journey, revision FROM journeys WHERE history = ?", (gone,)):
                    work.gone.append((gone, journey, revision + 1))
            work.net(into, held.tally(), -1)
            work.deadlines_out += [(held.partition, waits_on, at, gone) for waits_on, at in held.deadlines.items()]
            held.packed, held.deadlines, held.dirty, held.set_aside = None, {}, False, False
            work.histories[gone] = held

    def _keep(self, groups: Mapping[int, list[Event]], arrived: Arrived, batch: Sequence[Event]) -> None:
        awaited = {(batch[index].source, batch[index].id): kept.event for index, kept in arrived.awaited.items()}
        rows = []
        sources = self._sources
        for history, events in groups.items():
            for event in events:
                if awaited and (event.source, event.id) in awaited:
                    came = (pack_event(event), history, awaited[event.source, event.id])
                    self.db.run("UPDATE events SET body = ?, history = ? WHERE event = ?", came)
                else:
                    rows.append((sources[event.source].number, event.id, history, pack_event(event)))
        if self.db.shared:
            rows.sort()  # who brings the same events waits here, in one order
        self.db.add("events", rows)

    # -- folding ----------------------------------------------------------------------------------------------------

    def _fold_all(
        self, groups: Mapping[int, list[Event]], touched: Iterable[int], frontier: Frontier, standards: Standards,
        historical: bool, work: Work,
    ) -> None:  # fmt: skip
        """Let each history take its new events (none: only time passed)."""
        self._before = {}
        whole = set(touched)
        for history, events in groups.items():
            held = self._cache[history]
            if held.set_aside:
                held.dirty = True
                work.histories[history] = held
                continue
            state = held.state()
            if history in whole or held.dirty or (state is not None and held.standards != self._standards) or (
                state is None and (not held.new or self._hubs)
            ):  # fmt: skip
                self._note_before(history, state)
                whole.add(history)
                continue
            try:
                step = advance(state, events, frontier, standards)
                if step is None and state is None:
                    step = fold(events, frontier, standards, self._hubs)
            except Exception:
                self._crashed(held, frontier, work)
                continue
            if step is None:
                self._note_before(history, state)
                whole.add(history)
                continue
            items = 0 if state is None else len(state.items)
            self._take(held, step, frontier, historical, work)
            if len(step.history.items) > MOST_ITEMS_JOINED and len(step.history.items) != items:
                whole.add(history)
                work.advanced.add(history)
        self._fold_whole(whole, frontier, standards, historical, work)

    def _note_before(self, history: int, state: History | None) -> None:
        """How far a history was folded that is to be folded whole: only such a one can have got late events."""
        if state is not None:
            self._before[history] = (state.last_event, None if state.last_timer is None else state.last_timer.at)

    def _fold_whole(self, histories: Iterable[int], frontier: Frontier, standards: Standards, historical: bool, work: Work) -> None:
        ordered = sorted(histories)
        for begin in range(0, len(ordered), FOLDED_AT_ONCE):
            some = [history for history in ordered[begin : begin + FOLDED_AT_ONCE] if not self._cache[history].set_aside]
            events: dict[int, list[Event]] = {history: [] for history in some}
            standing: dict[int, list[str]] = {history: [] for history in some}
            rows: dict[int, list[str]] = {history: [] for history in some}
            if not some:
                continue
            for history, body in self.db.rows("SELECT history, body FROM events WHERE history IN (?*)", (some,)):
                if body != AWAITED:
                    events[history].append(unpack_event(body))
            for history, identifier in self.db.rows("SELECT history, id FROM findings WHERE history IN (?*) AND status = 0", (some,)):
                standing[history].append(identifier)
            for history, journey in self.db.rows("SELECT history, journey FROM journeys WHERE history IN (?*)", (some,)):
                rows[history].append(journey)
            for history in some:
                held = self._cache[history]
                mentioned = {event.item for event in events[history]}
                mentioned.update(other for event in events[history] if event.about for other in event.about)
                if len(mentioned) > MOST_ITEMS_JOINED:
                    hubs = hubs_of(happened(events[history])[0]) - frozenset(name[2:] for name in self._hubs)
                    if hubs:
                        self._part(held, events[history], hubs, frontier, standards, historical, work)
                        continue
                try:
                    step = fold(events[history], frontier, standards, frozenset(name[2:] for name in self._hubs))
                except Exception:
                    self._crashed(held, frontier, work)
                    continue
                self._took_whole(held, step, standing[history], rows[history], frontier, historical, work)

    def _took_whole(
        self, held: Held, step: Step, standing: list[str], rows: list[str], frontier: Frontier, historical: bool, work: Work
    ) -> None:
        work.net(held.id, held.tally(), -1)
        found = {finding.id for finding in step.found}
        step.withdrawn = [identifier for identifier in standing if identifier not in found]
        if held.id in work.advanced:
            self._undraft(held, work)
        names = {row.journey for row in step.journeys}
        work.gone += [(held.id, name, held.version + 1) for name in rows if name not in names]
        self._take(held, step, frontier, historical, work)

    def _take(self, held: Held, step: Step, frontier: Frontier, historical: bool, work: Work) -> None:
        """Note down what a step gave. Of a whole one the old tally was taken off already."""
        history, now, changed = held.id, frontier.now, self._version + 1
        held.packed = encode_history(step.history)
        held.standards = self._standards
        held.dirty = False
        held.crashes = 0
        work.histories[history] = held
        several = int(len(step.history.journeys) > 1)
        for row in step.journeys:
            work.journeys.append((
                history, row.journey, self.partition, changed, held.version + 1, row.status, row.friction, row.delight, row.opened_at,
                row.last_event_at, touchpoint_bits(row.touchpoints), int(row.synthetic), pack_struct(row), promise_bits(row),
                int(row.customer is not None), several,
            ))  # fmt: skip
        self._pledge(held, step, work)
        for finding in step.found:
            work.findings.append((
                history, finding.id, self.partition, changed, 1, 0, now, int(historical), finding.kind, finding.at, finding.touchpoint,
                finding.team, finding.standard, finding.topic, finding.channel, finding.item, finding.journey, finding.points,
                pack_struct(finding), finding.from_team, finding.level, finding.promise,
            ))  # fmt: skip
        for identifier in step.withdrawn:
            work.withdrawn.append((now, int(historical), self.partition, changed, history, identifier))
        if step.whole:
            work.net(history, step.tally, 1)
        else:
            work.count(step.tally)
        self._wake(held, step.deadlines, now, work)

    def _pledge(self, held: Held, step: Step, work: Work) -> None:
        """Note down the promises that read otherwise."""
        items, journeys = step.history.items, step.history.journeys
        pledges: Iterable[tuple[str, str]] = step.pledges
        if step.whole:
            pledges = ((item.id, name) for item in items.values() for name in item.promises)
            if not held.new:
                work.pledges_anew.append((held.id,))
        for name, identifier in pledges:
            item = items[name]
            journey = journeys[item.journey]
            work.pledges.append(pledge_row(held.id, item, item.promises[identifier], journey.customer, journey.synthetic))

    def _wake(self, held: Held, deadlines: Mapping[str, int], now: int, work: Work) -> None:
        """Note when time may next change a history. What stands is a lower bound: it moves only to be earlier, or when it has passed."""
        self._own(held, work)
        standing = held.deadlines
        wanted = {
            (self._source(name, work).number if name else 0): (at if name else max(at, now)) for name, at in deadlines.items()
        }
        for waits_on, at in list(standing.items()):
            wish = wanted.get(waits_on)
            if wish == at or (at >= now and (wish is None or wish > at)):
                continue
            work.deadlines_out.append((self.partition, waits_on, at, held.id))
            del standing[waits_on]
        for waits_on, at in wanted.items():
            if waits_on not in standing:
                standing[waits_on] = at
                work.deadlines_in.append((self.partition, waits_on, at, held.id))
                self._sweep_again_from(waits_on, at, held.id)

    def _sweep_again_from(self, waits_on: int, at: int, history: int) -> None:
        """A deadline was noted where `tick` has looked already, perhaps by a fold at an earlier time, when its source was not silent."""
        name = self._numbers.get(waits_on, "")
        mode, cursor = self._swept.get(name, ("", None))
        if cursor is not None and (at, history) <= cursor:
            self._swept[name] = mode, (at, history - 1)

    def _own(self, held: Held, work: Work) -> None:
        """Who writes a history last wakes it."""
        if held.partition != self.partition:
            work.deadlines_out += [(held.partition, waits_on, at, held.id) for waits_on, at in held.deadlines.items()]
            work.deadlines_in += [(self.partition, waits_on, at, held.id) for waits_on, at in held.deadlines.items()]
            held.partition = self.partition

    def _crashed(self, held: Held, frontier: Frontier, work: Work) -> None:
        """The fold raised on this history: our bug. It is tried again by time; after three crashes it is set aside."""
        held.crashes += 1
        held.dirty = True
        held.set_aside = held.crashes >= MOST_CRASHES
        work.count({"crash": 1})
        if held.set_aside:
            work.count({"set_aside": 1})
            work.deadlines_out += [(held.partition, waits_on, at, held.id) for waits_on, at in held.deadlines.items()]
            held.deadlines = {}
        else:
            self._wake(held, {"": frontier.now}, frontier.now, work)
        work.histories[held.id] = held

    def _part(
        self, held: Held, events: list[Event], hubs: frozenset[str], frontier: Frontier, standards: Standards, historical: bool,
        work: Work,
    ) -> None:  # fmt: skip
        """A customer or item joins more than 1,000 items: from now on it joins nothing, and its history falls apart."""
        self._hubs |= {prefix + name for name in hubs for prefix in ("c:", "i:")}
        self.db.put("hubs", [(name,) for name in sorted(self._hubs)])
        groups = Groups()
        names = []
        for event in events:
            mentioned = self._names_of(event)
            if event.fact == "retracted":
                mentioned.append(_event_name(event.source, event.retracts or ""))
            mentioned.append(_event_name(event.source, event.id))
            for name in mentioned[1:]:
                groups.union(mentioned[0], name)
            names.append(mentioned)
        parts: dict[str, list[int]] = {}
        for index, mentioned in enumerate(names):
            parts.setdefault(groups.find(mentioned[0]), []).append(index)
        self._took_whole_of_nothing(held, work)
        for journey, revision in self.db.rows("SELECT journey, revision FROM journeys WHERE history = ?", (held.id,)):
            work.gone.append((held.id, journey, revision + 1))
        standing = self.db.rows("SELECT id, body FROM findings WHERE history = ?", (held.id,))
        by_item: dict[str, int] = {}
        for part, members in enumerate(parts.values()):
            history = held.id
            if part:
                history = self.db.new_history()
                self._cache[history] = Held(history, self.partition)
                self._cache[history].version = held.version
                work.unit[history] = work.unit.get(held.id, held.id)
                moved_events = {(events[index].source, events[index].id) for index in members}
                moved_events |= {(events[index].source, events[index].retracts or "") for index in members if events[index].retracts}
                self.db.run_many(
                    "UPDATE events SET history = ? WHERE source = ? AND id = ?",
                    [(history, self._sources[source].number, identifier) for source, identifier in sorted(moved_events)],
                )
                moved = sorted({name for index in members for name in names[index] if name[0] != "e"})
                self.db.put("links", [(name, history) for name in moved])
                self._names.update(dict.fromkeys(moved, history))
            for index in members:
                by_item[events[index].item] = history
        for identifier, body in standing:
            history = by_item.get(unpack_finding(body).item, held.id)
            if history != held.id:
                for table in ("findings", "revisions"):
                    self.db.run(f"UPDATE {table} SET history = ? WHERE history = ? AND id = ?", (history, held.id, identifier))
        self._fold_whole({by_item[events[members[0]].item] for members in parts.values()}, frontier, standards, historical, work)

    def _took_whole_of_nothing(self, held: Held, work: Work) -> None:
        """Take off what the history gave to the counters, before its parts give it anew."""
        work.net(held.id, held.tally(), -1)
        held.packed = None
        self._undraft(held, work)

    def _undraft(self, held: Held, work: Work) -> None:
        """Drop what this very transaction noted down for a history before it had to be folded whole."""
        work.pledges = [row for row in work.pledges if row[0] != held.id]
        self.db.run("DELETE FROM promises WHERE history = ?", (held.id,))
        work.findings = [row for row in work.findings if row[0] != held.id]
        work.journeys = [row for row in work.journeys if row[0] != held.id]
        work.withdrawn = [row for row in work.withdrawn if row[4] != held.id]

    # -- time -------------------------------------------------------------------------------------------------------

    def tick(self, frontier: Frontier, standards: Standards, *, most: int = 500, historical: bool = False) -> int:
        """Decide what time alone decides, at most `most` histories in one transaction; returns how many were woken (0: nothing is due)."""
        self._recall()
        due: dict[int, None] = {}
        now, partition = frontier.now, self.partition
        before_now = "SELECT at, history FROM deadlines WHERE partition = ? AND waits_on = ? AND at < ?"
        with self.db.translated():
            for _, history in self.db.rows(f"{before_now} ORDER BY at, history LIMIT ?", (partition, 0, now, most)):
                due[history] = None
            swept: dict[str, tuple[str, tuple[int, int] | None]] = {}
            for name, source in self._sources.items():
                if len(due) >= most:
                    break
                heard = now if frontier.complete else min(now, frontier.heard.get(name, -(2**62)))
                for _, history in self.db.rows(f"{before_now} ORDER BY at, history LIMIT ?", (partition, source.number, heard, most)):
                    due[history] = None
                since = frontier.silent.get(name)
                mode = "heard" if since is None else "silent" if now - since < SILENT_FOR else "long"
                before, cursor = self._swept.get(name, ("", (-(2**62), 0)))
                if before != mode:
                    cursor = (-(2**62), 0)
                if cursor is not None:
                    after = f"{before_now} AND (at, history) > (?, ?) ORDER BY at, history LIMIT ?"
                    rows = self.db.rows(after, (partition, source.number, now, *cursor, most))
                    for _, history in rows:
                        due[history] = None
                    if rows:
                        cursor = (rows[-1][0], rows[-1][1])
                    elif mode == "heard":
                        cursor = None
                swept[name] = (mode, cursor)
        if due:
            with self._transaction(historical) as work:
                work.now = now
                self._load(set(due))
                # others may have taken a history over since
                mine = [history for history in due if self._cache[history].into is None and self._cache[history].partition == partition]
                self._fold_all({history: [] for history in mine}, (), frontier, standards, historical, work)
        self._swept.update(swept)
        return len(due)

    def fold_dirty(self, frontier: Frontier, standards: Standards, *, most: int = 1000, historical: bool = False) -> int:
        """Fold histories that hold events no fold has seen, at most `most` in one transaction; returns how many (0: none is left)."""
        self._recall()
        with self.db.translated():
            rows = self.db.rows(
                "SELECT history FROM histories WHERE dirty = 1 AND set_aside = 0 AND merged_into IS NULL AND partition = ? LIMIT ?",
                (self.partition, most),
            )
        if not rows:
            return 0
        dirty = {history for (history,) in rows}
        with self._transaction(historical) as work:
            work.now = frontier.now
            self._load(dirty)
            self._before = {}
            self._fold_whole({history for history in dirty if self._cache[history].into is None}, frontier, standards, historical, work)
        return len(dirty)

    def refold(self, frontier: Frontier, standards: Standards, histories: Iterable[int] | None = None) -> int:
        """Take up histories that were set aside (default: all of them) and fold them from their events; returns how many stand again."""
        if histories is None:
            histories = self.all_set_aside()
        mended = 0
        for history in histories:
            with self._transaction() as work:
                work.now = frontier.now
                self._load({history})
                history = self._now(history)
                held = self._cache[history]
                was, held.set_aside, held.crashes = held.set_aside, False, MOST_CRASHES - 1
                self._before = {}
                self._fold_whole({history}, frontier, standards, False, work)
                if was:
                    work.count({"set_aside": -1})
                mended += not held.dirty
        return mended

    def all_set_aside(self) -> list[int]:
        """Every history that was set aside."""
        return [history for (history,) in self.db.rows("SELECT history FROM histories WHERE set_aside = 1")]

    def last_event_at(self) -> int:
        """The time of the last event of any source (UTC ms); 0 if there is none."""
        self._recall()
        return max((source.last_event_at or 0 for source in self._sources.values()), default=0)

    def all_histories(self) -> list[int]:
        """Every history that stands, to be folded anew, as after a change of the standards."""
        return [history for (history,) in self.db.rows("SELECT history FROM histories WHERE merged_into IS NULL")]

    def history_of(self, item: str) -> int | None:
        """The history that holds an item, or None."""
        return history_of(self.db, item)

    def published(self, number: int) -> None:
        """Note that the changes of this partition were published up to this number (`Reader.changes`). Raises Outpaced, Unreachable."""
        with self._transaction():
            self.db.run("UPDATE partitions SET published = ? WHERE partition = ?", (number, self.partition))
            self.db.run("DELETE FROM gone WHERE partition = ? AND changed <= ?", (self.partition, number))

    def watermarks(self) -> dict[str, tuple[int | None, int | None]]:
        """By source: how far it was heard in this partition, and when it last was (both UTC ms)."""
        self._recall()
        return {name: (source.watermark, source.heard_at) for name, source in self._sources.items()}

    def places(self) -> dict[str, tuple[int, int, int]]:
        """How far each followed file was read: (inode, offset, line)."""
        return {name: (inode, position, line) for name, inode, position, line in self.db.rows("SELECT * FROM inputs")}

    def remembered(self) -> list[tuple[str, bytes, int]]:
        """Signed deliveries that are remembered: source, digest, received at (UTC ms)."""
        return [(source, digest, at) for source, digest, at in self.db.rows("SELECT source, digest, received_at FROM deliveries")]

    # -- letting go -------------------------------------------------------------------------------------------------

    def erase(self, customer: str, frontier: Frontier, standards: Standards) -> Erased:
        """Remove all that is known of a customer, by their id as events say it: their items with events, conflicts, state, journeys,
        findings, links, and the raw records and rejects that speak of them, as far as that can be told from their text.

        Totals stay; what only says how things stand now (open journeys, running clocks) is taken back. Keyed hashes stay, so that the
        same events don't come back, nor others of these items or this customer from before `frontier.now`; later ones are a new
        beginning. Returns how much went. Raises Outpaced, NoRoom, Unreachable; then nothing went.
        """
        with self._transaction() as work:
            work.now = frontier.now
            erased = Erased()
            histories = self._histories_of(customer)
            self._load(histories)
            hashes = {self._hash("c", customer)}
            words = {customer}
            for history in sorted({self._now(history) for history in histories}):
                self._erase_in(history, customer, frontier, standards, work, erased, hashes, words)
            self.db.run("DELETE FROM links WHERE name = ?", ("c:" + customer,))
            self.db.run("DELETE FROM hubs WHERE name IN (?*)", (["c:" + customer, "i:" + customer],))
            self._erase_records(words, erased)
            self.db.put("erased", [(digest, frontier.now) for digest in sorted(hashes)])
        self._forget()
        erased.shredded = self.db.shred()
        return erased

    def _histories_of(self, customer: str) -> set[int]:
        """The histories that may hold a customer's events: one, unless the customer was a hub."""
        rows = self.db.rows("SELECT history FROM links WHERE name = ?", ("c:" + customer,))
        if "c:" + customer in self._hubs:
            rows += [
                (history,) for history, body in self.db.stream("SELECT history, body FROM events WHERE length(body) > 0")
                if unpack_event(body).customer == customer
            ]  # fmt: skip
        return {history for (history,) in rows}

    def _erase_in(
        self, history: int, customer: str, frontier: Frontier, standards: Standards, work: Work, erased: Erased, hashes: set[bytes],
        words: set[str],
    ) -> None:  # fmt: skip
        db, held = self.db, self._cache[history]
        events = [(row, number, unpack_event(body)) for row, number, body in db.rows(
            "SELECT event, source, body FROM events WHERE history = ? AND length(body) > 0", (history,)
        )]  # fmt: skip
        state = held.state()
        owners = {} if state is None else {item.id: item.customer for item in state.items.values()}
        claimed = {event.item for _, _, event in events if event.customer == customer}
        items = {
            event.item for _, _, event in events
            if owners.get(event.item) == customer or (owners.get(event.item) is None and event.item in claimed)
        }  # fmt: skip
        going = [(row, number, event) for row, number, event in events if event.item in items or event.customer == customer]
        erased.events += len(going)
        hashes |= {self._hash("i", item) for item in items}
        words |= items
        references = set()
        for _, number, event in going:
            hashes.add(self._hash("e", event.source, event.id))
            words.add(event.id)
            references.add(f"{event.source}/{event.id}")
            if event.retracts is not None:
                db.run("DELETE FROM events WHERE source = ? AND id = ? AND length(body) = 0", (number, event.retracts))
        db.run_many("DELETE FROM conflicts WHERE source = ? AND id = ?", [(number, event.id) for _, number, event in going])
        staying = {name for event in events if event not in going for name in self._names_of(event[2])}
        mentioned = {name for event in going for name in self._names_of(event[2])} - staying
        db.remove("links", [(name,) for name in sorted(mentioned)])
        rows = db.rows("SELECT journey FROM journeys WHERE history = ? AND journey IN (?*)", (history, sorted(items)))
        erased.journeys += len(rows)
        if len(going) == len(events):
            self._drop(held, work)
            return
        db.run_many("DELETE FROM events WHERE event = ?", [(row,) for row, _, _ in going])
        db.run("DELETE FROM promises WHERE history = ? AND item IN (?*)", (history, sorted(items)))
        for table in ("findings", "revisions"):
            bodies = db.rows(f"SELECT id, body FROM {table} WHERE history = ?", (history,))
            for identifier, finding in ((identifier, unpack_finding(body)) for identifier, body in bodies):
                if finding.item in items or references.intersection(finding.evidence):
                    db.run(f"DELETE FROM {table} WHERE history = ? AND id = ?", (history, identifier))
        if held.set_aside:
            work.count({key: -number for key, number in held.tally().items() if passes(key)})
            held.packed = None
            work.histories[history] = held
        self._before = {}
        self._fold_whole({history}, frontier, standards, False, work)
        net = work.netted.get(history, {})
        work.netted[history] = {key: number for key, number in net.items() if passes(key)}

    def _erase_records(self, words: set[str], erased: Erased) -> None:
        """Raw records and rejects in whose text one of these words stands by itself."""
        spoken = {form for word in words for form in (word, json.dumps(word)[1:-1], json.dumps(word, ensure_ascii=False)[1:-1])}
        patterns = [
            re.compile(b"(?<![0-9A-Za-z_])(?:" + b"|".join(re.escape(form.encode()) for form in some) + b")(?![0-9A-Za-z_])")
            for some in _slices(sorted(spoken), 500)
        ]

        def speaks(text: bytes) -> bool:
            return any(pattern.search(text) for pattern in patterns)

        raw = [row for row, body in self.db.stream("SELECT raw, body FROM raw") if speaks(zlib.decompress(body))]
        self.db.run_many("DELETE FROM raw WHERE raw = ?", [(row,) for row in raw])
        rejects = [
            row for row, payload, encoding in self.db.stream("SELECT reject, payload, encoding FROM rejects")
            if speaks(base64.b64decode(payload) if encoding else payload.encode())
        ]  # fmt: skip
        self.db.run_many("DELETE FROM rejects WHERE reject = ?", [(row,) for row in rejects])
        conflicts = [
            (number, identifier) for number, identifier, body in self.db.stream("SELECT source, id, body FROM conflicts")
            if {(event := unpack_event(body)).customer, event.item} & words
        ]  # fmt: skip
        self.db.run_many("DELETE FROM conflicts WHERE source = ? AND id = ?", conflicts)
        erased.raw, erased.rejects = len(raw), len(rejects)

    def _drop(self, held: Held, work: Work) -> None:
        """Let a history go with all its rows; its totals stay."""
        db, history = self.db, held.id
        work.count({key: -number for key, number in held.tally().items() if passes(key)})
        if db.shared:
            for kind, query in (("journey", "SELECT journey, revision FROM journeys"), ("finding", "SELECT id, revision FROM findings")):
                rows = db.rows(f"{query} WHERE history = ?", (history,))
                db.put("gone", [(self.partition, self._version + 1, kind, identifier, revision + 1) for identifier, revision in rows])
        for table in ("events", "journeys", "promises", "findings", "revisions", "histories"):
            db.run(f"DELETE FROM {table} WHERE history = ?", (history,))
        merged = [history]
        while merged:
            rows = db.rows("SELECT history FROM histories WHERE merged_into IN (?*)", (merged,))
            merged = [history for (history,) in rows]
            db.remove("histories", rows)
        work.deadlines_out += [(held.partition, waits_on, at, history) for waits_on, at in held.deadlines.items()]

    def expire(self, now: int, raw_ms: int, rejects_ms: int, detail_ms: int | None = None, totals_ms: int = READINGS_KEPT) -> bool:
        """Let go of raw records, rejects, deliveries and daily readings older than their retention, and of histories (their totals stay)
        of which every journey ended longer than `detail_ms` ago, and which nobody has written since. Of these a slice is looked at a
        call: returns whether there is more to look at."""
        with self._transaction() as work:
            work.now = now
            more = detail_ms is not None and self._expire_histories(now - detail_ms, work)
            self.db.run("DELETE FROM raw WHERE received_at < ?", (now - raw_ms,))
            self.db.run("DELETE FROM rejects WHERE received_at < ?", (now - rejects_ms,))
            self.db.run("DELETE FROM deliveries WHERE received_at < ?", (now - DELIVERIES_KEPT,))
            self.db.run("DELETE FROM days WHERE day < ?", ((now - totals_ms) // DAY,))
        return more

    def _expire_histories(self, before: int, work: Work) -> bool:
        bounds = self.db.rows(
            "SELECT history FROM histories WHERE history > ? ORDER BY history LIMIT 1 OFFSET ?", (self._expired_up_to, LOOKED_AT_ONCE - 1)
        )
        begin, end = self._expired_up_to, bounds[0][0] if bounds else 2**62
        rows = self.db.rows(
            "SELECT history FROM histories h WHERE history > ? AND history <= ? AND touched_at < ? AND partition = ? AND dirty = 0 "
            "AND set_aside = 0 AND merged_into IS NULL AND NOT EXISTS (SELECT 1 FROM journeys j WHERE j.history = h.history "
            "AND (j.status = 'open' OR j.last_event_at >= ?))",
            (begin, end, before, self.partition, before),
        )
        old = {history for (history,) in rows}
        self._load(old)
        for history in sorted(old):
            held = self._cache.pop(history)
            state = held.state()
            if held.touched_at < before and state is not None:
                items = list(state.items.values())
                names = ["i:" + item.id for item in items]
                names += {"c:" + item.customer for item in items if item.customer is not None}
                self.db.run("DELETE FROM links WHERE name IN (?*)", (names,))
                for name in names:
                    self._names.pop(name, None)
                self._drop(held, work)
        self._expired_up_to = end if bounds else 0
        return bool(bounds)


def _late(groups: Mapping[int, list[Event]], before: Mapping[int, Any]) -> set[tuple[str, str]]:
    """The (source, id) of new events that stand before what their history had folded already: an event, or what time decided."""
    late = set()
    for history, (last, decided) in before.items():
        for event in groups.get(history, ()):
            before_last = last is not None and event.time <= last[0] and order_key(event) < tuple(last)
            if before_last or (decided is not None and event.time <= decided):
                late.add((event.source, event.id))
    return late


def _slices(names: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (names[begin : begin + size] for begin in range(0, len(names), size))


def _keep_last(remembered: dict[Any, Any], most: int) -> None:
    """Forget what was used longest ago. All at once: the first key of a dictionary is found past the places of those that went."""
    for key in list(islice(remembered, max(len(remembered) - most, 0))):
        del remembered[key]


def _event_name(source: str, identifier: str) -> str:
    """The name under which a retraction and the event that it takes back meet within a batch."""
    return f"e:{len(source)}:{source}/{identifier}"


def _root(joined: Mapping[int, int], history: int) -> int:
    while (into := joined.get(history)) is not None:
        history = into
    return history


def _join(joined: dict[int, int], one: int, other: int, fresh: set[int]) -> None:
    """Note that two histories are one; of two, the one that is in the ledger already stays, then the lower."""
    one, other = _root(joined, one), _root(joined, other)
    if one != other:
        kept, gone = sorted((one, other), key=lambda history: (history in fresh, history))
        joined[gone] = kept


__all__ = ["Ledger", "NoRoom", "Outcome", "Outpaced", "Reader", "Unreachable"]
