"""How far time has come in one partition of `tribo.events`, from what the records themselves say.

Each `wire` worker reports how far it has read each of its inputs. A source is heard as far as the input that is furthest ahead, but
no further than any input of the same topic that still has something unread, or that nobody reports on: there its evidence may lie.
A source is silent when nothing came from it for ten minutes during which all its inputs could be read: none was behind for longer
than a moment. A partition that
is itself behind lives at the time of its last record. Nothing here does IO or reads a clock; instants are UTC milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tribo.measure.advance import Frontier
from tribo.run.clock import ALLOWANCE, SILENT_AFTER
from tribo.run.distributed.records import Report
from tribo_schemas.event import Event

STALE_AFTER = 10_000
"""An input on which no `wire` worker has reported for so long is not known to be read to its end."""
FORGOTTEN_AFTER = 600_000
"""And for so long: it is gone, with its topic or its worker."""
DIRECT = "tribo.events"
"""The input of events that were published without a report."""
Mark = tuple[int | None, int | None]


def is_address(name: str) -> bool:
    """Whether an input is an address that takes events, not a topic's partition: nothing can lie there unread."""
    return name.startswith("http")


class _Input:
    __slots__ = ("behind", "behind_since", "reported_at", "sources")

    def __init__(self) -> None:
        self.behind = False
        self.behind_since: int | None = None
        self.reported_at = 0
        self.sources: dict[str, Mark] = {}


class PartitionTime:
    """The time of one partition."""

    def __init__(self, known: Mapping[str, Mark], now: int, brings: Mapping[str, tuple[str, ...]] | None = None) -> None:
        """`known`: by source (watermark, last heard), as the ledger says; `now`: since when the partition is read; `brings`: by promise,
        who may bring its evidence beside who made it."""
        self._brings = dict(brings or {})
        self._known = dict(known)
        self._inputs: dict[str, _Input] = {}
        self._readable_since: dict[str, int] = {}
        self._began = now
        self.last_record_at = 0

    def hear(self, report: Report) -> None:
        """Take a report that came with a record."""
        for name, said in report.inputs.items():
            held = self._inputs.setdefault(name, _Input())
            if report.now >= held.reported_at:
                held.reported_at, held.behind = report.now, said.behind
                held.behind_since = (held.behind_since or report.now) if said.behind else None
            for source, mark in said.sources.items():
                held.sources[source] = later(held.sources.get(source, (None, None)), mark)
        self.last_record_at = max(self.last_record_at, report.now)

    def hear_events(self, events: Iterable[Event], at: int) -> None:
        """Take events that came without a report, in a record written at `at`."""
        held = self._inputs.setdefault(DIRECT, _Input())
        held.reported_at = max(held.reported_at, at)
        for event in events:
            held.sources[event.source] = later(held.sources.get(event.source, (None, None)), mark_of(event, at))
        self.last_record_at = max(self.last_record_at, at)

    def frontier(self, now: int, behind: bool) -> Frontier:
        """How far time has come, `now` by the receive clock; `behind`: the partition holds records that were not read yet."""
        if behind:
            now = min(now, self.last_record_at or self._began)
        for name in [name for name, held in self._inputs.items() if name != DIRECT and now - held.reported_at > FORGOTTEN_AFTER]:
            for source, gone in self._inputs.pop(name).sources.items():
                self._known[source] = later(self._known.get(source, (None, None)), gone)
        heard: dict[str, int] = {}
        silent: dict[str, int] = {}
        for source in {source for held in self._inputs.values() for source in held.sources} | self._known.keys():
            mark, heard_at = self._known.get(source, (None, None))
            furthest, readable, hindered = mark, False, False
            holds: list[int | None] = []
            topics = {_topic(name) for name, held in self._inputs.items() if source in held.sources}
            for name, held in self._inputs.items():
                known = held.sources.get(source)
                if known is not None:
                    furthest, heard_at = later((furthest, heard_at), known)
                if name == DIRECT or (is_address(name) and now - held.reported_at <= STALE_AFTER):
                    readable |= known is not None
                elif not is_address(name) and _topic(name) in topics:
                    readable = True
                    stale = now - held.reported_at > STALE_AFTER
                    hindered |= stale or (held.behind_since is not None and now - held.behind_since > STALE_AFTER)
                    if held.behind or stale:
                        holds.append(known[0] if known is not None else _own_mark(held))
            if holds:
                furthest = None if any(hold is None for hold in holds) else min(hold for hold in [furthest, *holds] if hold is not None)
            if mark is not None:
                furthest = mark if furthest is None else max(mark, furthest)
            if furthest is not None:
                heard[source] = furthest
            if readable and not hindered:
                since = max(heard_at or 0, self._readable_since.setdefault(source, now)) + SILENT_AFTER
                if since <= now:
                    silent[source] = since
            else:
                self._readable_since.pop(source, None)
        for source in {source for sources in self._brings.values() for source in sources} - heard.keys() - silent.keys():
            if self._began + SILENT_AFTER <= now:  # expected to bring evidence, and never said a word
                silent[source] = self._began + SILENT_AFTER
        return Frontier(now=now, heard=heard, silent=silent, brings=self._brings)


def _topic(name: str) -> str:
    return name.rpartition("/")[0] if not is_address(name) else name


def _own_mark(held: _Input) -> int | None:
    """How far an input has come by any of its sources: what stands in for one that it hasn't brought yet."""
    return max((mark for mark, _ in held.sources.values() if mark is not None), default=None)


def mark_of(event: Event, at: int) -> Mark:
    """The mark that an event received at `at` sets for its source."""
    return min(event.time, at) - ALLOWANCE, at


def later(one: Mark, other: Mark) -> Mark:
    """The later of each."""
    return _most(one[0], other[0]), _most(one[1], other[1])


def _most(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else max(one, other)
