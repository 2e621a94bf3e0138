"""The one door into the fold: `advance` takes new events in order, `fold` takes all events of a history.

Both give the same answer for the same events, frontier and standards; `advance` is the fast path, and says None when it
cannot be taken: for an event that is late, links items, takes something back, or tells of an item's customer or journey
anything that the state does not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tribo.measure import effort, handoffs, promises, voice
from tribo.measure.fold import CONFIRMATION, DUE, EXPECTATION, RISK, TARGET, Fold, Frontier, OnFact, OnTimer
from tribo.measure.history import History, Item, decode_history, encode_history
from tribo.measure.journeys import LINKS, effective, topology
from tribo.measure.score import view
from tribo.measure.standards import Standards
from tribo_schemas.event import Event, order_key
from tribo_schemas.finding import Finding
from tribo_schemas.journey import JourneyRow

__all__ = ["Frontier", "History", "Step", "advance", "decode_history", "encode_history", "fold"]

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
    `deadlines` says by source ('' for none) when time alone may next change something, at the earliest.
    """

    history: History
    found: list[Finding]
    withdrawn: list[str]
    journeys: list[JourneyRow]
    gone: list[str]
    tally: dict[str, int]
    deadlines: dict[str, int] = field(default_factory=dict)
    whole: bool = False


def fold(events: Sequence[Event], frontier: Frontier, standards: Standards, hubs: frozenset[str] = frozenset()) -> Step:
    """Fold all events of a history from nothing. `events`: in any order, one for each (source, id), retractions among them."""
    happened = effective(events)
    places = topology(happened, hubs)
    run = Fold(History(), frontier, standards, places, FACTS, TIMERS, promises.implied, effort.started)
    run.run(happened)
    for kind, number in places.conflicts.items():
        if number:
            run.count(f"conflict|{kind}", number)
    run.history.retracted = [f"{event.source}/{event.retracts}" for event in events if event.fact == "retracted"]
    run.history.unseen = sorted({other for place in places.places.values() for other in place.about} - places.places.keys())
    step = _step(run, whole=True)
    step.history.tally = {key: number for key, number in step.tally.items() if number}
    return step


def advance(history: History | None, events: Sequence[Event], frontier: Frontier, standards: Standards) -> Step | None:
    """Take new events of one history (none: only time passed) and let time pass to the frontier.

    Returns None when only `fold` with all the history's events can say. The state given is changed in place, unless None comes back.
    """
    if history is None:
        history = History()
    ordered = sorted(events, key=order_key) if len(events) > 1 else events
    if not _follows(history, ordered, frontier):
        return None
    run = Fold(history, frontier, standards, None, FACTS, TIMERS, promises.implied, effort.started)
    run.run(ordered)
    step = _step(run, whole=False)
    tally = history.tally
    for key, number in step.tally.items():
        total = tally.get(key, 0) + number
        if total:
            tally[key] = total
        else:
            tally.pop(key, None)
    return step


def _follows(history: History, events: Sequence[Event], frontier: Frontier) -> bool:
    """Whether events and timers come after all that was folded, and tell nothing new about who belongs to whom."""
    items, last, last_timer = history.items, history.last_event, history.last_timer
    for timer in history.timers:
        if timer.at < frontier.now and (
            (last is not None and timer.at < last[0]) or (last_timer is not None and timer < last_timer)
        ):  # fmt: skip
            if frontier.decided(timer.at, timer.waits_on):
                return False
    new: dict[str, Event] = {}
    for event in events:
        if event.fact in LINKS or event.fact == "retracted":
            return False
        if last is not None and order_key(event) <= last:
            return False
        if history.retracted and f"{event.source}/{event.id}" in history.retracted:
            return False
        if last_timer is not None and event.time <= last_timer.at:
            return False
        item = items.get(event.item)
        if item is not None:
            if not _known(item, event, history):
                return False
        elif event.item in new:
            first = new[event.item]
            if (event.customer, event.about) != (first.customer, first.about) and (event.customer or event.about):
                return False
            if event.fact == "opened" or (event.synthetic and not first.synthetic) or (event.topic and not first.topic):
                return False
        else:
            if not _placeable(history, new, event):
                return False
            new[event.item] = event
    return True


def _known(item: Item, event: Event, history: History) -> bool:
    if not item.journey or (event.customer is not None and event.customer != item.customer):
        return False
    if event.about is not None and any(other not in item.about for other in event.about):
        return False
    if (event.fact == "opened" and not item.opened) or (event.topic is not None and item.topic is None):
        return False
    return not (event.synthetic and not history.journeys[item.journey].synthetic)


def _placeable(history: History, new: dict[str, Event], event: Event) -> bool:
    """Whether a new item finds its journey from the state alone."""
    if event.item in history.unseen or (new and (event.about or event.customer is None or event.touchpoint != "purchase")):
        return False
    if not history.items:
        return not event.about
    if event.customer is None or len({journey.customer for journey in history.journeys.values()} | {event.customer}) > 1:
        return False
    if event.about:
        journeys = {history.items[other].journey for other in event.about if other in history.items}
        if len(event.about) != 1 or len(journeys) != 1:
            return False
        return bool(event.synthetic) <= history.journeys[journeys.pop()].synthetic
    if event.touchpoint == "purchase":
        return True
    if any(journey.last_event_at >= event.time for journey in history.journeys.values()):
        return False
    return not event.synthetic


def _step(run: Fold, whole: bool) -> Step:
    """Close a pass: unknown promises, rows, gauges, deadlines."""
    history, frontier = run.history, run.frontier
    for timer in history.timers:
        if timer.rank == DUE and timer.at < frontier.now:
            promises.look_if_unknown(run, run.items[timer.item], timer)
    for item in run.items.values() if not frontier.complete else ():
        for promise in item.promises.values():
            if promise.unknown and not frontier.unheard(promise.breaks_at, promise.source):
                promises.no_longer_unknown(run, item, promise)
    rows: list[JourneyRow] = []
    deadlines: dict[str, int] = {}
    for name, journey in history.journeys.items():
        if not whole and name not in run.touched:
            if journey.next_change is not None and journey.next_change >= frontier.now:
                _earliest(deadlines, "", journey.next_change)
                continue
            if journey.next_change is None:
                continue
        row, gauges, journey.next_change = view(run, journey)
        rows.append(row)
        for key in journey.gauges.keys() | gauges.keys():
            change = gauges.get(key, 0) - journey.gauges.get(key, 0)
            if change:
                run.count(key, change)
        journey.gauges = gauges
        if journey.next_change is not None:
            _earliest(deadlines, "", journey.next_change)
    for timer in history.timers:
        _earliest(deadlines, timer.waits_on, timer.at)
    return Step(history, list(run.found.values()), list(run.withdrawn), rows, [], run.tally, deadlines, whole)


def _earliest(deadlines: dict[str, int], waits_on: str, at: int) -> None:
    if deadlines.get(waits_on, at + 1) > at:
        deadlines[waits_on] = at
