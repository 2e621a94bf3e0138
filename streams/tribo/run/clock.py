"""Time, for what runs: a receive clock that never jumps, and how far each source has been heard.

The watermark of a source is W = max(before, min(event time, receive time) − 2 min). An event more than 5 minutes ahead of
the receive clock is refused and moves nothing. A source from which nothing came for 10 minutes, while we could read it,
is silent. All instants are UTC milliseconds.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from tribo.measure.advance import Frontier
from tribo_schemas.event import Event

MINUTE = 60_000
ALLOWANCE = 2 * MINUTE
FUTURE = 5 * MINUTE
SILENT_AFTER = 10 * MINUTE
SLEW = 10
"""When the host's clock was set, ours follows it by one part in this many, so that no deadline passes in a jump."""


class ReceiveClock:
    """The host's clock, without its jumps: it runs with the time since boot and is drawn slowly towards the wall clock."""

    silent_after = SILENT_AFTER

    def __init__(self) -> None:
        self._at = time.time_ns() // 1_000_000
        self._boot = self._since_boot()

    @staticmethod
    def _since_boot() -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000

    def wall(self) -> int:
        """The time that people are shown: any thread may ask."""
        return time.time_ns() // 1_000_000

    def now(self) -> int:
        """Now; never less than what was said before."""
        boot = self._since_boot()
        passed = max(boot - self._boot, 0)
        self._boot = boot
        self._at += passed
        off = time.time_ns() // 1_000_000 - self._at
        most = passed // SLEW
        self._at += max(-most, min(off, most))
        return self._at


class Heard:
    """How far each source has been heard."""

    def __init__(
        self, watermarks: Mapping[str, tuple[int | None, int | None]], now: int, silent_after: int = SILENT_AFTER,
        brings: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:  # fmt: skip
        """`watermarks`: by source (watermark, last heard), as the ledger knows them. We can read since `now`; a source is
        silent after `silent_after` milliseconds without a word. `brings`: by promise, who may bring its evidence."""
        self._brings = dict(brings or {})
        self._expected = {source for sources in self._brings.values() for source in sources}
        self._silent_after = silent_after
        self._since = now
        self.watermark = {name: mark for name, (mark, _) in watermarks.items() if mark is not None}
        self.heard_at = {name: heard for name, (_, heard) in watermarks.items() if heard is not None}

    @staticmethod
    def is_future(event: Event, now: int) -> bool:
        """Whether the event is refused, because it says that it happens later than the receive clock can be wrong."""
        return event.time > now + FUTURE

    def take(self, events: Iterable[Event], now: int) -> None:
        """Move the watermarks of these events' sources."""
        marks = self.watermark
        for event in events:
            mark = (event.time if event.time < now else now) - ALLOWANCE
            if marks.get(event.source, mark - 1) < mark:
                marks[event.source] = mark
            self.heard_at[event.source] = now

    def frontier(self, now: int) -> Frontier:
        """How far time has come, with the sources that are silent."""
        silent = {}
        for name in self.heard_at.keys() | self._expected:  # who is expected to bring evidence and never said a word is silent, too
            since = max(self.heard_at.get(name, 0), self._since) + self._silent_after
            if since <= now:
                silent[name] = since
        return Frontier(now=now, heard=dict(self.watermark), silent=silent, brings=self._brings)
