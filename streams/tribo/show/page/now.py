"""What is so now: the scoreboard with a small history, promises at risk, the worst journeys, what changed last, the sources' health."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import msgspec

from tribo.ledger import search
from tribo.ledger.reader import Reader
from tribo.measure.score import scoreboard
from tribo.measure.standards import Standards

HOUR, DAY = 3_600_000, 86_400_000
HISTORY_DAYS = 21
MOST_RISKS = 12
MOST_JOURNEYS = 12
MOST_CHANGES = 15
MOST_SOURCES = 50


class Standing(msgspec.Struct):
    """A standard on the scoreboard: its row, and the share met on each of the last days (None: nothing was decided)."""

    row: dict[str, Any]
    history: list[float | None]
    kind: str


def shares(days: Sequence[Mapping[str, int]], name: str) -> list[float | None]:
    """The share met between one reading of the tallies and the next."""
    found: list[float | None] = []
    for before, after in pairwise(days):
        met, missed = (after.get(f"standard|{name}|{what}", 0) - before.get(f"standard|{name}|{what}", 0) for what in ("met", "missed"))
        found.append(max(met, 0) / (max(met, 0) + max(missed, 0)) if max(met, 0) + max(missed, 0) > 0 else None)
    return found


def board(standards: Standards, tallies: dict[str, int], days: Sequence[Mapping[str, int]]) -> list[Standing]:
    """The scoreboard, what falls short most first, then what is met, then what nobody has tried yet."""
    rows = scoreboard(standards, tallies)
    rows.sort(key=lambda row: (row["gap"] is None, -(row["gap"] or 0), row["name"]))
    return [Standing(row, shares(days, row["name"]), standards.published(row["name"]).kind) for row in rows]


def now_of(reader: Reader, standards: Standards, now: int, silent_after: int) -> dict[str, Any]:
    """All that the view shows, from one look."""
    tallies = reader.tallies()
    risks = search.pledges(reader, ("open", "unknown"), MOST_RISKS + 1, pressing=True)
    changes = reader.latest(MOST_CHANGES, now - HOUR)
    sources = reader.sources()
    return {
        "board": board(standards, tallies, [*search.days(reader, now, HISTORY_DAYS), search.live(reader)]),
        "risks": risks[:MOST_RISKS],
        "at_risk": sum(number for key, number in tallies.items() if key.startswith("finding|promise_at_risk|")),
        "unknown": sum(number for key, number in tallies.items() if key.startswith("finding|promise_unknown|")),
        "journeys": reader.journeys(MOST_JOURNEYS),
        "changes": changes,
        "sources": [_health(row, now, silent_after) for row in sources[:MOST_SOURCES]],
        "more_sources": max(len(sources) - MOST_SOURCES, 0),
        "aside": reader.set_aside(5),
        "size": reader.size(),
    }


def _health(row: dict[str, Any], now: int, silent_after: int) -> dict[str, Any]:
    """A source's row with a word on how it does: well, silent, rejecting, or with a clock that is off. Without a name, it is what came from
    nobody known, which is never well."""
    seen = row["applied"] + row["duplicate"] + row["conflict"] + row["rejected"]
    silent = row["name"] and (row["heard_at"] is None or now - row["heard_at"] > silent_after)
    word = "silent" if silent else "clock ahead" if (row["skew"] or 0) > 60_000 else "rejecting" if row["rejected"] * 20 > seen else "well"
    return {**row, "word": word}
