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

import os
import sqlite3
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec

from tribo.ledger.bodies import pack, pack_event, pack_struct, unpack_counters, unpack_deadlines, unpack_event, unpack_finding
from tribo.ledger.reader import Reader
from tribo.ledger.sqlite import database, lock, writer
from tribo.measure.advance import Frontier, History, Step, advance, decode_history, encode_history, fold
from tribo.measure.fold import SILENT_FOR
from tribo.measure.journeys import MOST_ITEMS_JOINED, Groups
from tribo.measure.standards import Standards
from tribo.measure.whole import happened, hubs_of
from tribo.wire.rejects import Raw, Reject
from tribo_schemas.event import Event, order_key, same, smaller

Outcome = Literal["applied", "duplicate", "conflict", "late"]
MOST_CRASHES = 3
HISTORIES_KEPT = 20_000
"""How many decoded histories stay in memory."""
NAMES_KEPT = 200_000
DELIVERIES_KEPT = 3_600_000
"""How long a signed delivery is remembered (ms): much more than twice the tolerance of any signature."""
FUTURE = "time: future:"
"""How the reason begins for which an event from the future is refused."""
MOST_NAMED_FUTURE = 1000
"""Sources with a number up to this are counted by name when they send from the future; a counter's name is kept for good."""
FOLDED_AT_ONCE = 200
"""How many histories are read and folded whole at a time, to bound memory."""


class Outpaced(Exception):
    """Another writer moved the partition's row: this transaction's work is dropped, and what was known of the ledger forgotten."""


_json = msgspec.json.Encoder().encode


def _awaited(source: str, identifier: str) -> str:
    """The name under which a retraction waits for the event that it takes back."""
    return f"r:{len(source)}:{source}/{identifier}"


class _Held:
    """A history in memory. `deadlines` is what stands in the table for it, by source number."""

    __slots__ = ("crashes", "deadlines", "dirty", "id", "into", "new", "set_aside", "standards", "state", "version")

    def __init__(self, history: int) -> None:
        self.id = history
        self.state: History | None = None
        self.version = 0
        self.standards = 0
        self.crashes = 0
        self.set_aside = False
        self.dirty = False
        self.into: int | None = None
        self.deadlines: dict[int, int] = {}
        self.new = True


class _Source:
    """A source's row. Instants are UTC milliseconds; `counts` is by outcome."""

    __slots__ = ("counts", "heard_at", "last_event_at", "name", "number", "skew", "watermark")

    def __init__(self, number: int, name: str) -> None:
        self.number = number
        self.name = name
        self.watermark: int | None = None
        self.heard_at: int | None = None
        self.last_event_at: int | None = None
        self.skew: int | None = None
        self.counts = {"applied": 0, "duplicate": 0, "conflict": 0, "late": 0, "rejected": 0}


class _Work:
    """What one transaction has to write."""

    __slots__ = ("advanced", "deadlines_in", "deadlines_out", "findings", "gone", "histories", "journeys", "sources", "tally", "withdrawn")

    def __init__(self) -> None:
        self.advanced: set[int] = set()
        self.histories: dict[int, _Held] = {}
        self.journeys: list[tuple[Any, ...]] = []
        self.gone: list[tuple[int, str]] = []
        self.findings: list[tuple[Any, ...]] = []
        self.withdrawn: list[tuple[int, int, int, str]] = []
        self.deadlines_in: list[tuple[int, int, int]] = []
        self.deadlines_out: list[tuple[int, int, int]] = []
        self.tally: dict[str, int] = {}
        self.sources: set[str] = set()


class Ledger:
    """The writing side. One thread at a time; one process for each data folder."""

    def __init__(self, path: Path, connection: sqlite3.Connection, lock_file: int) -> None:
        self.path = path
        self.db = connection
        self._lock = lock_file
        self._standards = 0
        self._before: dict[int, Any] = {}
        self._rehearsing = False
        self._replacing = False
        self._forget()

    @classmethod
    def open(cls, folder: str | Path, standards_text: str = "") -> Ledger:
        """Open (or make) the ledger of a data folder for writing.

        `standards_text` is the standards file as it stands: another one than last time begins a new version, with which each
        history is folded anew when it is next touched. Raises BadConfig: another process writes, damaged, newer.
        """
        path = database(folder)
        held = lock(path)
        try:
            ledger = cls(path, writer(path), held)
            ledger._standards = ledger._version_of("standards", standards_text)
        except BaseException:
            os.close(held)
            raise
        return ledger

    def close(self) -> None:
        """Close the database and let the lock go."""
        self.db.close()
        os.close(self._lock)

    # -- the transaction --------------------------------------------------------------------------------------------

    def _forget(self) -> None:
        """Drop everything known from memory; it is read again when needed."""
        row = self.db.execute("SELECT version, offset, counters FROM partitions WHERE partition = 0").fetchone()
        self._version: int = row[0]
        self.offset: int = row[1]
        self.counters: dict[str, list[int]] = unpack_counters(row[2])
        self._cache: dict[int, _Held] = {}
        self._names: dict[str, int] = {}
        self._hubs = frozenset(name for (name,) in self.db.execute("SELECT name FROM hubs"))
        self._awaited = {name for (name,) in self.db.execute("SELECT name FROM links WHERE name >= 'r:' AND name < 'r;'")}
        self._next_history: int = self.db.execute("SELECT coalesce(max(history), 0) + 1 FROM histories").fetchone()[0]
        self._next_event: int = self.db.execute("SELECT coalesce(max(event), 0) + 1 FROM events").fetchone()[0]
        self._sources: dict[str, _Source] = {}
        for number, name, watermark, heard_at, last_event_at, skew, *counts in self.db.execute(
            "SELECT source, name, watermark, heard_at, last_event_at, skew, applied, duplicate, conflict, late, rejected FROM sources"
        ):
            source = self._sources[name] = _Source(number, name)
            source.watermark, source.heard_at, source.last_event_at, source.skew = watermark, heard_at, last_event_at, skew
            source.counts = dict(zip(source.counts, counts, strict=True))
        self._numbers = {source.number: name for name, source in self._sources.items()}
        self._swept: dict[str, tuple[str, tuple[int, int] | None]] = {}

    @contextmanager
    def rehearsal(self) -> Iterator[None]:
        """What is done inside is seen by this ledger alone, and undone at the end."""
        self.db.execute("BEGIN IMMEDIATE")
        self._rehearsing = True
        try:
            yield
        finally:
            self._rehearsing = False
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")
            self._forget()

    @contextmanager
    def _transaction(self) -> Iterator[_Work]:
        """All or nothing; on any error nothing was written and nothing is remembered. Raises Outpaced."""
        if not self._rehearsing:
            self.db.execute("BEGIN IMMEDIATE")
        try:
            work = _Work()
            yield work
            self._write(work)
            if not self._rehearsing:
                self.db.execute("COMMIT")
        except BaseException:
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")
            self._forget()
            raise
        self._version += 1
        while len(self._cache) > HISTORIES_KEPT:
            del self._cache[next(iter(self._cache))]
        while len(self._names) > NAMES_KEPT:
            del self._names[next(iter(self._names))]

    def _write(self, work: _Work) -> None:
        db = self.db
        rows = []
        for held in work.histories.values():
            rows.append((
                held.id, None if held.state is None else encode_history(held.state), held.version, held.standards, held.crashes,
                held.set_aside, held.dirty, held.into, pack(held.deadlines) if held.deadlines else None,
            ))  # fmt: skip
            held.new = False
        rows.sort(key=lambda row: row[0])
        db.executemany("INSERT OR REPLACE INTO histories VALUES (?,?,?,?,?,?,?,?,?)", rows)
        if work.gone:
            db.executemany("DELETE FROM journeys WHERE history = ? AND journey = ?", work.gone)
        db.executemany("INSERT OR REPLACE INTO journeys VALUES (?,?,?,?,?,?)", work.journeys)
        if work.findings:
            db.executemany(
                "INSERT INTO findings VALUES (?,?,1,0,?,?,?,?) ON CONFLICT DO UPDATE SET revision = revision + 1, status = 0, "
                "found_at = excluded.found_at, historical = excluded.historical, body = excluded.body "
                "WHERE status != 0 OR body IS NOT excluded.body",
                work.findings,
            )
        if work.withdrawn:
            db.executemany(
                "UPDATE findings SET revision = revision + 1, status = 1, found_at = ?, historical = ? "
                "WHERE history = ? AND id = ? AND status = 0",
                work.withdrawn,
            )
        if work.deadlines_out:
            db.executemany("DELETE FROM deadlines WHERE waits_on = ? AND at = ? AND history = ?", work.deadlines_out)
        if work.deadlines_in:
            db.executemany("INSERT OR REPLACE INTO deadlines VALUES (?,?,?)", work.deadlines_in)
        for name in work.sources:
            source = self._sources[name]
            db.execute(
                "INSERT OR REPLACE INTO sources VALUES (?,?,?,?,?,?,?,?,?,?,?)",
                (source.number, name, source.watermark, source.heard_at, source.last_event_at, source.skew, *source.counts.values()),
            )
        for key, change in work.tally.items():
            if change:
                pair = self.counters.setdefault(key, [0, 0])
                pair[0 if change > 0 else 1] += abs(change)
        moved = db.execute(
            "UPDATE partitions SET version = version + 1, offset = ?, counters = ? WHERE partition = 0 AND version = ?",
            (self.offset, pack(self.counters), self._version),
        )
        if moved.rowcount != 1:
            raise Outpaced("another writer moved this partition; its work stands, this one's was dropped")

    def texts(self, name: str) -> list[str]:
        """Each version of a setting's text that was ever remembered, the last one last."""
        row = self.db.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        return msgspec.json.decode(row[0], type=list[str]) if row else []

    def remember_text(self, name: str, text: str) -> None:
        """Remember a setting's text as its latest version, such as `mapping:NAME`."""
        self._version_of(name, text)

    def _version_of(self, name: str, text: str) -> int:
        """The number of this text among the versions of a setting; a new text gets the next."""
        versions = self.texts(name)
        if not versions or versions[-1] != text:
            versions.append(text)
            with self._transaction():
                self.db.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, _json(versions).decode()))
        return len(versions)

    def _source(self, name: str, work: _Work) -> _Source:
        source = self._sources.get(name)
        if source is None:
            source = self._sources[name] = _Source(len(self._sources) + 1, name)
            self._numbers[source.number] = name
            work.sources.add(name)
        return source

    # -- a batch ----------------------------------------------------------------------------------------------------

    def apply(
        self, batch: Sequence[Event], frontier: Frontier, standards: Standards, *, received_at: int | None = None,
        raw: Sequence[Raw] = (), rejects: Sequence[tuple[str, Reject]] = (), historical: bool = False,
        offset: int | None = None, inputs: Mapping[str, tuple[int, int, int]] | None = None, folded: bool = True,
        deliveries: Sequence[tuple[str, bytes]] = (), replayed: Sequence[int] = (), replacing: bool = False,
    ) -> list[Outcome]:  # fmt: skip
        """Take a batch in one transaction and say of each event what became of it; when this returns, all of it is on disk.

        `raw`: bodies as they came; `rejects`: (source or '', reject); `inputs`: name → (inode, offset, line) now reached;
        `deliveries`: (source, digest) to remember; `replayed`: rejects that are events now, and go; `replacing`: an event whose
        (source, id) is known takes the place of what stood, whichever is smaller (for a mapping that was corrected);
        `offset`: the partition's next; `received_at`: UTC ms, default `frontier.now`. With `folded=False` events are only kept
        and their histories marked, for `fold_dirty`. Raises sqlite3.Error (see `sqlite.is_full`) and Outpaced; then nothing was taken.
        """
        received_at = frontier.now if received_at is None else received_at
        with self._transaction() as work:
            outcomes: list[Outcome] = ["applied"] * len(batch)
            self._heard(batch, frontier, received_at, work)
            self._replacing = replacing
            fresh, must_fold = self._sort_out(batch, outcomes, received_at, work)
            groups, merged = self._route([batch[index] for index in fresh], work)
            self._keep(groups, work)
            for event_history in must_fold:
                groups.setdefault(self._now(event_history, work), [])
            touched = {self._now(history, work) for history in must_fold} | merged
            if folded:
                self._fold_all(groups, touched, frontier, standards, historical, work)
                late = _late(groups, self._before)
                if late:
                    for index in fresh:
                        if outcomes[index] == "applied" and (batch[index].source, batch[index].id) in late:
                            outcomes[index] = "late"
            else:
                for history in groups.keys() | touched:
                    held = self._cache[history]
                    held.dirty = True
                    work.histories[history] = held
            for event, outcome in zip(batch, outcomes, strict=True):
                self._sources[event.source].counts[outcome] += 1
            for said, reject in rejects:
                name = said if reject.through or said in self._sources else ""  # whoever sends rubbish can't make up sources
                source = self._source(name, work)
                source.counts["rejected"] += 1
                work.sources.add(name)
                if reject.reason.startswith(FUTURE) and (source.number <= MOST_NAMED_FUTURE):
                    key = f"future|{name}"
                    work.tally[key] = work.tally.get(key, 0) + 1
                self.db.execute(
                    "INSERT INTO rejects (received_at, source, input, line, reason, payload, encoding, mapping, place) "
                    "VALUES (?,?,?,?,?,?,?,?,?)",
                    (
                        received_at, name, reject.input, reject.line, reject.reason, reject.payload, reject.encoding, reject.through,
                        reject.mapping,
                    ),
                )  # fmt: skip
            self.db.executemany(
                "INSERT INTO raw (received_at, input, body, mapping, form) VALUES (?,?,?,?,?)",
                ((received_at, one.input, zlib.compress(one.body, 1), one.mapping, one.form) for one in raw),
            )
            self.db.executemany(
                "INSERT OR REPLACE INTO deliveries VALUES (?,?,?)", [(name, digest, received_at) for name, digest in deliveries]
            )
            self.db.executemany("DELETE FROM rejects WHERE reject = ?", [(number,) for number in replayed])
            for name, place in (inputs or {}).items():
                self.db.execute("INSERT OR REPLACE INTO inputs VALUES (?,?,?,?)", (name, *place))
            if offset is not None:
                self.offset = offset
        return outcomes

    def _heard(self, batch: Sequence[Event], frontier: Frontier, received_at: int, work: _Work) -> None:
        latest: dict[str, int] = {}
        for event in batch:
            if latest.get(event.source, event.time - 1) < event.time:
                latest[event.source] = event.time
        for name, at in latest.items():
            source = self._source(name, work)
            source.heard_at = max(source.heard_at or received_at, received_at)
            source.last_event_at = at if source.last_event_at is None else max(source.last_event_at, at)
            source.skew = at - received_at
            watermark = frontier.heard.get(name)
            if watermark is not None:
                source.watermark = watermark if source.watermark is None else max(source.watermark, watermark)
            work.sources.add(name)

    def _sort_out(self, batch: Sequence[Event], outcomes: list[Outcome], received_at: int, work: _Work) -> tuple[list[int], set[int]]:
        """Which events of the batch are new (their places), and which histories must be folded whole because a conflict changed them."""
        by_source: dict[str, dict[str, int]] = defaultdict(dict)
        again: list[int] = []
        for index, event in enumerate(batch):
            if by_source[event.source].setdefault(event.id, index) != index:
                again.append(index)
        must_fold: set[int] = set()
        new: list[int] = []
        for name, ids in by_source.items():
            number = self._sources[name].number
            known = {
                identifier: (event, history, body)
                for event, identifier, history, body in self.db.execute(
                    "SELECT e.event, e.id, e.history, e.body FROM json_each(?) j CROSS JOIN events e ON e.source = ? AND e.id = j.value",
                    (_json(list(ids)), number),
                )
            }
            for identifier, index in ids.items():
                if identifier in known:
                    self._twice(batch[index], index, number, known[identifier], outcomes, received_at, must_fold, work)
                else:
                    new.append(index)
        if again:
            fresh_by_key = {(batch[index].source, batch[index].id): index for index in new}
            replaced = list(new)
            for index in again:
                event = batch[index]
                first = fresh_by_key.get((event.source, event.id))
                number = self._sources[event.source].number
                if first is None:
                    row = self.db.execute(
                        "SELECT event, history, body FROM events WHERE source = ? AND id = ?", (number, event.id)
                    ).fetchone()
                    self._twice(event, index, number, row, outcomes, received_at, must_fold, work)
                    continue
                held = batch[first]
                if same(held, event) or any(same(other, event) for other in self._losers(number, event.id)):
                    outcomes[index] = "duplicate"
                    continue
                outcomes[index] = "conflict"
                loser = event
                if smaller(held, event) is event:
                    loser = held
                    replaced[replaced.index(first)] = index
                    fresh_by_key[event.source, event.id] = index
                self.db.execute("INSERT INTO conflicts VALUES (?,?,0,?,?)", (number, event.id, received_at, pack_event(loser)))
            new = replaced
        return new, must_fold

    def _losers(self, number: int, identifier: str) -> list[Event]:
        rows = self.db.execute("SELECT body FROM conflicts WHERE source = ? AND id = ?", (number, identifier))
        return [unpack_event(body) for (body,) in rows]

    def _twice(
        self, event: Event, index: int, number: int, known: tuple[int, int, bytes], outcomes: list[Outcome], received_at: int,
        must_fold: set[int], work: _Work,
    ) -> None:  # fmt: skip
        """The same (source, id) again: a duplicate, or a conflict of which the smaller holds; both are kept."""
        row, history, body = known
        held = unpack_event(body)
        if same(held, event) or (not self._replacing and any(same(other, event) for other in self._losers(number, event.id))):
            outcomes[index] = "duplicate"
            return
        outcomes[index] = "conflict"
        loser = event
        if self._replacing or smaller(held, event) is event:
            loser = held
            self.db.execute("UPDATE events SET body = ? WHERE event = ?", (pack_event(event), row))
            others, _ = self._route([event], work, beside=history)
            must_fold.update(others)
            must_fold.add(history)
        self.db.execute(
            "INSERT INTO conflicts VALUES (?,?,?,?,?)", (number, event.id, history, received_at, pack_event(loser))
        )

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
        if event.fact == "retracted":
            names.append(_awaited(event.source, event.retracts or ""))
        if self._awaited:
            name = _awaited(event.source, event.id)
            if name in self._awaited:
                names.append(name)
        return names

    def _route(self, events: Sequence[Event], work: _Work, beside: int | None = None) -> tuple[dict[int, list[Event]], set[int]]:
        """New events by history (made or merged where needed), and the histories that others were merged into."""
        retracted = {_awaited(event.source, event.retracts or ""): event for event in events if event.fact == "retracted"}
        self._awaited |= retracted.keys()
        mentioned = [self._names_of(event) for event in events]
        links = self._names
        unknown = {name for names in mentioned for name in names if name not in links}
        if unknown:
            for name, history in self.db.execute(
                "SELECT l.name, l.history FROM json_each(?) j CROSS JOIN links l ON l.name = j.value", (_json(list(unknown)),)
            ):
                links[name] = history
        for name, event in retracted.items():
            if name not in links:
                row = self.db.execute(
                    "SELECT e.history FROM sources s JOIN events e USING (source) WHERE s.name = ? AND e.id = ?",
                    (event.source, event.retracts),
                ).fetchone()
                if row:
                    links[name] = row[0]
                    self._awaited.discard(name)
        self._load({links[name] for names in mentioned for name in names if name in links} | ({beside} if beside else set()))
        added: dict[str, int] = {}
        groups: dict[int, list[Event]] = {}
        merges: dict[int, int] = {}
        for event, names in zip(events, mentioned, strict=True):
            target = None if beside is None else self._now(beside, work)
            missing: list[str] = []
            for name in names:
                known = links.get(name)
                if known is None:
                    missing.append(name)
                    continue
                held = self._cache.get(known)
                if held is None or held.into is not None:
                    known = links[name] = self._now(known, work)
                if target is None:
                    target = known
                elif known != target:
                    kept, gone = min(target, known), max(target, known)
                    self._cache[gone].into = kept
                    merges[gone] = kept
                    target = kept
            if target is None:
                target = self._next_history
                self._next_history += 1
                self._cache[target] = _Held(target)
            for name in missing:
                links[name] = added[name] = target
            groups.setdefault(target, []).append(event)
        if merges:
            groups = self._merge(merges, groups, work)
        if added:
            self.db.executemany(
                "INSERT OR REPLACE INTO links VALUES (?,?)", [(name, self._now(history, work)) for name, history in added.items()]
            )
        return groups, {self._now(history, work) for history in merges}

    def _now(self, history: int, work: _Work) -> int:
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
        """Have these histories in memory, and those that they were merged into; the ones used last stay longest."""
        cache = self._cache
        missing = []
        for history in histories:
            held = cache.pop(history, None)
            if held is None:
                missing.append(history)
            else:
                cache[history] = held
        while missing:
            further: set[int] = set()
            for history, state, version, standards, crashes, set_aside, dirty, into, deadlines in self.db.execute(
                "SELECT h.* FROM json_each(?) j CROSS JOIN histories h ON h.history = j.value", (_json(sorted(missing)),)
            ):
                held = cache[history] = _Held(history)
                held.state = None if state is None else decode_history(state)
                held.version, held.standards, held.crashes, held.into = version, standards, crashes, into
                held.set_aside, held.dirty, held.new = bool(set_aside), bool(dirty), False
                held.deadlines = {} if deadlines is None else unpack_deadlines(deadlines)
                if into is not None and into not in cache:
                    further.add(into)
            missing = list(further)

    def _merge(self, merges: dict[int, int], groups: dict[int, list[Event]], work: _Work) -> dict[int, list[Event]]:
        """Move everything of the histories that are no more to those that took them in."""
        for gone in merges:
            kept = self._now(gone, work)
            held = self._cache[gone]
            self._cache[kept].dirty = True
            self._cache[kept].crashes = max(self._cache[kept].crashes, held.crashes)
            self._cache[kept].set_aside |= held.set_aside
            for table in ("events", "findings", "revisions"):
                if not held.new:
                    self.db.execute(f"UPDATE OR REPLACE {table} SET history = ? WHERE history = ?", (kept, gone))
            if held.state is not None:
                for key, number in held.state.tally.items():
                    work.tally[key] = work.tally.get(key, 0) - number
            work.deadlines_out += [(waits_on, at, gone) for waits_on, at in held.deadlines.items()]
            if not held.new:
                self.db.execute("DELETE FROM journeys WHERE history = ?", (gone,))
            held.state, held.deadlines, held.dirty, held.set_aside = None, {}, False, False
            work.histories[gone] = held
        moved: dict[int, list[Event]] = {}
        for history, events in groups.items():
            moved.setdefault(self._now(history, work), []).extend(events)
        return moved

    def _keep(self, groups: Mapping[int, list[Event]], work: _Work) -> None:
        rows = []
        sources = self._sources
        number = self._next_event
        for history, events in groups.items():
            for event in events:
                rows.append((number, sources[event.source].number, event.id, history, pack_event(event)))
                number += 1
        self._next_event = number
        self.db.executemany("INSERT INTO events VALUES (?,?,?,?,?)", rows)

    # -- folding ----------------------------------------------------------------------------------------------------

    def _fold_all(
        self, groups: Mapping[int, list[Event]], touched: Iterable[int], frontier: Frontier, standards: Standards,
        historical: bool, work: _Work,
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
            state = held.state
            if state is not None:
                self._before[history] = (state.last_event, None if state.last_timer is None else state.last_timer.at)
            if history in whole or held.dirty or (state is not None and held.standards != self._standards) or (
                state is None and (not held.new or self._hubs)
            ):  # fmt: skip
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
                whole.add(history)
                continue
            items = 0 if state is None else len(state.items)
            self._take(held, step, frontier, historical, work)
            if len(step.history.items) > MOST_ITEMS_JOINED and len(step.history.items) != items:
                whole.add(history)
                work.advanced.add(history)
        self._fold_whole(whole, frontier, standards, historical, work)

    def _fold_whole(self, histories: Iterable[int], frontier: Frontier, standards: Standards, historical: bool, work: _Work) -> None:
        ordered = sorted(histories)
        for begin in range(0, len(ordered), FOLDED_AT_ONCE):
            some = [history for history in ordered[begin : begin + FOLDED_AT_ONCE] if not self._cache[history].set_aside]
            events: dict[int, list[Event]] = {history: [] for history in some}
            standing: dict[int, list[str]] = {history: [] for history in some}
            rows: dict[int, list[str]] = {history: [] for history in some}
            asked = (_json(some),)
            for history, body in self.db.execute(
                "SELECT e.history, e.body FROM json_each(?) j CROSS JOIN events e ON e.history = j.value", asked
            ):
                events[history].append(unpack_event(body))
            for history, identifier in self.db.execute(
                "SELECT f.history, f.id FROM json_each(?) j CROSS JOIN findings f ON f.history = j.value WHERE f.status = 0", asked
            ):
                standing[history].append(identifier)
            for history, journey in self.db.execute(
                "SELECT o.history, o.journey FROM json_each(?) j CROSS JOIN journeys o ON o.history = j.value", asked
            ):
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
        self, held: _Held, step: Step, standing: list[str], rows: list[str], frontier: Frontier, historical: bool, work: _Work
    ) -> None:
        if held.state is not None:
            for key, number in held.state.tally.items():
                work.tally[key] = work.tally.get(key, 0) - number
        found = {finding.id for finding in step.found}
        step.withdrawn = [identifier for identifier in standing if identifier not in found]
        if held.id in work.advanced:
            self._undraft(held, work)
        names = {row.journey for row in step.journeys}
        work.gone += [(held.id, name) for name in rows if name not in names]
        self._take(held, step, frontier, historical, work)

    def _take(self, held: _Held, step: Step, frontier: Frontier, historical: bool, work: _Work) -> None:
        """Note down what a step gave. Of a whole one the old tally was taken off already."""
        history, now = held.id, frontier.now
        held.state = step.history
        held.version += 1
        held.standards = self._standards
        held.dirty = False
        held.crashes = 0
        work.histories[history] = held
        for row in step.journeys:
            work.journeys.append((history, row.journey, row.status, row.friction, row.last_event_at, pack_struct(row)))
        for finding in step.found:
            work.findings.append((history, finding.id, now, historical, finding.kind, pack_struct(finding)))
        for identifier in step.withdrawn:
            work.withdrawn.append((now, historical, history, identifier))
        tally = work.tally
        for key, number in step.tally.items():
            tally[key] = tally.get(key, 0) + number
        self._wake(held, step.deadlines, now, work)

    def _wake(self, held: _Held, deadlines: Mapping[str, int], now: int, work: _Work) -> None:
        """Note when time may next change a history. What stands is a lower bound: it moves only to be earlier, or when it has passed."""
        standing = held.deadlines
        wanted = {
            (self._source(name, work).number if name else 0): (at if name else max(at, now)) for name, at in deadlines.items()
        }
        for waits_on, at in list(standing.items()):
            wish = wanted.get(waits_on)
            if wish == at or (at >= now and (wish is None or wish > at)):
                continue
            work.deadlines_out.append((waits_on, at, held.id))
            del standing[waits_on]
        for waits_on, at in wanted.items():
            if waits_on not in standing:
                standing[waits_on] = at
                work.deadlines_in.append((waits_on, at, held.id))

    def _crashed(self, held: _Held, frontier: Frontier, work: _Work) -> None:
        """The fold raised on this history: our bug. It is tried again by time; after three crashes it is set aside."""
        row = self.db.execute("SELECT state FROM histories WHERE history = ?", (held.id,)).fetchone()
        held.state = decode_history(row[0]) if row and row[0] is not None else None
        held.crashes += 1
        held.dirty = True
        held.set_aside = held.crashes >= MOST_CRASHES
        work.tally["crash"] = work.tally.get("crash", 0) + 1
        if held.set_aside:
            work.tally["set_aside"] = work.tally.get("set_aside", 0) + 1
            work.deadlines_out += [(waits_on, at, held.id) for waits_on, at in held.deadlines.items()]
            held.deadlines = {}
        else:
            self._wake(held, {"": frontier.now}, frontier.now, work)
        work.histories[held.id] = held

    def _part(
        self, held: _Held, events: list[Event], hubs: frozenset[str], frontier: Frontier, standards: Standards, historical: bool,
        work: _Work,
    ) -> None:  # fmt: skip
        """A customer or item joins more than 1,000 items: from now on it joins nothing, and its history falls apart."""
        self._hubs |= {prefix + name for name in hubs for prefix in ("c:", "i:")}
        self.db.executemany("INSERT OR IGNORE INTO hubs VALUES (?)", [(name,) for name in self._hubs])
        groups = Groups()
        names = []
        for event in events:
            mentioned = self._names_of(event)
            if event.fact == "retracted":
                mentioned.append(f"e:{event.source}/{event.retracts}")
            mentioned.append(f"e:{event.source}/{event.id}")
            for name in mentioned[1:]:
                groups.union(mentioned[0], name)
            names.append(mentioned)
        parts: dict[str, list[int]] = {}
        for index, mentioned in enumerate(names):
            parts.setdefault(groups.find(mentioned[0]), []).append(index)
        self._took_whole_of_nothing(held, work)
        self.db.execute("DELETE FROM journeys WHERE history = ?", (held.id,))
        standing = self.db.execute("SELECT id, body FROM findings WHERE history = ?", (held.id,)).fetchall()
        by_item: dict[str, int] = {}
        for part, members in enumerate(parts.values()):
            history = held.id
            if part:
                history = self._next_history
                self._next_history += 1
                self._cache[history] = _Held(history)
                self.db.executemany(
                    "UPDATE events SET history = ? WHERE source = ? AND id = ?",
                    [(history, self._sources[events[index].source].number, events[index].id) for index in members],
                )
                moved = {name for index in members for name in names[index] if name[0] != "e"}
                self.db.executemany("INSERT OR REPLACE INTO links VALUES (?,?)", [(name, history) for name in moved])
                self._names.update(dict.fromkeys(moved, history))
            for index in members:
                by_item[events[index].item] = history
        for identifier, body in standing:
            history = by_item.get(unpack_finding(body).item, held.id)
            if history != held.id:
                for table in ("findings", "revisions"):
                    self.db.execute(f"UPDATE {table} SET history = ? WHERE history = ? AND id = ?", (history, held.id, identifier))
        self._fold_whole({by_item[events[members[0]].item] for members in parts.values()}, frontier, standards, historical, work)

    def _took_whole_of_nothing(self, held: _Held, work: _Work) -> None:
        """Take off what the history gave to the counters, before its parts give it anew."""
        if held.state is not None:
            for key, number in held.state.tally.items():
                work.tally[key] = work.tally.get(key, 0) - number
        held.state = None
        self._undraft(held, work)

    @staticmethod
    def _undraft(held: _Held, work: _Work) -> None:
        """Drop what this very transaction noted down for a history before it had to be folded whole."""
        work.findings = [row for row in work.findings if row[0] != held.id]
        work.journeys = [row for row in work.journeys if row[0] != held.id]
        work.withdrawn = [row for row in work.withdrawn if row[2] != held.id]

    # -- time -------------------------------------------------------------------------------------------------------

    def tick(self, frontier: Frontier, standards: Standards, *, most: int = 500, historical: bool = False) -> int:
        """Decide what time alone decides, at most `most` histories in one transaction; returns how many were woken (0: nothing is due)."""
        due: dict[int, None] = {}
        now = frontier.now
        for (history,) in self.db.execute("SELECT history FROM deadlines WHERE waits_on = 0 AND at < ? ORDER BY at LIMIT ?", (now, most)):
            due[history] = None
        swept: dict[str, tuple[str, tuple[int, int] | None]] = {}
        for name, source in self._sources.items():
            if len(due) >= most:
                break
            heard = now if frontier.complete else min(now, frontier.heard.get(name, -(2**62)))
            for (history,) in self.db.execute(
                "SELECT history FROM deadlines WHERE waits_on = ? AND at < ? ORDER BY at LIMIT ?", (source.number, heard, most)
            ):
                due[history] = None
            since = frontier.silent.get(name)
            mode = "heard" if since is None else "silent" if now - since < SILENT_FOR else "long"
            before, cursor = self._swept.get(name, ("", (-(2**62), 0)))
            if before != mode:
                cursor = (-(2**62), 0)
            if cursor is not None:
                rows = self.db.execute(
                    "SELECT at, history FROM deadlines WHERE waits_on = ? AND at < ? AND (at, history) > (?, ?) "
                    "ORDER BY at, history LIMIT ?",
                    (source.number, now, *cursor, most),
                ).fetchall()
                for _, history in rows:
                    due[history] = None
                if rows:
                    cursor = rows[-1]
                elif mode == "heard":
                    cursor = None
            swept[name] = (mode, cursor)
        if due:
            with self._transaction() as work:
                self._load(set(due))
                self._fold_all({history: [] for history in due}, (), frontier, standards, historical, work)
        self._swept.update(swept)
        return len(due)

    def fold_dirty(self, frontier: Frontier, standards: Standards, *, most: int = 1000, historical: bool = False) -> int:
        """Fold histories that hold events no fold has seen, at most `most` in one transaction; returns how many (0: none is left)."""
        rows = self.db.execute(
            "SELECT history FROM histories WHERE dirty = 1 AND set_aside = 0 AND merged_into IS NULL LIMIT ?", (most,)
        ).fetchall()
        if not rows:
            return 0
        dirty = {history for (history,) in rows}
        with self._transaction() as work:
            self._load(dirty)
            self._before = {}
            self._fold_whole(dirty, frontier, standards, historical, work)
        return len(dirty)

    def refold(self, frontier: Frontier, standards: Standards, histories: Iterable[int] | None = None) -> int:
        """Take up histories that were set aside (default: all of them) and fold them from their events; returns how many stand again."""
        if histories is None:
            histories = self.all_set_aside()
        mended = 0
        for history in histories:
            with self._transaction() as work:
                self._load({history})
                history = self._now(history, work)
                held = self._cache[history]
                was, held.set_aside, held.crashes = held.set_aside, False, MOST_CRASHES - 1
                self._before = {}
                self._fold_whole({history}, frontier, standards, False, work)
                if was:
                    work.tally["set_aside"] = work.tally.get("set_aside", 0) - 1
                mended += not held.dirty
        return mended

    def all_set_aside(self) -> list[int]:
        """Every history that was set aside."""
        return [history for (history,) in self.db.execute("SELECT history FROM histories WHERE set_aside = 1")]

    def last_event_at(self) -> int:
        """The time of the last event of any source (UTC ms); 0 if there is none."""
        return max((source.last_event_at or 0 for source in self._sources.values()), default=0)

    def all_histories(self) -> list[int]:
        """Every history that stands, to be folded anew, as after a change of the standards."""
        return [history for (history,) in self.db.execute("SELECT history FROM histories WHERE merged_into IS NULL")]

    def history_of(self, item: str) -> int | None:
        """The history that holds an item, or None."""
        row = self.db.execute("SELECT history FROM links WHERE name = ?", ("i:" + item,)).fetchone()
        return None if row is None else self._now(row[0], _Work())

    def watermarks(self) -> dict[str, tuple[int | None, int | None]]:
        """By source: how far it was heard, and when it last was (both UTC ms)."""
        return {name: (source.watermark, source.heard_at) for name, source in self._sources.items()}

    def places(self) -> dict[str, tuple[int, int, int]]:
        """How far each followed file was read: (inode, offset, line)."""
        return {name: (inode, offset, line) for name, inode, offset, line in self.db.execute("SELECT * FROM inputs")}

    def remembered(self) -> list[tuple[str, bytes, int]]:
        """Signed deliveries that are remembered: source, digest, received at (UTC ms)."""
        return list(self.db.execute("SELECT source, digest, received_at FROM deliveries"))

    def expire(self, now: int, raw_ms: int, rejects_ms: int) -> None:
        """Let go of raw records, rejects and deliveries older than their retention."""
        with self._transaction():
            self.db.execute("DELETE FROM raw WHERE received_at < ?", (now - raw_ms,))
            self.db.execute("DELETE FROM rejects WHERE received_at < ?", (now - rejects_ms,))
            self.db.execute("DELETE FROM deliveries WHERE received_at < ?", (now - DELIVERIES_KEPT,))


def _late(groups: Mapping[int, list[Event]], before: Mapping[int, Any]) -> set[tuple[str, str]]:
    """The (source, id) of new events that stand before what their history had folded already: an event, or what time decided."""
    late = set()
    for history, events in groups.items():
        last, decided = before.get(history, (None, None))
        for event in events:
            if (last is not None and order_key(event) < tuple(last)) or (decided is not None and event.time <= decided):
                late.add((event.source, event.id))
    return late


__all__ = ["Ledger", "Outcome", "Outpaced", "Reader"]
