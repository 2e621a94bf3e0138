"""Workers killed, paused beyond their session, added and removed, broker and database restarted, while events come.

    python tests/torture.py [EVENTS]        100 kills, 20 pauses, 5 restarts of each; prints what happened, and fails if anything differs
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path
from typing import Any

from broker import Broker
from fleet import Counters, Feed, Fleet, demo_standards, difference, events_kept, expected, finished, history, real_servers, until
from servers import PostgresServer
from tribo.run.distributed.settings import Distributed
from tribo.run.distributed.topics import make_topics

HOUR = 3_600_000
PAUSE_SECONDS = 8.0  # the session lasts 6


def torture(
    kafka: Broker, postgres: PostgresServer, database: str, folder: Path, *, events: int, kills: int, pauses: int, changes: int,
    restarts: int, seed: int,
) -> dict[str, Any]:  # fmt: skip
    """Do all of it, in an order that the seed draws; asserts that the answer is that of one fold, and says what happened."""
    rng = random.Random(seed)
    faults = ["kill measure"] * (kills - kills // 4) + ["kill wire"] * (kills // 4) + ["pause measure"] * pauses
    faults += ["add and remove"] * changes + ["restart broker", "restart database"] * restarts
    rng.shuffle(faults)
    rows = history(events, seed, time.time_ns() // 1_000_000 - HOUR)
    standards, text = demo_standards()
    file = folder / "standards.yaml"
    file.write_text(text)
    prefix = f"torture-{time.time_ns()}"
    settings = Distributed(
        kafka=kafka.address, database=database, prefix=prefix, partitions=6, standards=file,
        topics=[{"topic": f"{prefix}.crm", "partitions": 3}],
    )  # fmt: skip
    make_topics(settings)
    began = time.monotonic()
    fleet = Fleet(settings, folder)
    feed = Feed(settings, rows, len(faults) * 4.0)
    counters = Counters(database)
    try:
        fleet.start("wire", 2)
        fleet.start("measure", 3)
        feed.start()
        counters.start()
        until(lambda: events_kept(database) > 0, fleet.tail)
        for fault in faults:
            if fault.startswith("kill"):
                fleet.kill(fault.removeprefix("kill "), rng)
            elif fault == "pause measure":
                fleet.pause("measure", rng, PAUSE_SECONDS)
            elif fault == "add and remove":
                fleet.start("measure")
                time.sleep(3 * rng.random())
                fleet.remove("measure")
            elif fault == "restart broker":
                kafka.kill() if rng.random() < 0.5 else kafka.stop()
                kafka.start()
            else:
                postgres.stop(hard=rng.random() < 0.5)
                time.sleep(rng.random())
                postgres.start()
            time.sleep(3 * rng.random())
        feed.join(300)
        assert feed.failed is None and not feed.is_alive(), f"{feed.sent} sent: {feed.failed}"
        until(lambda: events_kept(database) >= events, lambda: f"{events_kept(database)} of {events} events\n{fleet.state()}\n{fleet.tail()}", 150)
    finally:
        fleet.stop()
        counters.stop()
    seconds = time.monotonic() - began
    end = time.time_ns() // 1_000_000
    wrong = difference(finished(settings, standards, text, end), expected(rows, standards, end))
    assert not wrong, wrong
    assert not counters.fell, counters.fell[:3]
    assert events_kept(database) == events
    return {
        "events": events, "sent": feed.sent, "kills": kills, "pauses": pauses, "added and removed": changes, "restarts of broker": restarts,
        "restarts of database": restarts, "workers started again": fleet.restarts, "looks at the counters": counters.looks,
        "lost": 0, "doubled": 0, "counters that fell": 0, "seconds": round(seconds),
    }  # fmt: skip


def main() -> None:
    """The long run."""
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 500_000
    with real_servers("torture") as (kafka, server, database, folder):
        told = torture(kafka, server, database, folder, events=events, kills=100, pauses=20, changes=20, restarts=5, seed=11)
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
