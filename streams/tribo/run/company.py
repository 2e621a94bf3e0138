"""A believable company, invented from a seed: a shop, a carrier, billing, returns, a service desk, and what goes wrong there.

Events come in the order of time. Problems come and go: in its second and sixth week the carrier is late, in the third and fourth
a reorganised service desk plays ping-pong, and the rest of the time things go as they should. Every kind of finding occurs.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from itertools import count
from typing import Any

from tribo_schemas.event import stamp

MINUTE, HOUR, DAY, WEEK = 60_000, 3_600_000, 86_400_000, 604_800_000
TOPICS = ("delivery", "invoice", "damaged", "account")
TEAMS = ("first-line", "delivery-desk", "billing-desk")
PEOPLE = {"first-line": ("anna", "ben", "carla"), "delivery-desk": ("dario", "emma"), "billing-desk": ("finn", "greta")}
Said = tuple[int, dict[str, Any]]


class _Day:
    """What is drawn for one order: its events, numbered and put together from the same die."""

    def __init__(self, rng: random.Random, number: int, customer: str, at: int, week: int) -> None:
        self.rng = rng
        self.number = number
        self.customer = customer
        self.at = at
        self.bad_carrier = week % 8 in (1, 5)
        self.ping_pong = week % 8 in (2, 3)
        self.events: list[Said] = []
        self.order = f"order:{number}"
        self.synthetic = number % 97 == 0

    def say(self, at: int, source: str, touchpoint: str, fact: str, item: str, **fields: Any) -> None:
        event = {"source": source, "touchpoint": touchpoint, "fact": fact, "item": item, "customer": self.customer, **fields}
        if self.synthetic:
            event["synthetic"] = True
        self.events.append((at, event))

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def some(self, least: int, most: int) -> int:
        return self.rng.randint(least, most)

    def all(self) -> list[Said]:
        """The whole story of one order."""
        at, order = self.at, self.order
        due = at + 3 * DAY
        self.say(at, "shop", "purchase", "opened", order, channel="web")
        self.say(at + MINUTE, "shop", "purchase", "promised", order, promise="delivery", due=stamp(due))
        invoice = f"invoice:{self.number}"
        self.say(at + 2 * MINUTE, "billing", "billing", "opened", invoice, about=[order])
        if self.chance(0.04):
            self.say(at + HOUR, "shop", "purchase", "released", order)
            self.say(at + 2 * HOUR, "billing", "billing", "closed", invoice)
            return self.events
        late = self.chance(0.55 if self.bad_carrier else 0.06)
        delivered = due + self.some(3, 70) * HOUR if late else due - self.some(1, 40) * HOUR
        if late and self.chance(0.5):
            told = due - self.some(2, 20) * HOUR if self.chance(0.6) else due + self.some(1, 3) * HOUR
            new_due = {"due": stamp(due + 3 * DAY)} if self.chance(0.8) else {}
            self.say(told, "carrier", "purchase", "informed", order, promise="delivery", **new_due)
        lost = late and self.chance(0.08)
        if not lost:
            self.say(delivered, "carrier", "purchase", "kept", order, promise="delivery")
            self.say(delivered + MINUTE, "carrier", "purchase", "resolved", order)
        self.say(delivered + DAY, "billing", "billing", "rejected" if self.chance(0.02) else "resolved", invoice)
        if late or self.chance(0.15):
            self.contact(delivered - (self.some(1, 20) * HOUR if late else -DAY), "delivery" if late else self.rng.choice(TOPICS))
        if self.chance(0.08):
            self.giving_back(delivered + self.some(1, 6) * DAY)
        if self.chance(0.05):
            self.say(delivered + 2 * HOUR, "shop", "purchase", "surprised", order)
        if self.chance(0.2):
            score = self.some(1, 3) if late else self.some(3, 5)
            rating = {"score": score, "scale": 5, "standard": "delivery-on-time"}
            self.say(delivered + DAY, "survey", "purchase", "rated", order, by="customer", **rating)
        if self.chance(0.03):
            rating = {"score": self.some(2, 5), "scale": 5, "standard": "delivery-on-time"}
            self.say(delivered + DAY, "survey", "purchase", "rated", order, by="human", **rating)
        return self.events

    def contact(self, at: int, topic: str, depth: int = 0) -> None:
        """A customer turns to the service desk, by phone or in writing."""
        rng = self.rng
        phone = self.chance(0.4)
        item = f"{'call' if phone else 'case'}:{self.number}-{depth}"
        source, channel = ("phones", "phone") if phone else ("helpdesk", rng.choice(("email", "chat")))
        about = {"about": [self.order]} if self.chance(0.8) else {}
        self.say(at, source, "service", "opened", item, topic=topic, channel=channel, **about)
        if phone:
            self.say(at + 1000, source, "service", "queued", item, channel=channel)
            wait = self.some(5, 900 if self.bad_carrier else 60) * 1000
            if wait > 240_000 and self.chance(0.5):
                self.say(at + wait, source, "service", "abandoned", item)
                if depth < 2:
                    self.contact(at + wait + self.some(1, 30) * HOUR, topic, depth + 1)
                return
            at += wait
        team = rng.choice(TEAMS)
        if not phone and self.chance(0.5):
            self.say(at + 2000, source, "service", "assigned", item, team=team, owner="bot", by="bot")
            self.say(at + 4000, source, "service", "answered", item, by="bot", owner="bot")
        if not phone:
            at += self.some(1, 6) * HOUR
        self.say(at - 1000, source, "service", "assigned", item, team=team)
        if not phone:
            at += self.some(1, 20) * MINUTE
        owner = rng.choice(PEOPLE[team])
        self.say(at, source, "service", "assigned", item, team=team, owner=owner)
        self.say(at + 1000, source, "service", "answered", item, team=team, owner=owner)
        if phone and self.chance(0.5):
            self.say(at + 2 * MINUTE, source, "service", "put_on_hold", item)
            self.say(at + self.some(3, 9) * MINUTE, source, "service", "resumed", item)
            at += 10 * MINUTE
        if self.chance(0.25):
            self.say(at + 2 * MINUTE, source, "service", "repeated", item)
        others = [other for other in TEAMS if other != team]
        for hop in range(self.some(2, 5) if self.ping_pong and self.chance(0.6) else int(self.chance(0.15))):
            at += self.some(1, 5) * HOUR
            self.say(at, source, "service", "assigned", item, team=others[0] if hop % 2 == 0 else team)
        if self.chance(0.2):
            at += HOUR
            call_back = f"call-back-{depth}"
            self.say(at, source, "service", "promised", item, promise=call_back, due=stamp(at + 4 * HOUR))
            if self.chance(0.15):
                self.say(at + HOUR, source, "service", "released", item, promise=call_back)
            elif self.chance(0.85):
                self.say(at + (self.some(1, 4) if self.chance(0.8) else 6) * HOUR, source, "service", "kept", item, promise=call_back)
        if self.chance(0.3):
            at += 5 * HOUR
            other = rng.choice(("phone", "chat", "email"))
            self.say(at, source, "service", "customer_replied", item, channel=other)
            at += self.some(1, 30) * HOUR
            self.say(at, source, "service", "answered", item, team=team, owner=owner)
        if self.chance(0.1):
            self.say(at + MINUTE, source, "service", "awaiting_customer", item)
            at += self.some(2, 40) * HOUR
            self.say(at, source, "service", "customer_replied", item, channel=channel)
        if self.chance(0.2):
            at += HOUR
            self.say(at, source, "service", "complained", item, topic=topic)
            if self.chance(0.5):
                self.say(at + MINUTE, source, "service", "offered", item)
        if self.chance(0.08):
            self.say(at + HOUR, source, "service", "authority_asked", item)
            at += self.some(2, 12) * HOUR
            self.say(at, source, "service", "escalated", item, team="managers", owner="mia")
        at += self.some(1, 30) * HOUR
        self.say(at, source, "service", "resolved", item)
        if self.chance(0.7):
            self.say(at + HOUR, source, "service", "asked_if_fixed", item)
            if self.chance(0.6):
                self.say(at + 8 * HOUR, source, "service", "confirmed", item)
            elif self.chance(0.4):
                self.say(at + 20 * HOUR, source, "service", "reopened", item)
                self.say(at + 30 * HOUR, source, "service", "resolved", item)
        if self.chance(0.12):
            self.say(at + 9 * HOUR, source, "service", "praised", item)
        if depth < 2 and self.chance(0.15):
            self.contact(at + self.some(1, 5) * DAY, topic, depth + 1)

    def giving_back(self, at: int) -> None:
        """A return, with the refund that the standards promise."""
        item = f"return:{self.number}"
        self.say(at, "returns-desk", "returns", "opened", item, about=[self.order], channel="web", topic="return")
        self.say(at + 2 * DAY, "returns-desk", "returns", "assigned", item, team="warehouse")
        if self.chance(0.15):
            self.say(at + 3 * DAY, "returns-desk", "returns", "rejected", item)
            if self.chance(0.5):
                self.say(at + 3 * DAY + HOUR, "returns-desk", "returns", "offered", item)
            self.say(at + 4 * DAY, "returns-desk", "returns", "closed", item)
            return
        self.say(at + 3 * DAY, "returns-desk", "returns", "answered", item, team="warehouse")
        self.say(at + self.some(4, 12) * DAY, "returns-desk", "returns", "resolved", item)


def company(seed: int, start: int, orders_per_day: int = 40, first_order: int = 1001) -> Iterator[dict[str, Any]]:
    """Canonical events in wire form and in the order of time, from `start` (UTC ms) on and without end; the same for the same seed."""
    rng = random.Random(seed)
    waiting: list[tuple[int, int, dict[str, Any]]] = []
    number, serial, day = first_order - 1, count(), 0
    while True:
        begin = start + day * DAY
        for _ in range(orders_per_day):
            number += 1
            customer = f"customer-{rng.randint(1, 12 * orders_per_day)}"
            story = _Day(rng, number, customer, begin + rng.randint(0, DAY - 1), day // 7)
            for at, event in story.all():
                heapq.heappush(waiting, (max(at, begin), next(serial), event))
        day += 1
        while waiting and waiting[0][0] < start + day * DAY:
            at, index, event = heapq.heappop(waiting)
            yield {"id": f"{seed}-{index}", "time": stamp(at), **event}
