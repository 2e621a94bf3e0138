"""How queues served those who waited in them, from the tallies `queued|answered, abandoned or ended|touchpoint|bucket`.

A service level is answered within T ÷ (offered − abandoned within T). It flatters where many give up, so it is never shown alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

WITHIN_SECONDS = 20.0
QUEUE_ENDS = ("answered", "abandoned", "ended")
"""How a wait in a queue ends: answered, given up, or with the item (resolved, closed, released)."""


class QueueService(NamedTuple):
    """What became of finished waits in queues. `service_level` and `abandon_rate` are shares, None where there is nothing to judge."""

    offered: int
    answered_within: int
    abandoned: int
    abandoned_within: int

    @property
    def service_level(self) -> float | None:
        """Answered within T, of those offered who did not give up within T."""
        judged = self.offered - self.abandoned_within
        return self.answered_within / judged if judged > 0 else None

    @property
    def abandon_rate(self) -> float | None:
        """Given up, of all offered."""
        return self.abandoned / self.offered if self.offered else None


def queue_service(tally: Mapping[str, int], touchpoint: str, within_seconds: float = WITHIN_SECONDS) -> QueueService:
    """How the queues of a touchpoint served, by a tally's standing numbers. `within_seconds` is T: a bound of the queue's buckets."""
    offered = answered_within = abandoned = abandoned_within = 0
    for key, number in tally.items():
        if not key.startswith("queued|"):
            continue
        _, ended, at, limit = key.split("|")
        if at != touchpoint:
            continue
        within = is_within(limit, within_seconds)
        offered += number
        answered_within += number if within and ended == "answered" else 0
        abandoned += number if ended == "abandoned" else 0
        abandoned_within += number if within and ended == "abandoned" else 0
    return QueueService(offered, answered_within, abandoned, abandoned_within)


def is_within(limit: str, within_seconds: float = WITHIN_SECONDS) -> bool:
    """Whether waits of a bucket, named by its upper bound in seconds, lasted no longer than that."""
    return limit != "+Inf" and float(limit) <= within_seconds
