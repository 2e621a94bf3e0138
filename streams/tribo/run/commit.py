"""Group commit: deliveries queue up, and one thread takes what is there as one batch into the ledger.

A delivery is answered when its transaction is on disk. The thread is the only one that touches the writing connection; each
second it also lets time pass. A full disk answers `Full` and is tried again with the next delivery; any other failure of the
disk stops the run, for nobody can say what such a disk holds.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress

from tribo.ledger.ledger import Ledger, NoRoom, Outcome, Unreachable
from tribo.measure.standards import Standards
from tribo.run.clock import Heard, ReceiveClock
from tribo.run.delivery import Broken, Busy, Delivery, Full
from tribo.wire.rejects import Raw, Reject, reject
from tribo_schemas.event import Event, canonical

log = logging.getLogger("tribo")
FUTURE_REASON = "time: future: is more than 5 minutes ahead of the receive clock; mend the source's clock"
HOUR_SECONDS = 3600.0
TICK_SECONDS = 1.0
DAY = 86_400_000
COMMIT_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Of how long a transaction took, in seconds."""


class Committer:
    """The writing thread."""

    def __init__(
        self, ledger: Ledger, standards: Standards, *, queue_events: int = 50_000, batch_events: int = 40_000,
        raw_days: int = 30, rejects_days: int = 14, detail_days: int = 90, totals_days: int = 400,
        clock: ReceiveClock | None = None, brings: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:  # fmt: skip
        self.ledger = ledger
        self.standards = standards
        self.clock = clock or ReceiveClock()
        self.heard = Heard(ledger.watermarks(), self.clock.now(), self.clock.silent_after, brings)
        self.full = False
        self.broken: BaseException | None = None
        self.commits = [0] * (len(COMMIT_BOUNDS) + 1)
        self.commit_seconds = 0.0
        self._nothing_due_at = time.monotonic()
        self._queue: deque[Delivery] = deque()
        self._calls: list[tuple[Callable[[], str], Future[str]]] = []
        self._waiting = 0
        self.queue_events, self._batch_events = queue_events, batch_events
        self._raw_ms, self._rejects_ms = raw_days * DAY, rejects_days * DAY
        self._detail_ms, self._totals_ms = detail_days * DAY, totals_days * DAY
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def submit(self, delivery: Delivery) -> Future[list[Outcome | Reject]]:
        """Queue a delivery. Raises Busy when too much waits already, Broken when the ledger can't be written any more."""
        size = len(delivery.events) + len(delivery.rejects) + 1
        with self._changed:
            if self.broken is not None or self._stopping:
                raise Broken
            if self._waiting and self._waiting + size > self.queue_events:
                raise Busy
            self._waiting += size
            self._queue.append(delivery)
            self._changed.notify()
        return delivery.done

    @property
    def waiting(self) -> int:
        """How many events wait to be written."""
        return self._waiting

    def behind_seconds(self) -> float:
        """For how long there has been something due that isn't decided yet; also while the disk is full or the thread hangs."""
        return max(time.monotonic() - self._nothing_due_at - 2 * TICK_SECONDS, 0.0)

    def call(self, what: Callable[[], str]) -> Future[str]:
        """Let the writing thread do something between two batches. Raises Broken when it no longer runs."""
        done: Future[str] = Future()
        with self._changed:
            if self.broken is not None or self._stopping:
                raise Broken
            self._calls.append((what, done))
            self._changed.notify()
        return done

    def drain(self, seconds: float = 8.0) -> None:
        """Write what waits, then stop."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        next_tick = time.monotonic()
        next_expiry = next_tick + 60
        try:
            while True:
                with self._changed:
                    if not self._queue and not self._calls and not self._stopping:
                        self._changed.wait(max(next_tick - time.monotonic(), 0.0))
                    taken = self._next()
                    calls, self._calls = self._calls, []
                    if not taken and not calls and self._stopping:
                        return
                for what, done in calls:
                    self._do(what, done)
                if taken:
                    self._commit(taken)
                if time.monotonic() >= next_tick:
                    woken = self._tick()
                    next_tick = time.monotonic() + (0.0 if woken else TICK_SECONDS)
                if time.monotonic() >= next_expiry:
                    more = self._expire()
                    next_expiry = time.monotonic() + (TICK_SECONDS if more else HOUR_SECONDS)
        except BaseException as error:
            self._fail(error)

    @staticmethod
    def _do(what: Callable[[], str], done: Future[str]) -> None:
        try:
            done.set_result(what())
        except Exception as error:
            done.set_exception(error)

    def _next(self) -> list[Delivery]:
        taken: list[Delivery] = []
        events = 0
        while self._queue and (not taken or events + len(self._queue[0].events) <= self._batch_events):
            delivery = self._queue.popleft()
            events += len(delivery.events)
            self._waiting -= len(delivery.events) + len(delivery.rejects) + 1
            taken.append(delivery)
        return taken

    def _fail(self, error: BaseException) -> None:
        log.critical("the ledger can't be written any more (%s): stopping", type(error).__name__, exc_info=error)
        with self._changed:
            self.broken = error
            left = list(self._queue)
            self._queue.clear()
            calls, self._calls = self._calls, []
        for _, done in calls:
            done.set_exception(Broken())
        for delivery in left:
            delivery.done.set_exception(Broken())

    def _commit(self, taken: list[Delivery]) -> None:
        try:
            self._write(taken)
        except (NoRoom, Unreachable) as error:
            if not self.full:
                log.error("%s: what comes is answered 503 until that is over", error)
            self.full = True
            for delivery in taken:
                delivery.done.set_exception(Full())
        except sqlite3.Error:
            for delivery in taken:
                delivery.done.set_exception(Broken())
            raise
        except Exception as error:
            if len(taken) > 1:
                for delivery in taken:
                    self._commit([delivery])
                return
            log.error("a delivery can't be taken: %s; this is a fault of tribo", type(error).__name__, exc_info=error)
            taken[0].done.set_exception(error)

    def _write(self, taken: list[Delivery]) -> None:
        now = self.clock.now()
        batch: list[Event] = []
        rejects: list[tuple[str, Reject]] = []
        raw: list[Raw] = []
        remembered: list[tuple[str, bytes]] = []
        replayed: list[int] = []
        inputs: dict[str, tuple[int, int, int]] = {}
        answers: list[list[Outcome | Reject]] = []
        places: list[tuple[int, int]] = []
        for number, delivery in enumerate(taken):
            answer: list[Outcome | Reject] = []
            for index, event in enumerate(delivery.events):
                if Heard.is_future(event, now):
                    refused = reject(delivery.input, 0, FUTURE_REASON, canonical(event))
                    rejects.append((event.source, refused))
                    answer.append(refused)
                else:
                    batch.append(event)
                    places.append((number, index))
                    answer.append("applied")
            answers.append(answer)
            rejects += delivery.rejects
            raw += delivery.raw if self._raw_ms else ()
            inputs.update(delivery.inputs)
            remembered += delivery.remember
            replayed += delivery.replayed
        before = dict(self.heard.watermark)
        self.heard.take(batch, now)
        frontier = self.heard.frontier(now)
        began = time.monotonic()
        try:
            outcomes = self.ledger.apply(
                batch, frontier, self.standards, raw=raw, rejects=rejects, inputs=inputs, deliveries=remembered, replayed=replayed
            )
        except BaseException:
            self.heard.watermark = before  # what wasn't taken wasn't heard
            raise
        for (number, index), outcome in zip(places, outcomes, strict=True):
            answers[number][index] = outcome
        took = time.monotonic() - began
        self.commits[bisect_left(COMMIT_BOUNDS, took)] += 1
        self.commit_seconds += took
        self.full = False
        for delivery, answer in zip(taken, answers, strict=True):
            delivery.done.set_result(answer)

    def _tick(self) -> int:
        frontier = self.heard.frontier(self.clock.now())
        try:
            if self.full:  # is there room again?
                self.ledger.apply([], frontier, self.standards)
                self.full = False
            woken = self.ledger.tick(frontier, self.standards)
            if not woken:
                self._nothing_due_at = time.monotonic()
            return woken
        except (NoRoom, Unreachable):
            self.full = True
            return 0

    def _expire(self) -> bool:
        with suppress(NoRoom, Unreachable):
            return self.ledger.expire(self.clock.now(), self._raw_ms, self._rejects_ms, self._detail_ms, self._totals_ms)
        return False
