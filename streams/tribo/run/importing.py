"""`tribo import`: years of history into the ledger, which pages nobody.

First everything is kept, then each history that got something new is folded once, at event time and with every source heard;
what it finds is marked historical. Interrupted, it goes on where it was when it is given the same inputs again: what is kept
already is a duplicate, and what isn't folded yet is still marked.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tribo.ledger.database import Where
from tribo.ledger.ledger import Ledger
from tribo.measure.advance import Frontier
from tribo.run.garbage import collect_seldom
from tribo.run.inputs import reading, reading_mapped
from tribo.run.sources import mapping_path
from tribo.run.standards import standards_kept
from tribo.wire.mapping import Mapping
from tribo.wire.rejects import Raw, Reject
from tribo_schemas.event import Event

KEPT_AT_ONCE = 5_000
RAW_KEPT_AT_ONCE = 16


def import_files(
    data: Where, inputs: list[str], source: str | None = None, standards: Path | None = None, until: int | None = None
) -> dict[str, Any]:
    """Import files (or '-') through a mapping, or as canonical events, and return a summary.

    The clock ends at `until` (UTC ms; default: the time of the last event the ledger has). Raises BadConfig.
    """
    began = time.perf_counter()
    collect_seldom()
    mapping = Mapping.load(source) if source is not None else None
    rules, text = standards_kept(data, standards)
    ledger = Ledger.open(data, text)
    try:
        now = time.time_ns() // 1_000_000
        counts: dict[str, int] = {}
        events: list[Event] = []
        rejects: list[tuple[str, Reject]] = []
        raw: list[Raw] = []

        def keep() -> None:
            outcomes = ledger.apply(
                events, Frontier(now, complete=True), rules, received_at=now, raw=raw, rejects=rejects, historical=True, folded=False
            )
            for outcome in outcomes:
                counts[outcome] = counts.get(outcome, 0) + 1
            counts["rejected"] = counts.get("rejected", 0) + len(rejects)
            for done in (events, rejects, raw):
                done.clear()

        def take(event: Event) -> None:
            events.append(event)
            if len(events) >= KEPT_AT_ONCE:
                keep()

        def keep_raw(one: Raw) -> None:
            raw.append(one)
            if len(raw) >= RAW_KEPT_AT_ONCE:
                keep()

        if mapping is not None:
            name = mapping.source
            ledger.remember_text(f"mapping:{mapping.name}", mapping_path(source or "").read_text("utf-8"))
            records = reading_mapped(inputs, mapping, keep_raw)(take, lambda refused: rejects.append((name, refused)))
        else:
            records = reading(inputs, None)(take, lambda row: rejects.append(("", Reject(**row))))
        keep()
        latest = until if until is not None else ledger.last_event_at()
        frontier = Frontier(latest, complete=True)
        histories = 0
        while folded := ledger.fold_dirty(frontier, rules, historical=True):
            histories += folded
        return {
            "records": records, "outcomes": dict(sorted(counts.items())), "histories": histories,
            "seconds": round(time.perf_counter() - began, 3),
        }  # fmt: skip
    finally:
        ledger.close()


def refold(data: Where, item: str | None = None, standards: Path | None = None, everything: bool = False) -> tuple[int, int]:
    """Fold anew: the history of `item`, everything, or (default) what was set aside. Returns (folded, of them still crashing).

    Time is what the receive clock says, and no source is waited for. Raises BadConfig: another process writes; no such item.
    """
    from tribo_schemas.config import BadConfig

    rules, text = standards_kept(data, standards)
    ledger = Ledger.open(data, text)
    try:
        if everything:
            chosen = ledger.all_histories()
        elif item is not None:
            history = ledger.history_of(item)
            if history is None:
                raise BadConfig(f"{item}: the ledger knows no such item; write kind:id, as the events do")
            chosen = [history]
        else:
            chosen = ledger.all_set_aside()
        frontier = Frontier(time.time_ns() // 1_000_000, heard={name: mark for name, (mark, _) in ledger.watermarks().items() if mark})
        return len(chosen), len(chosen) - ledger.refold(frontier, rules, chosen)
    finally:
        ledger.close()
