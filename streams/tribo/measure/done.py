"""Whether an item is done, and what went wrong with it; together they say whether an alternative was missing.

An item is done from `resolved`, `closed`, `abandoned` or `released` (whole) until `reopened`. Done stops every clock.
"""

from __future__ import annotations

from tribo.measure.fold import Fold
from tribo.measure.history import Item

COUNTED_TO_THE_END = ("queue", "hold")


def finish(fold: Fold, item: Item) -> None:
    """The item is done: every clock stops, queue and hold counted up to here, the others not."""
    if item.done:
        return
    fold.unpause(item)
    for clock in list(item.clocks):
        fold.stop_clock(item, clock, finished=clock in COUNTED_TO_THE_END)
    fold.done(item, True)
    item.ever_done = True
    item.done_at = fold.at
    check_alternative(fold, item)


def problem(fold: Fold, item: Item, reference: str) -> None:
    """A problem: refused, reopened, complained, a promise broken."""
    if item.problem_event is None:
        item.problem_event = reference
    journey = fold.journeys[item.journey]
    if journey.problem_item is None:
        journey.problem_item, journey.problem_event = item.id, reference
    journey.last_problem_at = fold.at
    check_alternative(fold, item)


def check_alternative(fold: Fold, item: Item) -> None:
    """A problem on an item that is now done, and nothing was ever offered: found while it is so."""
    first = item.problem_event
    if first is None:
        return
    stands = item.done and not item.counts.get("offered")
    if stands and not item.no_alternative:
        item.no_alternative = True
        evidence = (first,) if fold.event is None else tuple(dict.fromkeys((first, fold.reference)))
        fold.find_as_it_stands("no_alternative", item, first, evidence)
    elif item.no_alternative and not stands:
        item.no_alternative = False
        fold.withdraw("no_alternative", item, first)
