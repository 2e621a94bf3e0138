"""All histories of a complete input: each event once, grouped by who belongs together, folded one after the other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from tribo.measure.journeys import MOST_ITEMS_JOINED, Groups, taken_back
from tribo_schemas.event import Event, order_key, same, smaller


class Input:
    """The events of an input, each (source, id) once: duplicates are counted, of conflicting ones the smaller holds."""

    def __init__(self) -> None:
        self.events: dict[tuple[str, str], Event] = {}
        self.duplicates = 0
        self.losers: dict[tuple[str, str], list[Event]] = {}
        self.conflicting = 0

    def add(self, event: Event) -> None:
        """Take an event, in any order."""
        key = (event.source, event.id)
        held = self.events.setdefault(key, event)
        if held is event:
            return
        if same(held, event) or any(same(loser, event) for loser in self.losers.get(key, ())):
            self.duplicates += 1
            return
        self.conflicting += 1
        holds = smaller(held, event)
        self.events[key] = holds
        self.losers.setdefault(key, []).append(event if holds is held else held)


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
    joined: dict[str, set[str]] = defaultdict(set)
    for event in events:
        if event.customer is not None:
            joined[event.customer].add(event.item)
        for other in event.about or ():
            joined[other].add(event.item)
            joined[event.item].add(other)
    return frozenset(name for name, items in joined.items() if len(items) > MOST_ITEMS_JOINED)


def histories(events: Iterable[Event], hubs: frozenset[str]) -> Iterator[list[Event]]:
    """The events in groups that may touch each other, through customers or `about`; each group is one history."""
    groups = Groups()
    union = groups.union
    seen: set[tuple[str, str]] = set()
    by_item: dict[str, list[Event]] = {}
    for event in events:
        item = event.item
        held = by_item.get(item)
        if held is None:
            by_item[item] = [event]
        else:
            held.append(event)
        customer = event.customer
        if customer is not None and (item, customer) not in seen:
            seen.add((item, customer))
            if customer not in hubs:
                union("c:" + customer, "i:" + item)
        if event.about and item not in hubs:
            for other in event.about:
                if other not in hubs:
                    union("i:" + other, "i:" + item)
    parts: dict[str, list[Event]] = {}
    for item, held in by_item.items():
        root = groups.find("i:" + item)
        part = parts.get(root)
        if part is None:
            parts[root] = held
        else:
            part += held
    yield from parts.values()
