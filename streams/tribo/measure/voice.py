"""What customers and employees say, and whether trust was won back."""

from __future__ import annotations

from tribo.measure import done
from tribo.measure.fold import RECOVERY_WITHIN, Fold
from tribo.measure.history import Item, Journey
from tribo_schemas.event import Event

GOOD_RATING = 0.8


def complained(fold: Fold, item: Item, event: Event) -> None:
    """A complaint in words."""
    fold.add(item, "complaints")
    fold.find("complaint", item, fold.reference, (fold.reference,))
    done.problem(fold, item, fold.reference)


def praised(fold: Fold, item: Item, event: Event) -> None:
    """A compliment in words."""
    fold.add(item, "praises")
    fold.find("praise", item, fold.reference, (fold.reference,))
    recover(fold, fold.journeys[item.journey])


def surprised(fold: Fold, item: Item, event: Event) -> None:
    """Something extra."""
    fold.add(item, "surprises")
    fold.find("surprise", item, fold.reference, (fold.reference,))


def rated(fold: Fold, item: Item, event: Event) -> None:
    """A score; a customer's counts for the journey's rating. A standard's scores are added up, in thousandths, by who gave them."""
    assert event.score is not None and event.scale is not None
    journey = fold.journeys[item.journey]
    rating = event.score / event.scale
    if event.by in (None, "customer", "human") and event.standard in fold.standards.names and not journey.synthetic:
        who = event.by or "human"
        fold.count(f"rating|{event.standard}|{who}", 1)
        fold.count(f"rating_sum|{event.standard}|{who}", round(1000 * rating))
    if event.by == "customer":
        journey.rating_sum += rating
        journey.ratings += 1
        if rating >= GOOD_RATING:
            recover(fold, journey)


def purchased(fold: Fold, item: Item) -> None:
    """A purchase opens: a repeat one? And does it win back what went wrong before?"""
    journey = fold.journeys[item.journey]
    if item.customer is None:
        return
    earlier = [
        other
        for other in fold.items.values()
        if other is not item and other.touchpoint == "purchase" and other.customer == item.customer and other.started
    ]
    if journey.first_purchase is None:
        journey.first_purchase = item.id
        journey.repeat_purchase = any(not (other.released or other.rejected) for other in earlier)
    for other_journey in fold.journeys.values():
        if (
            other_journey.customer == item.customer
            and other_journey.problem_item is not None
            and not other_journey.recovered
            and fold.at - other_journey.last_problem_at <= RECOVERY_WITHIN
        ):
            recover(fold, other_journey)


def recover(fold: Fold, journey: Journey) -> None:
    """A problem, and afterwards something good: once a journey, standing with the item of the first problem."""
    if journey.recovered or journey.problem_item is None or journey.problem_event is None:
        return
    journey.recovered = True
    item = fold.items[journey.problem_item]
    fold.touch(item)
    fold.find_as_it_stands("recovered", item, journey.problem_event, (journey.problem_event, fold.reference))
