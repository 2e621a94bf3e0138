"""The folded state of one history: what is still needed of its events to take the next one.

A history is all the events of one customer, or of items that belong together and whose customer nobody knows. Its state
is plain structs, so that the ledger writes it in one go; evidence is kept as `source/id`, the events themselves are not.
Instants are UTC milliseconds, durations milliseconds.
"""

from __future__ import annotations

import msgspec

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
    # clocks
    clocks: dict[str, tuple[int, str, str]] = {}
    answered: bool = False
    bot_answered: bool = False
    paused_at: int | None = None
    pauses: tuple[int, ...] = ()
    waits: dict[str, tuple[int, int, int, int]] = {}
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


class Journey(msgspec.Struct, gc=False, array_like=True):
    """One journey: its items, and what is measured across them."""

    id: str
    customer: str | None
    items: list[str] = []
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
    # the sums of its items' counts
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


class History(msgspec.Struct, gc=False, array_like=True):
    """The state of one history after everything up to `last_event` and `last_timer` was folded."""

    items: dict[str, Item] = {}
    journeys: dict[str, Journey] = {}
    timers: list[Timer] = []
    last_event: tuple[int, int, int, str, str] | None = None
    last_timer: Timer | None = None
    tally: dict[str, int] = {}
    unseen: list[str] = []
    retracted: list[Reference] = []
    unknown: int = 0
    """How many of its promises are `unknown`."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(History)


def encode_history(history: History) -> bytes:
    """The state as msgpack, for the ledger."""
    return _encoder.encode(history)


def decode_history(blob: bytes) -> History:
    """The state that `encode_history` wrote."""
    return _decoder.decode(blob)
