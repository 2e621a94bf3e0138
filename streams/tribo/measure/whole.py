"""All histories of a complete input: each event once, grouped by who belongs together, folded one after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from typing import Any

from tribo.measure.journeys import MOST_ITEMS_JOINED, Groups, taken_back
from tribo_schemas.event import EARLIEST, Event, order_key, same, smaller


@dataclass(slots=True)
class Whole:
    """An input that is complete. `parts` are its histories: the events that count, in groups that may touch each other through
    customers or `about`. `hubs` are customers and items that would join more than 1,000 items (a guest account, a catch-all order):
    they join nothing. `last` is when the last event was, in UTC milliseconds."""

    hubs: frozenset[str]
    parts: list[list[Event]]
    applied: int
    retracted: int
    last: int


class Input:
    """The events of an input, each (source, id) once: duplicates are counted, of conflicting ones the smaller holds."""

    def __init__(self) -> None:
        self._held: dict[str, dict[str, Event]] = {}
        self._losers: dict[tuple[str, str], list[Event]] = {}
        self._gathered = _Gathered()
        self._all_count = True  # nothing is conflicting, nothing taken back: what was gathered on the way holds
        self.duplicates = 0
        self.conflicting = 0

    @property
    def events(self) -> list[Event]:
        """What holds."""
        return [event for held in self._held.values() for event in held.values()]

    def __len__(self) -> int:
        return sum(map(len, self._held.values()))

    def add(self, event: Event) -> None:
        """Take an event, in any order."""
        of_source = self._held.get(event.source)
        if of_source is None:
            of_source = self._held[event.source] = {}
        held = of_source.setdefault(event.id, event)
        if held is event:
            if event.fact == "retracted":
                self._all_count = False
            self._gathered.add(event)
            return
        losers = self._losers.get((event.source, event.id), [])
        if same(held, event) or any(same(loser, event) for loser in losers):
            self.duplicates += 1
            return
        self.conflicting += 1
        self._all_count = False
        holds = of_source[event.id] = smaller(held, event)
        losers.append(event if holds is held else held)
        self._losers[event.source, event.id] = losers

    def whole(self) -> Whole:
        """All that was taken."""
        if not self._all_count:
            self._gathered = _Gathered()  # what it held goes, before the same is gathered anew
            return whole(self.events)
        gathered = self._gathered
        return Whole(*gathered.histories(), len(self), 0, gathered.last if len(self) else 0)


def whole(events: Iterable[Event]) -> Whole:
    """All of a complete input: `events` in any order, one for each (source, id), retractions among them."""
    every = list(events)
    left, retracted = happened(every)
    standing = left if len(left) == len(every) else chain(left, (event for event in every if event.fact == "retracted"))
    return Whole(*histories(left), len(left), retracted, max(map(attrgetter("time"), standing), default=0))


def happened(events: Iterable[Event]) -> tuple[list[Event], int]:
    """The events that count, without retractions and what they take back; and how many were taken back."""
    all_events = list(events)
    retractions = sorted((event for event in all_events if event.fact == "retracted"), key=order_key)
    if not retractions:
        return all_events, 0
    gone = taken_back(retractions)
    left = [event for event in all_events if event.fact != "retracted" and (event.source, event.id) not in gone]
    return left, len(all_events) - len(retractions) - len(left)


def hubs_of(events: Iterable[Event]) -> frozenset[str]:
    """Customers and items that would join more than 1,000 items."""
    return _gathered(events).hubs()


def histories(events: Iterable[Event]) -> tuple[frozenset[str], list[list[Event]]]:
    """The hubs of events, and the events in groups that may touch each other: each group is one history."""
    return _gathered(events).histories()


def _gathered(events: Iterable[Event]) -> _Gathered:
    gathered = _Gathered()
    for event in events:
        gathered.add(event)
    return gathered


class _Gathered:
    """Events by item, and what they say of who belongs together.

    What many of them say in the same words is held once: it takes half of the memory, and equal words are found to be so at a glance.
    """

    def __init__(self) -> None:
        self.by_item: dict[str, list[Event]] = {}
        self.claims: dict[tuple[str, str], None] = {}
        self.abouts: dict[tuple[str, str], None] = {}
        self.words: dict[Any, Any] = {}
        self.last = EARLIEST

    def add(self, event: Event) -> None:
        """Take an event; its item, source, customer, `about` and channel become those of events before it, where they are equal."""
        once = self.words.setdefault
        event.source = once(event.source, event.source)
        if event.channel is not None:
            event.channel = once(event.channel, event.channel)
        if event.time > self.last:  # noqa: PLR1730 - max() takes six times as long, and every event comes by here
            self.last = event.time
        item, customer, about = event.item, event.customer, event.about
        held = self.by_item.get(item)
        if held is None:
            self.by_item[item] = [event]
            before_customer = before_about = None
        else:
            before = held[-1]
            event.item = item = before.item
            before_customer, before_about = before.customer, before.about
            held.append(event)
        if customer is not None:
            if customer == before_customer:
                event.customer = before_customer
            else:
                event.customer = customer = once(customer, customer)
                self.claims[item, customer] = None
        if about is not None:
            if about == before_about:
                event.about = before_about
            else:
                event.about = about = once(about, about)
                for other in about:
                    self.abouts[item, other] = None

    def hubs(self) -> frozenset[str]:
        """Customers and items that would join more than 1,000 items."""
        joined = Counter(customer for _, customer in self.claims)
        hubs = {customer for customer, number in joined.items() if number > MOST_ITEMS_JOINED}
        neighbours = Counter(name for pair in {(min(pair), max(pair)) for pair in self.abouts} for name in pair)
        hubs.update(item for item, number in neighbours.items() if number > MOST_ITEMS_JOINED)
        return frozenset(hubs)

    def histories(self) -> tuple[frozenset[str], list[list[Event]]]:
        """The hubs, and the events in groups that may touch each other. They are let go of here."""
        hubs = self.hubs()
        groups = Groups()
        for item, customer in self.claims:
            if customer not in hubs:
                groups.union("\0" + customer, item)
        for item, other in self.abouts:
            if item not in hubs and other not in hubs:
                groups.union(item, other)
        parts: dict[str, list[Event]] = {}
        for item, held in self.by_item.items():
            part = parts.setdefault(groups.find(item), held)
            if part is not held:
                part += held
        self.by_item.clear()
        return hubs, list(parts.values())
