"""Seeded histories that are nasty on purpose: everything that a source may say, at moments that coincide."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

from tribo_schemas.event import EPOCH, FACTS, MILLISECOND

ITEMS = (
    ("purchase", "order:1"), ("purchase", "order:2"), ("service", "case:1"), ("service", "case:2"), ("service", "call:1"),
    ("returns", "return:1"), ("billing", "invoice:1"),
)  # fmt: skip
WEIGHTS = {"opened": 8, "assigned": 10, "promised": 7, "kept": 4, "informed": 3, "answered": 4, "customer_replied": 4, "resolved": 5,
           "reopened": 3, "retracted": 1, "linked": 1, "unlinked": 1}  # fmt: skip


def events_of_seed(seed: int) -> tuple[list[dict[str, Any]], int]:
    """Canonical events in wire form, in no order, and the instant (UTC ms) at which the clock ends."""
    rng = random.Random(seed)
    start = datetime(2026, 3, rng.randint(1, 28), rng.randint(0, 23), tzinfo=UTC)
    items = rng.sample(ITEMS, rng.randint(1, 4))
    calm = seed % 3 == 0  # ordinary histories, so that the fast path is tried as well
    facts = [fact for fact in FACTS if not calm or fact not in ("retracted", "linked", "unlinked")]
    weights = [WEIGHTS.get(fact, 2) for fact in facts]
    events = []
    moment = start
    for number in range(rng.randint(3, 45)):
        touchpoint, item = rng.choice(items)
        fact = rng.choices(facts, weights)[0]
        moment += rng.choice((timedelta(0), timedelta(minutes=5), timedelta(hours=rng.randint(1, 9)), timedelta(days=rng.choice((1, 1, 3, 7, 20)))))
        event: dict[str, Any] = {
            "id": f"e{number}", "source": rng.choice(("crm", "shop")), "time": moment.isoformat(), "touchpoint": touchpoint, "fact": fact, "item": item,
        }  # fmt: skip
        if calm or rng.random() < 0.4:
            event["customer"] = "c1" if calm or rng.random() < 0.85 else "c2"
        if not calm and rng.random() < 0.1:
            event["about"] = [rng.choice(ITEMS)[1]]
        if rng.random() < 0.3:
            event["channel"] = rng.choice(("phone", "chat", "email"))
        if rng.random() < 0.3:
            event["topic"] = rng.choice(("delivery", "invoice"))
        if fact in ("assigned", "answered", "escalated"):
            event |= {key: value for key, value in (("team", rng.choice("abc-")), ("owner", rng.choice(("anna", "bob", "-")))) if value != "-"}
            if rng.random() < 0.2:
                event["by"] = "bot"
        if fact in ("promised", "informed", "kept") or (fact == "released" and rng.random() < 0.6):
            event["promise"] = rng.choice(("p", "q", "resolution"))
        if fact == "promised" or (fact == "informed" and rng.random() < 0.7):
            event["due"] = (moment + rng.choice((timedelta(0), timedelta(hours=3), timedelta(days=2), timedelta(minutes=-5)))).isoformat()
        if fact == "rated":
            event |= {"score": rng.choice((0, 3, 4, 4.5, 5)), "scale": 5, "by": rng.choice(("customer", "human"))}
        if fact in ("linked", "unlinked"):
            event |= {"about": [rng.choice(ITEMS)[1]]} if rng.random() < 0.5 else {"customer": rng.choice(("c1", "c2"))}
        if fact == "retracted":
            event["retracts"] = f"e{rng.randrange(number + 1)}"
        if rng.random() < 0.4:
            event["sequence"] = rng.choice((-1, 0, 1, 2))
        events.append(event)
    now = moment + rng.choice((timedelta(0), timedelta(days=2), timedelta(days=30)))
    rng.shuffle(events)
    return events, (now - EPOCH) // MILLISECOND
