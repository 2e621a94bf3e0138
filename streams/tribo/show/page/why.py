"""Why a number is what it is: the journeys behind it, and what they share more often than the others of the same time.

Of both sides at most MOST_COMPARED journeys are looked into, the latest ones; the page says how many. What a journey has is what its
events say: the teams that held it, its channels, topics, and sources. A share is worth naming when it differs by more than chance
would explain: two shares are compared by the usual test, and only differences of two standard errors and more are told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from math import sqrt
from typing import Any

import msgspec

from tribo.ledger import search
from tribo.ledger.reader import Reader
from tribo_schemas.event import Event

DAY = 86_400_000
MOST_COMPARED = 200
MOST_SHARED = 12
LEAST_ERRORS = 2.0


class Shared(msgspec.Struct, frozen=True):
    """Something that journeys behind a number have more often than the others: shares of both, and how far that is from chance."""

    dimension: str
    value: str
    behind: int
    of_behind: int
    others: int
    of_others: int
    errors: float

    @property
    def times(self) -> float | None:
        """How many times as often; None when none of the others has it."""
        return None if not self.others else (self.behind / self.of_behind) / (self.others / self.of_others)


def traits(events: Iterable[Event]) -> set[tuple[str, str]]:
    """What a journey's events say of it."""
    found = set()
    for event in events:
        found.add(("source", event.source))
        found.add(("touchpoint", event.touchpoint))
        if event.team and event.fact == "assigned":
            found.add(("team", event.team))
        if event.channel:
            found.add(("channel", event.channel))
        if event.topic:
            found.add(("topic", event.topic))
    return found


def shared(behind: list[set[tuple[str, str]]], others: list[set[tuple[str, str]]]) -> list[Shared]:
    """What stands out, the least likely by chance first. Nothing without others to compare with."""
    if not behind or not others:
        return []
    here, there = Counter(trait for one in behind for trait in one), Counter(trait for one in others for trait in one)
    found = []
    for (dimension, value), number in here.items():
        share, other = number / len(behind), there[dimension, value] / len(others)
        pooled = (number + there[dimension, value]) / (len(behind) + len(others))
        error = sqrt(pooled * (1 - pooled) * (1 / len(behind) + 1 / len(others)))
        errors = (share - other) / error if error else 0.0
        if number > 1 and errors >= LEAST_ERRORS:
            found.append(Shared(dimension, value, number, len(behind), there[dimension, value], len(others), round(errors, 2)))
    found.sort(key=lambda one: (-one.errors, one.dimension, one.value))
    return found[:MOST_SHARED]


def compare(reader: Reader, wanted: search.Wanted, now: int) -> dict[str, Any]:
    """The comparison for the findings that are wanted, with how many journeys were looked into."""
    behind = search.journeys_with(reader, wanted, MOST_COMPARED)
    since = wanted.since if wanted.since != search.LONG_AGO else now - 30 * DAY
    until = wanted.until if wanted.until != search.FAR_OFF else now + 1
    others = search.journeys_without(reader, wanted, since, until, MOST_COMPARED)
    events = search.events_of(reader, [history for history, _ in (*behind, *others)])
    items = search.items_of(reader, (*behind, *others))

    def sides(some: list[tuple[int, str]]) -> list[set[tuple[str, str]]]:
        return [traits(event for event in events.get(one[0], ()) if event.item in items.get(one, ())) for one in some]

    return {"shared": shared(sides(behind), sides(others)), "compared": (len(behind), len(others))}

