"""One partition of `tribo.events` that a `measure` worker holds: which records come next, and what folding them does to the ledger.

`Offsets` is pure. `Share` does the blocking work, one thread at a time; the event loop holds its `lock` meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from tribo.ledger.ledger import Ledger
from tribo.measure.standards import Standards
from tribo.run.accept import source_of
from tribo.run.clock import ReceiveClock
from tribo.run.distributed.frontier import PartitionTime
from tribo.run.distributed.records import report_of, unpacked
from tribo.wire.rejects import Reject, reject
from tribo_schemas.event import Event

log = logging.getLogger("tribo")
KEPT_EVERY_RECORDS = 50
"""Records that say only how far time has come move the ledger's offset no more often than this."""
Verdict = Literal["take", "skip", "drop", "seek"]


class Got(NamedTuple):
    """A record as it came: `at` is its timestamp (UTC ms), `report` its frontier header."""

    offset: int
    value: bytes
    report: bytes | None
    at: int


class Offsets:
    """Which records of a partition to take. They follow each other without a gap; one that doesn't is read again once."""

    def __init__(self, following: int) -> None:
        """`following`: the offset that comes next."""
        self.following = following
        self.skipped = self.gaps = self.lost = 0
        self._seen: int | None = None

    def judge(self, offset: int) -> Verdict:
        """What to do with a record: `take` it, `skip` it (taken before), `seek` to `following` and read again, or `drop` it, since it
        was on its way before that. What is missing the second time as well is lost, and the stream goes on."""
        if offset < self.following:
            self.skipped += 1
            return "skip"
        if offset > self.following:
            if self._seen is None:
                self.gaps += 1
                self._seen = offset
                return "seek"
            if offset > self._seen:
                self._seen = offset
                return "drop"
            self.lost += offset - self.following
        self.following = offset + 1
        self._seen = None
        return "take"


class Share:
    """A held partition."""

    def __init__(
        self, number: int, ledger: Ledger, standards: Standards, clock: ReceiveClock, brings: Mapping[str, tuple[str, ...]] | None = None
    ) -> None:
        """`brings`: by promise, the sources that may bring its evidence."""
        self.number = number
        self.ledger = ledger
        self.lock = asyncio.Lock()
        self.arrived = asyncio.Event()
        self.room = asyncio.Event()
        self.room.set()
        self.inbox: deque[Got] = deque()
        self.inbox_bytes = 0
        self.offsets = Offsets(ledger.offset)
        self.high = 0
        """The offset that the next record written to the partition will have, as far as known."""
        self.moved_at = 0.0
        """When a record was last taken, or the partition last sought (monotonic seconds)."""
        self.behind_since: float | None = None
        self.sought = 0
        self.events = self.rejected = self.outpaced = self.published = self.lost_told = 0
        self.gone = False
        self.changed = True
        """Whether there may be something to publish."""
        self.published_upto = -1
        """The number up to which changes were published; -1: the ledger knows."""
        self._standards = standards
        self._clock = clock
        self._brings = brings
        self._known_offset = ledger.offset
        self._time = PartitionTime(ledger.watermarks(), clock.now(), brings)

    def take_up_again(self) -> int:
        """Drop what is in memory and go by the ledger; returns the offset to read from."""
        before = self.offsets
        self.inbox.clear()
        self.inbox_bytes = 0
        self.room.set()
        self.offsets = Offsets(self.ledger.offset)
        self.offsets.skipped, self.offsets.gaps, self.offsets.lost = before.skipped, before.gaps, before.lost
        self._known_offset = self.ledger.offset
        self.published_upto, self.changed = -1, True
        self._time = PartitionTime(self.ledger.watermarks(), self._clock.now(), self._brings)  # what was dropped was not heard
        return self.offsets.following

    def unmoved(self) -> bool:
        """Whether the ledger's offset is still where this share knew it: what failed may simply be tried again."""
        return self.ledger.offset == self._known_offset

    @property
    def behind(self) -> bool:
        """Whether records lie in the partition that were not taken yet."""
        return self.offsets.following < self.high or bool(self.inbox)

    def counts(self) -> list[int]:
        """Since it was taken up: events, rejects, records skipped, gaps, offsets lost, transactions outpaced, rows published."""
        offsets = self.offsets
        return [self.events, self.rejected, offsets.skipped, offsets.gaps, offsets.lost, self.outpaced, self.published]

    def fold(self, records: Sequence[Got], behind: bool) -> int:
        """Take records, which follow each other, in one transaction; returns how many events. Raises Outpaced, Unreachable, NoRoom."""
        events: list[Event] = []
        rejects: list[tuple[str, Reject]] = []
        now = self._clock.now()
        for record in records:
            report = report_of(record.report) if record.report is not None else None
            if report is not None:
                self._time.hear(report)
            if record.value == b"[]":
                continue
            found, wrong = unpacked(record.value, own=report is not None)
            if report is None and record.report is None:
                self._time.hear_events(found, min(record.at, now))
            events += found
            for raw, error in wrong:
                rejects.append((source_of(raw), reject(f"tribo.events/{self.number}", record.offset, str(error), raw)))
        offset = records[-1].offset + 1
        if events or rejects or self.offsets.lost > self.lost_told or offset - self.ledger.offset >= KEPT_EVERY_RECORDS:
            frontier = self._time.frontier(now, behind)
            lost = self.offsets.lost - self.lost_told
            self.ledger.apply(events, frontier, self._standards, received_at=now, rejects=rejects, offset=offset, lost=lost)
            self.lost_told += lost
            self._known_offset = offset
            self.changed = True
        self.events += len(events)
        self.rejected += len(rejects)
        return len(events)

    def tick(self) -> int:
        """Let time pass; returns how many histories it woke. Raises Outpaced, Unreachable, NoRoom."""
        woken = self.ledger.tick(self._time.frontier(self._clock.now(), self.behind), self._standards)
        if woken:
            self.changed = True
        return woken

    def expire(self, rejects_ms: int, detail_ms: int, totals_ms: int) -> bool:
        """Let go of what is older than its retention; returns whether there is more to look at. Raises Outpaced, Unreachable, NoRoom."""
        return self.ledger.expire(self._clock.now(), rejects_ms, rejects_ms, detail_ms, totals_ms)

    def note_published(self, number: int) -> None:
        """Have the ledger know up to where changes were published. Raises Outpaced, Unreachable, NoRoom."""
        self.ledger.published(number)
        self.published_upto = number

    def close(self) -> None:
        """Let the ledger go."""
        self.gone = True
        self.arrived.set()
        self.room.set()
        self.ledger.close()
