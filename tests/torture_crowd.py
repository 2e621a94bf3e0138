"""A `measure` worker among a million open journeys, each with a promise that waits: its memory, and how soon it works again after a kill.

    python tests/torture_crowd.py [JOURNEYS]        default 1,000,000; prints what it saw, and fails if a deadline didn't fire

The journeys are written to the ledger directly, as the worker would have; what it is measured by comes through the broker.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from broker import Broker
from fleet import Feed, Fleet, events_kept, memory_of, real_servers, until
from tribo.ledger.ledger import Ledger, Reader
from tribo.measure.standards import compile_standards
from tribo.run.clock import ALLOWANCE, Heard
from tribo.run.distributed.records import partition_of
from tribo.run.distributed.settings import Distributed
from tribo.run.distributed.topics import make_topics
from tribo.run.garbage import collect_seldom
from tribo_schemas.event import Event, decode_event, stamp

PARTITIONS = 6
BATCH = 10_000
DUE_SOON = 600
SOON_MS = ALLOWANCE - 20_000  # a word from their source some 20 s after loading lets them fire
DAY = 86_400_000
EVENTS, SECONDS = 20_000, 20.0  # what comes while it is measured


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def story(journey: int, at: int, due: int) -> Iterator[dict[str, Any]]:
    for fact, rest in (("opened", {}), ("promised", {"promise": "answer", "due": stamp(due)})):
        yield {
            "id": f"{fact}-{journey}", "source": "helpdesk", "time": stamp(at), "touchpoint": "service", "fact": fact,
            "item": f"case:{journey}", "customer": f"customer-{journey}", **rest,
        }  # fmt: skip


def load(database: str, journeys: int) -> None:
    """Write the journeys, each in the partition where its events would travel; the last DUE_SOON fire in a moment."""
    collect_seldom()
    standards = compile_standards(None)
    ledgers = [Ledger.open(database, partition=number) for number in range(PARTITIONS)]
    for ledger in ledgers:
        ledger.histories_kept = 0
    numbers = iter(range(journeys))
    while some := list(islice(numbers, BATCH)):
        now = now_ms()
        parts: dict[int, list[Event]] = {}
        for journey in some:
            soon = journey >= journeys - DUE_SOON
            for row in story(journey, now - 2 * ALLOWANCE if soon else now, now - SOON_MS if soon else now + 90 * DAY):
                event = decode_event(json.dumps(row))
                parts.setdefault(partition_of(event, PARTITIONS), []).append(event)
        for number, events in parts.items():
            heard = Heard({}, now)
            heard.take(events, now)
            ledgers[number].apply(events, heard.frontier(now), standards, received_at=now)
    for ledger in ledgers:
        ledger.close()


def more(journeys: int, count: int, start: int) -> list[dict[str, Any]]:
    """Events on any of the journeys, of now."""
    return [
        {
            "id": f"answered-{start + number}", "source": "helpdesk", "time": stamp(now_ms() + number), "touchpoint": "service",
            "fact": "answered", "item": f"case:{(start + number) * 7919 % journeys}", "customer": f"customer-{(start + number) * 7919 % journeys}",
        }
        for number in range(count)
    ]  # fmt: skip


def broken(database: str) -> int:
    with Reader(database) as reader:
        ((count,),) = reader.rows("SELECT count(*) FROM findings WHERE kind = 'promise_broken' AND status = 0")
        return int(count)


def any_kept(database: str, start: int) -> bool:
    """Whether an event of those from this number on was taken: by the index, since counting millions takes a second."""
    with Reader(database) as reader:
        ids = [f"answered-{start + number}" for number in range(1000)]
        query = "SELECT 1 FROM events e JOIN sources s ON s.source = e.source WHERE s.name = ? AND e.id IN (?*) LIMIT 1"
        return bool(reader.rows(query, ("helpdesk", ids)))


def crowd(kafka: Broker, database: str, folder: Path, journeys: int) -> dict[str, Any]:
    began = time.monotonic()
    load(database, journeys)
    loading = time.monotonic() - began
    topic = "crowd.helpdesk"
    settings = Distributed(
        kafka=kafka.address, database=database, prefix="crowd", partitions=PARTITIONS, topics=[{"topic": topic, "partitions": 2}],
        instance="crowd",
    )  # fmt: skip
    make_topics(settings)
    fleet = Fleet(settings, folder)
    try:
        fleet.start("wire")
        fleet.start("measure")
        reached = 2 * journeys + EVENTS
        feed = Feed(settings, more(journeys, EVENTS, 0), SECONDS)
        feed.start()
        until(lambda: events_kept(database) >= reached, lambda: f"{events_kept(database)} of {reached} events\n{fleet.tail()}")
        worker = next(process for kind, process in fleet._workers if kind == "measure")
        peak = memory_of(worker.pid, "VmHWM")
        worker.kill()
        killed = time.monotonic()
        feed = Feed(settings, more(journeys, EVENTS, EVENTS), SECONDS)
        feed.start()
        until(lambda: any_kept(database, EVENTS), fleet.tail)
        again = time.monotonic() - killed
        reached += EVENTS
        until(lambda: events_kept(database) >= reached, lambda: f"{events_kept(database)} of {reached} events\n{fleet.tail()}")
        until(lambda: broken(database) >= DUE_SOON, lambda: f"{broken(database)} of {DUE_SOON} deadlines fired\n{fleet.tail()}", 60)
        worker = next(process for kind, process in fleet._workers if kind == "measure")
        peaks = [peak, memory_of(worker.pid, "VmHWM")]
    finally:
        fleet.stop()
    assert broken(database) == DUE_SOON, f"{broken(database)} promises broken, of {DUE_SOON} that were due"
    return {
        "open journeys": journeys, "loaded in seconds": round(loading), "events through the worker": 2 * EVENTS,
        "deadlines that came due and fired": DUE_SOON, "most memory of the worker, MB": max(peaks),
        "from kill -9 to the next event in the ledger, seconds": round(again, 2),
    }  # fmt: skip


def main() -> None:
    journeys = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with real_servers("crowd") as (kafka, _, database, folder):
        print(json.dumps(crowd(kafka, database, folder, journeys), indent=1))


if __name__ == "__main__":
    main()
