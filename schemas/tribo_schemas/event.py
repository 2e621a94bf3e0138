"""The event: what happened to one of a customer's items, and when.

Machines write events, so they are decoded by msgspec straight into `Event`. Inside, an instant is an integer:
milliseconds since 1970 in UTC. What is wrong with an event is its source's fault: `BadEvent` names the field.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from operator import itemgetter
from typing import Annotated, Any, Literal

import msgspec

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
INFINITE = float("inf")
EARLIEST = -62135596800000  # 0001-01-01T00:00:00Z, the first instant that RFC 3339 can write
LATEST = 253402300799999  # 9999-12-31T23:59:59.999Z, the last

Touchpoint = Literal["purchase", "billing", "returns", "service"]
Fact = Literal[
    "opened", "reopened", "queued", "assigned", "promised", "informed", "offered", "answered", "customer_replied",
    "put_on_hold", "resumed", "awaiting_customer", "repeated", "authority_asked", "escalated", "kept", "released",
    "rejected", "resolved", "asked_if_fixed", "confirmed", "abandoned", "closed", "complained", "praised", "rated",
    "surprised", "linked", "unlinked", "retracted",
]  # fmt: skip
By = Literal["customer", "human", "bot", "system"]

TOUCHPOINTS: tuple[str, ...] = Touchpoint.__args__  # type: ignore[attr-defined]
FACTS: tuple[str, ...] = Fact.__args__  # type: ignore[attr-defined]
RANK = {fact: rank for rank, fact in enumerate(FACTS)}

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
SourceSequence = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class BadEvent(ValueError):
    """An event that its source must mend. `field` is the field at fault ('' for the record as a whole), `reason` says why."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.field = field
        self.reason = reason


class Event(msgspec.Struct, gc=False):
    """A fact about an item at a time. `time` and `due` are UTC milliseconds; absent fields are None."""

    id: Id
    source: Name
    time: int
    touchpoint: Touchpoint
    fact: Fact
    item: Id
    customer: Id | None = None
    about: tuple[Id, ...] | None = None
    team: Text | None = None
    owner: Text | None = None
    by: By | None = None
    channel: Text | None = None
    promise: Text | None = None
    due: int | None = None
    topic: Text | None = None
    score: float | None = None
    scale: float | None = None
    standard: Text | None = None
    retracts: Id | None = None
    sequence: SourceSequence | None = None
    synthetic: bool | None = None


class WrittenEvent(Event, gc=False):
    """An event as it stands in a file or a request: its instants are RFC 3339 text until `finished` turns them."""

    time: str  # type: ignore[assignment]
    due: str | None = None  # type: ignore[assignment]


_decoder = msgspec.json.Decoder(WrittenEvent)
_plain_decoder = msgspec.json.Decoder()
LINES_AT_ONCE = 500
_first, _last = itemgetter(0), itemgetter(-1)
_OPENS, _CLOSES = {ord("{")}, {ord("}")}
_MINUTES = tuple(f"T{minute // 60:02d}:{minute % 60:02d}" for minute in range(24 * 60))
_SECONDS = tuple(f":{second:02d}" for second in range(60))
_FRACTIONS = ("Z", *(f".{millisecond:03d}Z" for millisecond in range(1, 1000)))
_MINUTE_MS = {text: 60_000 * minute for minute, text in enumerate(_MINUTES)}
_SECOND_MS = {text: 1000 * second for second, text in enumerate(_SECONDS)}
_USUAL_LENGTHS = frozenset((20, 24))  # in UTC, to the second or to the millisecond, as most instants are written
_FRACTION_MS = {text: millisecond for millisecond, text in enumerate(_FRACTIONS)} | {".000Z": 0}


def instant(text: str) -> int:
    """RFC 3339 text with a zone to UTC milliseconds; what is finer is cut off. Raises ValueError with a remedy."""
    if len(text) in _USUAL_LENGTHS:
        try:
            return _day_ms(text[:10]) + _MINUTE_MS[text[10:16]] + _SECOND_MS[text[16:19]] + _FRACTION_MS[text[19:]]
        except (KeyError, ValueError):
            pass
    return _instant(text)


@lru_cache(1000)
def _day_ms(text: str) -> int:
    return _instant(f"{text}T00:00:00Z")


def _instant(text: str) -> int:
    try:
        if (
            text[4] == "-" and text[7] == "-" and text[10] in "Tt " and text[13] == ":" and text[16] == ":"
            and (text[-2].isdigit() if text[-1] in "Zz" else text[-3] == ":" and text[-6] in "+-" and text[-7].isdigit() and text[-2] < "6")
            and "," not in text
        ):  # fmt: skip
            moment = datetime.fromisoformat(text if text[10] != "t" and text[-1] != "z" else text.upper())
            found = (moment - EPOCH) // MILLISECOND
            if EARLIEST <= found <= LATEST:
                return found
    except (IndexError, ValueError, OverflowError):
        pass
    raise ValueError("write an instant with its zone, such as 2026-03-02T09:00:00Z or 2026-03-02T10:00:00+01:00")


def stamp(milliseconds: int) -> str:
    """UTC milliseconds to RFC 3339 text in UTC; the fraction only where there is one."""
    if not EARLIEST <= milliseconds <= LATEST:
        milliseconds = min(max(milliseconds, EARLIEST), LATEST)
    days, left = divmod(milliseconds, 86_400_000)
    minutes, left = divmod(left, 60_000)
    seconds, fraction = divmod(left, 1000)
    return _date(days) + _MINUTES[minutes] + _SECONDS[seconds] + _FRACTIONS[fraction]


@lru_cache(1000)
def _date(days: int) -> str:
    return (EPOCH + timedelta(days)).date().isoformat()


def finished(event: WrittenEvent) -> Event:
    """The event with its instants as numbers, checked for what its fact must carry. Raises BadEvent."""
    try:
        event.time = instant(event.time)  # type: ignore[assignment]
    except ValueError as error:
        raise BadEvent("time", str(error)) from None
    if event.due is not None:
        try:
            event.due = instant(event.due)  # type: ignore[assignment]
        except ValueError as error:
            raise BadEvent("due", str(error)) from None
    return _checked(event)


def _checked(event: Event) -> Event:
    if not 0 < event.item.find(":") < len(event.item) - 1:
        raise BadEvent("item", "write `kind:id`, such as order:1001")
    if event.about == ():
        event.about = None  # about nothing, as if it said nothing
    if event.about is not None:
        for other in event.about:
            if not 0 < other.find(":") < len(other) - 1:
                raise BadEvent("about", "write each item as `kind:id`, such as order:1001")
    if event.fact in _MUST_CARRY:
        _MUST_CARRY[event.fact](event)
    if event.score is not None and not 0 <= event.score <= (event.score if event.scale is None else event.scale) < INFINITE:
        raise BadEvent("score", "must lie between 0 and scale")
    if event.scale is not None and not 0 <= event.scale < INFINITE:
        raise BadEvent("scale", "must not be less than 0")
    return event


def _needs(*fields: str) -> Any:
    def check(event: Event) -> None:
        for field in fields:
            if getattr(event, field) is None:
                raise BadEvent(field, f"a `{event.fact}` event must carry it")

    return check


def _needs_a_link(event: Event) -> None:
    if event.customer is None and not event.about:
        raise BadEvent("customer", f"a `{event.fact}` event must carry customer or about")


def _needs_a_rating(event: Event) -> None:
    _needs("score", "scale")(event)
    if not event.scale:
        raise BadEvent("scale", "must be more than 0")


_MUST_CARRY = {
    "promised": _needs("promise", "due"),
    "informed": _needs("promise"),
    "kept": _needs("promise"),
    "rated": _needs_a_rating,
    "linked": _needs_a_link,
    "unlinked": _needs_a_link,
    "retracted": _needs("retracts"),
}


def decode_event(raw: bytes | str) -> Event:
    """One canonical event from JSON. Raises BadEvent: not JSON, a field missing or wrong, a key written twice, NUL in a text."""
    if isinstance(raw, str):
        raw = raw.encode("utf-8", "surrogatepass")
    try:
        event = _decoder.decode(raw)
        keys = len(_plain_decoder.decode(raw))
    except msgspec.ValidationError as error:
        raise _bad(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadEvent("", f"not JSON: {error}") from None
    except RecursionError:
        raise BadEvent("", "nested too deeply") from None
    # Each key is followed by `":`, unless there is white space before the colon: as many as there are keys, so none stands twice.
    if keys != raw.count(b'":') or _is_odd(raw) or b"\n" in raw:
        _check_text(raw)
    return finished(event)


def _is_odd(raw: bytes) -> bool:
    """Whether there may be white space before a colon, or a NUL."""
    return b" :" in raw or b"\t" in raw or b"\r" in raw or (b"\\" in raw and b"\\u0000" in raw)


def decode_events(lines: Sequence[bytes]) -> list[Event | BadEvent]:
    """Canonical events, a line each, as `decode_event` reads each of them, and faster; what it raises stands in the event's place."""
    found: list[Event | BadEvent] = []
    for begin in range(0, len(lines), LINES_AT_ONCE):
        some = lines[begin : begin + LINES_AT_ONCE]
        together = _read_together(some)
        read: Iterator[Event] = map(decode_event, some) if together is None else map(finished, together)
        while len(found) < begin + len(some):
            try:
                found += read  # up to one that is bad
            except BadEvent as error:
                found.append(error)
    return found


def _read_together(lines: Sequence[bytes]) -> list[WrittenEvent] | None:
    """The lines in one go; None when anything among them needs a closer look.

    Lines that begin with `{` and end with `}` hold whole values, since inside one nothing may stand between `}` and `{`. So as many
    values as lines, none of which holds a line break, are one on each. Each key is followed by `":`, unless there is white space
    before the colon: where there are as many as keys, no line has one twice.
    """
    text = b"\n".join(lines)
    try:
        if set(map(_first, lines)) == _OPENS and set(map(_last, lines)) == _CLOSES and not _is_odd(text):
            events, plain = _decoder.decode_lines(text), _plain_decoder.decode_lines(text)
            if len(events) == len(lines) == 1 + text.count(b"\n") and sum(map(len, plain)) == text.count(b'":'):
                return events
    except (IndexError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # an empty line, or what it says
        pass
    return None


def event_of(mapping: Mapping[str, Any]) -> Event:
    """One event from its fields, instants as RFC 3339 text. Raises BadEvent."""
    for key, value in mapping.items():
        _check_nul(key, value)
    try:
        return finished(msgspec.convert(dict(mapping), WrittenEvent))
    except msgspec.ValidationError as error:
        raise _bad(error) from None


def event_at(fields: dict[str, Any]) -> Event:
    """One event from its fields: instants as UTC milliseconds between the years 1 and 9999, texts without NUL. Raises BadEvent."""
    try:
        return _checked(msgspec.convert(fields, Event))
    except msgspec.ValidationError as error:
        raise _bad(error) from None


def _bad(error: msgspec.ValidationError) -> BadEvent:
    text, _, where = str(error).partition(" - at `$.")
    if not where and "required field" in text:
        return BadEvent(text.split("`")[1], "is missing")
    return BadEvent(where.rstrip("`").partition("[")[0], text)


def _check_text(raw: bytes) -> None:
    """The slow look, taken only when the quick count does not come out: is a key written twice, is there a NUL?"""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for key, value in pairs:
            if key in seen:
                raise BadEvent(key, "is written twice")
            seen[key] = value
        return seen

    fields = json.loads(raw, object_pairs_hook=unique)
    for key, value in fields.items():
        _check_nul(key, value)


def _check_nul(key: str, value: Any) -> None:
    for text in value if isinstance(value, list) else (value,):
        if isinstance(text, str) and "\x00" in text and key in Event.__struct_fields__:
            raise BadEvent(key, "holds a NUL character")


_INSTANTS = frozenset(("time", "due"))


def canonical(event: Event) -> dict[str, Any]:
    """The event's known fields in wire form: instants as text in UTC, `by` filled in, absent fields left out."""
    fields: dict[str, Any] = {}
    for name in Event.__struct_fields__:
        value = getattr(event, name)
        if value is not None:
            fields[name] = stamp(value) if name in _INSTANTS else list(value) if name == "about" else value
    fields.setdefault("by", "human")
    return fields


def order_key(event: Event) -> tuple[int, int, int, str, str]:
    """Where the event stands among others: time, the source's own sequence, the fact's rank, source, id."""
    return (event.time, event.sequence or 0, RANK[event.fact], event.source, event.id)


def smaller(one: Event, other: Event) -> Event:
    """Of two events with the same source and id, the one that holds: the smaller by time, then by its canonical JSON."""
    return min(one, other, key=lambda event: (event.time, json.dumps(canonical(event), sort_keys=True)))


def same(one: Event, other: Event) -> bool:
    """Whether two events with the same source and id say the same: then the second is a duplicate, else a conflict."""
    return one == other or canonical(one) == canonical(other)
