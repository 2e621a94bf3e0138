"""What the customer has to do and to bear: contacts, channels, waits, holds, reopenings."""

from __future__ import annotations

from tribo.measure import done, promises, voice
from tribo.measure.fold import CONFIRM_WITHIN, CONFIRMATION, FIRST_RESPONSE, Fold
from tribo.measure.history import Item, Resolution, Timer
from tribo.measure.score import REPEAT_WITHIN
from tribo.measure.standing import EXPECTS
from tribo_schemas.event import Event


def opened(fold: Fold, item: Item, event: Event) -> None:
    """The customer has something going on. Only the first `opened` starts the item."""
    if not item.opened:
        item.opened = True
        fold.start_clock(item, "resolution", event.source)
        if item.touchpoint in FIRST_RESPONSE:
            fold.start_clock(item, "first_response", event.source)
    contacted(fold, item, event)


def started(fold: Fold, item: Item) -> None:
    """The item starts: with its first `opened`, or where it never has one, with its first event."""
    if item.touchpoint == "service":
        _repeat_contact(fold, item)
    elif item.touchpoint == "purchase":
        voice.purchased(fold, item)


def reopened(fold: Fold, item: Item, event: Event) -> None:
    """It wasn't done."""
    fold.add(item, "reopened")
    fold.find("reopened", item, fold.reference, (fold.reference,))
    resolution = item.resolution
    if resolution is not None:
        if not resolution.confirmed:
            fold.count_fate(item, "contradicted")
        item.resolution = None
    if item.done:
        fold.done(item, False)
        if item.first_resolved:
            if item.gap_from is not None:
                if fold.at > item.gap_from:
                    item.gaps += (item.gap_from, fold.at)
                item.gap_from = None
            _run_total_again(fold, item, event.source)
    done.problem(fold, item, fold.reference)


def _run_total_again(fold: Fold, item: Item, source: str) -> None:
    """`total_resolution` runs on from the opening; what was measured of it no longer stands."""
    if not item.opened:
        return
    item.total_begun = True
    fold.forget_total(item)
    for name in item.met_total:
        fold.judge(item, name, "met", -1)
    item.met_total = ()
    fold.run_clock(item, "total_resolution", (item.started_at, item.start_event, source))
    fold.aim(item, "total_resolution")


def resolved(fold: Fold, item: Item, event: Event) -> None:
    """We say it is done."""
    promises.keep_by_resolving(fold, item)
    if item.done:
        return
    fold.unpause(item)
    for clock in ("resolution", "next_response"):
        fold.stop_clock(item, clock)
    if item.opened and "total_resolution" not in item.clocks and not item.total_begun and item.started_at <= fold.at:
        item.total_begun = True
        fold.run_clock(item, "total_resolution", (item.started_at, item.start_event, event.source))
    if "total_resolution" in item.clocks:
        start = item.clocks["total_resolution"][0]
        fold.stop_clock(item, "total_resolution")
        fold.wait(item, "total_resolution", start)
    if not item.first_resolved:
        item.first_resolved = True
        if item.touchpoint == "service":
            fold.journeys[item.journey].service_resolved += 1
    item.gap_from = fold.at
    done.finish(fold, item)
    if item.touchpoint == "service":
        item.resolution = Resolution(fold.at, fold.reference)
        fold.set_timer(fold.at + CONFIRM_WITHIN, CONFIRMATION, item, fold.reference, event.source)


def closed(fold: Fold, item: Item, event: Event) -> None:
    """Nothing more will happen."""
    done.finish(fold, item)


def abandoned(fold: Fold, item: Item, event: Event) -> None:
    """The customer gave up waiting."""
    fold.add(item, "abandoned")
    fold.find("abandoned", item, fold.reference, (fold.reference,))
    done.finish(fold, item)


def queued(fold: Fold, item: Item, event: Event) -> None:
    """The customer starts waiting in a live queue; queued again, the wait goes on from the first."""
    fold.start_clock(item, "queue", event.source)
    contacted(fold, item, event)


def answered(fold: Fold, item: Item, event: Event) -> None:
    """Somebody answered the customer."""
    fold.unpause(item)
    fold.stop_clock(item, "queue")
    if event.by == "bot":
        running = item.clocks.get("first_response")
        if running is not None and not item.bot_answered:
            fold.wait(item, "first_bot_response", running[0])
        item.bot_answered = True
        return
    fold.stop_clock(item, "first_response")
    fold.stop_clock(item, "next_response")
    item.answered = True


def customer_replied(fold: Fold, item: Item, event: Event) -> None:
    """The customer said something more: we owe an answer, unless the item is done."""
    fold.unpause(item)
    if item.answered:
        fold.start_clock(item, "next_response", event.source)
    contacted(fold, item, event)


def put_on_hold(fold: Fold, item: Item, event: Event) -> None:
    """A live conversation is interrupted."""
    if not item.done and "hold" not in item.clocks:
        fold.add(item, "holds")
        fold.find("hold", item, fold.reference, (fold.reference,))
        fold.start_clock(item, "hold", event.source)


def resumed(fold: Fold, item: Item, event: Event) -> None:
    """The conversation goes on."""
    fold.stop_clock(item, "hold")


def awaiting_customer(fold: Fold, item: Item, event: Event) -> None:
    """We can't go on without the customer."""
    fold.pause(item)


def repeated(fold: Fold, item: Item, event: Event) -> None:
    """The customer had to identify or repeat themselves."""
    fold.add(item, "repeated")
    fold.find("repeated", item, fold.reference, (fold.reference,))


def authority_asked(fold: Fold, item: Item, event: Event) -> None:
    """The customer asked for someone in authority."""
    fold.start_clock(item, "authority", event.source)


def escalated(fold: Fold, item: Item, event: Event) -> None:
    """The customer reached someone in authority."""
    fold.add(item, "escalated")
    running = item.clocks.get("authority")
    fold.find("escalated", item, fold.reference, (fold.reference,) if running is None else (running[1], fold.reference))
    fold.stop_clock(item, "authority")


def offered(fold: Fold, item: Item, event: Event) -> None:
    """An alternative was offered."""
    fold.add(item, "offered")
    done.check_alternative(fold, item)


def rejected(fold: Fold, item: Item, event: Event) -> None:
    """We refused what was asked."""
    item.rejected = True
    done.problem(fold, item, fold.reference)


def asked_if_fixed(fold: Fold, item: Item, event: Event) -> None:
    """We asked whether it is fixed."""
    resolution = item.resolution
    if resolution is not None and not resolution.asked:
        resolution.asked = True
        for entry in _confirmations(fold, item):
            fold.judge(item, entry, "met")


def confirmed(fold: Fold, item: Item, event: Event) -> None:
    """The customer says it is fixed: whoever confirms was, in effect, asked."""
    asked_if_fixed(fold, item, event)
    if item.resolution is not None and not item.resolution.confirmed:
        item.resolution.confirmed = True
        fold.count_fate(item, "confirmed")


def confirmation_timer(fold: Fold, item: Item, timer: Timer) -> None:
    """Seven days after a resolution: nobody asked, or nobody objected."""
    resolution = item.resolution
    if resolution is None or resolution.event != timer.key:
        return
    item.resolution = None
    if not resolution.asked:
        fold.count_fate(item, "never_asked")
        fold.find("unconfirmed", item, resolution.event, (resolution.event,))
        for entry in _confirmations(fold, item):
            fold.judge(item, entry, "missed")
    elif not resolution.confirmed:
        fold.count_fate(item, "assumed")


def _confirmations(fold: Fold, item: Item) -> list[str]:
    return [entry.name for entry in fold.practice(item, "confirmation")]


def expectation_timer(fold: Fold, item: Item, timer: Timer) -> None:
    """A day after an item's first event: was the customer told what to expect?"""
    assert item.touchpoint in EXPECTS
    if item.ever_done:
        item.expectation = "not judged"
    elif item.promises:
        item.expectation = "met"
    else:
        item.expectation = "missed"
        first = item.first_event or item.start_event
        fold.find("no_expectation", item, first, (first,))


def contacted(fold: Fold, item: Item, event: Event) -> None:
    """A contact by the customer: is it by another channel than the last one of the journey?"""
    if event.channel is None or item.touchpoint not in FIRST_RESPONSE:
        return
    journey = fold.journeys[item.journey]
    if journey.channel is not None and journey.channel != event.channel and journey.channel_event is not None:
        fold.add(item, "channel_switches")
        fold.find("channel_switch", item, fold.reference, (journey.channel_event, fold.reference))
    journey.channel, journey.channel_event = event.channel, fold.reference


def _repeat_contact(fold: Fold, item: Item) -> None:
    journey = fold.journeys[item.journey]
    earlier: Item | None = None
    recent = []
    for name in journey.recent:
        other = fold.items[name]
        if other.done and fold.at - other.done_at > REPEAT_WITHIN:
            continue  # no contact will be a repeat of it any more, unless it is reopened
        recent.append(name)
        if (
            other is not item and other.started and not (other.topic_heard and item.topic_heard and other.topic != item.topic)
            and (earlier is None or other.started_at >= earlier.started_at)
        ):  # fmt: skip
            earlier = other
    journey.recent = recent
    if earlier is not None:
        fold.add(item, "repeat_contacts")
        fold.find("repeat_contact", item, fold.reference, (earlier.start_event, fold.reference))
