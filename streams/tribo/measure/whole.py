"""All histories of a complete input: each event once, grouped by who belongs together, folded one after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from tribo.measure.journeys import MOST_ITEMS_JOINED, Groups, taken_back
from tribo_schemas.event import Event, order_key, same, smaller


class Input:
    """The events of an input, each (source, id) once: duplicates are counted, of conflicting ones the smaller holds.

    What many events say in the same words is held once: it takes half of the memory, and equal words are found to be so at a glance.
    """

    def __init__(self) -> None:
        self._words: dict[Any, Any] = {}
        self._held: dict[str, dict[str, Event]] = {}
        self._losers: dict[tuple[str, str], list[Event]] = {}
        self.duplicates = 0
        self.conflicting = 0

    @property
    def events(self) -> list[Event]:
        """What holds."""
        return [event for held in self._held.values() for event in held.values()]

    def add(self, event: Event) -> None:
        """Take an event, in any order."""
        of_source = self._held.get(event.source)
        if of_source is None:
            of_source = self._held[event.source] = {}
        held = of_source.setdefault(event.id, event)
        if held is event:
            once = self._words.setdefault
            event.source = once(event.source, event.source)
            event.item = once(event.item, event.item)
            event.customer = once(event.customer, event.customer)
            event.about = once(event.about, event.about)
            event.channel = once(event.channel, event.channel)
            return
        losers = self._losers.get((event.source, event.id), [])
        if same(held, event) or any(same(loser, event) for loser in losers):
            self.duplicates += 1
            return
        self.conflicting += 1
        holds = of_source[event.id] = smaller(held, event)
        losers.append(event if holds is held else held)
        self._losers[event.source, event.id] = losers


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
    """Customers and items that would join more than 1,000 items: a guest account, a catch-all order. They join nothing."""
    claims = {(event.item, event.customer) for event in events if event.customer is not None}
    abouts = {(event.item, other) for event in events if event.about for other in event.about}
    return _hubs(claims, abouts)


def _hubs(claims: Iterable[tuple[str, str]], abouts: Iterable[tuple[str, str]]) -> frozenset[str]:
    joined = Counter(customer for _, customer in claims)
    hubs = {customer for customer, number in joined.items() if number > MOST_ITEMS_JOINED}
    neighbours = Counter(name for pair in {(min(pair), max(pair)) for pair in abouts} for name in pair)
    hubs.update(item for item, number in neighbours.items() if number > MOST_ITEMS_JOINED)
    return frozenset(hubs)


def histories(events: Iterable[Event]) -> tuple[frozenset[str], list[list[Event]]]:
    """The events in groups that may touch each other, through customers or `about`: each group is one history. Before them
    the hubs: customers and items that would join more than 1,000 items (a guest account, a catch-all order) and join nothing."""
    by_item: dict[str, list[Event]] = {}
    claims: dict[tuple[str, str], None] = {}
    abouts: dict[tuple[str, str], None] = {}
    for event in events:
        held = by_item.get(event.item)
        if held is None:
            held = by_item[event.item] = [event]
            before = None
        else:
            before = held[-1]
            held.append(event)
        if event.customer is not None and (before is None or before.customer != event.customer):
            claims[event.item, event.customer] = None
        if event.about is not None and (before is None or before.about != event.about):
            for other in event.about:
                abouts[event.item, other] = None
    hubs = _hubs(claims, abouts)
    groups = Groups()
    for item, customer in claims:
        if customer not in hubs:
            groups.union("\0" + customer, item)
    for item, other in abouts:
        if item not in hubs and other not in hubs:
            groups.union(item, other)
    parts: dict[str, list[Event]] = {}
    for item, held in by_item.items():
        root = groups.find(item)
        part = parts.get(root)
        if part is None:
            parts[root] = held
        else:
            part += held
    return hubs, list(parts.values())
