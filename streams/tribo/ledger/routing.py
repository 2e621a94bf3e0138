"""Who belongs to whom: the history of each event, found by the names that it mentions (its item, its customer, what it is about).

Names that turn out to belong together merge their histories. Others may do so at the same time: see `Routing._route`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tribo.ledger.bodies import pack_event, unpack_deadlines
from tribo.ledger.database import Outpaced
from tribo.ledger.rows import move_findings
from tribo.ledger.transaction import Transactions
from tribo.ledger.work import Arrived, Held, Known, Work
from tribo_schemas.event import Event

AWAITED = b""
"""The body of an event that has not come yet, though a retraction of it has."""


class Routing(Transactions):
    """Finds, makes, locks and merges histories."""

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
            (self._sources[source].number, identifier, self._now(links[event_name(source, identifier)]), AWAITED)
            for source, identifier in away
        ])  # fmt: skip
        for source, identifier in targets:
            del links[event_name(source, identifier)]
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
                names.append(event_name(event.source, event.retracts or ""))
            if (event.source, event.id) in targets:
                names.append(event_name(event.source, event.id))
                away.discard((event.source, event.id))
        for source in {source for source, _ in away}:
            ids = [identifier for of, identifier in away if of == source]
            for identifier, history in self.db.rows(
                "SELECT id, history FROM events WHERE source = ? AND id IN (?*)", (self._sources[source].number, ids)
            ):
                self._names[event_name(source, identifier)] = history
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


def event_name(source: str, identifier: str) -> str:
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
