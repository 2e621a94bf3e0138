"""Who belongs to whom: which customer has an item, and which items are one journey.

Everything here looks at a whole history at once, because links hold from the beginning and a customer may be learnt late.
The rules, in the order in which they are applied:

1. `linked` and `unlinked` go first; of several about the same pair the last decides, and an unlinked pair never joins.
2. Then the plain words of events, in their order: the first customer that claims an item has it, and `about` joins two
   items unless they already belong to different customers. What is refused here is a conflict, and is counted.
3. A billing, returns or service item that is about nothing joins the journey of its customer's latest earlier event,
   if that is less than 30 days before it started.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from operator import attrgetter, lt

from tribo_schemas.event import Event, order_key

DAY = 86_400_000
JOINS_BY_TIME_WITHIN = 30 * DAY
MOST_ITEMS_JOINED = 1000
LINKS = frozenset(("linked", "unlinked"))

Key = tuple[int, int, int, str, str]
_time = attrgetter("time")


class Groups:
    """Disjoint sets of names."""

    def __init__(self) -> None:
        self.parent: dict[str, str] = {}

    def find(self, name: str) -> str:
        """The root of the set that a name is in."""
        parent = self.parent
        above = parent.get(name)
        if above is None:
            parent[name] = name
            return name
        root = above
        while parent[root] != root:
            root = parent[root]
        while above != root:
            parent[name], name = root, above
            above = parent[name]
        return root

    def union(self, one: str, other: str) -> str:
        """Join the two sets; returns the root that is left."""
        one, other = self.find(one), self.find(other)
        self.parent[other] = one
        return one


class Place:
    """Where an item stands: its customer, its journey (named by the journey's root), and when it started.

    `claimed` and `said` are the customers and items that plain words of its events named so far.
    """

    __slots__ = ("about", "claimed", "customer", "journey", "opened", "said", "start", "synthetic", "topic", "touchpoint")

    def __init__(self, touchpoint: str) -> None:
        self.touchpoint = touchpoint
        self.customer: str | None = None
        self.journey = ""
        self.start: Key | None = None
        self.opened = False
        self.topic: str | None = None
        self.synthetic = False
        self.about: set[str] = set()
        self.claimed: tuple[str, ...] = ()
        self.said: tuple[str, ...] = ()


class Topology:
    """The places of all items of a history, and its conflicts."""

    __slots__ = ("conflicts", "journey_ids", "places", "synthetic")

    def __init__(self) -> None:
        self.places: dict[str, Place] = {}
        self.journey_ids: dict[str, str] = {}
        self.synthetic: set[str] = set()
        self.conflicts = {"customer": 0, "about": 0}


def effective(events: Iterable[Event]) -> list[Event]:
    """The events that happened, in order: without `retracted` ones and what they take back.

    A retraction may itself be taken back. Of retractions that take each other back, the latest in order stands.
    """
    ordered = in_order(events)
    retractions = [event for event in ordered if event.fact == "retracted"]
    if not retractions:
        return ordered
    gone = taken_back(retractions)
    return [event for event in ordered if event.fact != "retracted" and (event.source, event.id) not in gone]


def in_order(events: Iterable[Event]) -> list[Event]:
    """The events by `order_key`: by time, and where times are the same by the rest of it."""
    ordered = sorted(events, key=_time)
    times = list(map(_time, ordered))
    if not all(map(lt, times, times[1:])):
        ordered.sort(key=order_key)
    return ordered


def taken_back(retractions: Sequence[Event]) -> set[tuple[str, str]]:
    """The (source, id) of everything that standing retractions take back, given all retractions in any order.

    Each retraction names one event, so what they say of each other is chains that end, or run into a ring. From the ends inwards
    every one is decided; of a ring that nothing decides the latest stands.
    """
    by_name = {(event.source, event.id): event for event in retractions}
    target = {name: (event.source, event.retracts or "") for name, event in by_name.items()}
    undecided: dict[tuple[str, str], int] = defaultdict(int)  # retractions of it that may still stand
    for name, other in target.items():
        if name != other and other in by_name:
            undecided[other] += 1
    stands: dict[tuple[str, str], bool] = {}

    def decide(name: tuple[str, str], standing: bool) -> None:
        while name in by_name and name not in stands:
            stands[name] = standing
            other = target[name]
            if other == name:
                return
            undecided[other] -= 1
            if not standing and undecided[other]:
                return
            name, standing = other, not standing

    for name in by_name:
        if not undecided[name]:
            decide(name, True)
    for name in sorted(by_name, key=lambda name: order_key(by_name[name]), reverse=True):
        decide(name, True)
    return {target[name] for name, standing in stands.items() if standing and target[name] != name}


def topology(events: Sequence[Event], hubs: frozenset[str] = frozenset()) -> Topology:
    """The places of all items named by `events` (effective, in order). `hubs` are customers and items that join nothing."""
    result = Topology()
    places = result.places
    links: list[Event] = []
    words: list[tuple[str, str | None, str | None]] = []  # what plain words say, each once and in their order: item, customer, about
    for event in events:
        item = event.item
        place = places.get(item)
        if place is None:
            place = places[item] = Place(event.touchpoint)
        if place.topic is None:
            place.topic = event.topic
        if event.synthetic:
            place.synthetic = True
        if event.fact in LINKS:
            links.append(event)
            continue
        if not place.opened and (place.start is None or event.fact == "opened"):
            place.start = order_key(event)
            place.opened = event.fact == "opened"
        customer = event.customer
        if customer is not None and customer not in place.claimed:
            place.claimed += (customer,)
            words.append((item, customer, None))
        if event.about is not None:
            for other in event.about:
                if other not in place.said:
                    place.said += (other,)
                    words.append((item, None, other))
    linked = _Linked(links, hubs)
    groups = Groups()
    owner: dict[str, str | None] = {}

    def claim(item: str, customer: str) -> None:
        root = groups.find(item)
        held = owner.get(root)
        if held is None:
            owner[root] = customer
        elif held != customer:
            result.conflicts["customer"] += 1

    def join(item: str, other: str) -> None:
        if item == other or other in hubs or item in hubs or other in places[item].about:
            return
        one, two = groups.find(item), groups.find(other)
        if one != two:
            first, second = owner.get(one), owner.get(two)
            if first is not None and second is not None and first != second:
                result.conflicts["about"] += 1
                return
            root = groups.union(one, two)
            owner[root] = first if first is not None else second
        places[item].about.add(other)

    for event in links:
        if event.fact == "linked":
            if event.customer is not None and linked.deciding.get(event.item) == event.customer:
                claim(event.item, event.customer)
            for other in event.about or ():
                if linked.pairs[_pair(event.item, other)]:
                    join(event.item, other)
    for item, named, about in words:
        if named is not None:
            if named not in hubs and linked.customers.get((item, named), True):
                claim(item, named)
        elif about is not None and (not links or linked.pairs.get(_pair(item, about), True)):
            join(item, about)

    for item, place in places.items():
        place.customer = owner.get(groups.find(item))
    if len(places) > 1:
        _join_by_time(events, places, groups, linked)
    firsts: dict[str, tuple[Key, str]] = {}
    for item, place in places.items():
        root = place.journey = groups.find(item)
        if place.start is not None and (root not in firsts or (place.start, item) < firsts[root]):
            firsts[root] = (place.start, item)
        if place.synthetic:
            result.synthetic.add(root)
    for root, (_, item) in firsts.items():
        result.journey_ids[root] = item
    return result


class _Linked:
    """What `linked` and `unlinked` say in the end: which pairs join or part, and which customer decides for an item."""

    __slots__ = ("customers", "deciding", "pairs")

    def __init__(self, links: Sequence[Event], hubs: frozenset[str]) -> None:
        self.customers: dict[tuple[str, str], bool] = {}
        self.pairs: dict[tuple[str, str], bool] = {}
        self.deciding: dict[str, str] = {}
        named: dict[str, list[str]] = {}
        for event in links:
            on = event.fact == "linked"
            if event.customer is not None:
                self.customers[event.item, event.customer] = on
                named.setdefault(event.item, []).append(event.customer)
            for other in event.about or ():
                self.pairs[_pair(event.item, other)] = on
        for item, names in named.items():
            standing = [name for name in names if self.customers[item, name] and name not in hubs]
            if standing:
                self.deciding[item] = standing[-1]


def _join_by_time(events: Sequence[Event], places: dict[str, Place], groups: Groups, linked: _Linked) -> None:
    """Items about nothing join the journey of their customer's latest earlier event."""
    waiting = [
        (place.start, item, place.customer)
        for item, place in places.items()
        if place.start is not None and not place.about and place.customer is not None and place.touchpoint != "purchase"
    ]
    if not waiting:
        return
    by_customer: dict[str, list[tuple[int, str]]] = {customer: [] for _, _, customer in waiting}
    for event in events:
        customer = places[event.item].customer
        if customer in by_customer and event.fact not in LINKS:
            by_customer[customer].append((event.time, event.item))
    barred: dict[str, set[str]] = {}
    for (one, two), on in linked.pairs.items():
        if not on:
            barred.setdefault(one, set()).add(two)
            barred.setdefault(two, set()).add(one)
    for start, item, customer in sorted(waiting):
        history = by_customer[customer]
        away = {groups.find(other) for other in barred.get(item, ())}
        for index in range(bisect_left(history, (start[0],)) - 1, -1, -1):
            time, other = history[index]
            if other == item or groups.find(other) in away:
                continue
            if start[0] - time < JOINS_BY_TIME_WITHIN:
                groups.union(other, item)
            break


def _pair(one: str, other: str) -> tuple[str, str]:
    return (one, other) if one < other else (other, one)
