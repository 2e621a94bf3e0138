"""What each fact does to a history, and what time alone does.

The theory. Events come in order; each changes the state of its item and of the item's journey. Between them timers run:
a timer at T is decided after all events at T and before any later one, so that what happens exactly at a deadline is still
in time. Findings are emitted where they arise; a finding that depends on what stands now (at risk, no alternative) is
withdrawn when that ends. Nothing here knows where events come from or what time it is: `Frontier` says both.

To add a fact: a method named after it, and its place in definitions of facts in `tribo_schemas.event`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from heapq import heappop, heappush
from typing import Any, cast

import msgspec

from tribo.measure.history import History, Item, Journey, Timer
from tribo.measure.hours import Calendar
from tribo.measure.journeys import DAY, Topology
from tribo.measure.standards import Entry, Standards
from tribo_schemas.event import Event, order_key
from tribo_schemas.finding import BY_TEAM, DELIGHT, Finding
from tribo_schemas.journey import CLOCKS

SILENT_FOR = DAY  # a promise whose source is silent this long is called broken after all
WORDS_BEFORE = DAY  # kept, informed and released belong to a promise made at most this much later
EARLY_BY = DAY
REPEAT_WITHIN = 7 * DAY
CONFIRM_WITHIN = 7 * DAY
EXPECTATION_WITHIN = DAY
RECOVERY_WITHIN = 90 * DAY

RISK, DUE, TARGET, EXPECTATION, CONFIRMATION = range(5)  # the order of timers at the same instant
FIRST_RESPONSE = frozenset(("service", "returns"))
EXPECTS = frozenset(("purchase", "returns", "service"))
PAUSED_BY_CUSTOMER = frozenset(("resolution", "total_resolution"))


class Frontier(msgspec.Struct, frozen=True):
    """How far time has come. `now` in UTC milliseconds; `heard` how far each source was heard (its watermark); `silent` since when
    a source is silent, for those that are. `complete`: all input is known, so every source counts as heard up to `now`."""

    now: int
    heard: dict[str, int] = {}
    silent: dict[str, int] = {}
    complete: bool = False

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


class InForce:
    """The entries of the standards in force at one time, by what they judge."""

    __slots__ = ("clocks", "counts", "implied", "practices", "promises")

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.clocks: dict[str, list[Entry]] = {}
        self.implied: list[Entry] = []
        self.promises: list[Entry] = []
        self.counts: list[Entry] = []
        self.practices: dict[str, list[Entry]] = {}
        for entry in entries:
            if entry.kind == "clock" and entry.clock:
                self.clocks.setdefault(entry.clock, []).append(entry)
            elif entry.kind == "implied":
                self.implied.append(entry)
                self.promises.append(entry)
            elif entry.kind == "promise":
                self.promises.append(entry)
            elif entry.kind == "count":
                self.counts.append(entry)
            elif entry.practice:
                self.practices.setdefault(entry.practice, []).append(entry)


def in_force(standards: Standards, at: int) -> InForce:
    """The entries in force at an instant."""
    if standards.grouped is not None:  # nothing ever changes: the usual case
        return cast(InForce, standards.grouped)
    entries = standards.at(at)
    found = standards.groups.get(id(entries))
    if found is None:
        found = standards.groups[id(entries)] = InForce(entries)
        if standards.unchanging:
            standards.grouped = found
    return cast(InForce, found)


def applies(entry: Entry, item: Item, team: str | None) -> bool:
    """Whether a standard's entry speaks of this item, now held by `team`."""
    return (
        (entry.touchpoint is None or entry.touchpoint == item.touchpoint)
        and (entry.team is None or entry.team == team)
        and (entry.topic is None or entry.topic == item.topic)
        and (entry.channel is None or entry.channel == item.channel)
    )


OnFact = Callable[["Fold", Item, Event], None]
OnTimer = Callable[["Fold", Item, Timer], None]


def finding_id(kind: str, item: str, promise: str | None, standard: str | None, clock: str | None, began: str) -> str:
    """The name of an occasion: the same however often and in whatever order it is found."""
    text = "\x1f".join((kind, item, promise or "", standard or "", clock or "", began))
    return blake2b(text.encode(), digest_size=10).hexdigest()


class Fold:
    """One pass over a history's events. Holds the state, and collects what is found and withdrawn on the way."""

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
        self.event: Event | None = None
        self.at = 0
        self.reference = ""
        self.dues: dict[tuple[str, int], int] = {}

    # -- running ----------------------------------------------------------------------------------------------------

    def run(self, events: Sequence[Event]) -> None:
        """Fold events (effective, in order, all after what was folded before), then let time pass to the frontier."""
        timers = self.history.timers
        items = self.items
        for event in events:
            if timers and timers[0].at < event.time:
                self._fire_before(event.time)
            self.event = event
            self.at = event.time
            self.reference = f"{event.source}/{event.id}"
            item = items.get(event.item) or self._new_item(event)
            journey = self.journeys.get(item.journey)
            if journey is None:
                continue
            journey.events += 1
            journey.last_event_at = event.time
            self.touched.add(journey.id)
            if event.topic is not None:
                item.topic_heard = True
            if item.channel is None and event.channel is not None:
                item.channel = event.channel
            starts = self.reference == item.start_event
            if starts and item.touchpoint == "purchase":  # before what the event itself says: a problem in it isn't won back by it
                self.starts(self, item)
            handler = self.facts.get(event.fact)
            if handler is not None:
                handler(self, item, event)
            if starts and item.touchpoint != "purchase":  # after it: the holder of that time is the new one
                self.starts(self, item)
            if in_force(self.standards, event.time).implied or item.promises:
                self.implies(self, item, event)
        if events:
            self.history.last_event = order_key(events[-1])
        self.event = None
        self._fire_before(self.frontier.now)

    def _fire_before(self, limit: int) -> None:
        """Fire every decided timer before `limit`, in order; the undecided stay."""
        timers = self.history.timers
        waiting: list[Timer] = []
        event, reference = self.event, self.reference
        self.event = None
        while timers and timers[0].at < limit:
            timer = heappop(timers)
            if not self.frontier.decided(timer.at, timer.waits_on):
                waiting.append(timer)
                continue
            self.at = timer.at
            self.history.last_timer = timer
            item = self.items[timer.item]
            self.touched.add(item.journey)
            self.timers[timer.rank](self, item, timer)
        for timer in waiting:
            heappush(timers, timer)
        self.event, self.reference = event, reference

    def _new_item(self, event: Event) -> Item:
        if self.topology is not None:
            place = self.topology.places[event.item]
            journey_id = self.topology.journey_ids.get(place.journey, "")
            customer = place.customer
            start = place.start
            started_at = start[0] if start is not None else event.time
            start_event = f"{start[3]}/{start[4]}" if start is not None else self.reference
            about = sorted(place.about)
            topic = place.topic
            synthetic = place.journey in self.topology.synthetic
        else:
            journey_id, customer, about, synthetic = self._placed(event)
            started_at, start_event, topic = event.time, self.reference, event.topic
        item = self.items[event.item] = Item(
            id=event.item, journey=journey_id, touchpoint=event.touchpoint, customer=customer, first_at=event.time,
            first_event=self.reference, first_source=event.source, started_at=started_at, start_event=start_event, about=about, topic=topic,
        )  # fmt: skip
        if journey_id:
            journey = self.journeys.get(journey_id)
            if journey is None:
                journey = self.journeys[journey_id] = Journey(id=journey_id, customer=customer, synthetic=synthetic)
            journey.items.append(event.item)
            if event.touchpoint in EXPECTS:
                self.set_timer(event.time + EXPECTATION_WITHIN, EXPECTATION, item, "", event.source)
        return item

    def _placed(self, event: Event) -> tuple[str, str | None, list[str], bool]:
        """Where a new item goes when everything earlier is folded; `advance` has made sure that this is all there is to it."""
        about = list(event.about or ())
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
        found = Finding(
            id=finding_id(kind, item.id, more.get("promise"), more.get("standard"), more.get("clock"), began),
            kind=kind, journey=item.journey, item=item.id, touchpoint=item.touchpoint, at=self.at, evidence=evidence,
            topic=(event.topic if event is not None else None) or item.topic,
            channel=event.channel if event is not None else None,
            points=points or None,
        )  # fmt: skip
        found.team, found.owner = item.team, item.owner
        for name, value in more.items():
            setattr(found, name, value)
        if found.id in self.withdrawn:
            del self.withdrawn[found.id]
            self.restored.add(found.id)
        self.found[found.id] = found
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
        """Add to a counter of the tally."""
        self.tally[key] = self.tally.get(key, 0) + number

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
        entries = in_force(self.standards, item.started_at).practices.get(practice)
        return [entry for entry in entries if applies(entry, item, item.team)] if entries else []

    def started(self, item: Item) -> bool:
        """Whether the item has started by now: not, when its first `opened` is still to come."""
        if item.opened or self.topology is None:
            return True
        return not self.topology.places[item.id].opened

    # -- clocks -----------------------------------------------------------------------------------------------------

    def start_clock(self, item: Item, clock: str, source: str) -> None:
        """A wait begins, unless the item is done or the clock runs already."""
        if item.done or clock in item.clocks:
            return
        item.clocks[clock] = (self.at, self.reference, source)
        self.aim(item, clock)

    def aim(self, item: Item, clock: str) -> None:
        """Set the timers for the moments at which a running clock would miss its targets."""
        entries = in_force(self.standards, item.started_at).clocks.get(clock)
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
        stops = list(item.gaps) if clock == "total_resolution" else []
        stops = _merged(stops + item.pauses)
        if not stops and item.paused_at is None:
            return entry.calendar.due(start, entry.within_ms)
        if item.paused_at is not None:
            stops = _merged([*stops, item.paused_at, 1 << 62])
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
        if clock in PAUSED_BY_CUSTOMER:
            now = [item.paused_at, end] if item.paused_at is not None and item.paused_at < end else []
            stops = _merged((list(item.gaps) if clock == "total_resolution" else []) + item.pauses + now)
            for pause, resume in zip(stops[::2], stops[1::2], strict=True):
                pause, resume = max(pause, start), min(resume, end)
                if resume > pause:
                    total -= calendar.elapsed(pause, resume)
        return total

    def stop_clock(self, item: Item, clock: str, finished: bool = True) -> None:
        """A wait ends. `finished`: it reached its own stop, so it counts; otherwise it is dropped."""
        running = item.clocks.pop(clock, None)
        if running is None:
            return
        start, began, _ = running
        item.clocks[clock] = running
        entries = in_force(self.standards, item.started_at).clocks.get(clock, ())
        for entry in entries:
            key = f"{clock}|{entry.name}|{began}"
            due = self.target(item, clock, entry)
            if key in item.missed:
                if clock != "total_resolution":
                    item.missed.remove(key)
            elif due is not None and due < self.at:
                self.miss(item, clock, entry, began, start, due)
            elif finished and applies(entry, item, item.team):
                self.judge(item, entry.name, "met")
                if clock == "total_resolution":
                    item.outcomes[entry.name] = 1
        del item.clocks[clock]
        if finished and clock != "total_resolution":
            self.wait(item, clock, start)

    def wait(self, item: Item, clock: str, start: int) -> None:
        """Note a finished wait that began at `start` and ends now."""
        customer = self.at - start
        if clock == "total_resolution":
            customer -= _within(item.gaps, start)
        business = self.business(item, clock, start, self.at, self.standards.default_calendar)
        if clock == "total_resolution":
            item.waits[clock] = (1, customer, business, customer)
        else:
            count, all_customer, all_business, longest = item.waits.get(clock, (0, 0, 0, 0))
            item.waits[clock] = (count + 1, all_customer + customer, all_business + business, max(longest, customer))
        self.observe(item, clock, customer, 1)

    def observe(self, item: Item, clock: str, customer: int, number: int) -> None:
        """Count a wait in its bucket, or with -1 take it out again."""
        if not self.journeys[item.journey].synthetic:
            limit = bucket(self.standards, clock, customer)
            self.count(f"wait|{clock}|{item.touchpoint}|{limit}", number)
            self.count(f"wait_ms|{clock}|{item.touchpoint}", number * customer)
            if clock == "queue":
                team = known(item.team, self.standards.teams)
                self.count(f"queue|{team}|{limit}", number)
                self.count(f"queue_ms|{team}", number * customer)

    def miss(self, item: Item, clock: str, entry: Entry, began: str, start: int, due: int) -> None:
        """A target was missed at `due`, found there or, when its source was slow, by the event that came after it."""
        if not applies(entry, item, item.team):
            return
        at, event = self.at, self.event
        self.at, self.event = due, None
        customer = due - start
        if clock == "total_resolution":
            customer -= _within(item.gaps, start)
        self.find(
            "standard_missed", item, began, (began,), standard=entry.name, clock=clock, customer_ms=customer,
            business_ms=self.business(item, clock, start, due, entry.calendar), expected_ms=entry.expected_ms(start),
        )  # fmt: skip
        self.at, self.event = at, event
        if item.outcomes.pop(entry.name, None) and clock == "total_resolution":
            self.judge(item, entry.name, "met", -1)
        self.judge(item, entry.name, "missed")

    def target_timer(self, item: Item, timer: Timer) -> None:
        """A clock's target may be used up."""
        clock, name, began = timer.key.split("|", 2)
        running = item.clocks.get(clock)
        if running is None or running[1] != began or timer.key in item.missed:
            return
        for entry in in_force(self.standards, item.started_at).clocks.get(clock, ()):
            if entry.name == name and self.target(item, clock, entry) == timer.at:
                self.miss(item, clock, entry, began, running[0], timer.at)
                item.missed.append(timer.key)

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


def known(name: str | None, names: frozenset[str]) -> str:
    """A team or topic as counters may name it: one that the configuration knows, else ''. Events can invent any number of others."""
    return name if name is not None and name in names else ""


def _merged(stops: list[int]) -> list[int]:
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
    return merged


def _within(stops: list[int], start: int) -> int:
    """How long stretches last that lie after `start`."""
    return sum(max(end - max(begin, start), 0) for begin, end in zip(stops[::2], stops[1::2], strict=True))


BASE_BOUNDS = (10, 20, 60, 300, 900, 3600, 4 * 3600, 86_400, 3 * 86_400, 7 * 86_400, 30 * 86_400)  # seconds
_bounds: dict[int, tuple[Standards, dict[str, list[tuple[int, str]]]]] = {}


def bucket_bounds(standards: Standards) -> dict[str, list[tuple[int, str]]]:
    """For each clock the upper bounds of its wait buckets: (milliseconds, seconds as text), a base list and the standards' targets."""
    kept = _bounds.get(id(standards))
    if kept is not None and kept[0] is standards:
        return kept[1]
    bounds: dict[str, set[int]] = {}
    for name in standards.names:
        for entry in standards.entries(name):
            if entry.kind == "clock" and entry.clock:
                target = entry.within_ms if entry.within_ms is not None else entry.elapsed_ms
                if target is not None:
                    bounds.setdefault(entry.clock, set()).add(target)
    found = {
        clock: [
            (limit, f"{limit / 1000:g}")
            for limit in sorted(bounds.get(clock, set()) | {second * 1000 for second in BASE_BOUNDS})
        ]
        for clock in CLOCKS
    }
    _bounds.clear()
    _bounds[id(standards)] = (standards, found)
    return found


def bucket(standards: Standards, clock: str, milliseconds: int) -> str:
    """The smallest bucket that a wait falls into: its upper bound in seconds, `+Inf` above the last."""
    for limit, name in bucket_bounds(standards)[clock]:
        if milliseconds <= limit:
            return name
    return "+Inf"
