"""Handoffs: who hands to whom, how often it comes back, how long the sender had it; and the picture of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from statistics import median

import msgspec

from tribo.ledger import search
from tribo.ledger.reader import Reader
from tribo_schemas.finding import Finding

MOST_READ = 20_000
MOST_TIMED = 1_000
MOST_TEAMS = 10
OTHERS = "all others"
WIDTH, BAR, ROOM = 900, 12, 170


class Pair(msgspec.Struct):
    """Handoffs from one team to another, of which the `timed` latest are looked into: `bots` of these were from a bot, and `kept_ms`
    is how long the sender had the item before handing it on, the sum and the median (None: not known)."""

    sender: str
    receiver: str
    handoffs: int
    ping_pongs: int
    bots: int
    points: int
    timed: int
    kept_ms: int
    median_ms: int | None

    @property
    def from_bot(self) -> int:
        """How many came from a bot, as if those not looked into had been like those that were."""
        return round(self.bots * self.handoffs / self.timed) if self.timed else 0

    @property
    def lost_ms(self) -> int:
        """What the sender kept in all, as if those not timed had been like those that were."""
        return self.kept_ms * self.handoffs // self.timed if self.timed else 0


def pairs(reader: Reader, wanted: search.Wanted) -> tuple[list[Pair], int, int]:
    """Each pair of teams with handoffs, the most points first; how many handoffs they are, and how many there are in all (more, only where
    more than MOST_READ lack a team at one end: then the latest of them are told, by their owners)."""
    count: Counter[tuple[str, str]] = Counter()
    returned: Counter[tuple[str, str]] = Counter()
    points: Counter[tuple[str, str]] = Counter()
    total, unnamed = 0, False
    for sender, receiver, handoffs, ping_pongs, cost in search.handed_on(reader, wanted):
        total += handoffs
        if sender and receiver:
            count[sender, receiver], returned[sender, receiver], points[sender, receiver] = handoffs, ping_pongs, cost
        else:
            unnamed = True
    for finding in search.handed_on_by_nobody(reader, wanted, MOST_READ) if unnamed else ():
        names = _names(finding)
        (count if finding.kind == "handoff" else returned)[names] += 1
        points[names] += finding.points or 0
    bots: Counter[tuple[str, str]] = Counter()
    kept: dict[tuple[str, str], list[int]] = defaultdict(list)
    latest = search.findings(reader, msgspec.structs.replace(wanted, kinds=("handoff",)), MOST_TIMED)
    times = search.times_of(reader, (finding.evidence[0] for _, finding in latest))
    for history, finding in latest:
        assigned_at = times.get((history, finding.evidence[0]))  # the assignment before
        if assigned_at is not None:
            bots[_names(finding)] += bool(finding.from_bot)
            kept[_names(finding)].append(max(finding.at - assigned_at, 0))
    rows = [
        Pair(
            *names, handoffs=number, ping_pongs=returned[names], bots=bots[names], points=points[names], timed=len(kept[names]),
            kept_ms=sum(kept[names]), median_ms=int(median(kept[names])) if kept[names] else None,
        )
        for names, number in count.items()
    ]  # fmt: skip
    rows.sort(key=lambda pair: (-pair.points, -pair.handoffs, pair.sender, pair.receiver))
    return rows, sum(count.values()), total


def _names(finding: Finding) -> tuple[str, str]:
    return finding.from_team or finding.from_owner or "nobody", finding.team or finding.owner or "nobody"


class End(msgspec.Struct):
    """A team at the left (it hands on) or at the right (it is handed to)."""

    name: str
    y: float
    height: float
    hue: int
    number: int


class Link(msgspec.Struct):
    """A band from a team at the left to one at the right."""

    sender: str
    receiver: str
    path: str
    width: float
    hue: int
    says: str


class Flows(msgspec.Struct):
    """The picture."""

    height: int
    left: list[End]
    right: list[End]
    links: list[Link]


def picture(rows: list[Pair]) -> Flows | None:
    """Bands between teams, as wide as there are handoffs; None without any."""
    if not rows:
        return None
    number: Counter[str] = Counter()
    for pair in rows:
        number[pair.sender] += pair.handoffs
        number[pair.receiver] += pair.handoffs
    named = {name for name, _ in number.most_common(MOST_TEAMS)}
    joined: Counter[tuple[str, str]] = Counter()
    returned: Counter[tuple[str, str]] = Counter()
    for pair in rows:
        names = (pair.sender if pair.sender in named else OTHERS, pair.receiver if pair.receiver in named else OTHERS)
        joined[names] += pair.handoffs
        returned[names] += pair.ping_pongs
    hues = {name: index % 8 for index, name in enumerate(sorted(named | {OTHERS}))}
    total = sum(joined.values())
    scale = 300 / total
    left, right = _ends(joined, 0, scale, hues), _ends(joined, 1, scale, hues)
    height = int(max(side[-1].y + side[-1].height for side in (left, right))) + 24
    offsets = {(0, end.name): end.y for end in left} | {(1, end.name): end.y for end in right}
    links = []
    for (sender, receiver), many in sorted(joined.items(), key=lambda entry: (-entry[1], entry[0])):
        width = max(many * scale, 1.0)
        y1, y2 = offsets[0, sender] + width / 2, offsets[1, receiver] + width / 2
        offsets[0, sender] += width
        offsets[1, receiver] += width
        x1, x2 = ROOM + BAR, WIDTH - ROOM - BAR
        middle = (x1 + x2) / 2
        half = width / 2
        outline = (
            f"M{x1} {y1 - half:.1f} C{middle} {y1 - half:.1f} {middle} {y2 - half:.1f} {x2} {y2 - half:.1f} "
            f"V{y2 + half:.1f} C{middle} {y2 + half:.1f} {middle} {y1 + half:.1f} {x1} {y1 + half:.1f} Z"
        )
        back = f", {returned[sender, receiver]} of them came back" if returned[sender, receiver] else ""
        links.append(
            Link(
                sender, receiver, outline, round(width, 1), hues[sender],
                f"{sender} to {receiver}: {many} handoffs{back}",
            )
        )  # fmt: skip
    return Flows(height, left, right, links)


def _ends(joined: Counter[tuple[str, str]], side: int, scale: float, hues: dict[str, int]) -> list[End]:
    number: Counter[str] = Counter()
    widths: dict[str, float] = defaultdict(float)
    for names, many in joined.items():
        number[names[side]] += many
        widths[names[side]] += max(many * scale, 1.0)
    ends, y = [], 12.0
    for name, many in sorted(number.items(), key=lambda entry: (-entry[1], entry[0])):
        ends.append(End(name, round(y, 1), round(widths[name], 1), hues[name], many))
        y += max(widths[name], 16) + 10
    return ends
