"""Records of `tribo.events`: a JSON array of canonical events, and in the header `tribo-frontier` how far `wire` has read its inputs.

A single event, or an array without the header, is a record too: whoever has canonical events may publish them. An empty array with
the header says only how far time has come. The partition is CRC-32 of the customer, or else of the item, modulo the number of
partitions: what clients built on librdkafka do with a key by themselves. It keeps a customer's events together, for speed;
the answer does not depend on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from zlib import crc32

import msgspec

from tribo.run.accept import event_in
from tribo_schemas.event import BadEvent, Event, WrittenEvent, finished, stamp

FRONTIER = "tribo-frontier"
MOST_VALUE_BYTES = 500_000
MOST_SENT_BYTES = 400_000
"""An event that is longer when written out is refused: brokers take records of a million bytes."""


class Input(msgspec.Struct):
    """How far one input (a topic's partition, or an ingest address) was read: whether more lies there unread, and by source its
    watermark and when it was last heard (UTC ms, None: never)."""

    behind: bool
    sources: dict[str, tuple[int | None, int | None]]


class Report(msgspec.Struct):
    """What the header says: by the sender's receive clock `now` (UTC ms), how far each input was read."""

    now: int
    inputs: dict[str, Input]


class _Sent(Event, gc=False, omit_defaults=True):
    """An event on its way out: instants as text."""

    time: str  # type: ignore[assignment]
    due: str | None = None  # type: ignore[assignment]


encode_report = msgspec.json.Encoder().encode
_report = msgspec.json.Decoder(Report)
_encode = msgspec.json.Encoder().encode
_array = msgspec.json.Decoder(list[WrittenEvent])
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_fields = msgspec.structs.astuple
_TIME = Event.__struct_fields__.index("time")
_DUE = Event.__struct_fields__.index("due")


def encoded(event: Event) -> bytes:
    """An event as canonical JSON."""
    fields = list(_fields(event))
    fields[_TIME] = stamp(fields[_TIME])
    if fields[_DUE] is not None:
        fields[_DUE] = stamp(fields[_DUE])
    return _encode(_Sent(*fields))


def partition_of(event: Event, partitions: int) -> int:
    """Which partition of `tribo.events` an event travels in."""
    return crc32((event.customer or event.item).encode("utf-8", "surrogatepass")) % partitions


def packed(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Encoded events as values of records, as many in each as may be."""
    held: list[bytes] = []
    size = 0
    for part in parts:
        if held and size + len(part) > MOST_VALUE_BYTES:
            yield b"[" + b",".join(held) + b"]"
            held, size = [], 0
        held.append(part)
        size += len(part) + 1
    if held:
        yield b"[" + b",".join(held) + b"]"


def unpacked(value: bytes, own: bool = False) -> tuple[list[Event], list[tuple[bytes, BadEvent]]]:
    """The events of a record's value, and what in it is none, as it came. `own`: `wire` wrote it, so no key stands twice."""
    if value[:1] == b"[":
        if own and b"\\u0000" not in value:
            try:
                return [finished(event) for event in _array.decode(value)], []
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, BadEvent):
                pass  # something in it is wrong: one by one then
        try:
            raws = [bytes(raw) for raw in _raws.decode(value)]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return [], [(value, BadEvent("", f"not JSON: {error}"))]
    else:
        raws = [value]
    events: list[Event] = []
    wrong: list[tuple[bytes, BadEvent]] = []
    for raw in raws:
        try:
            events.append(event_in(raw))
        except BadEvent as error:
            wrong.append((raw, error))
    return events, wrong


def report_of(header: bytes) -> Report | None:
    """What a header says; None when it says nothing that can be read: time then comes from the record itself."""
    try:
        return _report.decode(header)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None

