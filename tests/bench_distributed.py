"""The distributed path, measured: events per CPU second through `wire` and `measure`, what PostgreSQL takes, and how long it is from
an event's acceptance until its finding can be read.

    python tests/bench_distributed.py [EVENTS]      default 400,000 of the invented company; one wire worker, two measure workers

What is read as fast as may be is 40 % of them, of a company of 400 orders a day. What then comes at measured rates are the others, of one
of 20,000: at a thousand records a second the small one's four days would pass in ten seconds, and half of its customers' events would
come within a tenth of a second of each other, out of order whenever a partition is read before another. "small" as second argument
measures the rates on it nevertheless.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psycopg
from kafka import KafkaProducer

from fleet import Feed, Fleet, Row, demo_standards, events_kept, history, memory_of, real_servers
from servers import PostgresServer
from tribo.ledger.ledger import Reader
from tribo.run.distributed.settings import Distributed
from tribo.run.distributed.topics import make_topics
from tribo_schemas.event import stamp

TICKS = os.sysconf("SC_CLK_TCK")
LATENCY_SECONDS = 10
PROBES_A_SECOND = 10
SMALL, LARGE = 400, 20_000
"""Orders a day."""


def cpu_of(pid: int) -> float:
    """CPU seconds of a process and of those of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS


def postgres_cpu(server: PostgresServer) -> float:
    """CPU seconds of a server and its sessions, those that have ended among them."""
    assert server._process is not None
    main = server._process.pid
    children = [int(child) for child in Path(f"/proc/{main}/task/{main}/children").read_text().split()]
    used = cpu_of(main)
    for child in children:
        with suppress(FileNotFoundError):  # a session that has ended since; its seconds are the server's now
            used += cpu_of(child)
    return used


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


class Latency(threading.Thread):
    """Complaints sent by HTTP at a steady pace: from the answer 202 until each one's finding can be read."""

    def __init__(self, address: str, database: str) -> None:
        super().__init__(daemon=True)
        self.seconds: list[float] = []
        self._address, self._database = address, database
        self._accepted: dict[str, float] = {}

    def run(self) -> None:
        began = time.monotonic()
        sent = 0
        with Reader(self._database) as reader:
            while time.monotonic() < began + LATENCY_SECONDS or (self._accepted and time.monotonic() < began + 3 * LATENCY_SECONDS):
                if time.monotonic() < began + LATENCY_SECONDS and sent < (time.monotonic() - began) * PROBES_A_SECOND:
                    self._send(f"case:probe-{time.time_ns()}")
                    sent += 1
                if self._accepted:
                    found = reader.rows("SELECT item FROM findings WHERE item IN (?*) AND kind = 'complaint'", (list(self._accepted),))
                    for (item,) in found:
                        self.seconds.append(time.monotonic() - self._accepted.pop(item))
                time.sleep(0.01)
        self.seconds += [float("inf")] * len(self._accepted)

    def _send(self, item: str) -> None:
        now = stamp(time.time_ns() // 1_000_000)
        events = [
            {"id": f"{item}-{fact}", "source": "probe", "time": now, "touchpoint": "service", "fact": fact, "item": item, "customer": item}
            for fact in ("opened", "complained")
        ]
        request = urllib.request.Request(f"{self._address}events", json.dumps(events).encode(), {"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=30).close()
        self._accepted[item] = time.monotonic()


def transactions(fleet: Fleet) -> tuple[float, float, float]:
    """Of all measure workers so far: transactions, the seconds that they took, the events in them."""
    text = "".join(urllib.request.urlopen(f"{address}metrics", timeout=10).read().decode() for address in fleet.addresses("measure"))

    def added(name: str) -> float:
        return sum(float(value) for value in re.findall(rf"^{name}{{.*}} (.+)$", text, re.MULTILINE))

    return added("tribo_measure_batch_seconds_count"), added("tribo_measure_batch_seconds_sum"), added("tribo_measure_batch_events_sum")


def used_by(fleet: Fleet) -> dict[str, float]:
    """CPU seconds of the workers so far, by kind."""
    used = {"wire": 0.0, "measure": 0.0}
    for kind, process in fleet._workers:
        used[kind] += cpu_of(process.pid)
    return used


def wait(reached: Callable[[], bool]) -> None:
    while not reached():
        time.sleep(0.2)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 400_000
    now = time.time_ns() // 1_000_000 - 3_600_000
    share = count * 4 // 10
    rows = history(count, 3, now, SMALL)
    first, rest = rows[:share], rows[share:]
    if sys.argv[2:] != ["small"]:
        rest = [renamed(row) for row in history(count - share, 4, now, LARGE)]
    _, text = demo_standards()
    with real_servers("bench") as (kafka, server, database, folder):
        file = folder / "standards.yaml"
        file.write_text(text)
        topics = [{"topic": "bench.crm", "partitions": 4}]
        settings = Distributed(kafka=kafka.address, database=database, prefix="bench", partitions=6, standards=file, topics=topics)
        make_topics(settings)
        bench(settings, first, rest, server, folder)


def renamed(row: Row) -> Row:
    """An event of another company: nobody and nothing in it is known from the first."""
    more = {"about": [f"{other}-l" for other in row["about"]]} if row.get("about") else {}
    if row.get("customer"):
        more["customer"] = f"{row['customer']}-l"
    return {**row, "id": f"{row['id']}-l", "item": f"{row['item']}-l", **more}


def publish(settings: Distributed, rows: list[Row]) -> None:
    """Have these in the source topic."""
    producer = KafkaProducer(bootstrap_servers=settings.kafka, acks="all", linger_ms=50, batch_size=500_000)
    for row in rows:
        producer.send("bench.crm", json.dumps(row).encode())
    producer.close()


def distinct(rows: list[Row]) -> int:
    """How many events these are, each counted once."""
    return len({(row["source"], row["id"]) for row in rows})


def bench(settings: Distributed, first: list[Row], rest: list[Row], server: PostgresServer, folder: Path) -> None:
    share = len(first)
    fleet = Fleet(settings, folder)
    database = settings.database
    try:
        publish(settings, first)
        postgres_before = postgres_cpu(server)
        began = time.monotonic()
        fleet.start("wire")
        fleet.start("measure", 2)
        wait(lambda: events_kept(database) > 0)
        at_first, starting = events_kept(database), used_by(fleet)
        wanted = distinct(first)
        wait(lambda: events_kept(database) >= wanted)
        seconds = time.monotonic() - began
        used = used_by(fleet)
        database_seconds = postgres_cpu(server) - postgres_before
        for kind, cpu in used.items():
            print(f"{kind:10} {share:>9,} records {share / cpu:>10,.0f} a CPU second, its start among them")
        rest_of_it = (wanted - at_first) / (used["measure"] - starting["measure"])
        print(f"{'measure':10} {wanted - at_first:>9,} events  {rest_of_it:>10,.0f} a CPU second after the first {at_first:,}")
        print(f"{'postgres':10} {share:>9,} records {share / database_seconds:>10,.0f} a CPU second of the database")
        print(f"{'all':10} {share:>9,} records {share / seconds:>10,.0f} a second by the clock, from start to the last one folded")
        for kind, process in fleet._workers:
            print(f"{kind:10} {memory_of(process.pid):>9,} MB")
        address = fleet.addresses("wire")[0]
        top = share / seconds
        begun, rest = rest[: len(rest) // 4], rest[len(rest) // 4 :]  # journeys that go on at the measured rates
        publish(settings, begun)
        wanted = distinct(first + begun)
        wait(lambda: events_kept(database) >= wanted)
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("ANALYZE")
        for part in (0.1, 0.5, 0.9):
            many = int(top * part * LATENCY_SECONDS)
            if many > len(rest):
                print(f"latency    at {part:.0%}: not measured, {many - len(rest):,} events too few; name more")
                continue
            feed = Feed(settings, rest[:many], LATENCY_SECONDS)
            rest = rest[many:]
            probe = Latency(address, database)
            before = transactions(fleet)
            feed.start()
            probe.start()
            probe.join()
            feed.join()
            number, took, events = (now - then for now, then in zip(transactions(fleet), before, strict=True))
            told = [quantile(probe.seconds, share) for share in (0.5, 0.9, 0.99)]
            print(
                f"{'latency':10} at {part:.0%} of that rate ({top * part:,.0f} records a second): "
                f"{told[0]:.2f} s, {told[1]:.2f} s, {told[2]:.2f} s (p50, p90, p99 of {len(probe.seconds)}); "
                f"a transaction took {took / number:.2f} s and {events / number:.0f} events"
            )
    finally:
        fleet.stop()


if __name__ == "__main__":
    main()
