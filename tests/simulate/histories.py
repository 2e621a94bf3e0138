"""Seeded nasty histories and random standards: the same seed gives the same ones.

What definitions name is meant to happen here now and then: every fact, equal times told apart by `sequence`, instants exactly at a
limit (a day, 7, 14, 30 and 90 days) or a millisecond off it, retractions of retractions and pairs that take each other back,
links made and undone, items that nobody has seen, conflicts of id, mystery shoppers, and standards and calendars with versions.
"""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

Row = dict[str, Any]
FACTS = (
    ["opened"] * 4 + ["assigned"] * 6 + ["promised"] * 4 + ["kept"] * 3 + ["retracted"] * 3 + ["informed"] * 2 + ["answered"] * 2
    + ["customer_replied"] * 2 + ["resolved"] * 2 + ["offered"] * 2
    + ["reopened", "queued", "put_on_hold", "resumed", "awaiting_customer", "repeated", "authority_asked", "escalated", "released", "rejected", "asked_if_fixed", "confirmed", "abandoned", "closed", "complained", "praised", "rated", "surprised", "linked", "unlinked"]
)
KINDS = {"purchase": "order", "billing": "invoice", "returns": "return", "service": "case"}
LIMITS = [timedelta(days=days) for days in (1, 7, 14, 30, 90)]
OFF = [timedelta(0), timedelta(0), timedelta(milliseconds=1), timedelta(milliseconds=-1)]
COUNTS = ["handoffs", "team_handoffs", "ping_pongs", "channel_switches", "steps", "repeat_contacts", "repeated", "holds", "reopened", "complaints"]


def _time(rng: random.Random, moment: datetime) -> str:
    zone = timezone(timedelta(hours=rng.choice([0, 0, 1, 2, -5])))
    text = moment.astimezone(zone).isoformat()
    return text.replace("+00:00", "Z") if rng.random() < 0.5 else text


def _carried(rng: random.Random, fact: str, moment: datetime, items: list[str], customers: list[str], n: int) -> Row:
    """What a fact carries beyond the common fields."""
    row: Row = {}
    if fact in ("assigned", "answered", "escalated"):
        for key, values in (("team", ["a", "b", "c"]), ("owner", ["anna", "bob", "carl"])):
            if rng.random() < 0.65:
                row[key] = rng.choice(values)
        row["by"] = rng.choice(["human", "human", "human", "bot", "system"])
    if fact in ("promised", "informed", "kept") or (fact == "released" and rng.random() < 0.6):
        row["promise"] = rng.choice(["p", "p", "q", "resolution", "standard:refund"] if fact != "promised" else ["p", "p", "q", "resolution"])
    if fact == "promised" or (fact == "informed" and rng.random() < 0.7):
        row["due"] = _time(rng, moment + timedelta(minutes=rng.choice([-5, 0, 5, 10, 15, 60, 1440, 2880, 14400])))
    if fact == "rated":
        row.update(score=rng.choice([0, 3, 4, 4.5, 5]), scale=5, by=rng.choice(["customer", "customer", "human"]))
    if fact in ("linked", "unlinked"):
        if rng.random() < 0.5:
            row["customer"] = rng.choice(customers)
        if "customer" not in row or rng.random() < 0.2:
            row["about"] = rng.sample(items, rng.choice([1, 1, 1, min(2, len(items))]))
    if fact == "retracted":
        row["retracts"] = f"e{rng.randint(0, 50)}" if rng.random() < 0.7 else f"e{max(0, n - 1)}"
    return row


def history(seed: int) -> list[Row]:
    """Some ten to sixty records over two to four items, shuffled, some doubled, conflicting or wrong."""
    rng = random.Random(seed)
    base = datetime(2026, rng.randint(2, 4), rng.randint(1, 25), rng.randint(0, 23), tzinfo=UTC)
    days = [0, 0, 1, rng.randint(1, 9), rng.choice([7, 14, 15, 30]), rng.choice([29, 30, 45])][: rng.randint(2, 6)]
    items = []
    for n in range(1, rng.choice([3, 3, 4, 5])):
        touchpoint = rng.choice(["service", "service", "purchase", "returns", "billing"])
        items.append((touchpoint, f"{KINDS[touchpoint]}:{n}"))
    names = [name for _, name in items]
    customers = rng.sample(["c1", "c2", "c3", "c4", "c5"], rng.choice([1, 1, 2, 3]))
    links, shopper = rng.random() < 0.25, rng.random() < 0.1
    rows: list[Row] = []
    moments = [base]
    for n in range(rng.randint(8, 48)):
        touchpoint, item = rng.choice(items)
        moment = base + timedelta(days=rng.choice(days), minutes=5 * rng.randint(0, 6) + rng.choice([0, 0, 60, 600]))
        if rng.random() < 0.15:
            moment = rng.choice(moments) + rng.choice(LIMITS) + rng.choice(OFF)
        elif rng.random() < 0.05:
            moment += timedelta(milliseconds=rng.randint(-1, 1))
        moments.append(moment)
        fact = rng.choice(["linked", "unlinked"]) if links and rng.random() < 0.2 else rng.choice(FACTS)
        row: Row = {"id": f"e{n}", "source": rng.choice(["crm", "crm", "shop"]), "touchpoint": touchpoint, "item": item, "fact": fact}
        row["time"] = _time(rng, moment)
        if rng.random() < 0.35:
            row["customer"] = rng.choice(customers)
        if rng.random() < 0.08:
            row["about"] = [rng.choice([*names, "order:99"])]
        for key, chance, values in (("sequence", 0.3, [-1, 0, 1, 2]), ("channel", 0.35, ["chat", "phone", "email"]), ("topic", 0.35, ["invoice", "delivery"])):
            if rng.random() < chance:
                row[key] = rng.choice(values)
        row |= _carried(rng, fact, moment, names, customers, n)
        if shopper and rng.random() < 0.1:
            row["synthetic"] = True
        rows.append(row)
    if rng.random() < 0.3:  # two that take each other back, or one that takes back itself
        one, other = (rng.choice(rows) for _ in range(2))
        for row, target in ((one, other), (other, one)):
            row.update(fact="retracted", retracts=target["id"], source="crm")
            for key in ("promise", "due"):
                row.pop(key, None)
    for row in rng.sample(rows, min(len(rows), 5)):
        rows.append(dict(row))
        other = dict(row)
        other["topic"] = "conflict"
        if rng.random() < 0.3:
            other["time"] = _time(rng, base + timedelta(minutes=rng.randint(0, 9)))
        if rng.random() < 0.3:
            other["customer"] = rng.choice(customers)
        if rng.random() < 0.5:
            rows.append(other)
        if rng.random() < 0.3:
            rows.append({**row, "source": "other"})
        if rng.random() < 0.3:
            rows.append({**row, "id": row["id"] + "x", **rng.choice([{"fact": "danced"}, {"synthetic": "yes"}, {"channel": 7}, {"time": "2026-03-01T00:00:00"}, {"team": ""}, {"score": 6, "scale": 5}])})
    rng.shuffle(rows)
    return rows


def until(seed: int) -> str | None:
    """When the clock ends: long after, exactly at a limit after some event, or with the last event."""
    rng = random.Random(seed ^ 0xC10C)
    if rng.random() < 0.5:
        return "2026-10-15T00:00:00Z"
    if rng.random() < 0.2:
        return None
    times = sorted(row["time"] for row in history(seed) if row["time"][-1] == "Z")
    if not times:
        return None
    moment = datetime.fromisoformat(rng.choice(times[-5:])) + rng.choice([*LIMITS, timedelta(minutes=rng.randint(0, 600))]) + rng.choice(OFF)
    return _time(rng, moment)


def standards(seed: int) -> Row:
    """A small standards file: one of each sort, with random targets, places, versions and calendars."""
    rng = random.Random(seed ^ 0x5EED)
    hours = rng.choice([{"mon-fri": ["09:00-12:00", "13:00-17:30"], "sat": ["10:00-14:00"]}, {"mon-sun": ["08:00-20:00"]}, {"mon-fri": ["00:00-24:00"]}, {"sat-sun": ["00:00-04:00"], "mon-fri": ["01:30-23:30"]}])
    zone = rng.choice(["Europe/Berlin", "UTC", "America/New_York"])
    rows: list[Any] = [
        {"name": "refund", "says": "Refund.", "promise": {"touchpoint": "returns", "made_by": rng.choice(["assigned", "opened"]), "kept_by": rng.choice(["resolved", "resolved", "answered"])}, "within": rng.choice(["5bd", "2d", "4h"])},
        {"name": "promises", "says": "Kept.", "promise": rng.choice(["any", "p"]), "objective": "99%"},
        {"name": "clear", "says": "Clear.", "practice": "expectation"},
        {"name": "other", "says": "Other.", "practice": "alternative"},
        {"name": "fixed", "says": "Fixed.", "practice": "confirmation", "objective": "90%"},
        {"name": "hands", "says": "Hands.", "count": rng.choice(COUNTS), "at_most": rng.randint(0, 2)},
    ]
    if rng.random() < 0.3:
        rows[0]["promise"] = {"made_by": rng.choice(["rejected", "complained", "opened"]), "kept_by": rng.choice(["answered", "offered", "closed"])}
    if rng.random() < 0.3:
        rows[1]["at_risk"] = rng.choice(["10m", "4h", "1d"])
    for clock in ("queue", "hold", "first_response", "next_response", "resolution", "total_resolution", "authority"):
        if rng.random() < 0.6:
            row: Row = {"name": clock.replace("_", "-"), "says": clock, "clock": clock, "within": rng.choice(["5m", "10m", "4h", "1d", "2d", "3bd"]), "objective": "95%"}
            if rng.random() < 0.3:
                row["touchpoint"] = "service"
            if rng.random() < 0.2:
                row["team"] = rng.choice(["a", "b"])
            if rng.random() < 0.2:
                row["topic"] = rng.choice(["invoice", "delivery"])
            if rng.random() < 0.5:
                row["calendar"] = rng.choice(["office", "always"])
            rows.append(row)
    for index, row in enumerate(rows):
        if rng.random() < 0.2:  # another entry from a date on, in a list or under the same name
            later = {**row, "from": f"2026-0{rng.randint(2, 5)}-{rng.randint(10, 28)}", "objective": "80%", "says": "Later."}
            if "within" in later:
                later["within"] = rng.choice(["15m", "2h", "3d", "1bd"])
            rows[index] = [row, later]
    office: Any = {"zone": zone, "hours": hours, "holidays": ["2026-04-03", "2026-04-06"]}
    if rng.random() < 0.3:
        office = [office, {"zone": rng.choice([zone, zone, "Asia/Kolkata"]), "hours": {"mon-sat": ["10:00-18:00"]}, "from": f"2026-0{rng.randint(2, 5)}-{rng.randint(10, 28)}"}]
    calendars = {"office": office, "always": {"zone": "UTC", "hours": {"mon-sun": ["00:00-24:00"]}}}
    return json.loads(json.dumps({"calendar": rng.choice(["office", "always"]), "calendars": calendars, "standards": rows}))  # nothing shared
