"""Lines read together say what each says when it is read by itself."""

from __future__ import annotations

import json

import pytest

from tribo_schemas.event import LINES_AT_ONCE, BadEvent, Event, decode_event, decode_events

GOOD = {"id": "e1", "source": "crm", "time": "2026-03-02T09:00:00Z", "touchpoint": "service", "fact": "opened", "item": "case:1"}


def line(**fields: object) -> bytes:
    return json.dumps({**GOOD, **fields}, separators=(",", ":")).encode()


ODD = {
    "two values on a line, and one over the next two": [line(id="a") + b" " + line(id="b"), line(id="c")[:-1] + b',"x":', b"1}", line(id="d")],
    "an object within an object, cut in two": [line(id="a")[:-1] + b',"x":{"y":{}', b"{}}}", line(id="b")],
    "not JSON": [line(), b"{", line(id="b"), b"}", b"{}"],
    "a key twice": [line(), line(id="b")[:-1] + b',"id":"c"}'],
    "a key twice, with a blank before a colon": [line(), line(id="b")[:-1] + b',"id" :"c"}'],
    "a key twice, written otherwise": [line(), line(id="b")[:-1] + b',"i\\u0064":"c"}'],
    "a NUL": [line(), line(customer="a\x00b")],
    "no UTF-8": [line(), line().replace(b"crm", b"\xff")],
    "a field that is wrong": [line(), line(fact="nothing"), line(id="")],
    "an instant that is none": [line(), line(time="2026-02-30T09:00:00Z"), line(fact="promised", promise="p", due="soon")],
    "100,000 levels": [line(), b"[" * 100_000, b'{"a":' * 100_000],
    "unknown fields, nested": [line(note={"id": {"id": 1}}), line(note=[{"a": "\":"}])],
    "line breaks in a value, and a line of nothing": [line(id="a")[:-1] + b',"x":\n1}', line(id="b"), b""],
    "an object over two lines": [line(id="a")[:-1] + b',"x":{\n"y":1}', b"{}}", line(id="b")],
    "two values with a line break between, and a line of nothing": [line(id="a") + b"\n" + line(id="b"), b"", line(id="c")],
    "a wrong one after what is read at once": [*(line(id=str(number)) for number in range(LINES_AT_ONCE)), line(id="a"), line(time="soon")],
    "more than is read at once": [line(id=str(number)) for number in range(LINES_AT_ONCE)] + [b"x", line(id="last")],
}


def alone(raw: bytes) -> Event | str:
    try:
        return decode_event(raw)
    except BadEvent as error:
        return str(error)


@pytest.mark.parametrize("case", ODD)
def test_together_as_alone(case: str) -> None:
    lines = ODD[case]
    together = [str(found) if isinstance(found, BadEvent) else found for found in decode_events(lines)]
    assert together == [alone(raw) for raw in lines]
