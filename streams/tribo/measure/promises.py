"""Promises: one promise, one fate.

| state | and then | becomes |
|---|---|---|
| open | fulfilled by its first due | kept |
| open | fulfilled later, by the latest due | kept_as_moved |
| open | the latest due passes | broken |
| open | the customer lets it go before the due | released |
| broken | fulfilled after all | kept_late |

`unknown` is not a state but a view: the due has passed and the source that could bring the evidence is silent.
A word about a promise may come up to 24 hours before the promise itself, since clocks differ; it is kept in `early_words`.
"""

from __future__ import annotations

import msgspec

from tribo.measure import done
from tribo.measure.fold import DUE, EARLY_BY, RISK, WORDS_BEFORE, Fold
from tribo.measure.history import Item, Promise, Timer, Word
from tribo.measure.standards import Entry, applies, speaks_of
from tribo.measure.standing import BROKEN, KEPT, KEPT_AS_MOVED, KEPT_LATE, OPEN, RELEASED
from tribo_schemas.event import Event

OF_RESOLVING = "resolution"  # the promise that `resolved` keeps


def promised(fold: Fold, item: Item, event: Event) -> None:
    """A promise is made; again with another due, it is moved."""
    assert event.promise is not None and event.due is not None
    promise = item.promises.get(event.promise)
    if promise is None:
        _make(fold, item, event.promise, event.due, event.source)
    else:
        _move(fold, item, promise, event.due, fold.reference)


def informed(fold: Fold, item: Item, event: Event) -> None:
    """The customer is told, with a new due or without."""
    assert event.promise is not None
    promise = item.promises.get(event.promise)
    if promise is None:
        _remember(fold, item, "informed", event)
    else:
        _inform(fold, item, promise, event.due, fold.reference)


def kept(fold: Fold, item: Item, event: Event) -> None:
    """The promise was fulfilled."""
    assert event.promise is not None
    promise = item.promises.get(event.promise)
    if promise is None:
        _remember(fold, item, "kept", event)
    else:
        keep(fold, item, promise, fold.at)


def released(fold: Fold, item: Item, event: Event) -> None:
    """The customer lets the promise go; without a promise, the whole item."""
    if event.promise is None:
        for promise in item.promises.values():
            _release(fold, item, promise, fold.at)
        item.released = True
        done.finish(fold, item)
        return
    made = item.promises.get(event.promise)
    if made is None:
        _remember(fold, item, "released", event)
    else:
        _release(fold, item, made, fold.at)


def keep_by_resolving(fold: Fold, item: Item) -> None:
    """`resolved` keeps the promise about resolving, and no other."""
    promise = item.promises.get(OF_RESOLVING)
    if promise is not None:
        keep(fold, item, promise, fold.at)


def implied(fold: Fold, item: Item, event: Event) -> None:
    """What the standards promise without a word: made by one fact, kept by another."""
    for entry in fold.standards.at(event.time).implied:
        if event.fact == entry.made_by and applies(entry, item, item.team):
            name = f"standard:{entry.name}"
            if name not in item.promises:
                _make(fold, item, name, entry.due(event.time), event.source, entry)
    for promise in list(item.promises.values()):
        if promise.standard is not None and promise.kept_by == event.fact and promise.made != fold.reference:
            keep(fold, item, promise, fold.at)


def _make(fold: Fold, item: Item, name: str, due: int, source: str, entry: Entry | None = None) -> None:
    promise = item.promises[name] = Promise(
        id=name, asked=fold.at, first_due=due, due=due, breaks_at=due, source=source, made=fold.reference,
        standard=entry.name if entry is not None else None, kept_by=entry.kept_by if entry is not None else None,
    )  # fmt: skip
    fold.pledge(item, promise)
    fold.add_promise(item, "made")
    fold.add_promise(item, OPEN)
    words = [word for word in item.early_words if word.promise == name]
    if words:
        item.early_words = tuple(word for word in item.early_words if word.promise != name)
    for word in words:
        if fold.at - word.at <= WORDS_BEFORE:
            _said_before(fold, item, promise, word)
    _await(fold, item, promise)
    if promise.state == OPEN and promise.breaks_at < fold.at:
        _break(fold, item, promise, fold.at)


def _remember(fold: Fold, item: Item, what: str, event: Event) -> None:
    """A word about a promise that nobody has made yet."""
    assert event.promise is not None
    word = Word(fold.at, what, event.promise, event.due, fold.reference, event.topic, event.channel, item.team, item.owner)
    item.early_words = (*(other for other in item.early_words if fold.at - other.at <= WORDS_BEFORE), word)


def _said_before(fold: Fold, item: Item, promise: Promise, word: Word) -> None:
    """What was said before the promise was, taken as of when it was said: its time, its event, its holder."""
    now, reference, event, holder = fold.at, fold.reference, fold.event, (item.team, item.owner)
    assert event is not None
    fold.at, fold.reference = word.at, word.event
    fold.event = msgspec.structs.replace(event, topic=word.topic, channel=word.channel)
    item.team, item.owner = word.team, word.owner
    if word.what == "kept":
        keep(fold, item, promise, word.at)
    elif word.what == "released":
        _release(fold, item, promise, word.at)
    else:
        _inform(fold, item, promise, word.due, word.event)
    fold.at, fold.reference, fold.event = now, reference, event
    item.team, item.owner = holder


def _await(fold: Fold, item: Item, promise: Promise) -> None:
    """Set the timers of an open promise: its risk, and its due."""
    if promise.state == OPEN and promise.due >= fold.at:
        fold.set_timer(promise.due, DUE, item, promise.id, promise.source)
        at = risk_at(fold, item, promise)
        if fold.at <= at < promise.due:
            fold.set_timer(at, RISK, item, promise.id, "")
        elif at < fold.at < promise.due:
            _at_risk(fold, item, promise)


def risk_at(fold: Fold, item: Item, promise: Promise) -> int:
    """When the last fifth of an open promise's time begins, or as its standard says."""
    for entry in fold.standards.at(promise.asked).promises:
        if entry.at_risk_ms is not None and speaks_of(entry, promise) and applies(entry, item, item.team):
            return max(promise.asked, promise.due - entry.at_risk_ms)
    return promise.due - (promise.due - promise.asked) // 5


def risk_timer(fold: Fold, item: Item, timer: Timer) -> None:
    """The last fifth of a promise's time begins."""
    promise = item.promises[timer.key]
    if promise.state == OPEN and not promise.at_risk and risk_at(fold, item, promise) == timer.at:
        _at_risk(fold, item, promise)


def due_timer(fold: Fold, item: Item, timer: Timer) -> None:
    """A promise's due has passed."""
    promise = item.promises[timer.key]
    if promise.state == OPEN and promise.breaks_at == timer.at:
        for other in fold.frontier.brings.get(promise.id, ()):
            if not fold.frontier.decided(timer.at, other):
                fold.set_timer(timer.at, DUE, item, promise.id, other)
                return
        _break(fold, item, promise, timer.at, fold.frontier.nobody_can_say(promise))


def _at_risk(fold: Fold, item: Item, promise: Promise) -> None:
    promise.at_risk = True
    fold.pledge(item, promise)
    event, fold.event = fold.event, None
    fold.find("promise_at_risk", item, promise.made, _evidence(promise), promise=promise.id)
    fold.event = event


def _calm(fold: Fold, item: Item, promise: Promise) -> None:
    if promise.unknown:
        no_longer_unknown(fold, item, promise)
    if promise.at_risk:
        promise.at_risk = False
        fold.withdraw("promise_at_risk", item, promise.made, promise.id)


def _evidence(promise: Promise) -> tuple[str, ...]:
    return (promise.made,) if promise.last_move is None else (promise.made, promise.last_move)


def _break(fold: Fold, item: Item, promise: Promise, at: int, silent: bool = False) -> None:
    """The due passed and nothing came. `at` is the due, or when a due already past was made or told. `silent`: time alone says so, and
    nobody was heard who could have said otherwise."""
    _calm(fold, item, promise)
    fold.decide(item, promise, BROKEN)
    promise.team = item.team
    promise.source_silent = silent
    fold.history.unheard += silent
    now, event = fold.at, fold.event
    fold.at, fold.event = at, None
    fold.find(
        "promise_broken", item, promise.made, _evidence(promise), promise=promise.id,
        told=promise.told or None, source_silent=silent or None,
    )  # fmt: skip
    done.problem(fold, item, promise.made)
    fold.at, fold.event = now, event


def keep(fold: Fold, item: Item, promise: Promise, at: int) -> None:
    """The promise is fulfilled at `at`: in time, as moved, late, or not for the first time."""
    if promise.state == BROKEN:
        fold.decide(item, promise, KEPT_LATE)
    elif promise.state == OPEN:
        if at > promise.breaks_at:
            _break(fold, item, promise, max(promise.breaks_at, promise.asked))
            fold.decide(item, promise, KEPT_LATE)
        else:
            _calm(fold, item, promise)
            promise.team = item.team
            fold.decide(item, promise, KEPT if at <= promise.first_due else KEPT_AS_MOVED)
            if promise.first_due - at >= EARLY_BY:
                promise.early = True
                fold.add_promise(item, "early")
                fold.find("early", item, promise.made, (promise.made, fold.reference), promise=promise.id)


def _release(fold: Fold, item: Item, promise: Promise, at: int) -> None:
    if promise.state == OPEN and at < promise.breaks_at:
        _calm(fold, item, promise)
        fold.decide(item, promise, RELEASED)


def _inform(fold: Fold, item: Item, promise: Promise, due: int | None, reference: str) -> None:
    if due is None or due == promise.due:
        if promise.state == OPEN:
            promise.told = True
            fold.pledge(item, promise)
        return
    _move(fold, item, promise, due, reference)


def _move(fold: Fold, item: Item, promise: Promise, due: int, reference: str) -> None:
    """The due is moved: in time when told before the old one, else late; after a break every move is late."""
    if due == promise.due or promise.state not in (OPEN, BROKEN):
        return
    fold.pledge(item, promise)
    evidence = (promise.made, reference)
    if promise.state == OPEN and fold.at < promise.breaks_at:
        promise.moved += 1
        fold.add_promise(item, "moved")
        _calm(fold, item, promise)
        promise.due = promise.breaks_at = due
        promise.last_move = reference
        fold.find("promise_moved", item, reference, evidence, promise=promise.id)
        _await(fold, item, promise)
        if promise.breaks_at < fold.at and promise.asked <= fold.at:  # what was told before the promise breaks it when it is made
            _break(fold, item, promise, fold.at)
    else:
        if promise.state == OPEN and promise.breaks_at < fold.at:
            _break(fold, item, promise, max(promise.breaks_at, promise.asked))
        promise.moved_late += 1
        fold.add_promise(item, "moved_late")
        promise.due = due
        fold.find("promise_moved_late", item, reference, evidence, promise=promise.id)


def look_if_unknown(fold: Fold, item: Item, timer: Timer) -> None:
    """A due has passed unheard: is its source silent? Then nobody can call the promise broken yet."""
    promise = item.promises[timer.key]
    if promise.state != OPEN or promise.breaks_at != timer.at or promise.unknown:
        return
    if fold.frontier.nobody_can_say(promise):
        fold.touch(item)
        _calm(fold, item, promise)
        promise.unknown = True
        fold.pledge(item, promise)
        fold.history.unknown += 1
        fold.add_promise(item, promise.state, -1)
        fold.add_promise(item, "unknown")
        fold.at = promise.breaks_at
        holder = item.team, item.owner
        item.team, item.owner = promise.had_by or holder
        fold.find("promise_unknown", item, promise.made, _evidence(promise), promise=promise.id)
        item.team, item.owner = holder


def no_longer_unknown(fold: Fold, item: Item, promise: Promise) -> None:
    """The source was heard again, or the promise found its fate."""
    fold.touch(item)
    promise.unknown = False
    fold.pledge(item, promise)
    fold.history.unknown -= 1
    fold.add_promise(item, "unknown", -1)
    fold.add_promise(item, promise.state)
    fold.withdraw("promise_unknown", item, promise.made, promise.id)
