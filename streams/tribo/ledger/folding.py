"""Folding histories, for new events and for time alone, and noting down what the fold gave.

A history takes its new events through `advance`, or, when only all of its events can say, through `fold`, whose answer is compared
with what stood. One whose fold crashes three times is set aside: its events are kept, the others go on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tribo.ledger.bodies import pack_struct, unpack_event, unpack_finding
from tribo.ledger.reader import history_of
from tribo.ledger.routing import AWAITED, Routing, event_name
from tribo.ledger.rows import pledge_row, promise_bits, touchpoint_bits
from tribo.ledger.work import Held, Work
from tribo.measure.advance import Frontier, History, Step, advance, encode_history, fold
from tribo.measure.fold import SILENT_FOR
from tribo.measure.journeys import MOST_ITEMS_JOINED, Groups
from tribo.measure.standards import Standards
from tribo.measure.whole import happened, hubs_of
from tribo_schemas.event import Event

MOST_CRASHES = 3
FOLDED_AT_ONCE = 200
"""How many histories are read and folded whole at a time, to bound memory."""


class Folding(Routing):
    """Folds histories within a transaction."""

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
            items = 0 if state is None else len(state.items)  # before `advance` changes it
            if state is not None and (decided := state.last_timer) is not None and any(event.time <= decided.at for event in events):
                self._note_before(history, state)
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
            self._take(held, step, frontier, historical, work)
            if len(step.history.items) > MOST_ITEMS_JOINED and len(step.history.items) != items:
                whole.add(history)
                work.advanced.add(history)
        self._fold_whole(whole, frontier, standards, historical, work)

    def _note_before(self, history: int, state: History | None) -> None:
        """How far a history was folded that may have got late events."""
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
                mentioned.append(event_name(event.source, event.retracts or ""))
            mentioned.append(event_name(event.source, event.id))
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

    def all_histories(self) -> list[int]:
        """Every history that stands, to be folded anew, as after a change of the standards."""
        return [history for (history,) in self.db.rows("SELECT history FROM histories WHERE merged_into IS NULL")]

    def history_of(self, item: str) -> int | None:
        """The history that holds an item, or None."""
        return history_of(self.db, item)
