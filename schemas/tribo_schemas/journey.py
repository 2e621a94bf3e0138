"""A journey's row: what is measured of a customer's items that belong together."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from tribo_schemas.event import stamp
from tribo_schemas.finding import seconds

STATUSES = ("open", "ended", "stale")
PROMISE_STATES = ("open", "kept", "kept_as_moved", "kept_late", "broken", "released", "unknown")
Count = Literal[
    "handoffs", "team_handoffs", "ping_pongs", "channel_switches", "steps", "repeat_contacts", "repeated", "holds", "reopened",
    "abandoned", "escalated", "offered", "complaints", "praises", "surprises",
]  # fmt: skip
COUNTS: tuple[Count, ...] = Count.__args__  # type: ignore[attr-defined]
CLOCKS = ("queue", "hold", "first_response", "first_bot_response", "next_response", "resolution", "total_resolution", "authority")


class PromiseCounts(msgspec.Struct, gc=False, array_like=True):
    """How many promises were made in a journey, what became of them, and how many were moved, moved too late, or kept early.
    Those from `open` to `unknown` add up to `made`."""

    made: int = 0
    open: int = 0
    kept: int = 0
    kept_as_moved: int = 0
    kept_late: int = 0
    broken: int = 0
    released: int = 0
    unknown: int = 0
    moved: int = 0
    moved_late: int = 0
    early: int = 0


class JourneyRow(msgspec.Struct, gc=False, kw_only=True):
    """One journey. Instants are UTC milliseconds; `waits` holds, by clock, (count, customer ms, business ms, longest customer ms)."""

    journey: str
    customer: str | None
    status: str
    opened_at: int
    ended_at: int | None
    last_event_at: int
    items: tuple[str, ...]
    touchpoints: tuple[str, ...]
    events: int
    handoffs: int
    team_handoffs: int
    ping_pongs: int
    channel_switches: int
    steps: int
    repeat_contacts: int
    repeated: int
    holds: int
    reopened: int
    abandoned: int
    escalated: int
    offered: int
    complaints: int
    praises: int
    surprises: int
    rating: float | None
    recovered: bool
    repeat_purchase: bool
    first_contact_resolved: bool | None
    promises: PromiseCounts
    waits: dict[str, tuple[int, int, int, int]]
    waiting: tuple[str, ...]
    friction: int
    delight: int
    synthetic: bool

    def row(self) -> dict[str, Any]:
        """The row as people read it: instants as text, waits in seconds. The customer is as the events say: pseudonyms are the writer's."""
        fields = msgspec.structs.asdict(self)
        del fields["last_event_at"]
        fields["opened_at"] = stamp(self.opened_at)
        fields["ended_at"] = None if self.ended_at is None else stamp(self.ended_at)
        fields["promises"] = msgspec.structs.asdict(self.promises)
        fields["rating"] = None if self.rating is None else round(self.rating, 6)
        fields["waits"] = {
            clock: {
                "count": count,
                "customer_seconds": seconds(customer),
                "business_seconds": seconds(business),
                "longest_customer_seconds": seconds(longest),
            }
            for clock, (count, customer, business, longest) in self.waits.items()
        }
        return fields
