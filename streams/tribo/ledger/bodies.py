"""How structs stand in the ledger: as msgpack arrays of their fields in order. A later version may append fields, no more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from tribo_schemas.event import Event
from tribo_schemas.finding import Finding
from tribo_schemas.journey import JourneyRow


class _Event(Event, array_like=True, gc=False):
    """An event as it stands in `events`."""


class _Finding(Finding, array_like=True, gc=False):
    """A finding as it stands in `findings`."""


class _JourneyRow(JourneyRow, array_like=True, gc=False):
    """A row as it stands in `journeys`."""


pack = msgspec.msgpack.Encoder().encode
unpack_event = msgspec.msgpack.Decoder(_Event).decode
unpack_finding = msgspec.msgpack.Decoder(_Finding).decode
unpack_journey = msgspec.msgpack.Decoder(_JourneyRow).decode
unpack_counters = msgspec.msgpack.Decoder(dict[str, list[int]]).decode
unpack_outcomes = msgspec.msgpack.Decoder(dict[str, list[tuple[int, int]]]).decode
unpack_tallies = msgspec.msgpack.Decoder(dict[str, int]).decode
unpack_deadlines = msgspec.msgpack.Decoder(dict[int, int]).decode
_fields = msgspec.structs.astuple


def pack_event(event: Event) -> bytes:
    """An event's body."""
    return pack(_fields(event))


def pack_struct(struct: Finding | JourneyRow) -> bytes:
    """A finding's or a journey row's body."""
    return pack(_fields(struct))


def live_tallies(counters: Mapping[str, Sequence[int]], historical: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """Found − withdrawn by key, of what no import brought."""
    found = {key: number - withdrawn for key, (number, withdrawn) in counters.items()}
    for key, (number, withdrawn) in historical.items():
        found[key] = found.get(key, 0) - number + withdrawn
    return {key: number for key, number in found.items() if number}
