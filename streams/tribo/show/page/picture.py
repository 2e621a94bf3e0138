"""A journey as a picture: what is drawn where, as plain numbers; the template turns them into SVG.

Time runs from left to right. Each item has a lane: above, what the customer and we said (marks); then a band coloured by who
holds the item; then what it waits for; then its promises, from when they were made to when they are due. Everything that
has a place in time carries it as milliseconds since the picture begins, so that zooming is a matter of multiplication.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import msgspec

from tribo.ledger.search import Journey
from tribo.measure.history import Promise
from tribo.measure.hours import Calendar
from tribo.show.words import fact_word, holder, promise_word
from tribo_schemas.event import Event

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
WIDTH = 1000
"""The picture's width where nothing lays it out anew, in its own units."""
TOP = 26
LABEL, MARKS, BAND, WAITS, PROMISE, GAP = 18, 18, 20, 9, 17, 14
MOST_PROMISE_ROWS = 8
MOST_CLOSED = 150
"""Closed hours are shaded as long as there are no more stretches than this: beyond, they'd be a haze."""
HUES = 8
DONE = frozenset(("resolved", "closed", "abandoned"))
ASKS = frozenset(("queued", "customer_replied", "reopened", "authority_asked"))
MARKED = {
    "complained": "complaint", "praised": "praise", "surprised": "surprise", "rated": "rating", "repeated": "repeated",
    "authority_asked": "authority", "abandoned": "abandoned", "rejected": "rejected", "reopened": "reopened",
}  # fmt: skip
STEPS = (
    MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY, 14 * DAY, 28 * DAY, 91 * DAY,
    364 * DAY, 3640 * DAY, 36400 * DAY, 364000 * DAY,
)  # fmt: skip


class Span(msgspec.Struct):
    """A stretch of time: a holder, a wait, a closed night. `look` is how it is drawn, `says` what it is."""

    begin: int
    end: int
    look: str
    says: str
    back: bool = False
    """It came back to who had it before."""


class Mark(msgspec.Struct):
    """Something at an instant; `event` is its number in the journey's list of events."""

    at: int
    look: str
    says: str
    event: int


class Flag(msgspec.Struct):
    """A promise, from when it was made to its due; `moves` are the dues that it had before, `met_at` when it was fulfilled. It was late
    from `late_from` until it was fulfilled, else until its item was done, else until now (`late_to`); its words have room to `room_to`."""

    row: int
    asked: int
    due: int
    state: str
    says: str
    name: str
    moves: list[int]
    met_at: int | None
    late_from: int | None
    late_to: int
    room_to: int


class Lane(msgspec.Struct):
    """One item's part of the picture; `top` is where it begins."""

    item: str
    says: str
    top: int
    height: int
    holders: list[Span]
    waits: list[Span]
    flags: list[Flag]
    marks: list[Mark]
    ticks: list[Mark]
    up: int
    """How much higher everything below the marks stands: by a band's height, where nobody ever held the item."""


class Picture(msgspec.Struct):
    """The whole: from `begin` (UTC ms) on, `length` milliseconds."""

    begin: int
    length: int
    height: int
    lanes: list[Lane]
    closed: list[tuple[int, int]]
    axis: list[int]
    step: int
    legend: list[tuple[str, str]]

    def x(self, at: int) -> float:
        """Where an instant since the beginning is, in the picture's own units."""
        return round(at / self.length * WIDTH, 2)


class _Colours:
    """A colour for each team, in the order in which they come; owners of a team share its colour in two shades."""

    def __init__(self) -> None:
        self.teams: dict[str, int] = {}
        self.owners: dict[tuple[str, str], int] = {}

    def of(self, team: str | None, owner: str | None, bot: bool) -> str:
        if bot:
            return "bot"
        name = team or owner or ""
        hue = self.teams.setdefault(name, len(self.teams)) % HUES
        if owner is None:
            return f"hue{hue} queue"
        shade = self.owners.setdefault((name, owner), sum(1 for of, _ in self.owners if of == name)) % 2
        return f"hue{hue} shade{shade}"


def draw(journey: Journey, events: Sequence[Event], numbers: dict[str, int], calendar: Calendar, now: int) -> Picture:
    """The picture of a journey. `events`: those that hold, in order; `numbers`: each event's number in the list, by `source/id`."""
    begin, end = _reach(journey, events, now)
    length = max(end - begin, MINUTE)
    colours = _Colours()
    lanes: list[Lane] = []
    top = TOP
    by_item: dict[str, list[Event]] = {}
    for event in events:
        by_item.setdefault(event.item, []).append(event)
    for item, happened in by_item.items():
        lane = _lane(item, happened, journey.promises.get(item, []), numbers, colours, begin, end, top)
        lanes.append(lane)
        top += lane.height + GAP
    closed = [(max(opens, begin) - begin, min(closes, end) - begin) for opens, closes in calendar.closed(begin, end)]
    step = next((step for step in STEPS if length / step <= 9), STEPS[-1])
    first = -(-begin // step) * step
    return Picture(
        begin=begin,
        length=length,
        height=top,
        lanes=lanes,
        closed=closed if len(closed) <= MOST_CLOSED and closed != [(0, length)] else [],
        axis=[at - begin for at in range(first, begin + length, step)],
        step=step,
        legend=[(f"hue{number % HUES}", team or "nobody") for team, number in colours.teams.items()],
    )


def _reach(journey: Journey, events: Sequence[Event], now: int) -> tuple[int, int]:
    """From when to when: the events and the dues; of a journey that is open, some of the time since, too."""
    times = [event.time for event in events] or [journey.row.opened_at]
    begin, last = min(times), max(times)
    dues = [promise.due for promises in journey.promises.values() for promise in promises]
    room = max((last - begin) // 3, HOUR)
    end = max([last, *(min(due, last + 2 * room) for due in dues)])
    if journey.row.status == "open":
        end = max(end, min(now, last + room))
    pad = max((end - begin) // 50, MINUTE)
    return begin - pad, end + pad


def _lane(
    item: str, events: list[Event], promises: Sequence[Promise], numbers: dict[str, int], colours: _Colours, begin: int, end: int, top: int
) -> Lane:
    flags = _flags(events, promises, begin, end)
    rows = min(max((flag.row for flag in flags), default=-1) + 1, MOST_PROMISE_ROWS)
    topics = list(dict.fromkeys(event.topic for event in events if event.topic))[:2]
    channels = list(dict.fromkeys(event.channel for event in events if event.channel))[:3]
    marks = [
        Mark(event.time - begin, _look(event), says(event), numbers[reference(event)]) for event in events if event.fact in MARKED
    ]
    ticks = [Mark(event.time - begin, "tick", says(event), numbers[reference(event)]) for event in events]
    holders = _holders(events, colours, begin, end)
    up = 0 if holders else BAND
    return Lane(
        up=up,
        item=item,
        says=", ".join([events[0].touchpoint, *topics, *channels]),
        top=top,
        height=LABEL + MARKS + BAND + WAITS + 6 + rows * PROMISE - up,
        holders=holders,
        waits=_waits(events, begin, end),
        flags=flags,
        marks=marks,
        ticks=ticks,
    )


def _look(event: Event) -> str:
    if event.fact == "rated" and event.score is not None and event.scale:
        return "rating good" if event.score / event.scale >= 0.8 else "rating bad" if event.score / event.scale < 0.5 else "rating"
    return MARKED[event.fact]


def reference(event: Event) -> str:
    """An event as evidence names it."""
    return f"{event.source}/{event.id}"


def says(event: Event) -> str:
    """An event in a few words."""
    parts = [fact_word(event.fact)]
    if event.fact == "assigned" or event.team or event.owner:
        parts.append(("to " if event.fact == "assigned" else "by ") + holder(event.team, event.owner))
    if event.by == "bot":
        parts.append("(a bot)")
    if event.score is not None and event.scale is not None:
        parts.append(f"{event.score:g} of {event.scale:g} by {'the customer' if event.by == 'customer' else 'us'}")
    if event.promise:
        parts.append(f"“{event.promise}”")
    if event.topic:
        parts.append(f"about {event.topic}")
    if event.channel:
        parts.append(f"by {event.channel}")
    return " ".join(parts)


def finishes(event: Event) -> bool:
    """Whether an item is done by it."""
    return event.fact in DONE or (event.fact == "released" and event.promise is None)


def _holders(events: list[Event], colours: _Colours, begin: int, end: int) -> list[Span]:
    spans: list[Span] = []
    team: str | None = None
    owner: str | None = None
    had: list[tuple[str | None, str | None]] = []
    holding = False
    for event in events:
        if event.fact == "assigned" and (event.team or event.owner or event.by == "bot"):
            bot = event.by == "bot"
            before = (team, owner)
            team, owner = event.team or team, event.owner or ("bot" if bot and not event.team else None)
            if holding and (team, owner) == before:
                continue
            if holding:
                spans[-1].end = event.time - begin
                had.append(before)
            same_team = holding and team == before[0]
            back = (team, owner) in had if same_team else holding and any(past == team for past, _ in had)
            spans.append(Span(event.time - begin, end - begin, colours.of(team, owner, bot), holder(team, owner), bool(back)))
            holding = True
        elif finishes(event) and holding:
            spans[-1].end = event.time - begin
            had.append((team, owner))
            holding = False
        elif event.fact == "reopened" and not holding and spans:
            look = spans[-1].look
            spans.append(Span(event.time - begin, end - begin, look, holder(team, owner)))
            holding = True
    return [span for span in spans if span.end > span.begin]


WAIT_WORDS = {"us": "waits for us", "customer": "we wait for the customer", "hold": "on hold", "open": "not done yet"}


def _waits(events: list[Event], begin: int, end: int) -> list[Span]:
    spans: list[Span] = []
    done, held, asked, asking = True, False, False, False
    since, look = events[0].time, ""
    for event in events:
        fact = event.fact
        if finishes(event):
            done, held, asked, asking = True, False, False, False
        elif fact == "opened" or fact in ASKS:
            starts = fact in ("opened", "reopened")
            if starts or not done:
                done = False if starts else done
                asked = fact != "opened" or event.touchpoint in ("service", "returns")
                asking = False
        elif fact == "answered" and event.by != "bot":
            asked = asking = False
        elif fact == "assigned":
            asking = False
        elif fact == "awaiting_customer":
            asking = not done
        elif fact in ("put_on_hold", "resumed"):
            held = fact == "put_on_hold" and not done
        now_looks = "" if done else "hold" if held else "customer" if asking else "us" if asked else "open"
        if now_looks != look:
            if look and event.time > since:
                spans.append(Span(since - begin, event.time - begin, look, WAIT_WORDS[look]))
            since, look = event.time, now_looks
    if look:
        spans.append(Span(since - begin, end - begin, look, WAIT_WORDS[look]))
    return spans


def _flags(events: list[Event], promises: Sequence[Promise], begin: int, end: int) -> list[Flag]:
    flags: list[Flag] = []
    ends: list[int] = []
    turn = next((event for event in reversed(events) if finishes(event) or event.fact == "reopened"), None)
    waited_until = turn.time if turn is not None and finishes(turn) else end
    for promise in sorted(promises, key=lambda one: (one.asked, one.id)):
        dues = [event.due for event in events if event.promise == promise.id and event.due is not None]
        moves = [due for due in dict.fromkeys(dues) if due != promise.due]
        met = _met_at(events, promise)
        state = "unknown" if promise.unknown else "at_risk" if promise.state == "open" and promise.at_risk else promise.state
        late = promise.state in ("broken", "kept_late")
        late_to = max(promise.breaks_at, waited_until if met is None else met) if late else 0
        row = next((row for row, reached in enumerate(ends) if reached <= promise.asked), len(ends))
        if row == len(ends):
            ends.append(0)
        ends[row] = max(promise.due, met or 0, promise.asked, late_to)
        flags.append(
            Flag(
                row=min(row, MOST_PROMISE_ROWS - 1),
                asked=promise.asked - begin,
                due=promise.due - begin,
                state=state,
                says=promise_says(promise, state),
                name=promise.id,
                moves=[due - begin for due in moves],
                met_at=None if met is None else met - begin,
                late_from=promise.breaks_at - begin if late else None,
                late_to=late_to - begin,
                room_to=end - begin,
            )
        )
    for row in {flag.row for flag in flags}:
        for flag, following in pairwise(flag for flag in flags if flag.row == row):
            flag.room_to = following.asked
    return flags


def promise_says(promise: Promise, state: str) -> str:
    """A promise and its fate in a few words."""
    moved = f", moved {promise.moved + promise.moved_late} times" if promise.moved + promise.moved_late > 1 else ""
    moved = moved or (", moved" if promise.moved or promise.moved_late else "")
    return f"{promise_word(promise.id)}: {state.replace('_', ' ')}{moved}"


def _met_at(events: list[Event], promise: Promise) -> int | None:
    """When the promise was fulfilled or released, as far as its item's events say."""
    if promise.state not in ("kept", "kept_as_moved", "kept_late", "released"):
        return None
    if promise.state == "released":
        return next((event.time for event in events if event.fact == "released" and event.promise in (None, promise.id)), None)
    return next((event.time for event in events if _keeps(event, promise)), None)


def _keeps(event: Event, promise: Promise) -> bool:
    if event.fact == "kept" and event.promise == promise.id:
        return True
    if event.time < promise.asked or reference(event) == promise.made:
        return False
    return promise.kept_by == event.fact or (event.fact == "resolved" and promise.id == "resolution")
