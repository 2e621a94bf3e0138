"""`tribo measure`: files in, rows out, in one go and without a ledger."""

from __future__ import annotations

import gc
import json
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from itertools import islice
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any

import msgspec

from tribo.measure.advance import Frontier, fold
from tribo.measure.score import scoreboard
from tribo.measure.standards import Standards
from tribo.measure.whole import Input, Whole, whole
from tribo.pseudonym import Names
from tribo_schemas.config import BadConfig
from tribo_schemas.event import Event
from tribo_schemas.finding import Finding
from tribo_schemas.journey import JourneyRow

_json = msgspec.json.Encoder(order="sorted")
ROWS_AT_ONCE = 500
Reader = Callable[[Callable[[Event], None], Callable[[dict[str, Any]], None]], int]


def measure_events(
    events: Iterable[Event], standards: Standards, until: int | None
) -> tuple[list[JourneyRow], list[Finding], dict[str, int]]:
    """The rows, standing findings and tallies of a complete input (each event once). The clock ends at `until` (UTC ms),
    but not before the last event; what was taken back does not move it."""
    return _measured(whole(events), standards, until)


def _measured(given: Whole, standards: Standards, until: int | None) -> tuple[list[JourneyRow], list[Finding], dict[str, int]]:
    """Fold each history, and let go of its events: `given.parts` is empty afterwards."""
    frontier = Frontier(now=given.last if until is None else max(until, given.last), complete=True)
    rows: list[JourneyRow] = []
    findings: list[Finding] = []
    tally: dict[str, int] = {}
    while given.parts:
        step = fold(given.parts.pop(), frontier, standards, given.hubs)
        rows += step.journeys
        findings += step.found
        for counted, number in step.tally.items():
            tally[counted] = tally.get(counted, 0) + number
    rows.sort(key=attrgetter("journey"))
    findings.sort(key=attrgetter("id"))
    return rows, findings, tally


def measure(
    read: Reader,
    standards: Standards,
    until: int | None,
    out: Path,
    key: bytes | None,
    began: float | None = None,
    personal: Collection[str] = (),
) -> dict[str, Any]:
    """Read everything, measure it, write the five files into `out`, and return the summary.

    `read(take, reject)` hands over each event and each rejected record's row and returns how many records it read.
    `key` makes the pseudonyms of customers, and of items of the kinds that are `personal`; None writes them as they are.
    """
    began = time.perf_counter() if began is None else began
    gc.disable()  # events and states hold no cycles, and a collection would walk all of them again and again
    taken = Input()
    rejects: list[dict[str, Any]] = []
    _make(out)
    records = read(taken.add, rejects.append)
    given, number, duplicate, conflicting = taken.whole(), len(taken), taken.duplicates, taken.conflicting
    del taken  # so that the fold can let go of what it folded
    rows, findings, tally = _measured(given, standards, until)
    names = Names(key, personal)
    shown = (names.row(row.row()) for row in rows)
    _write_lines(out / "journeys.jsonl", sorted(shown, key=itemgetter("journey")) if personal else shown)
    shown = (names.row(finding.row()) for finding in findings)
    _write_lines(out / "findings.jsonl", sorted(shown, key=itemgetter("id")) if personal else shown)
    _write_lines(out / "rejects.jsonl", rejects)
    (out / "standards.json").write_text(json.dumps(scoreboard(standards, tally), indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    seconds = time.perf_counter() - began
    summary = {
        "records": records,
        "events": {
            "applied": given.applied,
            "duplicate": duplicate,
            "conflicting": conflicting,
            "retracted": given.retracted,
        },
        "rejected": len(rejects),
        "journeys": len(rows),
        "findings": dict(sorted(Counter(finding.kind for finding in findings).items())),
        "conflicts": {kind: tally.get(f"conflict|{kind}", 0) for kind in ("customer", "about")},
        "seconds": round(seconds, 3),
        "events_per_second": round(number / seconds) if seconds else 0,
    }
    (out / "summary.json").write_text(json.dumps(summary, indent=1, sort_keys=True) + "\n")
    gc.enable()
    return summary


def _make(out: Path) -> None:
    """The folder, before the work is done and not after. Raises BadConfig."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadConfig(f"--out {out}: can't be made ({error.strerror}): name a folder that can be written") from None


def _write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    left = iter(rows)
    with path.open("wb") as file:
        while some := list(islice(left, ROWS_AT_ONCE)):
            file.write(_json.encode_lines(some))
