"""Compare the oracle with `tribo measure` on seeded histories: compare.py FIRST..LAST [--whole].

Prints the rows that differ, the oracle's marked `-`, ours `+`, for the smallest history that still differs; with --whole, for the whole one.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import histories
import oracle
import yaml

from tribo.measure.score import scoreboard
from tribo.measure.standards import Standards, compile_standards
from tribo.measure.whole import Input
from tribo.run.measure import measure_events
from tribo_schemas.config import parse_yaml
from tribo_schemas.event import BadEvent, decode_event, instant
from tribo_schemas.standard import standards_of

FREE = {"id", "customer", "evidence"}
EVIDENT = {"handoff", "ping_pong", "promise_broken", "standard_missed", "repeat_contact", "no_alternative", "recovered"}  # the definitions say which
Row = dict[str, Any]


def plain(value: Any) -> Any:
    """Comparable: free fields and nulls dropped, numbers rounded."""
    if isinstance(value, dict):
        kept = {key: plain(part) for key, part in sorted(value.items()) if key not in FREE and part is not None}
        return kept | {"evidence": sorted(value["evidence"])} if value.get("kind") in EVIDENT else kept
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return round(float(value), 3) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def taken(texts: list[str]) -> tuple[Input, list[Row]]:
    """The events of these lines, and what is none."""
    found, rejects = Input(), []
    for text in texts:
        try:
            found.add(decode_event(text))
        except BadEvent as error:
            rejects.append({"reason": str(error)})
    return found, rejects


def compiled(file: Row) -> Standards:
    """A standards file, ready for the fold."""
    return compile_standards(standards_of(parse_yaml(yaml.safe_dump(file).encode(), "standards.yaml")))


def measured(texts: list[str], file: Row, until: str | None) -> dict[str, list[Row]]:
    """What Tribo measures of these lines."""
    found, rejects = taken(texts)
    standards = compiled(file)
    rows, findings, tally = measure_events(found.events, standards, None if until is None else instant(until))
    return {
        "journeys": [row.row() for row in rows], "findings": [finding.row() for finding in findings],
        "standards": scoreboard(standards, tally), "rejects": rejects,
    }  # fmt: skip


def differences(events: list[Row], file: Row, until: str | None) -> list[str]:
    """The rows that differ."""
    texts = [json.dumps(event) for event in events]
    want = oracle.measure([("x", n, text) for n, text in enumerate(texts, 1)], file, None if until is None else oracle.instant(until))
    got = measured(texts, file, until)
    wrong = []
    for name in ("journeys", "findings", "standards"):
        ours, theirs = ([json.dumps(plain(row), sort_keys=True) for row in part[name]] for part in (got, want))
        for line in list(theirs):
            if line in ours:
                ours.remove(line)
                theirs.remove(line)
        wrong += [f"- {name}: {line}" for line in theirs] + [f"+ {name}: {line}" for line in ours]
    if len(want["rejects"]) != len(got["rejects"]):
        wrong.append(f"rejects: {len(want['rejects'])} and {len(got['rejects'])}")
    return wrong


def of_seed(seed: int) -> tuple[list[Row], Row, str | None]:
    """A seed's events, standards, and the instant at which the clock ends."""
    return histories.history(seed), histories.standards(seed), histories.until(seed)


def smallest(events: list[Row], file: Row, until: str | None) -> tuple[list[Row], Row]:
    """A history and standards that still differ, and no longer would without any one event or standard."""
    step = len(events)
    while step := step // 2:
        at = 0
        while at < len(events):
            fewer = events[:at] + events[at + step :]
            if differences(fewer, file, until):
                events = fewer
            else:
                at += step
    for entry in list(file["standards"]):
        fewer_standards = {**file, "standards": [other for other in file["standards"] if other is not entry]}
        if differences(events, fewer_standards, until):
            file = fewer_standards
    return events, file


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds")
    parser.add_argument("--whole", action="store_true")
    options = parser.parse_args()
    first, _, last = options.seeds.partition("..")
    failed = 0
    for seed in range(int(first), int(last or first) + 1):
        events, file, until = of_seed(seed)
        wrong = differences(events, file, until)
        failed += bool(wrong)
        if wrong and not options.whole:
            events, file = smallest(events, file, until)
            wrong = differences(events, file, until)
            told = [json.dumps(event) for event in events] + [f"standards {file['standards']}, until {until}"]
            print(f"seed {seed}:\n  " + "\n  ".join(told + wrong))
        elif wrong:
            print(f"seed {seed}: {len(wrong)} rows differ\n  " + "\n  ".join(wrong))
    print(f"{int(last or first) - int(first) + 1 - failed} same, {failed} differ")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
