"""Bodies of requests, as events: canonical or CloudEvents, one, a JSON array, or a line each. Every limit stands here."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import msgspec

from tribo.wire.mapping import Unmapped, decode_record
from tribo.wire.rejects import Reject, reject
from tribo_schemas.event import BadEvent, Event, decode_event

MOST_BODY_BYTES = 8 << 20
MOST_EVENT_BYTES = 1 << 20
MOST_ITEMS = 100_000
DEEPEST = 32
LINES = frozenset(("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines", "application/json-seq"))
ENVELOPE = ("id", "source", "time")
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_any = msgspec.json.Decoder()
_json = msgspec.json.Encoder().encode


class TooLarge(Exception):
    """More than is taken at once: 413."""


class Unreadable(Exception):
    """The body as a whole can't be read: 400."""


def inflated(body: bytes, encoding: str) -> bytes:
    """The body without its Content-Encoding (gzip or deflate), never more than MOST_BODY_BYTES. Raises TooLarge, Unreadable."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise Unreadable(f"Content-Encoding {encoding[:20]!r} isn't taken; send gzip, deflate or none")
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        plain = inflate.decompress(body, MOST_BODY_BYTES + 1)
    except zlib.error:
        raise Unreadable(f"the body is no {encoding}") from None
    if len(plain) > MOST_BODY_BYTES:
        raise TooLarge
    if not inflate.eof:
        raise Unreadable(f"the {encoding} body is cut off")
    return plain


def items(body: bytes, content_type: str) -> list[bytes]:
    """The body's records: its lines, its array's elements, or the one object. Raises TooLarge, Unreadable."""
    if content_type in LINES:
        found = [line for line in body.split(b"\n") if line and not line.isspace()]
    else:
        text = body.strip()
        if text[:1] == b"[":
            try:
                found = [bytes(raw) for raw in _raws.decode(text)]
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise Unreadable(f"not JSON: {error}") from None
        elif not text:
            found = []
        else:
            found = [text]
            if b"\n" in text:  # JSON lines under another name
                try:
                    msgspec.json.decode(text, type=msgspec.Raw)
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                    found = [line for line in text.split(b"\n") if line and not line.isspace()]
    if not found:
        raise Unreadable("the body is empty; send an event, an array of events, or an event a line")
    if len(found) > MOST_ITEMS:
        raise TooLarge
    return found


def event_in(raw: bytes) -> Event:
    """One event, canonical or in a structured CloudEvent's `data`. Raises BadEvent."""
    if len(raw) > MOST_EVENT_BYTES:
        raise BadEvent("", f"is longer than {MOST_EVENT_BYTES} bytes")
    if raw.count(b"{") + raw.count(b"[") > DEEPEST and _depth(raw) > DEEPEST:
        raise BadEvent("", f"is nested more than {DEEPEST} deep")
    if b'"specversion"' in raw:
        envelope = _object(raw)
        if "specversion" in envelope and "fact" not in envelope:
            return _of_envelope(envelope)
    return decode_event(raw)


def event_of_headers(raw: bytes, headers: Mapping[str, str]) -> Event:
    """One event in a binary CloudEvent: the body is `data`, the headers `ce-…` are the envelope. Raises BadEvent."""
    if len(raw) > MOST_EVENT_BYTES:
        raise BadEvent("", f"is longer than {MOST_EVENT_BYTES} bytes")
    for name in (*ENVELOPE, "specversion"):
        try:
            headers.get("ce-" + name, "").encode()
        except UnicodeEncodeError:
            raise BadEvent(name, "is no UTF-8") from None
    said = {name: headers["ce-" + name] for name in (*ENVELOPE, "specversion") if "ce-" + name in headers}
    return _of_envelope({"data": _object(raw)} | said)


def _object(raw: bytes) -> dict[str, Any]:
    try:
        return decode_record(raw)
    except Unmapped as error:
        raise BadEvent("", str(error)) from None


def _of_envelope(envelope: dict[str, Any]) -> Event:
    if envelope.get("specversion") != "1.0":
        raise BadEvent("specversion", "must be 1.0")
    data = envelope.get("data")
    if not isinstance(data, dict):
        raise BadEvent("data", "must hold the event, a JSON object")
    return decode_event(_json({name: envelope[name] for name in ENVELOPE if name in envelope} | data))


def _depth(raw: bytes) -> int:
    """How deep brackets nest, those in texts left out."""
    depth = deepest = 0
    text = escaped = False
    for byte in raw:
        if text:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                text = False
        elif byte == 0x22:
            text = True
        elif byte in (0x7B, 0x5B):
            depth += 1
            deepest = max(deepest, depth)
            if deepest > DEEPEST:
                return deepest
        elif byte in (0x7D, 0x5D):
            depth -= 1
    return deepest


def source_of(raw: bytes) -> str:
    """Which source a refused record says that it is of; '' if it can't be told."""
    try:
        fields = _any.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    name = fields.get("source") if isinstance(fields, dict) else None
    return name if isinstance(name, str) and len(name) <= 100 else ""


def refused(name: str, line: int, error: BadEvent, raw: bytes) -> Reject:
    """The reject of such a record."""
    return reject(name, line, str(error), raw)
