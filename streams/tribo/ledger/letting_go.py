"""What the ledger lets go: a customer's rows when they are erased, and what is older than it is kept."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from hashlib import blake2b

import msgspec

from tribo.ledger.bodies import unpack_event, unpack_finding
from tribo.ledger.folding import Folding
from tribo.ledger.work import Held, Work, passes
from tribo.measure.advance import Frontier
from tribo.measure.journeys import DAY
from tribo.measure.standards import Standards
from tribo_schemas.event import Event

READINGS_KEPT = 400 * DAY
"""How long the counters' daily readings are kept (ms): totals, nobody's name."""
DELIVERIES_KEPT = 3_600_000
"""How long a signed delivery is remembered (ms): much more than twice the tolerance of any signature."""
LOOKED_AT_ONCE = 5_000
"""How many histories a call of `expire` looks at."""


class Erased(msgspec.Struct):
    """How much an erasure removed. `shredded`: the database's files hold no byte of it any more; else somebody reads them just now,
    and `tribo erase` of the same customer, once more, does it."""

    events: int = 0
    journeys: int = 0
    raw: int = 0
    rejects: int = 0
    shredded: bool = False


class LettingGo(Folding):
    """Erases and expires, and knows again what was erased."""

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


def _slices(names: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (names[begin : begin + size] for begin in range(0, len(names), size))
