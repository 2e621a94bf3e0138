"""Files, and standard input, as events: through a mapping, or canonical as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from tribo.run.measure import Reader
from tribo.wire.readers import Record, blocks, form_of, read
from tribo.wire.rejects import Raw, Reject, reject
from tribo_schemas.event import BadEvent, Event, decode_event, decode_events, event_of

if TYPE_CHECKING:
    from tribo.wire.mapping import Mapping

Take = Callable[[Event], None]
Refuse = Callable[[dict[str, Any]], None]
RAW_BYTES = 1 << 20
_json = msgspec.json.Encoder().encode
NUMBERS: dict[str, Callable[[str], Any]] = {"score": float, "scale": float, "sequence": int}


def reading_mapped(inputs: list[str], mapping: Mapping, keep: Callable[[Raw], None]) -> Callable[[Take, Callable[[Reject], None]], int]:
    """As `reading`, through a mapping, and each record goes to `keep` as well: a megabyte of them at a time, a JSON object a line."""

    def mapped(take: Take, refuse: Callable[[Reject], None]) -> int:
        records = size = 0
        lines: list[bytes] = []

        def kept() -> None:
            nonlocal size
            if lines:
                keep(Raw(inputs[0], b"\n".join(lines), mapping.name, "rows"))
            lines.clear()
            size = 0

        def counted() -> Iterator[Record | Reject]:
            nonlocal records, size
            for name in inputs:
                for record in read(name, mapping.form):
                    records += 1
                    if isinstance(record, Record):
                        whole = record.payload
                        lines.append(whole.replace(b"\n", b" ") if isinstance(whole, bytes) else _json(whole))
                        size += len(lines[-1])
                        if size >= RAW_BYTES:
                            kept()
                    yield record
            kept()

        for found in mapping.events(counted()):
            if isinstance(found, Reject):
                found.through = mapping.name
                refuse(found)
            else:
                take(found)
        return records

    return mapped


def reading(inputs: list[str], source: str | Mapping | None) -> Reader:
    """A reader of all inputs, through the mapping `source` where one is named. Raises BadConfig for what can't be read."""
    if source is not None:
        from tribo.wire.mapping import Mapping  # only here: it brings pydantic, a tenth of a second

        mapping = Mapping.load(source) if isinstance(source, str) else source
        return lambda take, refuse: mapping.feed(inputs, take, refuse)
    forms = {name: form_of(name) for name in inputs}

    def canonical(take: Take, refuse: Refuse) -> int:
        return sum((_lines if forms[name] == "jsonl" else _records)(name, take, refuse) for name in inputs)

    return canonical


def _lines(name: str, take: Take, refuse: Refuse) -> int:
    """The hot path: a line, an event."""
    records = 0
    for block in blocks(name):
        if isinstance(block, Reject):
            records += 1
            refuse(block.row())
            continue
        numbered = [(number, line) for number, line in enumerate(block.lines, block.first) if line and not line.isspace()]
        records += len(numbered)
        for (number, line), event in zip(numbered, decode_events([line for _, line in numbered]), strict=True):
            if isinstance(event, BadEvent):
                refuse(reject(name, number, str(event), line).row())
            else:
                take(event)
    return records


def _records(name: str, take: Take, refuse: Refuse) -> int:
    """Elements of a JSON array, or rows whose columns are named as an event's fields."""
    records = 0
    for record in read(name):
        records += 1
        if isinstance(record, Reject):
            refuse(record.row())
            continue
        try:
            event = decode_event(record.payload) if isinstance(record.payload, bytes) else event_of(_columns(record.payload))
        except BadEvent as error:
            refuse(reject(name, record.line, str(error), record.raw or record.payload).row())
        else:
            take(event)
    return records


def _columns(row: dict[str, Any]) -> dict[str, Any]:
    """A row's cells as an event's fields: an empty cell is absent, `about` holds items between spaces."""
    fields: dict[str, Any] = {}
    for name, text in row.items():
        if not text:
            continue
        try:
            fields[name] = text.split() if name == "about" else NUMBERS[name](text) if name in NUMBERS else text
        except ValueError:
            raise BadEvent(name, f"{text!r} is no number") from None
        if name == "synthetic":
            if text not in ("true", "false"):
                raise BadEvent(name, "write true or false")
            fields[name] = text == "true"
    return fields
