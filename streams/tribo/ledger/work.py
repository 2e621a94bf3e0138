"""What one transaction works with: histories and sources in memory, a batch sorted out, and what is going to be written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tribo.measure.advance import History, decode_history
from tribo_schemas.event import Event

JUDGED = ("missed", "met")
"""How an outcome of a standard is kept: its place here."""
OUTCOMES_KEPT = 20
"""Of each standard, in each partition: ten are shown, and some may be withdrawn."""
PASSING = (
    "at_risk|", "waiting|", "queueing|", "journey|", "promise|open|", "promise|unknown|", "finding|promise_at_risk|",
    "finding|promise_unknown|",
)  # fmt: skip


class Held:
    """A history in memory. `packed` is its state as the ledger keeps it: unpacked it takes several times the room, and for no longer than
    it is folded. `deadlines` is what stands in the table for it, by source number, under `partition`."""

    __slots__ = (
        "crashes", "deadlines", "dirty", "id", "into", "new", "packed", "partition", "set_aside", "standards", "touched_at", "version",
    )  # fmt: skip

    def __init__(self, history: int, partition: int) -> None:
        self.id = history
        self.partition = partition
        self.packed: bytes | None = None
        self.version = 0
        self.standards = 0
        self.crashes = 0
        self.set_aside = False
        self.dirty = False
        self.into: int | None = None
        self.deadlines: dict[int, int] = {}
        self.touched_at = 0
        self.new = True

    def state(self) -> History | None:
        """Its state, unpacked; None if it was not folded yet."""
        return None if self.packed is None else decode_history(self.packed)

    def tally(self) -> dict[str, int]:
        """What it gave to the counters so far."""
        state = self.state()
        return {} if state is None else state.tally


class Source:
    """A source, and what this partition heard of it. Instants are UTC milliseconds; `counts` is by outcome."""

    __slots__ = ("counts", "heard_at", "last_event_at", "name", "number", "skew", "watermark")

    def __init__(self, number: int, name: str) -> None:
        self.number = number
        self.name = name
        self.watermark: int | None = None
        self.heard_at: int | None = None
        self.last_event_at: int | None = None
        self.skew: int | None = None
        self.counts = {"applied": 0, "duplicate": 0, "conflict": 0, "late": 0, "rejected": 0, "erased": 0}


class Known(NamedTuple):
    """An event as the ledger has it: its row, its history, its body."""

    event: int
    history: int
    body: bytes


class Arrived(NamedTuple):
    """A batch sorted out: places of new events, with the history of those that a retraction awaited; what replaces a kept
    event, with its row and history."""

    new: list[int]
    awaited: dict[int, Known]
    replaced: list[tuple[Event, Known]]


class Work:
    """What one transaction has to write."""

    __slots__ = (
        "advanced", "deadlines_in", "deadlines_out", "findings", "found", "gone", "historical", "histories", "journeys", "judged", "netted",
        "now", "pledges", "pledges_anew", "sources", "unit", "withdrawn", "withdrew",
    )  # fmt: skip

    def __init__(self, historical: bool) -> None:
        self.historical = historical
        self.now = 0
        self.advanced: set[int] = set()
        self.histories: dict[int, Held] = {}
        self.journeys: list[tuple[Any, ...]] = []
        self.gone: list[tuple[int, str, int]] = []
        self.findings: list[tuple[Any, ...]] = []
        self.withdrawn: list[tuple[Any, ...]] = []
        self.pledges: list[tuple[Any, ...]] = []
        self.pledges_anew: list[tuple[int]] = []
        self.deadlines_in: list[tuple[int, int, int, int]] = []
        self.deadlines_out: list[tuple[int, int, int, int]] = []
        self.found: dict[str, int] = {}
        self.withdrew: dict[str, int] = {}
        self.netted: dict[int, dict[str, int]] = {}
        """Of what is folded whole: what it gives now less what it gave before. Histories that become one, or fall apart, are one unit."""
        self.unit: dict[int, int] = {}
        self.judged: list[tuple[str, int]] = []
        self.sources: set[str] = set()

    def count(self, tally: Mapping[str, int]) -> None:
        """Add what changed to the counters."""
        for key, number in tally.items():
            if number > 0:
                self.found[key] = self.found.get(key, 0) + number
            elif number:
                self.withdrew[key] = self.withdrew.get(key, 0) - number
            if key[:9] == "standard|":
                self.judged.append((key, number))

    def stands(self, partition: int, waits_on: int, at: int, history: int) -> bool:
        """Whether a deadline stands after all that was noted for its history."""
        held = self.histories.get(history)
        return held is not None and held.deadlines.get(waits_on) == at and held.partition == partition

    def net(self, history: int, tally: Mapping[str, int], sign: int) -> None:
        """Take what a history gives now (1), or gave before (-1), which is counted when both are known."""
        net = self.netted.setdefault(self.unit.get(history, history), {})
        for key, number in tally.items():
            net[key] = net.get(key, 0) + sign * number


def judge(outcomes: list[tuple[int, int]], outcome: int, number: int, now: int) -> None:
    """Note outcomes of a standard, or take the latest such back; the last ones stay."""
    if number > 0:
        outcomes += [(now, outcome)] * min(number, OUTCOMES_KEPT)
        del outcomes[:-OUTCOMES_KEPT]
        return
    for place in range(len(outcomes) - 1, -1, -1):
        if number and outcomes[place][1] == outcome:
            del outcomes[place]
            number += 1


def passes(key: str) -> bool:
    """Whether a counter says how things stand now, rather than what has been."""
    return key.startswith(PASSING) or (key.startswith("standard|") and key.endswith("|running"))
