"""A finding: something that somebody might act on, with the events behind it."""

from __future__ import annotations

from typing import Any

import msgspec

from tribo_schemas.event import stamp

FRICTION = (
    "handoff", "ping_pong", "channel_switch", "hold", "repeat_contact", "repeated", "reopened", "abandoned", "promise_broken",
    "promise_moved_late", "standard_missed", "unconfirmed", "no_expectation", "no_alternative", "complaint",
)  # fmt: skip
TO_ACT_ON = ("promise_at_risk", "promise_unknown")
CARE = ("promise_moved", "escalated", "early", "praise", "surprise", "recovered")
KINDS = FRICTION + TO_ACT_ON + CARE
DELIGHT = frozenset(("praise", "surprise", "early", "recovered"))
BY_TEAM = ("handoff", "ping_pong", "promise_broken", "standard_missed")


class Finding(msgspec.Struct, gc=False, kw_only=True):
    """One finding. `at` is UTC milliseconds, durations are milliseconds inside and seconds in `row()`; None where it does not apply."""

    id: str
    kind: str
    journey: str
    item: str
    touchpoint: str
    at: int
    evidence: tuple[str, ...]
    level: str | None = None
    from_bot: bool | None = None
    from_team: str | None = None
    from_owner: str | None = None
    team: str | None = None
    owner: str | None = None
    channel: str | None = None
    topic: str | None = None
    standard: str | None = None
    promise: str | None = None
    clock: str | None = None
    told: bool | None = None
    source_silent: bool | None = None
    customer_ms: int | None = None
    business_ms: int | None = None
    expected_ms: int | None = None
    points: int | None = None

    def row(self) -> dict[str, Any]:
        """The finding as people read it: instants as text, durations in seconds, what does not apply left out."""
        fields = {name: value for name, value in zip(NAMES, msgspec.structs.astuple(self), strict=True) if value is not None}
        fields["at"] = stamp(self.at)
        fields["evidence"] = list(self.evidence)
        if "customer_seconds" in fields or "expected_seconds" in fields or "business_seconds" in fields:
            fields.update((name, seconds(fields[name])) for name in DURATIONS if name in fields)
        return fields


NAMES = tuple(name[:-3] + "_seconds" if name.endswith("_ms") else name for name in Finding.__struct_fields__)
DURATIONS = tuple(name for name in NAMES if name.endswith("_seconds"))


def seconds(milliseconds: int) -> int | float:
    """Milliseconds as seconds, to the millisecond; whole seconds as an integer."""
    return milliseconds // 1000 if milliseconds % 1000 == 0 else milliseconds / 1000
