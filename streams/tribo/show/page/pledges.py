"""Promises: the open ones on a line of time, and what became of those that were due, by team and by promise."""

from __future__ import annotations

from typing import Any

import msgspec

from tribo.ledger import search
from tribo.ledger.reader import Reader
from tribo.show.words import promise_word

HOUR, DAY = 3_600_000, 86_400_000
MOST_OPEN = 400
MOST_LISTED = 60
MOST_ROWS = 40
WIDTH, TOP, DOT = 1000, 24, 9
STEPS = (HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY, 28 * DAY, 91 * DAY, 364 * DAY, 3640 * DAY, 36400 * DAY, 364000 * DAY)
LATE = ("broken", "kept_late")


class Dot(msgspec.Struct):
    """An open promise on the line."""

    x: float
    y: float
    look: str
    says: str
    item: str


class Line(msgspec.Struct):
    """Open promises by their due: those that share a place on the line stand on one another."""

    height: int
    now_x: float
    dots: list[Dot]
    axis: list[tuple[float, int]]
    step: int
    beyond: int


def line(some: list[search.Pledge], now: int) -> Line | None:
    """The line of time from a little before now to the due that nineteen of twenty do not pass; None without any."""
    if not some:
        return None
    dues = [pledge.due for pledge in some]
    begin = min(max(dues[0], now - DAY), now - HOUR)
    end = max(dues[min(int(len(dues) * 0.95), len(dues) - 1)], now + 6 * HOUR)
    length = end - begin
    columns: dict[int, int] = {}
    dots = []
    for pledge in some:
        if pledge.due > end:
            continue
        column = int(max(pledge.due - begin, 0) / length * (WIDTH - DOT) // DOT)
        place = columns[column] = columns.get(column, -1) + 1
        look = "unknown" if pledge.state == "unknown" else "over" if pledge.due < now else "at_risk" if pledge.at_risk else "open"
        told = ", customer told" if pledge.told else ""
        dots.append(Dot(column * DOT + DOT / 2, place, look, f"{promise_word(pledge.promise)} on {pledge.item}{told}", pledge.item))
    tallest = max(columns.values(), default=0) + 1
    height = TOP + max(tallest, 4) * DOT + 6
    for dot in dots:
        dot.y = height - 6 - dot.y * DOT - DOT / 2
    step = next((step for step in STEPS if length / step <= 9), STEPS[-1])
    first = -(-begin // step) * step
    axis = [(round((at - begin) / length * (WIDTH - DOT), 1), at) for at in range(first, end, step)]
    return Line(height, round((now - begin) / length * (WIDTH - DOT), 1), dots, axis, step, sum(due > end for due in dues))


class Fate(msgspec.Struct):
    """What became of the promises of a team, or of one name: of those whose fate is known. `late` were moved and kept, or kept after
    all; `in_time` of those not kept by their first due, the customer was told before."""

    name: str
    made: int = 0
    kept: int = 0
    late: int = 0
    broken: int = 0
    not_kept: int = 0
    in_time: int = 0

    @property
    def decided(self) -> int:
        """Kept, late, broken."""
        return self.kept + self.late + self.broken

    @property
    def told_share(self) -> float | None:
        """Of those not kept by their first due: the share whose customer was told in time."""
        return self.in_time / self.not_kept if self.not_kept else None


def fates(rows: list[tuple[str | None, str, str, int, int]]) -> tuple[Fate, list[Fate], list[Fate]]:
    """In all, by team, by promise; the most broken first."""
    total, teams, names = Fate(""), dict[str, Fate](), dict[str, Fate]()
    for team, promise, state, number, told in rows:
        team_name, name = team or "nobody", promise_word(promise)
        for fate in (total, teams.setdefault(team_name, Fate(team_name)), names.setdefault(name, Fate(name))):
            fate.made += number
            if state == "kept":
                fate.kept += number
            elif state in ("kept_late", "kept_as_moved"):
                fate.late += number
            elif state == "broken":
                fate.broken += number
            if state in (*LATE, "kept_as_moved"):
                fate.not_kept += number
                fate.in_time += number if state == "kept_as_moved" else told
    return total, _worst_first(teams), _worst_first(names)


def _worst_first(some: dict[str, Fate]) -> list[Fate]:
    return sorted(some.values(), key=lambda fate: (-fate.broken, -fate.late, fate.name))[:MOST_ROWS]


def promises_of(reader: Reader, since: int, until: int, touchpoint: str | None, now: int) -> dict[str, Any]:
    """All that the view shows."""
    open_ones = search.pledges(reader, ("open", "unknown"), MOST_OPEN, touchpoint=touchpoint)
    total, teams, names = fates(search.fates(reader, since, until, touchpoint))
    tallies = reader.tallies()
    return {
        "line": line(open_ones, now), "open": open_ones[:MOST_LISTED], "drawn": len(open_ones),
        "total": total, "teams": teams, "names": names,
        "standing": sum(
            number
            for key, number in tallies.items()
            if key.startswith(("promise|open|", "promise|unknown|")) and touchpoint in (None, key.rpartition("|")[2])
        ),
    }  # fmt: skip
