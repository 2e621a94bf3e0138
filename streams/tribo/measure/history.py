"""The folded state of one history: what is still needed of its events to take the next one.

A history is all the events of one customer, or of items that belong together and whose customer nobody knows. Its state
is plain structs, each item and each journey packed by itself, so that a touch decodes and encodes only what it needs; evidence is
kept as `source/id`, the events themselves are not.
Instants are UTC milliseconds, durations milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, ValuesView
from dataclasses import dataclass, field
from typing import TypeVar

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
    had_by: tuple[str | None, str | None] | None = None
    """Who had the item at the due (team, owner), where the due is past and nobody could judge it yet."""


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
    """One item. What seldom holds anything is a tuple: empty, it costs nothing."""

    id: str
    journey: str
    touchpoint: str
    customer: str | None
    started_at: int
    start_event: Reference
    first_event: Reference | None = None
    """Its first event, where that isn't the one that it starts with."""
    topic: str | None = None
    topic_heard: bool = False
    channel: str | None = None
    started: bool = False
    opened: bool = False
    about: tuple[str, ...] = ()
    # done
    done: bool = False
    ever_done: bool = False
    done_at: int = 0
    first_resolved: bool = False
    gap_from: int | None = None
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
    held: tuple[tuple[int, str | None, str | None], ...] = ()
    """Since when who had it; kept only where a standard asks for the holder of an earlier time."""
    # clocks
    clocks: dict[str, tuple[int, str, str]] = {}
    answered: bool = False
    bot_answered: bool = False
    paused_at: int | None = None
    pauses: tuple[int, ...] = ()
    total_begun: bool = False
    """Whether `total_resolution` ever ran."""
    total: tuple[int, int] | None = None
    """Its finished `total_resolution`: customer and business milliseconds."""
    missed: tuple[str, ...] = ()
    met_total: tuple[str, ...] = ()
    """Standards about `total_resolution` that it met so far."""
    # promises
    promises: dict[str, Promise] = {}
    early_words: tuple[Word, ...] = ()
    expectation: str | None = None
    # care
    problem_event: Reference | None = None
    no_alternative: bool = False
    rejected: bool = False
    released: bool = False
    counts: dict[str, int] = {}
    """Those of a journey row (COUNTS), where they aren't 0."""
    decided_at: int = 1 << 62
    """When the last of its timers fired; in a state that was written before this was noted, it may have been at any time."""


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
    recovered: bool = False
    repeat_purchase: bool = False
    first_purchase: str | None = None
    friction: int = 0
    delight: int = 0
    synthetic: bool = False
    band: str | None = None
    # the sums over its items
    undone: int = 0
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
    counts: dict[str, int] = {}


class Timer(msgspec.Struct, gc=False, array_like=True, order=True):
    """Something that time alone decides: `kind` of `item`, at `at`, once `waits_on` (a source, or '') was heard beyond it."""

    at: int
    rank: int
    item: str
    key: str
    waits_on: str


Part = TypeVar("Part", bound=msgspec.Struct)


class Parts(dict[str, Part]):
    """A history's items, or its journeys, by id. One is unpacked when it is asked for, and packed again if it was `changed`."""

    __slots__ = ("packed", "unpack", "unread")

    def __init__(self, packed: dict[str, bytes], unpack: Callable[[bytes], Part]) -> None:
        self.packed = packed
        self.unpack = unpack
        self.unread = len(packed)

    def __missing__(self, name: str) -> Part:
        part = self[name] = self.unpack(self.packed[name])
        self.unread -= 1
        return part

    def __contains__(self, name: object) -> bool:
        return dict.__contains__(self, name) or name in self.packed

    def __len__(self) -> int:
        return dict.__len__(self) + self.unread

    def get(self, name: str, default: None = None) -> Part | None:  # type: ignore[override]
        """The item or journey, or None."""
        part = super().get(name, default)
        return self[name] if part is None and name in self.packed else part

    def values(self) -> ValuesView[Part]:  # type: ignore[override]
        """Every one."""
        for name in self.packed if self.unread else ():
            self[name]
        return super().values()

    def changed(self, name: str) -> None:
        """What was read of it no longer holds."""
        self.packed.pop(name, None)

    def pack(self) -> dict[str, bytes]:
        """All of them packed."""
        for name, part in super().items():
            if name not in self.packed:
                self.packed[name] = _encode(part)
        return self.packed


_encode = msgspec.msgpack.Encoder().encode
_decode_item = msgspec.msgpack.Decoder(Item).decode
_decode_journey = msgspec.msgpack.Decoder(Journey).decode


@dataclass(slots=True)
class History:
    """The state of one history after everything up to `last_event` and `last_timer` was folded."""

    items: Parts[Item] = field(default_factory=lambda: Parts({}, _decode_item))
    journeys: Parts[Journey] = field(default_factory=lambda: Parts({}, _decode_journey))
    changes: dict[str, int] = field(default_factory=dict)
    """By journey, when time alone will next change its row."""
    timers: list[Timer] = field(default_factory=list)
    last_event: tuple[int, int, int, str, str] | None = None
    last_timer: Timer | None = None
    tally: dict[str, int] = field(default_factory=dict)
    """What it gave to the counters so far, by tally key; none is 0."""
    unseen: list[str] = field(default_factory=list)
    retracted: list[Reference] = field(default_factory=list)
    unknown: int = 0
    """How many of its promises are `unknown`."""
    unheard: int = 0
    """How many of its promises were called broken though a source was silent: heard again, it may have brought word of them."""


class _Packed(msgspec.Struct, gc=False, array_like=True):
    """A history as it stands in the ledger: the fields of `History` in order."""

    items: dict[str, bytes]
    journeys: dict[str, bytes]
    changes: dict[str, int]
    timers: list[Timer]
    last_event: tuple[int, int, int, str, str] | None
    last_timer: Timer | None
    tally: dict[str, int]
    unseen: list[str]
    retracted: list[Reference]
    unknown: int
    unheard: int


_decode = msgspec.msgpack.Decoder(_Packed).decode


def encode_history(history: History) -> bytes:
    """The state as msgpack, for the ledger."""
    return _encode(_Packed(
        history.items.pack(), history.journeys.pack(), history.changes, history.timers, history.last_event, history.last_timer,
        history.tally, history.unseen, history.retracted, history.unknown, history.unheard,
    ))  # fmt: skip


def decode_history(blob: bytes) -> History:
    """The state that `encode_history` wrote."""
    packed = _decode(blob)
    return History(
        Parts(packed.items, _decode_item), Parts(packed.journeys, _decode_journey), packed.changes, packed.timers, packed.last_event,
        packed.last_timer, packed.tally, packed.unseen, packed.retracted, packed.unknown, packed.unheard,
    )  # fmt: skip
