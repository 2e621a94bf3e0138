"""A slow, simple second opinion on `tribo measure`: sort everything, then fold once with full knowledge.

Written from the definitions alone; it shares no code with the engine. Instants are UTC milliseconds.
"""

from __future__ import annotations

import argparse
import bisect
import hashlib
import json
import pathlib
import re
import sys
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import yaml

FACTS = ["opened", "reopened", "queued", "assigned", "promised", "informed", "offered", "answered", "customer_replied", "put_on_hold", "resumed", "awaiting_customer", "repeated", "authority_asked", "escalated", "kept", "released", "rejected", "resolved", "asked_if_fixed", "confirmed", "abandoned", "closed", "complained", "praised", "rated", "surprised", "linked", "unlinked", "retracted"]
DAY = 86_400_000
POINTS = dict(
    handoff=2, ping_pong=3, channel_switch=1, hold=1, repeat_contact=4, repeated=3, reopened=5, abandoned=6, promise_broken=10,
    promise_moved_late=4, standard_missed=3, complaint=5, no_alternative=3, unconfirmed=1, no_expectation=1, praise=2, surprise=2,
    early=1, recovered=5,
)
DELIGHT = {"praise", "surprise", "early", "recovered"}
TEXT = {"customer": 200, "team": 200, "owner": 200, "channel": 200, "promise": 200, "topic": 200, "standard": 200, "retracts": 200}
STAMP = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:\d\d)")
Row = dict[str, Any]


def instant(text: Any) -> int:
    match = STAMP.fullmatch(text) if isinstance(text, str) else None
    if not match:
        raise ValueError("not an instant with a zone")
    y, mo, d, h, mi, s = (int(part) for part in match.groups()[:6])
    zone = match[8]
    offset = 0 if zone in "Zz" else (1 if zone[0] == "+" else -1) * (int(zone[1:3]) * 60 + int(zone[4:6]))
    base = datetime(y, mo, d, h, mi, s, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (base.days * 86400 + base.seconds - offset * 60) * 1000 + int(((match[7] or "") + "000")[:3])


def stamp(ms: int) -> str:
    text = (datetime(1970, 1, 1) + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds")
    return (text[:-4] if text.endswith(".000") else text) + "Z"


def event_of(raw: Any) -> Row:
    """The event in known fields, instants as milliseconds; ValueError says what is wrong."""
    if not isinstance(raw, dict):
        raise ValueError("not an object")
    e: Row = {}
    for key, most in {"id": 200, "source": 100, **TEXT}.items():
        value = raw.get(key)
        if value is None:
            if key in ("id", "source"):
                raise ValueError(f"{key}: missing")
            continue
        if not isinstance(value, str) or not 1 <= len(value) <= most:
            raise ValueError(f"{key}: not a text")
        e[key] = value
    e["time"] = instant(raw.get("time"))
    if raw.get("due") is not None:
        e["due"] = instant(raw["due"])
    for key, allowed in (("touchpoint", ("purchase", "billing", "returns", "service")), ("fact", FACTS)):
        if raw.get(key) not in allowed:
            raise ValueError(f"{key}: unknown")
        e[key] = raw[key]
    about = raw.get("about")
    if about is not None and not isinstance(about, list):
        raise ValueError("about: not a list")
    for item in [raw.get("item"), *(about or [])]:
        if not isinstance(item, str) or not re.fullmatch(r"[^:]+:.+", item):
            raise ValueError("item: not kind:id")
    e["item"] = raw["item"]
    if about:
        e["about"] = about
    e["by"] = raw.get("by") if raw.get("by") is not None else "human"
    if e["by"] not in ("customer", "human", "bot", "system"):
        raise ValueError("by: unknown")
    for key in ("score", "scale"):
        value = raw.get(key)
        if value is not None:
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ValueError(f"{key}: not a number")
            e[key] = value
    if "score" in e and "scale" in e and not (0 <= e["score"] <= e["scale"] and e["scale"] > 0):
        raise ValueError("score: outside its scale")
    if raw.get("sequence") is not None:
        if isinstance(raw["sequence"], bool) or not isinstance(raw["sequence"], int):
            raise ValueError("sequence: not an integer")
        e["sequence"] = raw["sequence"]
    if raw.get("synthetic") is not None:
        if not isinstance(raw["synthetic"], bool):
            raise ValueError("synthetic: not true or false")
        e["synthetic"] = raw["synthetic"]
    need = dict(promised=("promise", "due"), informed=("promise",), kept=("promise",), rated=("score", "scale"), retracted=("retracts",))
    for key in need.get(e["fact"], ()):
        if key not in e:
            raise ValueError(f"{key}: missing")
    if e["fact"] in ("linked", "unlinked") and "customer" not in e and "about" not in e:
        raise ValueError("customer: missing")
    return e


def canonical(e: Row) -> str:
    return json.dumps({k: stamp(v) if k in ("time", "due") else v for k, v in e.items()}, sort_keys=True, ensure_ascii=False)


def order(e: Row) -> tuple:
    return (e["time"], e.get("sequence", 0), FACTS.index(e["fact"]), e["source"], e["id"])


def ref(e: Row) -> str:
    return f"{e['source']}/{e['id']}"


# ---- calendars -------------------------------------------------------------------------------------------------------------
DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class Calendar:
    """Open intervals as exact instants, built for all the years that may matter."""

    def __init__(self, entries: list[Row]) -> None:
        self.always = not entries
        if self.always:
            return
        self.open: list[tuple[int, int]] = []
        self.days: list[date] = []
        self.entries = entries
        self.starts: list[int] = []

    def build(self, low: int, high: int) -> None:
        if self.always:
            return
        cuts = []
        for e in self.entries:
            zone = ZoneInfo(e.get("zone", "UTC"))
            begin = e.get("from")
            cuts.append((at_local(date.fromisoformat(str(begin)), 0, zone) if begin else -(10**18), e, zone))
        cuts.sort(key=lambda cut: cut[0])
        first, last = (datetime.fromtimestamp(ms / 1000, UTC).date() for ms in (low, high))
        for n, (begin, e, zone) in enumerate(cuts):
            end = cuts[n + 1][0] if n + 1 < len(cuts) else 10**18
            week: dict[int, list[tuple[int, int]]] = {}
            for names, spans in (e.get("hours") or {}).items():
                for part in str(names).split(","):
                    a, _, b = part.strip().partition("-")
                    i, j = DAYS.index(a), DAYS.index(b or a)
                    which = range(i, j + 1) if i <= j else [*range(i, 7), *range(j + 1)]
                    for span in spans if isinstance(spans, list) else [spans]:
                        f, t = (int(x[:2]) * 60 + int(x[3:5]) for x in span.split("-"))
                        for d in which:
                            week.setdefault(d, []).append((f, t))
            closed = {str(h) for h in e.get("holidays") or []}
            day = first - timedelta(days=40)
            while day <= last + timedelta(days=400):
                if str(day) not in closed and week.get(day.weekday()):
                    for f, t in sorted(week[day.weekday()]):
                        a, b = max(begin, at_local(day, f, zone)), min(end, at_local(day, t, zone))
                        if a < b:
                            self.open.append((a, b))
                    if begin <= at_local(day, 0, zone) < end:
                        self.days.append(day)
                day += timedelta(days=1)
        self.open.sort()
        self.days = sorted(set(self.days))
        self.starts = [a for a, _ in self.open]
        self.zones = [(begin, zone) for begin, _, zone in cuts]

    def elapsed(self, a: int, b: int) -> int:
        if b <= a:
            return 0
        if self.always:
            return b - a
        total, n = 0, max(0, bisect.bisect_right(self.starts, a) - 1)
        while n < len(self.open) and self.open[n][0] < b:
            total += max(0, min(b, self.open[n][1]) - max(a, self.open[n][0]))
            n += 1
        return total

    def add_days(self, start: int, count: int) -> int:
        if self.always:
            return start + count * DAY
        zone = [z for begin, z in self.zones if begin <= start][-1]
        local = datetime.fromtimestamp(start // 1000, UTC).astimezone(zone)
        day = self.days[bisect.bisect_right(self.days, local.date()) + count - 1]
        stop = datetime.combine(day, local.time(), tzinfo=zone)
        return to_ms(stop) + start % 1000


def to_ms(moment: datetime) -> int:
    gap = moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (gap.days * 86400 + gap.seconds) * 1000


def at_local(day: date, minutes: int, zone: ZoneInfo) -> int:
    if minutes >= 1440:
        day, minutes = day + timedelta(days=1), minutes - 1440
    return to_ms(datetime.combine(day, time(minutes // 60, minutes % 60), tzinfo=zone))


def used_up(cal: Calendar, start: int, target: int, pauses: list[tuple[int, int]], horizon: int) -> int:
    """The last instant at which no more than `target` of open, unpaused time has gone by."""

    def gone(t: int) -> int:
        return cal.elapsed(start, t) - sum(cal.elapsed(max(a, start), min(b, t)) for a, b in pauses)

    low, high = start, horizon
    if gone(high) <= target:
        return 10**18
    while low + 1 < high:
        mid = (low + high) // 2
        low, high = (mid, high) if gone(mid) <= target else (low, mid)
    return low


class Standards:
    def __init__(self, file: Row | None, low: int, high: int) -> None:
        file = file or {}
        self.points = {**POINTS, **(file.get("points") or {})}
        self.calendars = {}
        for name, entry in (file.get("calendars") or {}).items():
            self.calendars[name] = Calendar(entry if isinstance(entry, list) else [entry])
        self.always = Calendar([])
        for cal in self.calendars.values():
            cal.build(low, high)
        self.default = self.calendars.get(file.get("calendar"), self.always)
        self.entries: dict[str, list[tuple[int, Row]]] = {}
        for raw in file.get("standards") or []:
            versions = raw["versions"] if "versions" in raw else [raw]
            if isinstance(raw, list):
                versions = raw
            for v in versions:
                e = {**{k: x for k, x in raw.items() if k != "versions"}, **v} if isinstance(raw, dict) else dict(v)
                cal = self.calendars.get(e.get("calendar"), self.default)
                zone = cal.zones[-1][1] if not cal.always else ZoneInfo("UTC")
                begin = at_local(date.fromisoformat(str(e["from"])), 0, zone) if e.get("from") else -(10**18)
                e["cal"] = cal
                objective = e.get("objective", "100%")
                e["objective"] = float(objective[:-1]) / 100 if isinstance(objective, str) else objective
                self.entries.setdefault(e["name"], []).append((begin, e))
        for versions in self.entries.values():
            versions.sort(key=lambda pair: pair[0])

    def at(self, ms: int) -> list[Row]:
        found = []
        for versions in self.entries.values():
            force = [e for begin, e in versions if begin <= ms]
            if force:
                found.append(force[-1])
        return found


def within(text: str) -> tuple[str, int]:
    number, unit = re.fullmatch(r"(\d+)(s|m|h|d|bd)", str(text)).groups()  # type: ignore[union-attr]
    if unit in ("d", "bd"):
        return unit, int(number)
    return "t", int(number) * {"s": 1000, "m": 60_000, "h": 3_600_000}[unit]


def due_of(entry: Row, start: int, pauses: list[tuple[int, int]], horizon: int) -> int:
    unit, n = within(entry["within"])
    if unit == "d":
        return start + n * DAY
    if unit == "bd":
        return entry["cal"].add_days(start, n)
    return used_up(entry["cal"], start, n, pauses, horizon)


def applies(entry: Row, item: Item, team: str | None) -> bool:
    """Whether a standard speaks of an item that `team` held when it was decided."""
    scope = {"touchpoint": item.touchpoint, "team": team, "topic": item.topic, "channel": next((e["channel"] for e in item.all if "channel" in e), None)}
    return all(entry.get(key) in (None, value) for key, value in scope.items())


# ---- items -----------------------------------------------------------------------------------------------------------------
class Item:
    def __init__(self, name: str, events: list[Row]) -> None:
        self.name, self.all = name, events
        self.events = [e for e in events if e["fact"] not in ("linked", "unlinked")]
        opened = [e for e in self.events if e["fact"] == "opened"]
        self.opened = opened[0] if opened else None
        self.start = self.opened or (self.events[0] if self.events else None)
        self.touchpoint = events[0]["touchpoint"]
        self.topic = next((e["topic"] for e in events if "topic" in e), None)
        self.holders: list[tuple[tuple, str | None, str | None]] = []
        self.done_spans: list[list[int | None]] = []


class Measure:
    def __init__(self, events: list[Row], standards: Standards, now: int) -> None:
        self.std, self.now = standards, now
        self.horizon = now + 400 * DAY
        self.findings: list[Row] = []
        self.tally: dict[str, list[str]] = {name: [] for name in standards.entries}
        self.conflicts = 0
        by_item: dict[str, list[Row]] = {}
        for e in events:
            by_item.setdefault(e["item"], []).append(e)
        self.items = {name: Item(name, ev) for name, ev in by_item.items()}
        self.join(events)
        for item in self.items.values():
            if item.start:
                kept = {name: list(got) for name, got in self.tally.items()}
                self.fold(item)
                group = next(g for g in self.groups if item in g)
                if any(e.get("synthetic") for i in [*group, *self.beside[group[0].name]] for e in i.all):
                    self.tally = kept  # a mystery shopper's journey: measured, not counted
        self.rows = [self.journey(group) for group in self.groups]

    # -- who belongs to whom
    def join(self, events: list[Row]) -> None:
        links: dict[tuple, tuple[str, Row]] = {}
        for e in events:
            if e["fact"] in ("linked", "unlinked"):
                if "customer" in e:
                    links.pop(("c", e["item"], e["customer"]), None)
                    links[("c", e["item"], e["customer"])] = (e["fact"], e)
                for other in e.get("about", []):
                    key = ("i", *sorted((e["item"], other)))
                    links.pop(key, None)
                    links[key] = (e["fact"], e)
        barred = {key for key, (fact, _) in links.items() if fact == "unlinked"}
        members: dict[str, set[str]] = {}
        users: dict[str, set[str]] = {}
        for e in events:
            if e["fact"] == "unlinked":
                continue
            if "customer" in e:
                users.setdefault(e["customer"], set()).add(e["item"])
            for other in e.get("about", []):
                members.setdefault(other, set()).add(e["item"])
                members.setdefault(e["item"], set()).add(other)
        hub_customers = {c for c, s in users.items() if len(s) > 1000}
        hub_items = {i for i, s in members.items() if len(s) > 1000}
        parent: dict[str, str] = {}
        customer: dict[str, str] = {}

        def root(x: str) -> str:
            parent.setdefault(x, x)
            while parent[x] != x:
                x = parent[x]
            return x

        self.has_about: set[str] = set()

        def claim(item: str, who: str) -> None:
            if ("c", item, who) in barred:
                return
            r = root(item)
            if customer.setdefault(r, who) != who:
                self.conflicts += 1

        def about(item: str, other: str) -> None:
            if item == other or ("i", *sorted((item, other))) in barred or item in hub_items or other in hub_items:
                return
            a, b = root(item), root(other)
            ca, cb = customer.get(a), customer.get(b)
            if ca and cb and ca != cb:
                self.conflicts += 1
                return
            self.has_about.add(item)
            if a != b:
                parent[b] = a
                if cb:
                    customer[a] = cb

        last: dict[str, str] = {}
        for key, (fact, _) in links.items():
            if key[0] == "c" and fact == "linked":
                last[key[1]] = key[2]
        for e in events:
            if e["fact"] == "linked":
                if "customer" in e and last.get(e["item"]) == e["customer"]:
                    claim(e["item"], e["customer"])
                for other in e.get("about", []):
                    about(e["item"], other)  # refuses those that were parted again
        for e in events:
            if e["fact"] in ("linked", "unlinked"):
                continue
            if "customer" in e:
                claim(e["item"], e["customer"])
            for other in e.get("about", []):
                about(e["item"], other)
        self.customer = {name: customer.get(root(name)) for name in self.items}
        # by time
        starters = sorted((i for i in self.items.values() if i.start), key=lambda i: order(i.start))  # type: ignore[arg-type]
        for item in starters:
            who = self.customer[item.name]
            if item.touchpoint == "purchase" or not who or who in hub_customers or item.name in self.has_about:
                continue
            away = [other for key in barred if key[0] == "i" and item.name in key[1:] for other in key[1:] if other != item.name]
            before = [
                e for e in events
                if e["item"] != item.name and e["time"] < item.start["time"] and self.customer[e["item"]] == who  # type: ignore[index]
                and e["fact"] not in ("linked", "unlinked")  # what is parted again must be as it was
                and not any(root(o) == root(e["item"]) for o in away)
            ]
            if before and item.start["time"] - before[-1]["time"] < 30 * DAY:  # type: ignore[index]
                a, b = root(before[-1]["item"]), root(item.name)
                if a != b:
                    parent[b] = a
        groups: dict[str, list[Item]] = {}
        for item in starters:
            groups.setdefault(root(item.name), []).append(item)
        self.groups = list(groups.values())
        started = {root(group[0].name): group for group in self.groups}
        self.beside: dict[str, list[Item]] = {group[0].name: [] for group in self.groups}  # items of which there are only links
        for item in self.items.values():
            if not item.start and root(item.name) in started:
                self.beside[started[root(item.name)][0].name].append(item)
        self.journey_of = {item.name: group[0].name for group in self.groups for item in group}

    def holder(self, item: Item, at: int, event: Row | None = None) -> tuple[str | None, str | None]:
        limit = order(event) if event else (at, 10**9)
        team = owner = None
        for key, t, o in item.holders:
            if key <= limit:
                team, owner = t, o
        return team, owner

    def find(self, kind: str, item: Item, at: int, event: Row | None = None, **more: Any) -> None:
        team, owner = self.holder(item, at, more.pop("holder_at", event))
        if kind in ("recovered", "no_alternative"):
            found, event = event, None
        else:
            found = event
        row = dict(kind=kind, journey=self.journey_of[item.name], item=item.name, touchpoint=item.touchpoint, at=stamp(at), team=team, owner=owner,
                   topic=(event or {}).get("topic") or item.topic, channel=(event or {}).get("channel"), points=self.std.points.get(kind))
        begun = more.pop("begun", None) or found
        evidence = sorted({ref(e) for e in (begun, found, *more.pop("also", ())) if e})
        row.update(more)
        row["evidence"] = evidence
        naming = [kind, item.name, row.get("promise"), row.get("standard"), row.get("clock"), ref(begun) if begun else None]
        row["id"] = hashlib.sha256(json.dumps(naming).encode()).hexdigest()[:20]
        self.findings.append({k: v for k, v in row.items() if v is not None})

    # -- one item
    def fold(self, item: Item) -> None:
        n = item.n = dict(handoffs=0, team_handoffs=0, ping_pongs=0, repeated=0, holds=0, reopened=0, abandoned=0, escalated=0, offered=0,
                          complaints=0, praises=0, surprises=0, repeat_contacts=0, channel_switches=0)
        item.waits, item.waiting, item.clocks = [], [], []
        item.problems, item.resolutions = [], []
        done = False
        team = owner = None
        bot = held = False
        seen_teams: set = set()
        seen_owners: set = set()
        last_owner = None
        chain: list = []
        first_resolved = None
        prev_assign = None
        running: dict[str, Row] = {}
        responded = bot_answered = False
        opened = False
        pauses: list[list] = []
        pause = None
        gaps: list[list] = []

        def stop(clock: str, e: Row, finished: bool) -> None:
            if clock in running:
                begun = running.pop(clock)
                item.clocks.append((clock, item.opened if clock == "total_resolution" else begun, e, finished))

        def count(kind: str, finding: str | None, e: Row) -> None:
            n[kind] += 1
            if finding:
                self.find(finding, item, e["time"], e)

        item.pauses = pauses
        item.gaps = gaps
        for e in item.events:
            fact, at = e["fact"], e["time"]
            human = e["by"] != "bot"
            if fact == "assigned":
                nt, no, nb = team, owner, bot
                says = "team" in e or "owner" in e
                if says or not human:
                    nb = not human
                    if "team" in e:
                        nt, no = e["team"], e.get("owner")
                    elif "owner" in e:
                        no = e["owner"]
                    else:
                        no = "bot"
                    if not held or (nt, no) == (team, owner):
                        pass
                    else:
                        level = "team" if nt != team else "owner"
                        from_bot = bot and not nb
                        hand = True
                        fo = owner
                        if level == "owner" and not from_bot:
                            if no is None:
                                hand = False
                            elif owner is None:
                                hand = last_owner is not None and last_owner != no
                        if hand and not done:
                            n["handoffs"] += 1
                            n["team_handoffs"] += level == "team"
                            pong = nt in seen_teams if level == "team" else no in seen_owners
                            item.holders.append((order(e), nt, no))
                            more = dict(level=level, from_bot=True if from_bot else None, from_team=team, from_owner=fo, begun=e,
                                        also=[prev_assign])
                            self.find("handoff", item, at, e, **more)
                            if pong:
                                n["ping_pongs"] += 1
                                self.find("ping_pong", item, at, e, **more)
                    if nt != team:
                        last_owner = None
                    if no is not None:
                        last_owner = no
                    if not (held and (nt, no) == (team, owner)):
                        item.holders.append((order(e), nt, no))
                        prev_assign = e
                        if first_resolved is None:
                            chain.append((nt, no or ("bot" if nb else None)))
                    if not (held and (nt, no) == (team, owner)):
                        bot = nb
                    team, owner, held = nt, no, True
                    seen_teams.add(nt)
                    if no is not None:
                        seen_owners.add(no)
            if fact == "opened" and not opened:
                opened = True
                if not done:
                    running["resolution"] = e
                    if item.touchpoint in ("service", "returns"):
                        running["first_response"] = e
            if fact == "queued" and not done:
                running.setdefault("queue", e)
            if fact == "put_on_hold" and not done and "hold" not in running:
                running["hold"] = e
                count("holds", "hold", e)
            if fact == "authority_asked" and not done:
                running.setdefault("authority", e)
            if fact == "resumed":
                stop("hold", e, True)
            if fact == "escalated":
                count("escalated", "escalated", e)
                stop("authority", e, True)
            if pause and fact in ("customer_replied", "assigned", "answered"):
                pause[1], pause = at, None
            if fact == "awaiting_customer" and not done and not pause:
                pause = [at, 10**18]
                pauses.append(pause)
            if fact == "answered":
                stop("queue", e, True)
                if human:
                    stop("first_response", e, True)
                    stop("next_response", e, True)
                    responded = True
                elif not bot_answered:
                    bot_answered = True
                    if "first_response" in running:
                        item.clocks.append(("first_bot_response", running["first_response"], e, True))
            if fact == "customer_replied" and responded and not done:
                running.setdefault("next_response", e)
            for name, kind in (("repeated", "repeated"), ("complained", "complaints"), ("praised", "praises"), ("surprised", "surprises"), ("offered", "offered")):
                if fact == name:
                    count(kind, dict(repeated="repeated", complained="complaint", praised="praise", surprised="surprise").get(name), e)
            if fact in ("complained", "rejected", "reopened"):
                item.problems.append((order(e), e, at, e))
            if fact == "abandoned":
                count("abandoned", "abandoned", e)
            if fact == "resolved" and not done:
                stop("next_response", e, True)
                stop("resolution", e, True)
                first_resolved = first_resolved or e
                item.resolutions.append(e)
                item.total = e if opened else None
                gaps.append([at, 10**18])
                running.pop("total_resolution", None)
            if fact in ("resolved", "closed", "abandoned") or (fact == "released" and "promise" not in e):
                if not done:
                    for clock in list(running):
                        stop(clock, e, clock in ("queue", "hold"))
                    if pause:
                        pause[1], pause = at, None
                    item.done_spans.append([at, None])
                    item.done_event = e
                done = True
            if fact == "reopened":
                count("reopened", "reopened", e)
                if done:
                    item.done_spans[-1][1] = at
                    done = False
                    if gaps and gaps[-1][1] == 10**18:
                        gaps[-1][1] = at
                    if first_resolved and opened:
                        item.total = None
                        running["total_resolution"] = e
        item.done = done
        if getattr(item, "total", None) and opened:
            item.clocks.append(("total_resolution", item.opened, item.total, True))
        for clock, e in running.items():
            item.waiting.append(clock)
            item.clocks.append((clock, item.opened if clock == "total_resolution" else e, None, False))
        for clock, begun, end, finished in item.clocks:
            paused = [tuple(p) for p in pauses] if clock in ("resolution", "total_resolution") else []
            cut = [tuple(g) for g in gaps] if clock == "total_resolution" else []
            if finished:
                a, b = begun["time"], end["time"]
                item.waits.append((clock, b - a - overlap(cut, a, b), business(self.std.default, a, b, paused + cut)))
            for entry in self.std.at(item.start["time"]):
                if entry.get("clock") != clock:
                    continue
                unit, size = within(entry["within"])
                a = begun["time"]
                due = due_of(entry, a, (paused if unit == "t" else []) + cut, self.horizon)
                over = end["time"] if end else self.now
                team = self.holder(item, due)[0] if over > due else self.holder(item, over, end)[0]
                if not applies(entry, item, team):
                    continue
                if over > due:
                    self.tally[entry["name"]].append("missed")
                    self.find("standard_missed", item, due, None, begun=begun, standard=entry["name"], clock=clock,
                              customer_seconds=(due - a - overlap(cut, a, due)) / 1000,
                              business_seconds=business(entry["cal"], a, due, paused + cut) / 1000,
                              expected_seconds=(size if unit == "t" else due - a) / 1000)
                elif finished:
                    self.tally[entry["name"]].append("met")
                elif end is None:
                    self.tally[entry["name"]].append("running")
        owners = {o for _, o in chain if o is not None}
        picked = {t for t, o in chain if o is not None}
        n["steps"] = len(owners) + len({t for t, o in chain if o is None and t not in picked})
        self.promises(item)
        self.practices(item)

    def promises(self, item: Item) -> None:
        item.promises = []
        made: dict[str, tuple[Row, int, Row | None]] = {}
        for e in item.events:
            if e["fact"] == "promised" and e["promise"] not in made:
                made[e["promise"]] = (e, e["due"], None)
            for entry in self.std.at(e["time"]):
                spec = entry.get("promise")
                if isinstance(spec, dict) and spec.get("made_by") == e["fact"] and spec.get("touchpoint") in (None, item.touchpoint):
                    name = f"standard:{entry['name']}"
                    if name not in made and applies(entry, item, self.holder(item, e["time"], e)[0]):
                        made[name] = (e, due_of(entry, e["time"], [], self.horizon), entry)
        for name, (first, due, entry) in made.items():
            asked, first_due = first["time"], due
            p: Row = dict(id=name, moved=0, moved_late=0, early=0, asked=asked, made=first, state="open", implied=entry)
            broken_at = None
            set_at, set_by, told_due = asked, first, due
            move = None
            closed = False
            kept_by = entry["promise"].get("kept_by") if entry else ("resolved" if name == "resolution" else None)
            facts = []
            for e in item.events:
                if e is first:
                    continue
                after = order(e) > order(first)
                if e.get("promise") == name and e["fact"] in ("promised", "informed", "kept", "released"):
                    if after or (e["fact"] != "promised" and asked - e["time"] <= DAY):
                        facts.append((e, e["fact"]))
                elif after and e["fact"] == "released" and "promise" not in e:
                    facts.append((e, "released"))
                elif after and kept_by == e["fact"]:
                    facts.append((e, "kept"))
            last_told = first

            def broke(at: int, by: Row | None = None) -> None:
                nonlocal broken_at
                broken_at = at
                p["team"] = self.holder(item, at, by)[0]
                also = [first] + ([move] if move else [])
                self.find("promise_broken", item, at, None, begun=first, also=also, promise=name, told=True if p.pop("told", None) else None, holder_at=by)
                item.problems.append((order(by) if by else (at, 10**9), None, at, first))

            for e, what in facts:
                t = e["time"]
                if closed:
                    continue
                if broken_at is None and max(t, set_at) > due and not (what == "kept" and t <= due) and not (order(e) < order(first)):
                    broke(max(due, set_at), set_by if due < set_at else None)
                if what in ("promised", "informed"):
                    if "due" not in e or e["due"] == told_due:
                        if what == "informed" and broken_at is None:
                            p["told"] = True
                        continue
                    if broken_at is not None or t >= due:
                        p["moved_late"] += 1
                        self.find("promise_moved_late", item, t, e, begun=e, also=[last_told], promise=name)
                    else:
                        p["moved"] += 1
                        due, set_at, move = e["due"], max(t, asked), e
                        set_by = first if t < asked else e
                        self.find("promise_moved", item, t, e, begun=e, also=[last_told], promise=name)
                    last_told, told_due = e, e["due"]
                elif what == "kept":
                    closed = True
                    if broken_at is None and t > due:
                        broke(max(due, set_at), set_by if due < set_at else None)
                    p.setdefault("team", self.holder(item, t, e)[0])
                    p["state"] = "kept_late" if broken_at is not None else "kept" if t <= first_due else "kept_as_moved"
                    if p["state"] == "kept" and first_due - t >= DAY:
                        p["early"] = 1
                        self.find("early", item, t, e, begun=e, promise=name)
                elif what == "released" and broken_at is None and t < due:
                    closed, p["state"] = True, "released"
            if not closed:
                if (broken_at is None and self.now > max(due, set_at)) or (broken_at is None and self.now > due):
                    broke(max(due, set_at), set_by if due < set_at else None)
                if broken_at is not None:
                    p["state"] = "broken"
                else:
                    risk = due - (due - asked) // 5
                    for std in reversed(self.std.at(asked)):  # the first by name that says so
                        said = (isinstance(std.get("promise"), str) and std["promise"] in ("any", name)) or std is entry
                        if said and std.get("at_risk") and applies(std, item, self.holder(item, self.now)[0]):
                            unit, size = within(std["at_risk"])
                            risk = max(asked, due - (size * DAY if unit == "d" else size))
                    if self.now > risk:
                        self.find("promise_at_risk", item, risk, None, begun=first, promise=name)
            item.promises.append(p)
            for std in self.std.at(asked):
                spec = std.get("promise")
                if spec is None or (isinstance(spec, dict) and std is not entry) or (isinstance(spec, str) and spec not in ("any", name)):
                    continue
                if applies(std, item, p["team"] if "team" in p else self.holder(item, self.now)[0]):
                    state = p["state"]
                    result = {"kept": "met", "broken": "missed", "kept_late": "missed", "kept_as_moved": "told", "open": "running"}.get(state)
                    if result:
                        self.tally[std["name"]].append(result)

    def practices(self, item: Item) -> None:
        def judge(practice: str, result: str) -> None:
            for entry in self.std.at(item.start["time"]):
                if entry.get("practice") == practice and applies(entry, item, self.holder(item, self.now)[0]):
                    self.tally[entry["name"]].append(result)

        if item.touchpoint == "service":
            for e in item.resolutions:
                later = [x for x in item.events if order(x) > order(e) and x["time"] <= e["time"] + 7 * DAY]
                nxt = next((x for x in later if x["fact"] in ("asked_if_fixed", "confirmed", "reopened")), None)
                if nxt is None and self.now > e["time"] + 7 * DAY:
                    judge("confirmation", "missed")
                    self.find("unconfirmed", item, e["time"] + 7 * DAY, None, begun=e)
                elif nxt is None:
                    judge("confirmation", "running")
                elif nxt["fact"] != "reopened":
                    judge("confirmation", "met")
        if item.touchpoint != "billing":
            at = item.all[0]["time"] + DAY
            promised = any(p["asked"] <= at for p in item.promises)
            if any(a <= at for a, _ in item.done_spans):
                pass
            elif self.now <= at:
                judge("expectation", "running")
            elif promised:
                judge("expectation", "met")
            else:
                judge("expectation", "missed")
                self.find("no_expectation", item, at, None, begun=item.all[0])
        if item.problems and item.done:
            problem = min(item.problems, key=lambda p: p[0])
            if item.n["offered"]:
                judge("alternative", "met")
            else:
                judge("alternative", "missed")
                done = item.done_event
                if order(done) > problem[0]:
                    self.find("no_alternative", item, done["time"], done, begun=problem[3])
                else:
                    self.find("no_alternative", item, problem[2], problem[1], begun=problem[3])
        elif item.problems:
            judge("alternative", "met" if item.n["offered"] else "running")
        if item.done:
            for entry in self.std.at(item.start["time"]):
                if "count" in entry:
                    item.counted = getattr(item, "counted", []) + [entry]
        else:
            for entry in self.std.at(item.start["time"]):
                if "count" in entry and applies(entry, item, self.holder(item, self.now)[0]):
                    self.tally[entry["name"]].append("running")

    # -- one journey
    def journey(self, group: list[Item]) -> Row:
        first = group[0]
        everything = [*group, *self.beside[first.name]]
        events = sorted((e for i in everything for e in i.all), key=order)
        # channel switches
        channel = None
        for e in events:
            item = self.items[e["item"]]
            if item.touchpoint in ("service", "returns") and e["fact"] in ("opened", "queued", "customer_replied") and "channel" in e:
                if channel and e["channel"] != channel[0]:
                    item.n["channel_switches"] += 1
                    self.find("channel_switch", item, e["time"], e, begun=e, also=[channel[1]])
                channel = (e["channel"], e)
        service = [i for i in group if i.touchpoint == "service"]
        for k, item in enumerate(service):
            begin = item.start
            t = begin["time"]

            def topic(i: Item) -> str | None:
                return next((e["topic"] for e in i.all if order(e) <= order(begin) and "topic" in e), None)

            for old in reversed(service[:k]):
                spans = [s for s in old.done_spans if s[0] <= t]
                open_then = not spans or (spans[-1][1] is not None and spans[-1][1] <= t)
                if (open_then or t - spans[-1][0] <= 7 * DAY) and (None in (topic(old), topic(item)) or topic(old) == topic(item)):
                    item.n["repeat_contacts"] += 1
                    self.find("repeat_contact", item, t, begin, begun=begin, also=[old.start])
                    break
        total = {k: sum(i.n[k] for i in group) for k in first.n if k != "steps"}
        fcr: bool | None = None
        if service and all(i.done for i in service) and self.now > max(i.done_spans[-1][0] for i in service) + 7 * DAY:
            fcr = all(i.resolutions and not (i.n["handoffs"] or i.n["reopened"] or i.n["repeat_contacts"]) for i in service)
        who = self.customer[first.name]
        recovered = False
        problems = sorted(((p[0], p, i) for i in group for p in i.problems), key=lambda x: (x[0], x[2].name))
        purchases = sorted((i.start for i in self.items.values() if i.start and i.touchpoint == "purchase" and who and self.customer[i.name] == who), key=order)
        if problems:
            key, problem, item = problems[0]
            good = [e for e in events if order(e) > key and (e["fact"] == "praised" or (e["fact"] == "rated" and e["by"] == "customer" and e["score"] >= 0.8 * e["scale"]))]
            for e in purchases:
                before = [x for x in problems if x[0] < order(e)]
                if any(e["time"] - x[1][2] <= 90 * DAY for x in before):
                    good.append(e)
            if good:
                e = min(good, key=order)
                recovered = True
                self.find("recovered", item, e["time"], e, begun=problem[3])
        repeat = False
        if first.touchpoint == "purchase" or any(i.touchpoint == "purchase" for i in group):
            i = next(i for i in group if i.touchpoint == "purchase")  # the journey's first purchase
            for o in self.items.values():
                if o.touchpoint == "purchase" and o is not i and o.start and who and self.customer[o.name] == who and order(o.start) < order(i.start):
                    bad = any((e["fact"] == "rejected" or (e["fact"] == "released" and "promise" not in e)) and order(e) < order(i.start) for e in o.events)
                    repeat = repeat or not bad
        promises = [p for i in group for p in i.promises]
        summary = {s: sum(p["state"] == s for p in promises) for s in ("open", "kept", "kept_as_moved", "kept_late", "broken", "released", "unknown")}
        summary.update({k: sum(p[k] for p in promises) for k in ("moved", "moved_late", "early")}, made=len(promises))
        waits: Row = {}
        for i in group:
            for clock, c, b in i.waits:
                w = waits.setdefault(clock, dict(count=0, customer_seconds=0, business_seconds=0, longest_customer_seconds=0))
                w["count"] += 1
                w["customer_seconds"] += c / 1000
                w["business_seconds"] += b / 1000
                w["longest_customer_seconds"] = max(w["longest_customer_seconds"], c / 1000)
        latest = events[-1]["time"]
        status = "open"
        if all(i.done for i in group) and not summary["open"] and self.now >= latest + 14 * DAY:
            status = "ended"
        elif self.now >= latest + 90 * DAY:
            status = "stale"
        ratings = [e["score"] / e["scale"] for e in events if e["fact"] == "rated" and e["by"] == "customer"]
        synthetic = any(e.get("synthetic") for e in events)
        for i in group:
            for entry in getattr(i, "counted", []):
                if not synthetic and applies(entry, i, self.holder(i, self.now)[0]):
                    self.tally[entry["name"]].append("met" if i.n[entry["count"]] <= entry["at_most"] else "missed")
        score = {name: sum(f.get("points", 0) for f in self.findings if f["journey"] == first.name and (f["kind"] in DELIGHT) == (name == "delight")) for name in ("friction", "delight")}
        return dict(journey=first.name, customer="c-" + hashlib.sha256(who.encode()).hexdigest()[:16] if who else None, status=status,
                    opened_at=stamp(first.start["time"]), ended_at=stamp(latest) if status == "ended" else None, items=sorted(i.name for i in everything),
                    touchpoints=sorted({i.touchpoint for i in everything}), events=len(events), **total, steps=max(i.n["steps"] for i in group),
                    rating=round(sum(ratings) / len(ratings), 6) if ratings else None, recovered=recovered, repeat_purchase=repeat,
                    first_contact_resolved=fcr, promises=summary, waits=waits, waiting=sorted({c for i in group for c in i.waiting}),
                    synthetic=synthetic, **score)


def overlap(spans: list, a: int, b: int) -> int:
    return sum(max(0, min(b, y) - max(a, x)) for x, y in spans)


def business(cal: Calendar, a: int, b: int, out: list) -> int:
    """Open time from a to b outside the spans `out` (which may overlap)."""
    cuts = sorted({a, b, *(min(max(t, a), b) for span in out for t in span)})
    return sum(cal.elapsed(x, y) for x, y in zip(cuts, cuts[1:]) if not any(s <= x and y <= e for s, e in out))


def standing(events: list[Row]) -> tuple[list[Row], int, int]:
    """(folded events in order, retracted, nothing else): what retractions leave."""
    events = sorted(events, key=order)
    by_key = {(e["source"], e["id"]): e for e in events}
    takers: dict[tuple, list[Row]] = {}
    for e in events:
        if e["fact"] == "retracted":
            takers.setdefault((e["source"], e["retracts"]), []).append(e)
    alive: dict[tuple, bool] = {}
    unknown = [e for e in events if e["fact"] == "retracted"]
    while unknown:
        rest = []
        for e in unknown:
            mine = [alive.get((t["source"], t["id"])) for t in takers.get((e["source"], e["id"]), [])]
            if True in mine:
                alive[(e["source"], e["id"])] = False
            elif None in mine:
                rest.append(e)
            else:
                alive[(e["source"], e["id"])] = True
        if len(rest) == len(unknown):
            alive[(rest[-1]["source"], rest[-1]["id"])] = True
            rest.pop()
        unknown = rest
    gone = {key for key in by_key if any(alive[(t["source"], t["id"])] for t in takers.get(key, []))}
    return [e for e in events if (e["source"], e["id"]) not in gone and e["fact"] != "retracted"], len(gone), 0


def measure(lines: list[tuple[str, int, str]], standards: Row | None, until: int | None) -> dict[str, Any]:
    held: dict[tuple, Row] = {}
    rejects, duplicate, conflict = [], 0, 0
    for name, number, text in lines:
        payload: Any = text
        try:
            payload = json.loads(text)
            e = event_of(payload)
        except (ValueError, OverflowError) as error:
            rejects.append(dict(input=name, line=number, reason=str(error), payload=payload))
            continue
        key = (e["source"], e["id"])
        if key in held:
            a, b = sorted((held[key], e), key=lambda x: (x["time"], canonical(x)))
            if canonical(a) == canonical(b):
                duplicate += 1
            else:
                conflict += 1
            e = a
        held[key] = e
    times = [e["time"] for e in held.values()]
    folded, retracted, _ = standing(list(held.values()))
    ends = [e["time"] for e in [*folded, *(e for e in held.values() if e["fact"] == "retracted")]]
    now = max([*ends, *([until] if until is not None else [])], default=0)
    std = Standards(standards, min(times, default=0) - 400 * DAY, now + 400 * DAY)
    m = Measure(folded, std, now)
    table = []
    for name in sorted(std.entries):
        entry = std.entries[name][-1][1]
        got = m.tally[name]
        met, told, missed = got.count("met"), got.count("told"), got.count("missed")
        decided = met + told + missed
        actual = round(met / decided, 6) if decided else None
        row = dict(name=name, says=entry.get("says"), expected=round(entry["objective"], 6), actual=actual,
                   gap=round(entry["objective"] - met / decided, 6) if decided else None, met=met, missed=told + missed, running=got.count("running"))
        if "promise" in entry:
            row["actual_as_told"] = round((met + told) / decided, 6) if decided else None
        table.append(row)
    kinds: dict[str, int] = {}
    for f in m.findings:
        kinds[f["kind"]] = kinds.get(f["kind"], 0) + 1
    return dict(journeys=sorted(m.rows, key=lambda r: r["journey"]), findings=sorted(m.findings, key=lambda r: r["id"]), standards=table, rejects=rejects,
                summary=dict(read=len(lines), applied=len(held), duplicate=duplicate, conflicting=conflict, retracted=retracted, rejected=len(rejects),
                             journeys=len(m.rows), findings=kinds))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["measure"])
    parser.add_argument("inputs", nargs="+", type=pathlib.Path)
    parser.add_argument("--standards", type=pathlib.Path)
    parser.add_argument("--until")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    o = parser.parse_args()
    lines = [(str(p), n, text) for p in o.inputs for n, text in enumerate(p.read_text().splitlines(), 1) if text.strip()]
    got = measure(lines, yaml.safe_load(o.standards.read_text()) if o.standards else None, instant(o.until) if o.until else None)
    o.out.mkdir(parents=True, exist_ok=True)
    for name, rows in got.items():
        if name in ("standards", "summary"):
            (o.out / f"{name}.json").write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n")
        else:
            (o.out / f"{name}.jsonl").write_text("".join(json.dumps(row, sort_keys=True) + "\n" for row in rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
