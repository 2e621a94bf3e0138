"""What goes from those who take events in to those who keep them."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from tribo.ledger.ledger import Outcome
from tribo.wire.rejects import Raw, Reject
from tribo_schemas.event import Event


class Busy(Exception):
    """The queue is full: come again."""


class Full(Exception):
    """There is no room: nothing was taken."""


class Broken(Exception):
    """What keeps events has failed: nothing was taken."""


@dataclass(slots=True)
class Delivery:
    """Events that came together, with what was refused among them. The future gives an outcome for each event, or a reason (Reject)."""

    events: list[Event]
    rejects: list[tuple[str, Reject]] = field(default_factory=list)
    raw: list[Raw] = field(default_factory=list)
    inputs: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    input: str = ""
    remember: list[tuple[str, bytes]] = field(default_factory=list)
    """(source, digest) of signed requests, which must not be taken again."""
    replayed: list[int] = field(default_factory=list)
    """Numbers of the rejects that these events were."""
    done: Future[list[Outcome | Reject]] = field(default_factory=Future)


@runtime_checkable
class Taker(Protocol):
    """What keeps events: the ledger's writing thread, or a topic's producer."""

    broken: BaseException | None
    """Why nothing is kept any more; None while all is well."""
    full: bool
    """Whether there is no room at the moment."""

    def submit(self, delivery: Delivery) -> Future[list[Outcome | Reject]]:
        """Take a delivery; its future is set when it is kept for good, or fails with Full or Broken. Raises Busy, Broken."""
        ...
