"""A slice of `make fuzz`, and what hypothesis thinks of: nothing crashes, nothing answers 5xx, nothing loses count."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from aiohttp.test_utils import TestServer
from hypothesis import given, settings
from hypothesis import strategies as st

import fuzz
from tribo.run.accept import event_in
from tribo.run.ingest import ingest_application
from tribo.wire.mapping import Mapping, decode_record, packaged
from tribo.wire.rejects import Reject
from tribo_schemas.event import FACTS, BadEvent, Event, canonical, decode_event

HERE = Path(__file__).parent


def test_bodies_that_nobody_meant_well() -> None:
    report = fuzz.Report()
    asyncio.run(fuzz.bodies(12_000, 20260302, report))
    assert report.bodies == 12_000
    assert min(report.taken, report.rejected) > 3_000
    assert set(report.statuses) >= {202, 400, 401, 403, 404, 415}
    assert report.in_ledger


def test_configurations_files_and_signatures_that_nobody_meant_well() -> None:
    told = dict(fuzz.parts(fuzz.Report(), 250, 400, 4_000, 20260302))
    assert min(told["250 mappings and standards files"][name] for name in ("taken", "refused")) > 3
    assert min(told["400 files (CSV, JSON, JSON lines)"][name] for name in ("events", "rejects", "refused files")) > 20
    assert told["4,000 signatures"] == {"refused": 4_000}


def test_no_zone_of_the_host_changes_anything() -> None:
    program = "import asyncio, fuzz; r = fuzz.Report(); asyncio.run(fuzz.bodies(1500, 5, r, ledger=False)); print(r.digest, r.taken, r.rejected)"
    running = [
        subprocess.Popen([sys.executable, "-c", program], env=os.environ | {"TZ": zone}, cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for zone in ("UTC", "Asia/Kolkata", "America/New_York")
    ]
    said = [process.communicate(timeout=120)[0] for process in running]
    assert len(set(said)) == 1, said
    assert int(said[0].split()[1]) > 300


TEXT = st.text(max_size=30) | st.sampled_from(("case:1", "2026-03-02T09:00:00Z", "2026-03-02T09:00:60Z", "2026-03-02T09:00:00", "service", "\x00", ":", "x" * 1001))
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=6,
)  # fmt: skip
FIELDS = ("id", "source", "time", "touchpoint", "item", "customer", "about", "team", "owner", "by", "channel", "promise", "due", "topic", "score", "scale", "retracts", "sequence", "synthetic")
GOOD = {
    "id": "e1", "source": "crm", "time": "2026-03-02T09:00:00Z", "touchpoint": "service", "item": "case:1", "promise": "p",
    "due": "2026-03-02T10:00:00Z", "score": 1, "scale": 5, "customer": "c", "retracts": "e0",
}  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(FACTS), st.dictionaries(st.sampled_from(FIELDS), VALUE, max_size=3))
def test_an_event_is_taken_whole_or_refused_by_a_field(fact: str, changes: dict[str, Any]) -> None:
    raw = json.dumps(GOOD | {"fact": fact} | changes, ensure_ascii=True).encode()
    try:
        event = event_in(raw)
    except BadEvent as error:
        assert str(error)
        return
    again = decode_event(json.dumps(canonical(event)))
    assert canonical(again) == canonical(event)


MAPPINGS = [Mapping.load(name) for name in packaged()]
RECORDS = [(mapping, raw) for mapping in MAPPINGS for example in mapping.examples for raw in example.raw]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(RECORDS), st.data())
def test_a_record_becomes_events_or_a_reject(chosen: tuple[Mapping, dict[str, Any]], data: st.DataObject) -> None:
    mapping, raw = chosen
    record = json.loads(json.dumps(raw))
    for _ in range(data.draw(st.integers(1, 3))):
        here: Any = record
        while isinstance(here, dict) and here:
            name = data.draw(st.sampled_from(sorted(here)))
            if not isinstance(here[name], dict | list) or data.draw(st.booleans()):
                here[name] = data.draw(VALUE)
                break
            here = here[name][0] if isinstance(here[name], list) and here[name] else here[name]
    text = json.dumps(record)
    if "NaN" in text or "Infinity" in text:
        return
    for made in mapping.events([decode_record(text.encode())]):
        assert isinstance(made, Event | Reject)
        if isinstance(made, Event):
            assert canonical(decode_event(json.dumps(canonical(made)))) == canonical(made)


def test_bytes_that_are_no_request_end_nothing() -> None:
    """Over a real socket: whatever comes, the next request is answered."""
    requests = (
        b"\x00" * 100, b"GET\r\n\r\n", b"POST /events HTTP/9.9\r\n\r\n", b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", b"\x16\x03\x01\x02\x00",
        b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef", b"POST /events HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 5000 + b"\r\n",
        b"POST /events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"POST /events HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"POST /events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\xfe\r\nContent-Type: \xff\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
        b"POST /sources/\xff%00%2f HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}", b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\nConnection: close\r\n\r\n\x1f\x8b\x08",
    )  # fmt: skip

    async def story() -> None:
        server = TestServer(ingest_application(fuzz.Counting(), None, fuzz.senders()))
        await server.start_server(auto_decompress=False)
        try:
            for raw in requests:
                reader, writer = await asyncio.open_connection(server.host, server.port)
                writer.write(raw)
                writer.write_eof()
                said = await asyncio.wait_for(reader.read(200), 20)
                assert not said.startswith(b"HTTP/1.1 5") and not said.startswith(b"HTTP/1.0 5"), (raw[:80], said)
                writer.close()
            reader, writer = await asyncio.open_connection(server.host, server.port)
            body = json.dumps(GOOD | {"fact": "opened"}).encode()
            writer.write(b"POST /events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            assert (await reader.read(100)).startswith(b"HTTP/1.1 202")
            writer.close()
        finally:
            await server.close()

    asyncio.run(story())


def test_what_was_once_found_stays_mended() -> None:
    """Headers that are no UTF-8, and a key that stands twice inside a CloudEvent."""
    inner = '{"touchpoint": "service", "fact": "opened", "item": "case:1", "item": "case:2"}'
    for body in (
        fuzz.Body("/events", b"{}", [("ce-specversion", "1.0"), ("ce-id", "e1"), ("ce-source", "crm"), ("ce-time", "\udcff")]),
        fuzz.Body("/events", inner.encode(), [("ce-specversion", "1.0"), ("ce-id", "e1"), ("ce-source", "crm"), ("ce-time", "2026-03-02T09:00:00Z")]),
        fuzz.Body("/events", f'{{"specversion": "1.0", "id": "e1", "source": "crm", "time": "2026-03-02T09:00:00Z", "data": {inner}}}'.encode(), []),
        fuzz.Body("/events", b"{}", [("Authorization", "Bearer \udcff")]),
    ):

        async def answered(body: fuzz.Body = body) -> tuple[int, dict[str, Any]]:
            return await fuzz.Site(fuzz.Counting()).answer(body)

        status, said = asyncio.run(answered())
        assert (status, said["taken"]) == (400, 0), said
