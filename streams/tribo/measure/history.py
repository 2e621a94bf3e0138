"""The folded state of one history: what is still needed of its events to take the next one.

A history is all the events of one customer, or of items that belong together and whose customer nobody knows. Its state
is plain structs, packed item by item, so that a touch decodes and encodes only what it needs; evidence is kept as `source/id`,
the events themselves are not.
Instants are UTC milliseconds, durations milliseconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import ValuesView
from dataclasses import dataclass, field

import msgspec

from tribo_schemas.journey import PromiseCounts

Reference = str  # the evidence: `source/id` of an event


class Promise(msgspec.Struct, gc=False, array_like=True):
    """One promise on an item, and its fate so far. `state` is a journey row's word for it, but for `unknown`."""

    id: str
    asked: int
    first_due: int
    due: int
    breaks_at: int
    source: str
    made: Reference
    last_move: Reference | None = None
    state: str = "open"
    told: bool = False
    moved: int = 0
    moved_late: int = 0
    early: bool = False
    at_risk: bool = False
    unknown: bool = False
    source_silent: bool = False
    standard: str | None = None
    kept_by: str | None = None
    team: str | None = None


class Word(msgspec.Struct, gc=False, array_like=True):
    """Something said about a promise before the promise: `kept`, `informed` or `released`, and the holder of that time."""

    at: int
    what: str
    promise: str
    due: int | None
    event: Reference
    topic: str | None
    channel: str | None
    team: str | None
    owner: str | None


class Resolution(msgspec.Struct, gc=False, array_like=True):
    """The last `resolved` of a service item, while it may still be confirmed or contradicted."""

    at: int
    event: Reference
    asked: bool = False
    confirmed: bool = False


class Item(msgspec.Struct, gc=False, array_like=True):
    """One item. Counts are those of a journey row, by item. What seldom holds anything is a tuple: empty, it costs nothing."""

    id: str
    journey: str
    touchpoint: str
    customer: str | None
    first_at: int
    first_event: Reference
    first_source: str
    started_at: int
    start_event: Reference
    topic: str | None = None
    topic_heard: bool = False
    channel: str | None = None
    started: bool = False
    opened: bool = False
    purchase_opened: bool = False
    about: tuple[str, ...] = ()
    # done
    done: bool = False
    ever_done: bool = False
    done_at: int = 0
    done_event: Reference | None = None
    resolved_at: int | None = None
    first_resolved: bool = False
    gap_from: int | None = None
    total_from: int | None = None
    gaps: tuple[int, ...] = ()
    resolution: Resolution | None = None
    # holder
    assigned_event: Reference | None = None
    team: str | None = None
    owner: str | None = None
    bot: bool = False
    last_owner: str | None = None
    past_teams: tuple[str | None, ...] = ()
    past_owners: tuple[str | None, ...] = ()
    queues: tuple[str | None, ...] = ()
    owned: tuple[str | None, ...] = ()
    holders: tuple[str, ...] = ()
    steps: int = 0
    held: tuple[tuple[int, str | None, str | None], ...] = ()
    """Since when who had it; kept only where a standard asks for the holder of an earlier time."""
    # clocks
    clocks: dict[str, tuple[int, str, str]] = {}
    answered: bool = False
    bot_answered: bool = False
    paused_at: int | None = None
    pauses: tuple[int, ...] = ()
    total: tuple[int, int] | None = None
    """Its finished `total_resolution`: customer and business milliseconds."""
    missed: tuple[str, ...] = ()
    outcomes: dict[str, int] = {}
    # promises
    promises: dict[str, Promise] = {}
    early_words: tuple[Word, ...] = ()
    expectation: str | None = None
    # care
    problem_at: int | None = None
    problem_event: Reference | None = None
    no_alternative: bool = False
    rejected: bool = False
    released: bool = False
    repeat_of: str | None = None
    # counts
    handoffs: int = 0
    team_handoffs: int = 0
    ping_pongs: int = 0
    channel_switches: int = 0
    repeat_contacts: int = 0
    repeated: int = 0
    holds: int = 0
    reopened: int = 0
    abandoned: int = 0
    escalated: int = 0
    offered: int = 0
    complaints: int = 0
    praises: int = 0
    surprises: int = 0
    tally: dict[str, int] = {}
    """What it gave to the counters so far, by tally key."""


class Journey(msgspec.Struct, gc=False, array_like=True):
    """One journey: its items, and what is measured across them.

    The sums over its items are kept along the way, so that an event costs no more in a journey of a thousand items than in one of two.
    """

    id: str
    customer: str | None
    items: list[str] = []
    opened_at: int = 0
    touchpoints: tuple[str, ...] = ()
    events: int = 0
    last_event_at: int = 0
    channel: str | None = None
    channel_event: Reference | None = None
    rating_sum: float = 0.0
    ratings: int = 0
    problem_item: str | None = None
    problem_event: Reference | None = None
    last_problem_at: int = 0
    last_problem_event: Reference | None = None
    recovered: bool = False
    repeat_purchase: bool = False
    first_purchase: str | None = None
    friction: int = 0
    delight: int = 0
    synthetic: bool = False
    band: str | None = None
    next_change: int | None = None
    # the sums over its items
    undone: int = 0
    steps: int = 0
    promises: PromiseCounts = msgspec.field(default_factory=PromiseCounts)
    waits: dict[str, tuple[int, int, int, int]] = {}
    waiting: dict[str, int] = {}
    """By clock, how many run."""
    service: int = 0
    service_undone: int = 0
    service_resolved: int = 0
    service_troubles: int = 0
    """Handoffs, reopenings and repeat contacts of service items."""
    service_done_at: int = 0
    recent: list[str] = []
    """Service items of which a new contact may be a repeat: not done, or not long ago."""
    handoffs: int = 0
    team_handoffs: int = 0
    ping_pongs: int = 0
    channel_switches: int = 0
    repeat_contacts: int = 0
    repeated: int = 0
    holds: int = 0
    reopened: int = 0
    abandoned: int = 0
    escalated: int = 0
    offered: int = 0
    complaints: int = 0
    praises: int = 0
    surprises: int = 0


class Timer(msgspec.Struct, gc=False, array_like=True, order=True):
    """Something that time alone decides: `kind` of `item`, at `at`, once `waits_on` (a source, or '') was heard beyond it."""

    at: int
    rank: int
    item: str
    key: str
    waits_on: str


class Items(dict[str, Item]):
    """A history's items by id. What was not changed since the state was read is written back as it was read."""

    __slots__ = ("packed", "unread")

    def __init__(self, packed: dict[str, msgspec.Raw]) -> None:
        self.packed = packed
        self.unread = len(packed)

    def __missing__(self, name: str) -> Item:
        item = self[name] = _decode_item(self.packed[name])
        self.unread -= 1
        return item

    def __contains__(self, name: object) -> bool:
        return dict.__contains__(self, name) or name in self.packed

    def __len__(self) -> int:
        return dict.__len__(self) + self.unread

    def get(self, name: str, default: None = None) -> Item | None:  # type: ignore[override]
        """The item, or None."""
        try:
            return self[name]
        except KeyError:
            return default

    def values(self) -> ValuesView[Item]:  # type: ignore[override]
        """Every item."""
        for name in self.packed if self.unread else ():
            self[name]
        return super().values()

    def pack(self) -> dict[str, msgspec.Raw]:
        """All items packed."""
        for name, item in super().items():
            if name not in self.packed:
                self.packed[name] = msgspec.Raw(_encode(item))
        return self.packed


@dataclass(slots=True)
class History:
    """The state of one history after everything up to `last_event` and `last_timer` was folded."""

    items: Items = field(default_factory=lambda: Items({}))
    journeys: dict[str, Journey] = field(default_factory=dict)
    timers: list[Timer] = field(default_factory=list)
    last_event: tuple[int, int, int, str, str] | None = None
    last_timer: Timer | None = None
    conflicts: dict[str, int] = field(default_factory=dict)
    """What was refused of who belongs to whom, by tally key."""
    unseen: list[str] = field(default_factory=list)
    retracted: list[Reference] = field(default_factory=list)
    unknown: int = 0
    """How many of its promises are `unknown`."""
    unheard: int = 0
    """How many of its promises were called broken though a source was silent: heard again, it may have brought word of them."""

    @property
    def tally(self) -> dict[str, int]:
        """All that the history gave to the counters so far, by tally key."""
        total = Counter(self.conflicts)
        for item in self.items.values():
            total.update(item.tally)
        total.update(f"journey|{journey.band}" for journey in self.journeys.values() if journey.band is not None)
        return {key: number for key, number in total.items() if number}


class _Packed(msgspec.Struct, gc=False, array_like=True):
    """A history as it stands in the ledger: the fields of `History` in order."""

    items: dict[str, msgspec.Raw]
    journeys: dict[str, Journey]
    timers: list[Timer]
    last_event: tuple[int, int, int, str, str] | None
    last_timer: Timer | None
    conflicts: dict[str, int]
    unseen: list[str]
    retracted: list[Reference]
    unknown: int
    unheard: int = 0


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Packed).decode
_decode_item = msgspec.msgpack.Decoder(Item).decode


def encode_history(history: History) -> bytes:
    """The state as msgpack, for the ledger."""
    return _encode(_Packed(
        history.items.pack(), history.journeys, history.timers, history.last_event, history.last_timer, history.conflicts, history.unseen,
        history.retracted, history.unknown, history.unheard,
    ))  # fmt: skip


def decode_history(blob: bytes) -> History:
    """The state that `encode_history` wrote."""
    packed = _decode(blob)
    return History(
        Items(packed.items), packed.journeys, packed.timers, packed.last_event, packed.last_timer, packed.conflicts, packed.unseen,
        packed.retracted, packed.unknown, packed.unheard,
    )  # fmt: skip
