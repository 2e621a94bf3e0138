"""What each fact does to a history, and what time alone does.

The theory. Events come in order; each changes the state of its item and of the item's journey. Between them timers run:
a timer at T is decided after all events at T and before any later one, so that what happens exactly at a deadline is still
in time. Findings are emitted where they arise; a finding that depends on what stands now (at risk, no alternative) is
withdrawn when that ends. Nothing here knows where events come from or what time it is: `Frontier` says both.

To add a fact: a method named after it, and its place in definitions of facts in `tribo_schemas.event`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from hashlib import blake2b
from heapq import heappop, heappush
from typing import Any

import msgspec

from tribo.measure.history import History, Item, Journey, Promise, Timer
from tribo.measure.hours import Calendar
from tribo.measure.journeys import DAY, Topology
from tribo.measure.standards import Entry, Standards, applies, known
from tribo.measure.standing import EXPECTS, OPEN, standing
from tribo_schemas.event import Event, order_key
from tribo_schemas.finding import BY_TEAM, DELIGHT, Finding
from tribo_schemas.journey import PromiseCounts

SILENT_FOR = DAY  # a promise whose source is silent this long is called broken after all
WORDS_BEFORE = DAY  # kept, informed and released belong to a promise made at most this much later
EARLY_BY = DAY
CONFIRM_WITHIN = 7 * DAY
EXPECTATION_WITHIN = DAY
RECOVERY_WITHIN = 90 * DAY

RISK, DUE, TARGET, EXPECTATION, CONFIRMATION = range(5)  # the order of timers at the same instant
FIRST_RESPONSE = frozenset(("service", "returns"))
NO_WAIT = (0, 0, 0, -(1 << 62))
TROUBLES = frozenset(("handoffs", "reopened", "repeat_contacts"))  # after which a service item was not resolved at first contact
PAUSED_BY_CUSTOMER = frozenset(("resolution", "total_resolution"))


class Frontier(msgspec.Struct, frozen=True):
    """How far time has come. `now` in UTC milliseconds; `heard` how far each source was heard (its watermark); `silent` since when
    a source is silent, for those that are. `complete`: all input is known, so every source counts as heard up to `now`.
    `brings`: by promise, the sources that may bring its evidence beside the one that made it; it waits on all of them."""

    now: int
    heard: dict[str, int] = {}
    silent: dict[str, int] = {}
    complete: bool = False
    brings: dict[str, tuple[str, ...]] = {}

    def decided(self, at: int, waits_on: str) -> bool:
        """Whether what was due at `at` can be judged: it is past, and the source it waits on was heard beyond it or is long silent."""
        if self.now <= at:
            return False
        if self.complete or not waits_on or self.heard.get(waits_on, at) > at:
            return True
        since = self.silent.get(waits_on)
        return since is not None and self.now - since >= SILENT_FOR

    def unheard(self, at: int, waits_on: str) -> bool:
        """Whether what was due at `at` is past, but its source is silent and wasn't heard that far."""
        return self.now > at and not self.complete and waits_on in self.silent and self.heard.get(waits_on, at) <= at

    def nobody_can_say(self, promise: Promise) -> bool:
        """Whether an open promise's due is past, but a source that could bring its evidence is silent and wasn't heard that far."""
        at = promise.breaks_at
        return self.unheard(at, promise.source) or any(self.unheard(at, other) for other in self.brings.get(promise.id, ()))


OnFact = Callable[["Fold", Item, Event], None]
OnTimer = Callable[["Fold", Item, Timer], None]


def finding_id(kind: str, item: str, promise: str | None, standard: str | None, clock: str | None, began: str) -> str:
    """The name of an occasion: the same however often and in whatever order it is found."""
    text = "\x1f".join((kind, item, promise or "", standard or "", clock or "", began))
    return blake2b(text.encode(), digest_size=10).hexdigest()


class Fold:
    """One pass over a history's events. Holds the state, and collects what is found and withdrawn on the way.

    `before` is how each item that was touched stood in the counters until then; `touched` are the journeys whose rows may change;
    `pledges` the promises (item, id) that read otherwise.
    """

    __slots__ = (
        "at", "before", "dues", "event", "facts", "found", "frontier", "history", "implies", "items", "journeys", "pledges",
        "points", "reference", "restored", "standards", "starts", "tally", "timers", "topology", "touched", "undecided", "withdrawn",
    )  # fmt: skip

    def __init__(
        self, history: History, frontier: Frontier, standards: Standards, topology: Topology | None,
        facts: dict[str, OnFact], timers: dict[int, OnTimer], implies: OnFact, starts: Callable[[Fold, Item], None],
    ) -> None:  # fmt: skip
        self.facts = facts
        self.timers = timers
        self.implies = implies
        self.starts = starts
        self.history = history
        self.items = history.items
        self.journeys = history.journeys
        self.frontier = frontier
        self.standards = standards
        self.points = standards.points
        self.topology = topology
        self.found: dict[str, Finding] = {}
        self.withdrawn: dict[str, None] = {}
        self.restored: set[str] = set()  # withdrawn and found again in this pass: known to the shell if withdrawn once more
        self.tally: dict[str, int] = {}
        self.touched: set[str] = set()
        self.before: dict[str, dict[str, int]] = {}
        self.pledges: set[tuple[str, str]] = set()
        self.undecided: list[Timer] = []
        self.event: Event | None = None
        self.at = 0
        self.reference = ""
        self.dues: dict[tuple[str, int], int] = {}

    # -- running ----------------------------------------------------------------------------------------------------

    def run(self, events: Sequence[Event]) -> None:
        """Fold events (effective, in order, all after what was folded before), then let time pass to the frontier."""
        timers, items, journeys = self.history.timers, self.items, self.journeys
        facts, before, touched = self.facts, self.before, self.touched
        implies = self.standards.implies
        read = dict.get  # of what was read already, which most are, without a detour
        for event in events:
            at = event.time
            if timers and timers[0].at < at:
                self._fire_before(at)
            self.event = event
            self.at = at
            self.reference = reference = f"{event.source}/{event.id}"
            item = read(items, event.item) or items.get(event.item)
            if item is None:
                item = self._new_item(event)
            elif item.id not in before:
                before[item.id] = standing(self.standards, item)
            if not item.journey:
                continue
            journey = journeys[item.journey]
            journey.events += 1
            journey.last_event_at = at
            touched.add(journey.id)
            if event.topic is not None:
                item.topic_heard = True
            if item.channel is None:
                item.channel = event.channel
            starts = not item.started and reference == item.start_event
            if starts:
                item.started = True
                if item.touchpoint == "purchase":  # before what the event itself says: a problem in it isn't won back by it
                    self.starts(self, item)
            fact = event.fact
            if fact in facts:
                facts[fact](self, item, event)
            if starts and item.touchpoint != "purchase":  # after it: the holder of that time is the new one
                self.starts(self, item)
            if implies:
                self.implies(self, item, event)
        if events:
            self.history.last_event = order_key(events[-1])
        self.event = None
        if timers and timers[0].at < self.frontier.now:
            self._fire_before(self.frontier.now)
        for timer in self.undecided:
            heappush(timers, timer)

    def _fire_before(self, limit: int) -> None:
        """Fire every decided timer before `limit`, in order. What is undecided now is so for the whole pass, and is set aside."""
        timers = self.history.timers
        event, reference = self.event, self.reference
        self.event = None
        while timers and timers[0].at < limit:
            timer = heappop(timers)
            if not self.frontier.decided(timer.at, timer.waits_on):
                self.undecided.append(timer)
                if timer.rank == DUE:
                    self._note_holder(timer)
                continue
            self.at = timer.at
            if self.history.last_timer is None or timer > self.history.last_timer:
                self.history.last_timer = timer
            item = self.items[timer.item]
            item.decided_at = max(item.decided_at, timer.at)
            self.touch(item)
            self.timers[timer.rank](self, item, timer)
        self.event, self.reference = event, reference

    def _note_holder(self, timer: Timer) -> None:
        """Who has the item at a due that can't be judged yet: events after it may come before that."""
        item = self.items[timer.item]
        promise = item.promises[timer.key]
        if promise.had_by is None and promise.state == OPEN and promise.breaks_at == timer.at:
            promise.had_by = item.team, item.owner
            self.items.changed(item.id)

    def touch(self, item: Item) -> None:
        """Something about an item is going to change: note how it stood, and that its journey's row changes."""
        if item.id not in self.before:
            self.before[item.id] = standing(self.standards, item)
        self.touched.add(item.journey)

    def _new_item(self, event: Event) -> Item:
        name = event.item
        if self.topology is not None:
            place = self.topology.places[name]
            journey_id = self.topology.journey_ids.get(place.journey, "")
            customer = place.customer
            start = place.start
            started_at = start[0] if start is not None else event.time
            start_event = f"{start[3]}/{start[4]}" if start is not None else ""
            about = tuple(sorted(place.about))
            topic = place.topic
            synthetic = place.journey in self.topology.synthetic
            opened_at = self._opened_at(journey_id)
        else:
            journey_id, customer, about, synthetic = self._placed(event)
            opened_at = started_at = event.time
            start_event, topic = self.reference, event.topic
        item = self.items[name] = Item(
            name, journey_id, event.touchpoint, customer, started_at, start_event,
            None if self.reference == start_event else self.reference, topic, about=about, decided_at=0,
        )  # fmt: skip
        self.before[name] = {}
        if journey_id:
            journey = self.journeys.get(journey_id)
            if journey is None:
                journey = self.journeys[journey_id] = Journey(
                    id=journey_id, customer=customer, synthetic=synthetic, opened_at=opened_at, promises=PromiseCounts()
                )
            journey.items.append(name)
            if item.touchpoint not in journey.touchpoints:
                journey.touchpoints = tuple(sorted((*journey.touchpoints, item.touchpoint)))
            if self.topology is None or place.start is not None:  # an item of which there are only links isn't going on
                journey.undone += 1
                if item.touchpoint == "service":
                    journey.service += 1
                    journey.service_undone += 1
                    journey.recent.append(name)
                if item.touchpoint in EXPECTS:
                    self.set_timer(event.time + EXPECTATION_WITHIN, EXPECTATION, item, "", event.source)
        return item

    def _opened_at(self, journey_id: str) -> int:
        """When a journey began: when its earliest item, after which it is named, started."""
        start = self.topology.places[journey_id].start if self.topology is not None and journey_id else None
        return start[0] if start is not None else 0

    def _placed(self, event: Event) -> tuple[str, str | None, tuple[str, ...], bool]:
        """Where a new item goes when everything earlier is folded; `advance` has made sure that this is all there is to it."""
        about = event.about or ()
        customer = event.customer
        for other in about:
            if other in self.items:
                neighbour = self.items[other]
                return neighbour.journey, neighbour.customer if customer is None else customer, about, bool(event.synthetic)
        if customer is not None and event.touchpoint != "purchase" and not about:
            latest: Journey | None = None
            for journey in self.journeys.values():
                if (
                    journey.customer == customer and journey.last_event_at < event.time
                    and (latest is None or journey.last_event_at > latest.last_event_at)
                ):  # fmt: skip
                    latest = journey
            if latest is not None and event.time - latest.last_event_at < 30 * DAY:
                return latest.id, customer, about, bool(event.synthetic)
        return event.item, customer, about, bool(event.synthetic)

    def set_timer(self, at: int, rank: int, item: Item, key: str, waits_on: str) -> None:
        """Let time decide something at an instant, once `waits_on` was heard beyond it."""
        heappush(self.history.timers, Timer(at, rank, item.id, key, waits_on))

    # -- finding ----------------------------------------------------------------------------------------------------

    def find(self, kind: str, item: Item, began: str, evidence: tuple[str, ...], **more: Any) -> Finding:
        """Emit a finding at the present instant, with the holder of now, and its points."""
        event = self.event
        journey = self.journeys[item.journey]
        points = self.points.get(kind)
        name = finding_id(kind, item.id, more.get("promise"), more.get("standard"), more.get("clock"), began)
        found = self.found[name] = Finding(
            id=name, kind=kind, journey=item.journey, item=item.id, touchpoint=item.touchpoint, at=self.at, evidence=evidence,
            topic=(event.topic if event is not None else None) or item.topic,
            channel=event.channel if event is not None else None,
            points=points or None, team=item.team, owner=item.owner, **more,
        )  # fmt: skip
        if name in self.withdrawn:
            del self.withdrawn[name]
            self.restored.add(name)
        if points:
            if kind in DELIGHT:
                journey.delight += points
            else:
                journey.friction += points
        if not journey.synthetic:
            self.count(f"finding|{kind}|{item.touchpoint}|{known(item.team, self.standards.teams) if kind in BY_TEAM else ''}", 1)
            if kind == "complaint":
                self.count(f"complaint|{known(found.topic, self.standards.topics)}", 1)
        return found

    def find_as_it_stands(self, kind: str, item: Item, began: str, evidence: tuple[str, ...]) -> None:
        """Emit a finding about how an item stands, whatever event brought it there: the item's topic, no channel."""
        event, self.event = self.event, None
        self.find(kind, item, began, evidence)
        self.event = event

    def withdraw(self, kind: str, item: Item, began: str, promise: str | None = None) -> None:
        """Take back a finding that no longer stands, with its points."""
        name = finding_id(kind, item.id, promise, None, None, began)
        journey = self.journeys[item.journey]
        points = self.points.get(kind)
        if points:
            journey.friction -= points
        if not journey.synthetic:
            self.count(f"finding|{kind}|{item.touchpoint}|", -1)
        if self.found.pop(name, None) is None or name in self.restored:
            self.withdrawn[name] = None

    def count(self, key: str, number: int) -> None:
        """Add to a counter, in what this pass changes."""
        tally = self.tally
        tally[key] = tally.get(key, 0) + number

    def add(self, item: Item, count: str) -> None:
        """Add one to a count of a journey row, for the item and for its journey."""
        journey = self.journeys[item.journey]
        for counts in (item.counts, journey.counts):
            counts[count] = counts.get(count, 0) + 1
        if item.touchpoint == "service" and count in TROUBLES:
            journey.service_troubles += 1

    def add_promise(self, item: Item, count: str, number: int = 1) -> None:
        """Add to one of the journey's counts of promises."""
        promises = self.journeys[item.journey].promises
        setattr(promises, count, getattr(promises, count) + number)

    def pledge(self, item: Item, promise: Promise) -> None:
        """A promise reads otherwise than it did."""
        self.pledges.add((item.id, promise.id))

    def decide(self, item: Item, promise: Promise, state: str) -> None:
        """A promise comes to another state."""
        self.pledge(item, promise)
        self.add_promise(item, promise.state, -1)
        promise.state, promise.had_by = state, None
        self.add_promise(item, state)

    def done(self, item: Item, done: bool) -> None:
        """The item is done, or isn't any more."""
        item.done = done
        journey = self.journeys[item.journey]
        change = -1 if done else 1
        journey.undone += change
        if item.touchpoint == "service":
            journey.service_undone += change
            if done:
                journey.service_done_at = self.at
            elif item.id not in journey.recent:
                journey.recent.append(item.id)

    def step(self, item: Item, steps: int) -> None:
        """The item's steps are now so many; the journey's are the most of any of its items."""
        journey = self.journeys[item.journey]
        before, most = item.counts.get("steps", 0), journey.counts.get("steps", 0)
        item.counts["steps"] = steps
        if steps >= most:
            journey.counts["steps"] = steps
        elif before == most:
            journey.counts["steps"] = max(self.items[name].counts.get("steps", 0) for name in journey.items)

    def judge(self, item: Item, name: str, outcome: str, number: int = 1) -> None:
        """Count an outcome (met, missed) of a standard."""
        if not self.journeys[item.journey].synthetic:
            self.count(f"standard|{name}|{outcome}", number)

    def count_fate(self, item: Item, fate: str) -> None:
        """What became of a resolution."""
        if not self.journeys[item.journey].synthetic:
            self.count(f"resolution|{fate}", 1)

    def practice(self, item: Item, practice: str) -> list[Entry]:
        """The entries about a practice that hold for this item."""
        entries = self.standards.at(item.started_at).practices.get(practice)
        return [entry for entry in entries if applies(entry, item, item.team)] if entries else []

    # -- clocks -----------------------------------------------------------------------------------------------------

    def start_clock(self, item: Item, clock: str, source: str) -> None:
        """A wait begins, unless the item is done or the clock runs already."""
        if item.done or clock in item.clocks:
            return
        self.run_clock(item, clock, (self.at, self.reference, source))
        self.aim(item, clock)

    def run_clock(self, item: Item, clock: str, running: tuple[int, str, str]) -> None:
        """Let a clock run: from when, from which event, and which source it waits on."""
        item.clocks[clock] = running
        waiting = self.journeys[item.journey].waiting
        waiting[clock] = waiting.get(clock, 0) + 1

    def aim(self, item: Item, clock: str) -> None:
        """Set the timers for the moments at which a running clock would miss its targets."""
        entries = self.standards.at(item.started_at).clocks.get(clock)
        if entries:
            _, began, source = item.clocks[clock]
            for entry in entries:
                if entry.touchpoint is not None and entry.touchpoint != item.touchpoint:
                    continue
                due = self.target(item, clock, entry)
                if due is not None and f"{clock}|{entry.name}|{began}" not in item.missed:
                    self.set_timer(due, TARGET, item, f"{clock}|{entry.name}|{began}", source)

    def target(self, item: Item, clock: str, entry: Entry) -> int | None:
        """When a running clock's time is over, or None while it is paused and cannot be."""
        start = item.clocks[clock][0]
        if entry.within_ms is None or clock not in PAUSED_BY_CUSTOMER:
            key = (entry.name, start)
            due = self.dues.get(key)
            if due is None:
                due = self.dues[key] = entry.due(start)
            return due
        stops = _merged((item.gaps if clock == "total_resolution" else ()) + item.pauses)
        if not stops and item.paused_at is None:
            return entry.calendar.due(start, entry.within_ms)
        if item.paused_at is not None:
            stops = _merged((*stops, item.paused_at, 1 << 62))
        left, begin = entry.within_ms, start
        for pause, resume in zip(stops[::2], stops[1::2], strict=True):
            if resume <= begin:
                continue
            if pause > begin:
                used = entry.calendar.elapsed(begin, pause)
                if used > left:
                    return entry.calendar.due(begin, left)
                left -= used
            begin = resume
        return None if begin >= 1 << 62 else entry.calendar.due(begin, left)

    def business(self, item: Item, clock: str, start: int, end: int, calendar: Calendar) -> int:
        """Business milliseconds of a wait, less what waiting on the customer and being done took of it."""
        total = calendar.elapsed(start, end)
        if clock in PAUSED_BY_CUSTOMER and (item.pauses or item.gaps or item.paused_at is not None):
            now = (item.paused_at, end) if item.paused_at is not None and item.paused_at < end else ()
            stops = _merged((item.gaps if clock == "total_resolution" else ()) + item.pauses + now)
            for pause, resume in zip(stops[::2], stops[1::2], strict=True):
                pause, resume = max(pause, start), min(resume, end)
                if resume > pause:
                    total -= calendar.elapsed(pause, resume)
        return total

    def stop_clock(self, item: Item, clock: str, finished: bool = True) -> None:
        """A wait ends. `finished`: it reached its own stop, so it counts; otherwise it is dropped."""
        running = item.clocks.get(clock)
        if running is None:
            return
        start, began, _ = running
        entries = self.standards.at(item.started_at).clocks.get(clock)
        if entries:
            self._judge_clock(item, clock, entries, start, began, finished)
        del item.clocks[clock]
        waiting = self.journeys[item.journey].waiting
        waiting[clock] -= 1
        if not waiting[clock]:
            del waiting[clock]
        if finished and clock != "total_resolution":
            self.wait(item, clock, start)

    def _judge_clock(self, item: Item, clock: str, entries: Sequence[Entry], start: int, began: str, finished: bool) -> None:
        for entry in entries:
            key = f"{clock}|{entry.name}|{began}"
            due = self.target(item, clock, entry)
            if key in item.missed:
                if clock != "total_resolution":
                    item.missed = tuple(other for other in item.missed if other != key)
            elif due is not None and due < self.at:
                self.miss(item, clock, entry, began, start, due)
                if clock == "total_resolution":  # it may run again
                    item.missed += (key,)
            elif finished and applies(entry, item, item.team):
                self.judge(item, entry.name, "met")
                if clock == "total_resolution":
                    item.met_total += (entry.name,)

    def wait(self, item: Item, clock: str, start: int) -> None:
        """Note a finished wait that began at `start` and ends now."""
        customer = self.at - start
        if clock == "total_resolution" and item.gaps:
            customer -= _within(item.gaps, start, self.at)
        business = self.business(item, clock, start, self.at, self.standards.default_calendar)
        waits = self.journeys[item.journey].waits
        count, all_customer, all_business, longest = waits.get(clock, NO_WAIT)
        waits[clock] = (count + 1, all_customer + customer, all_business + business, max(longest, customer))
        if clock == "total_resolution":
            item.total = (customer, business)
        self.observe(item, clock, customer, 1)

    def forget_total(self, item: Item) -> None:
        """The item's `total_resolution` runs again: what was measured of it no longer stands."""
        if item.total is None:
            return
        self.observe(item, "total_resolution", item.total[0], -1)
        item.total = None
        journey = self.journeys[item.journey]
        left = [total for name in journey.items if (total := self.items[name].total) is not None]
        if left:
            customer = [wait for wait, _ in left]
            journey.waits["total_resolution"] = (len(left), sum(customer), sum(wait for _, wait in left), max(customer))
        else:
            journey.waits.pop("total_resolution", None)

    def observe(self, item: Item, clock: str, customer: int, number: int) -> None:
        """Count a wait in its bucket, or with -1 take it out again."""
        if not self.journeys[item.journey].synthetic:
            keys, total = self.standards.bucket_keys[clock, item.touchpoint]
            key = keys[bisect_left(self.standards.bounds[clock], customer)]
            tally = self.tally
            tally[key] = tally.get(key, 0) + number
            tally[total] = tally.get(total, 0) + number * customer
            if clock == "queue":
                team, limit = known(item.team, self.standards.teams), key.rsplit("|", 1)[1]
                self.count(f"queue|{team}|{limit}", number)
                self.count(f"queue_ms|{team}", number * customer)
                ended = self.event.fact if self.event is not None and self.event.fact in ("answered", "abandoned") else "ended"
                self.count(f"queued|{ended}|{item.touchpoint}|{limit}", number)

    def miss(self, item: Item, clock: str, entry: Entry, began: str, start: int, due: int) -> None:
        """A target was missed at `due`, found there, or by the event after it: a slow source's, or the first to resolve the item."""
        holder = item.team, item.owner
        if clock == "total_resolution":
            item.team, item.owner = _holder_at(item, due)
        if applies(entry, item, item.team):
            self._missed(item, clock, entry, began, start, due)
        item.team, item.owner = holder

    def _missed(self, item: Item, clock: str, entry: Entry, began: str, start: int, due: int) -> None:
        at, event = self.at, self.event
        self.at, self.event = due, None
        customer = due - start
        if clock == "total_resolution":
            customer -= _within(item.gaps, start, due)
        self.find(
            "standard_missed", item, began, (began,), standard=entry.name, clock=clock, customer_ms=customer,
            business_ms=self.business(item, clock, start, due, entry.calendar), expected_ms=entry.expected_ms(start),
        )  # fmt: skip
        self.at, self.event = at, event
        if clock == "total_resolution" and entry.name in item.met_total:
            item.met_total = tuple(name for name in item.met_total if name != entry.name)
            self.judge(item, entry.name, "met", -1)
        self.judge(item, entry.name, "missed")

    def target_timer(self, item: Item, timer: Timer) -> None:
        """A clock's target may be used up."""
        clock, name, began = timer.key.split("|", 2)
        running = item.clocks.get(clock)
        if running is None or running[1] != began or timer.key in item.missed:
            return
        for entry in self.standards.at(item.started_at).clocks.get(clock, ()):
            if entry.name == name and self.target(item, clock, entry) == timer.at:
                self.miss(item, clock, entry, began, running[0], timer.at)
                item.missed += (timer.key,)

    def pause(self, item: Item) -> None:
        """From now on we wait on the customer."""
        if not item.done and item.paused_at is None:
            item.paused_at = self.at

    def unpause(self, item: Item) -> None:
        """We no longer wait on the customer: targets move by as long as that took."""
        if item.paused_at is not None:
            if self.at > item.paused_at:
                item.pauses += (item.paused_at, self.at)
            item.paused_at = None
            for clock in PAUSED_BY_CUSTOMER:
                if clock in item.clocks and not item.done:
                    self.aim(item, clock)


def _merged(stops: tuple[int, ...]) -> tuple[int, ...]:
    """Stretches [begin, end, begin, end, …] in order and without overlaps."""
    if len(stops) <= 2:
        return stops
    spans = sorted(zip(stops[::2], stops[1::2], strict=True))
    merged = list(spans[0])
    for begin, end in spans[1:]:
        if begin <= merged[-1]:
            merged[-1] = max(merged[-1], end)
        else:
            merged += (begin, end)
    return tuple(merged)


def _within(stops: Sequence[int], start: int, end: int) -> int:
    """How long stretches last that lie between `start` and `end`."""
    return sum(max(min(until, end) - max(begin, start), 0) for begin, until in zip(stops[::2], stops[1::2], strict=True))


def _holder_at(item: Item, at: int) -> tuple[str | None, str | None]:
    """Who had the item at an instant: team and owner."""
    for since, team, owner in reversed(item.held):
        if since <= at:
            return team, owner
    return None, None
