"""Benchmarks, never timed by a test: decoding alone, `tribo measure`, and the durable run, in events per CPU second.

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
BATCH = 10_000  # as `batch_events` is when nobody says otherwise


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
    from tribo_schemas.event import decode_event

    collect_seldom()
    standards = compile_standards(None)
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger.open(folder)
        heard = Heard({}, START)
        rows = iter(lines(path))
        records = 0
        while batch := [decode_event(line) for _, line in islice(rows, BATCH)]:
            now = max(event.time for event in batch)
            heard.take(batch, now)
            ledger.apply(batch, heard.frontier(now), standards, received_at=now)
            records += len(batch)
        ledger.close()
    return records


def main() -> None:
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
        write(path, events)
        for what in ("decoding", "measure", "durable"):
            subprocess.run([sys.executable, __file__, what, str(path)], check=True)


if __name__ == "__main__":
    main()
