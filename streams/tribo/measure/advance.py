"""The one door into the fold: `advance` takes new events in order, `fold` takes all events of a history.

Both give the same answer for the same events, frontier and standards; `advance` is the fast path, and says None when it
cannot be taken: for an event that is late, links items, takes something back, or tells of an item's customer or journey
anything that the state does not know.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tribo.measure import effort, handoffs, promises, voice
from tribo.measure.fold import CONFIRMATION, DUE, EXPECTATION, RISK, TARGET, Fold, Frontier, OnFact, OnTimer
from tribo.measure.history import History, Item, Timer, decode_history, encode_history
from tribo.measure.journeys import LINKS, effective, in_order, topology
from tribo.measure.score import band, row_of
from tribo.measure.standards import Standards
from tribo.measure.standing import standing
from tribo_schemas.event import Event, order_key
from tribo_schemas.finding import Finding
from tribo_schemas.journey import JourneyRow

__all__ = ["Frontier", "History", "Step", "advance", "decode_history", "encode_history", "fold"]

ASK_ALL = LINKS | {"retracted"}
"""Facts of which only all events of a history can say what they change."""
LATEST = 1 << 62
FACTS: dict[str, OnFact] = {
    "opened": effort.opened,
    "reopened": effort.reopened,
    "queued": effort.queued,
    "assigned": handoffs.assigned,
    "promised": promises.promised,
    "informed": promises.informed,
    "offered": effort.offered,
    "answered": effort.answered,
    "customer_replied": effort.customer_replied,
    "put_on_hold": effort.put_on_hold,
    "resumed": effort.resumed,
    "awaiting_customer": effort.awaiting_customer,
    "repeated": effort.repeated,
    "authority_asked": effort.authority_asked,
    "escalated": effort.escalated,
    "kept": promises.kept,
    "released": promises.released,
    "rejected": effort.rejected,
    "resolved": effort.resolved,
    "asked_if_fixed": effort.asked_if_fixed,
    "confirmed": effort.confirmed,
    "abandoned": effort.abandoned,
    "closed": effort.closed,
    "complained": voice.complained,
    "praised": voice.praised,
    "rated": voice.rated,
    "surprised": voice.surprised,
}
TIMERS: dict[int, OnTimer] = {
    RISK: promises.risk_timer,
    DUE: promises.due_timer,
    TARGET: Fold.target_timer,
    EXPECTATION: effort.expectation_timer,
    CONFIRMATION: effort.confirmation_timer,
}


@dataclass(slots=True)
class Step:
    """What one step of the fold gives.

    `found` and `withdrawn` (ids) are what this step changed; when `whole`, `found` is every standing finding and
    `journeys` every row of the history. `tally` is added to the counters; when `whole` it replaces what the history gave before.
    `pledges` are the promises (item, id) that read otherwise than before: fate, due, risk, word, or holder; when `whole`, all are.
    `deadlines` says by source ('' for none) when time alone may next change something, at the earliest.
    """

    history: History
    found: list[Finding]
    withdrawn: list[str]
    journeys: list[JourneyRow]
    tally: dict[str, int]
    pledges: set[tuple[str, str]]
    deadlines: dict[str, int] = field(default_factory=dict)
    whole: bool = False


def fold(events: Sequence[Event], frontier: Frontier, standards: Standards, hubs: frozenset[str] = frozenset()) -> Step:
    """Fold all events of a history from nothing. `events`: in any order, one for each (source, id), retractions among them."""
    happened = effective(events)
    places = topology(happened, hubs)
    run = Fold(History(), frontier, standards, places, FACTS, TIMERS, promises.implied, effort.started)
    run.run(happened)
    run.tally.update((f"conflict|{kind}", number) for kind, number in places.conflicts.items() if number)
    run.history.retracted = [f"{event.source}/{event.retracts}" for event in events if event.fact == "retracted"]
    run.history.unseen = sorted({other for place in places.places.values() for other in place.about} - places.places.keys())
    return _step(run, whole=True)


def advance(history: History | None, events: Sequence[Event], frontier: Frontier, standards: Standards) -> Step | None:
    """Take new events of one history (none: only time passed) and let time pass to the frontier.

    Returns None when only `fold` with all the history's events can say. The state given is changed in place, unless None comes back.
    """
    if history is None:
        history = History()
    ordered = in_order(events) if len(events) > 1 else events
    if not _follows(history, ordered, frontier):
        return None
    run = Fold(history, frontier, standards, None, FACTS, TIMERS, promises.implied, effort.started)
    run.run(ordered)
    return _step(run, whole=False)


def _follows(history: History, events: Sequence[Event], frontier: Frontier) -> bool:
    """Whether events and timers come after all that was folded, or give the same as if they did, and tell nothing new about who belongs
    to whom."""
    items, timers, last, last_timer = history.items, history.timers, history.last_event, history.last_timer
    if timers and timers[0].at < frontier.now:
        for timer in timers:
            if timer.at < frontier.now and (
                (last is not None and timer.at < last[0])
                or (last_timer is not None and timer < last_timer and not _fires_late(history, timer))
            ):  # fmt: skip
                if frontier.decided(timer.at, timer.waits_on):
                    return False
    if history.unheard and any(
        promise.source_silent and not frontier.nobody_can_say(promise) for item in items.values() for promise in item.promises.values()
    ):
        return False  # its mark no longer holds
    new: dict[str, Event] = {}
    before, tied = None if last is None else last[0], False
    for event in events:
        tied = tied or event.time == before
        before = event.time
        if event.fact in ASK_ALL or (last is not None and event.time <= last[0] and order_key(event) <= last):
            return False
        if history.retracted and f"{event.source}/{event.id}" in history.retracted:
            return False
        item = items.get(event.item)
        if last_timer is not None and event.time <= last_timer.at and not _comes_late(history, item, event.time):
            return False
        if item is not None:
            if not _known(item, event, history):
                return False
        elif event.item in new:
            first = new[event.item]
            if _tells_more(event, first.customer, first.about or (), False, first.topic, bool(first.synthetic)):
                return False
        else:
            if not _placeable(history, new, event, tied):
                return False
            new[event.item] = event
    return True


def _fires_late(history: History, timer: Timer) -> bool:
    """Whether a timer gives the same after later ones have fired, as its source was heard later than theirs: no timer bears on what another
    decides, but that of a journey's problems, broken promises among them, the first and the last are kept."""
    if timer.rank != DUE:
        return True
    journey = history.journeys[history.items[timer.item].journey]
    return journey.problem_item is None or journey.last_problem_at <= timer.at


def _comes_late(history: History, item: Item | None, at: int) -> bool:
    """Whether an event gives the same after timers of its instant or later have fired: those of other items bear on it by a journey's
    problems alone."""
    if item is not None and item.decided_at >= at:
        return False
    return all(journey.problem_item is None or journey.last_problem_at < at for journey in history.journeys.values())


def _known(item: Item, event: Event, history: History) -> bool:
    if not item.journey or not item.started:
        return False
    return not _tells_more(event, item.customer, item.about, item.opened, item.topic, history.journeys[item.journey].synthetic)


def _tells_more(
    event: Event, customer: str | None, about: tuple[str, ...], opened: bool, topic: str | None, synthetic: bool
) -> bool:  # fmt: skip
    """Whether an event says something of its item that is not known of it yet."""
    return (
        (event.customer is not None and event.customer != customer)
        or (event.about is not None and any(other not in about for other in event.about))
        or (event.fact == "opened" and not opened)
        or (event.topic is not None and topic is None)
        or (bool(event.synthetic) and not synthetic)
    )


def _placeable(history: History, new: dict[str, Event], event: Event, tied: bool) -> bool:
    """Whether a new item finds its journey from the state, and from the `new` items before it. `tied`: of the events since, or of this
    and the one before, some are of one instant."""
    if event.item in history.unseen:
        return False
    if not history.items and not new:
        return not event.about
    customers = {journey.customer for journey in history.journeys.values()}
    customers.update(first.customer for first in new.values())
    if event.customer is None or customers != {event.customer}:
        return False
    if event.about:
        other = event.about[0]
        if len(event.about) != 1:
            return False
        if other in new:
            return not event.synthetic
        item = history.items.get(other)
        return item is not None and item.journey != "" and bool(event.synthetic) <= history.journeys[item.journey].synthetic
    if event.touchpoint == "purchase":
        return True
    if new or tied:
        return False
    heard = sorted(journey.last_event_at for journey in history.journeys.values())
    if heard and heard[-2:-1] == heard[-1:]:  # of equal ones their events say which is later
        return False
    return not event.synthetic


def _step(run: Fold, whole: bool) -> Step:
    """Close a pass: unknown promises, what changed in the counters, rows, deadlines."""
    history, frontier, items = run.history, run.frontier, run.items
    timers = history.timers
    if timers and timers[0].at < frontier.now:
        for timer in timers:
            if timer.rank == DUE and timer.at < frontier.now:
                promises.look_if_unknown(run, items[timer.item], timer)
    if history.unknown and not frontier.complete:
        for item in items.values():
            for promise in item.promises.values():
                if promise.unknown and not frontier.nobody_can_say(promise):
                    promises.no_longer_unknown(run, item, promise)
    _restand(run)
    rows: list[JourneyRow] = []
    deadlines: dict[str, int] = {}
    changes = history.changes
    for name in history.journeys if whole else sorted(run.touched | {name for name, at in changes.items() if at <= frontier.now}):
        journey = history.journeys[name]
        history.journeys.changed(name)
        row, next_change = row_of(journey, frontier.now)
        rows.append(row)
        changes.pop(name, None)
        if next_change is not None:
            changes[name] = next_change
        now = band(journey.friction) if row.status == "open" and not journey.synthetic else None
        if now != journey.band:
            for which, number in ((journey.band, -1), (now, 1)):
                if which is not None:
                    run.count(f"journey|{which}", number)
            journey.band = now
    if changes:
        deadlines[""] = min(changes.values())
    for timer in timers:
        if deadlines.get(timer.waits_on, LATEST) > timer.at:
            deadlines[timer.waits_on] = timer.at
    if history.unheard:
        for source, at in _silences(history, frontier):
            deadlines[source] = min(deadlines.get(source, LATEST), at)
    given = history.tally
    for key, number in run.tally.items():
        given[key] = number = given.get(key, 0) + number
        if not number:
            del given[key]
    return Step(history, list(run.found.values()), list(run.withdrawn), rows, run.tally, run.pledges, deadlines, whole)


def _silences(history: History, frontier: Frontier) -> Iterator[tuple[str, int]]:
    """Of promises that were called broken in silence: the sources which, heard again, may tell otherwise, and from when on."""
    for item in history.items.values():
        for promise in item.promises.values():
            if promise.source_silent:
                for source in (promise.source, *frontier.brings.get(promise.id, ())):
                    if frontier.unheard(promise.breaks_at, source):
                        yield source, promise.breaks_at


def _restand(run: Fold) -> None:
    """Add to the counters by how much the touched items stand otherwise than before."""
    for name, before in run.before.items():
        run.items.changed(name)
        item = run.items[name]
        if not item.journey or run.journeys[item.journey].synthetic:
            continue
        after = standing(run.standards, item)
        if after != before:
            for key in before.keys() | after.keys():
                change = after.get(key, 0) - before.get(key, 0)
                if change:
                    run.count(key, change)
