"""Benchmarks, never timed by a test: decoding alone, `tribo measure`, and the durable run, in events per CPU second.

    python tests/bench.py crowded 10000 1000000     among so many open journeys
    python tests/bench.py [EVENTS]        default 1,000,000: about 400 bytes each, 12 to a journey, 5 % doubled, 2 % out of order
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from tribo_schemas.event import stamp

STORY = (
    ("shop", "purchase", "opened", "order"), ("shop", "purchase", "promised", "order"), ("billing", "billing", "opened", "invoice"),
    ("billing", "billing", "resolved", "invoice"), ("shop", "purchase", "kept", "order"), ("shop", "purchase", "resolved", "order"),
    ("helpdesk", "service", "opened", "case"), ("helpdesk", "service", "assigned", "case"), ("helpdesk", "service", "answered", "case"),
    ("helpdesk", "service", "customer_replied", "case"), ("helpdesk", "service", "assigned", "case"), ("helpdesk", "service", "resolved", "case"),
)  # fmt: skip
START = 1_772_409_600_000
BATCH = 40_000  # as `batch_events` is when nobody says otherwise
SMALL_BATCH = 2_000


def write(path: Path, events: int) -> None:
    rng = random.Random(3)
    rows: list[tuple[int, str]] = []
    for journey in range(events // len(STORY) + 1):
        at = START + journey * 37_000
        for number, (source, touchpoint, fact, kind) in enumerate(STORY):
            at += rng.randint(60_000, 40_000_000)
            event = {
                "id": f"{journey:08d}-{number:04d}-{rng.getrandbits(48):012x}", "source": source, "time": stamp(at), "touchpoint": touchpoint,
                "fact": fact, "item": f"{kind}:{journey}", "customer": f"customer-{journey % max(1, events // 24)}", "channel": "web",
                "note": "parcel status back not missing address asks call changed order will customer voucher agent split scan checked delayed",
            }  # fmt: skip
            if kind != "order":
                event["about"] = [f"order:{journey}"]
            if fact == "assigned":
                event["team"] = f"team-{rng.randint(1, 9)}"
            if fact in ("promised", "kept"):
                event["promise"] = "delivery"
            if fact == "promised":
                event["due"] = stamp(at + 3 * 86_400_000)
            rows.append((at + (rng.randint(0, 3_600_000) if rng.random() < 0.02 else 0), json.dumps(event, separators=(",", ":"))))
    rows.sort()
    with path.open("w") as file:
        for index, (_, line) in enumerate(rows[:events]):
            file.write(line + "\n")
            if rng.random() < 0.05:
                file.write(rows[max(0, index - rng.randint(0, 1000))][1] + "\n")


def decoding(path: Path) -> int:
    from tribo.run.inputs import reading

    return reading([str(path)], None)(lambda event: None, print)


def measuring(path: Path) -> int:
    from tribo.measure.standards import compile_standards
    from tribo.run.inputs import reading
    from tribo.run.measure import measure

    with tempfile.TemporaryDirectory() as out:
        return int(measure(reading([str(path)], None), compile_standards(None), None, Path(out), b"key")["records"])


def durable(path: Path) -> int:
    from tribo.ledger.ledger import Ledger
    from tribo.measure.standards import compile_standards
    from tribo.run.clock import Heard
    from tribo.run.garbage import collect_seldom
    from tribo.wire.readers import lines
    from tribo_schemas.event import decode_events

    collect_seldom()
    standards = compile_standards(None)
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger.open(folder)
        heard = Heard({}, START)
        rows = (line for _, line in lines(path))
        records = 0
        while batch := decode_events(list(islice(rows, BATCH))):
            now = max(event.time for event in batch)
            heard.take(batch, now)
            ledger.apply(batch, heard.frontier(now), standards, received_at=now)
            records += len(batch)
        ledger.close()
    return records


def crowded(journeys: int, more: int = 100_000) -> None:
    """What an event costs the durable run among so many open journeys, each with a promise that waits: events on any of them, at random.

    In batches so small that few of ten thousand journeys are met twice in one: what a batch brings of one journey shares its reading
    and writing, and that is not what is asked here.
    """
    from tribo.ledger.ledger import Ledger
    from tribo.measure.standards import compile_standards
    from tribo.run.clock import Heard
    from tribo.run.garbage import collect_seldom
    from tribo_schemas.event import decode_event

    collect_seldom()
    rng, standards, heard = random.Random(5), compile_standards(None), Heard({}, START)

    def said(number: int, fact: str, journey: int, at: int, **rest: object) -> bytes:
        row = {"id": f"{fact}-{number}", "source": "helpdesk", "time": stamp(at), "touchpoint": "service", "fact": fact,
               "item": f"case:{journey}", "customer": f"customer-{journey}", "channel": "web", **rest}  # fmt: skip
        return json.dumps(row).encode()

    def story() -> Iterator[bytes]:
        for journey in range(journeys):
            yield said(journey, "opened", journey, START + journey)
            yield said(journey, "promised", journey, START + journey, promise="answer", due=stamp(START + 90 * 86_400_000))
        for number in range(more):
            fact = ("assigned", "answered", "customer_replied")[number % 3]
            rest = {"team": f"team-{number % 9}"} if fact == "assigned" else {}
            yield said(number, fact, rng.randrange(journeys), START + 86_400_000 + number, **rest)

    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger.open(folder)
        lines, taken, cpu = story(), 0, 0.0
        while some := list(islice(lines, min(BATCH, 2 * journeys - taken) if taken < 2 * journeys else SMALL_BATCH)):
            began = time.process_time()
            batch = [decode_event(line) for line in some]
            now = max(event.time for event in batch)
            heard.take(batch, now)
            ledger.apply(batch, heard.frontier(now), standards, received_at=now)
            cpu += time.process_time() - began if taken >= 2 * journeys else 0
            taken += len(batch)
        size = ledger.db.bytes_used() / 2**20
        ledger.close()
        began = time.perf_counter()
        Ledger.open(folder).close()
        opened = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{journeys:>10,} open journeys {1e6 * cpu / more:>6.1f} µs of CPU an event {peak:>7,.0f} MB at the peak "
        f"{size:>7,.0f} MB on disk, opened again in {opened:.2f} s"
    )


def main() -> None:
    if len(sys.argv) > 2 and sys.argv[1] == "crowded":
        for journeys in sys.argv[2:]:
            subprocess.run([sys.executable, "-c", f"import bench; bench.crowded({int(journeys)})"], check=True, cwd=Path(__file__).parent)
        return
    if len(sys.argv) > 2:
        what, path = sys.argv[1], Path(sys.argv[2])
        began = time.process_time()
        records = {"decoding": decoding, "measure": measuring, "durable": durable}[what](path)
        cpu = time.process_time() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{what:10} {records:>10,} events {records / cpu:>10,.0f} events per CPU second {peak:>7,.0f} MB at the peak")
        return
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.jsonl"
        writing = f"import bench; bench.write(bench.Path({str(path)!r}), {events})"
        subprocess.run([sys.executable, "-c", writing], check=True, cwd=Path(__file__).parent)  # a child's peak begins with its parent's
        for what in ("decoding", "measure", "durable"):
            subprocess.run([sys.executable, __file__, what, str(path)], check=True)


if __name__ == "__main__":
    main()
