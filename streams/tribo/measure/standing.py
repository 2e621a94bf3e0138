"""How an item stands: its part in the counters that say how things are now, by tally key.

The fold compares how each touched item stood before with how it stands after, and adds the difference to the counters.
"""

from __future__ import annotations

from tribo.measure.history import Item
from tribo.measure.standards import Entry, Standards, applies, known, speaks_of

OPEN, KEPT, KEPT_AS_MOVED, KEPT_LATE, BROKEN, RELEASED = "open", "kept", "kept_as_moved", "kept_late", "broken", "released"
FAILED = (BROKEN, KEPT_LATE, KEPT_AS_MOVED)
EXPECTS = frozenset(("purchase", "returns", "service"))


def standing(standards: Standards, item: Item) -> dict[str, int]:
    """The item's promises by state, and its outcomes under the standards where they follow from its state."""
    stands: dict[str, int] = {}
    if item.promises:
        for promise in item.promises.values():
            _add(stands, f"promise|{'unknown' if promise.unknown else promise.state}|{item.touchpoint}")
            if promise.at_risk:
                told = "told" if promise.told else "untold"
                _add(stands, f"at_risk|{item.touchpoint}|{known(item.team, standards.teams)}|{told}")
    for clock in item.clocks:
        _add(stands, f"waiting|{clock}|{item.touchpoint}")
        if clock == "queue":
            _add(stands, f"queueing|{known(item.team, standards.teams)}")
    in_force = standards.at(item.started_at)
    if not standards.names or not item.start_event:  # nothing is expected, or there are only links: it isn't going on
        return stands
    for clock, running in item.clocks.items():
        for entry in in_force.clocks.get(clock, ()):
            if applies(entry, item, item.team) and f"{clock}|{entry.name}|{running[1]}" not in item.missed:
                _add(stands, f"standard|{entry.name}|running")
    for entry in in_force.counts:
        if applies(entry, item, item.team):
            outcome = "running" if not item.done else "met" if item.counts.get(entry.count or "", 0) <= (entry.at_most or 0) else "missed"
            _add(stands, f"standard|{entry.name}|{outcome}")
    for practice, entries in in_force.practices.items():
        outcome = _practised(practice, item)
        if outcome:
            for entry in entries:
                if applies(entry, item, item.team):
                    _add(stands, f"standard|{entry.name}|{outcome}")
    for promise in item.promises.values():
        for entry in standards.at(promise.asked).promises:
            if speaks_of(entry, promise) and applies(entry, item, promise.team if promise.team is not None else item.team):
                _promised(stands, entry, promise.state, promise.unknown)
    return stands


def _practised(practice: str, item: Item) -> str:
    """How an item stands with a practice; '' where nothing is to be judged."""
    if practice == "expectation":
        if item.touchpoint not in EXPECTS or item.expectation == "not judged" or (item.expectation is None and item.ever_done):
            return ""
        return item.expectation or "running"
    if practice == "alternative":
        return "" if item.problem_event is None else "met" if item.counts.get("offered") else "missed" if item.done else "running"
    return "running" if item.resolution is not None and not item.resolution.asked else ""  # met and missed are judged when they happen


def _promised(stands: dict[str, int], entry: Entry, state: str, unknown: bool) -> None:
    if state == KEPT:
        _add(stands, f"standard|{entry.name}|met")
    elif state in FAILED:
        _add(stands, f"standard|{entry.name}|missed")
        if state == KEPT_AS_MOVED:
            _add(stands, f"standard|{entry.name}|as_told")
    elif state == OPEN and not unknown:
        _add(stands, f"standard|{entry.name}|running")


def _add(stands: dict[str, int], key: str) -> None:
    stands[key] = stands.get(key, 0) + 1
