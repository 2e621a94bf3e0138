"""The ledger: what was accepted, and what follows from it, in one transaction a batch.

`Ledger.apply` is the whole of it. A batch of events is routed to histories by the names that each event mentions (its item,
its customer, what it is about); names that turn out to belong together merge their histories. Each history then takes its new
events through `advance`, or, when only all of its events can say, through `fold`, whose answer is compared with what stood.
Events, states, journeys, findings, counters, deadlines and the inputs' offsets move together or not at all; the partition's row
moves by compare-and-swap in every transaction, so who was outpaced drops its work.

`Ledger` stands on layers, a file each: `transaction` (memory and writing), `routing` (who belongs to whom), `folding` (what follows, also
from time alone), `letting_go` (erasing and expiring). Here a batch is sorted out and brought through them.

What may change here: how a history is found and kept. What must not: events are only ever added, counters only rise, and a
finding changes by a new revision.
"""

from __future__ import annotations

import base64
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from tribo.ledger.bodies import pack_event, unpack_event
from tribo.ledger.database import NoRoom, Outpaced, Unreachable
from tribo.ledger.letting_go import LettingGo
from tribo.ledger.reader import Reader
from tribo.ledger.routing import AWAITED
from tribo.ledger.work import Arrived, Known, Work
from tribo.measure.advance import Frontier
from tribo.measure.standards import Standards
from tribo.wire.rejects import Raw, Reject
from tribo_schemas.event import Event, order_key, same, smaller

Outcome = Literal["applied", "duplicate", "conflict", "late", "erased"]
FUTURE = "time: future:"
"""How the reason begins for which an event from the future is refused."""
MOST_NAMED = 1000
"""Sources with a number up to this are named in counters, of what came from the future or with an import: such names are kept for good."""


class Ledger(LettingGo):
    """The writing side of one partition: one thread at a time, one process for a data folder, any number for PostgreSQL.

    Every transaction moves the partition's row from the version that this object read to the next. If somebody else moved it,
    Outpaced is raised and nothing was written. On Unreachable the connection is made anew by the next call.
    """

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

    def last_event_at(self) -> int:
        """The time of the last event of any source (UTC ms); 0 if there is none."""
        self._recall()
        return max((source.last_event_at or 0 for source in self._sources.values()), default=0)

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


def _late(groups: Mapping[int, list[Event]], before: Mapping[int, Any]) -> set[tuple[str, str]]:
    """The (source, id) of new events that stand before what their history had folded already: an event, or what time decided."""
    late = set()
    for history, (last, decided) in before.items():
        for event in groups.get(history, ()):
            before_last = last is not None and event.time <= last[0] and order_key(event) < tuple(last)
            if before_last or (decided is not None and event.time <= decided):
                late.add((event.source, event.id))
    return late


__all__ = ["Ledger", "NoRoom", "Outcome", "Outpaced", "Reader", "Unreachable"]
