"""Seeded nasty histories and random standards: the same seed gives the same ones."""

from __future__ import annotations

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
UNTIL = "2026-06-15T00:00:00Z"


def _time(rng: random.Random, moment: datetime) -> str:
    zone = timezone(timedelta(hours=rng.choice([0, 0, 1, 2, -5])))
    text = moment.astimezone(zone).isoformat()
    return text.replace("+00:00", "Z") if rng.random() < 0.5 else text


def history(seed: int) -> list[Row]:
    """About fifty records over two to four items, shuffled, some doubled, conflicting or wrong."""
    rng = random.Random(seed)
    base = datetime(2026, rng.randint(2, 4), rng.randint(1, 25), rng.randint(0, 23), tzinfo=UTC)
    days = [0, 0, 1, rng.randint(1, 9), rng.choice([7, 14, 15, 30]), rng.choice([29, 30, 45])][: rng.randint(2, 6)]
    items = []
    for n in range(1, rng.choice([3, 3, 4, 5])):
        touchpoint = rng.choice(["service", "service", "purchase", "returns", "billing"])
        items.append((touchpoint, f"{KINDS[touchpoint]}:{n}"))
    customers = rng.sample(["c1", "c2", "c3", "c4", "c5"], rng.choice([1, 1, 2, 3]))
    rows: list[Row] = []
    for n in range(rng.randint(8, 48)):
        touchpoint, item = rng.choice(items)
        moment = base + timedelta(days=rng.choice(days), minutes=5 * rng.randint(0, 6) + rng.choice([0, 0, 60, 600]))
        fact = rng.choice(FACTS)
        row: Row = {"id": f"e{n}", "source": rng.choice(["crm", "crm", "shop"]), "touchpoint": touchpoint, "item": item, "fact": fact}
        row["time"] = _time(rng, moment)
        if rng.random() < 0.35:
            row["customer"] = rng.choice(customers)
        if rng.random() < 0.08:
            row["about"] = [rng.choice([*(i for _, i in items), "order:99"])]
        for key, chance, values in (("sequence", 0.3, [-1, 0, 1, 2]), ("channel", 0.35, ["chat", "phone", "email"]), ("topic", 0.35, ["invoice", "delivery"])):
            if rng.random() < chance:
                row[key] = rng.choice(values)
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
            else:
                row["about"] = [rng.choice(items)[1]]
        if fact == "retracted":
            row["retracts"] = f"e{rng.randint(0, 50)}"
        if rng.random() < 0.01:
            row["synthetic"] = True
        rows.append(row)
    for row in rng.sample(rows, min(len(rows), 5)):
        rows.append(dict(row))
        other = dict(row)
        other["topic"] = "conflict"
        if rng.random() < 0.5:
            rows.append(other)
        if rng.random() < 0.3:
            rows.append({**row, "source": "other"})
        if rng.random() < 0.3:
            rows.append({**row, "id": row["id"] + "x", **rng.choice([{"fact": "danced"}, {"synthetic": "yes"}, {"channel": 7}, {"time": "2026-03-01T00:00:00"}])})
    rng.shuffle(rows)
    return rows


def standards(seed: int) -> Row:
    """A small standards file: one of each sort, with random targets, places and calendars."""
    rng = random.Random(seed ^ 0x5EED)
    hours = rng.choice([{"mon-fri": ["09:00-12:00", "13:00-17:30"], "sat": ["10:00-14:00"]}, {"mon-sun": ["08:00-20:00"]}, {"mon-fri": ["00:00-24:00"]}])
    zone = rng.choice(["Europe/Berlin", "UTC", "America/New_York"])
    rows: list[Row] = [
        {"name": "refund", "says": "Refund.", "promise": {"touchpoint": "returns", "made_by": rng.choice(["assigned", "opened"]), "kept_by": "resolved"}, "within": rng.choice(["5bd", "2d", "4h"])},
        {"name": "promises", "says": "Kept.", "promise": rng.choice(["any", "p"]), "objective": "99%"},
        {"name": "clear", "says": "Clear.", "practice": "expectation"},
        {"name": "other", "says": "Other.", "practice": "alternative"},
        {"name": "fixed", "says": "Fixed.", "practice": "confirmation", "objective": "90%"},
        {"name": "hands", "says": "Hands.", "count": rng.choice(["handoffs", "ping_pongs", "holds", "repeated"]), "at_most": rng.randint(0, 2)},
    ]
    for clock in ("queue", "hold", "first_response", "next_response", "resolution", "total_resolution", "authority"):
        if rng.random() < 0.6:
            rows.append({"name": clock.replace("_", "-"), "says": clock, "clock": clock, "within": rng.choice(["5m", "10m", "4h", "1d", "2d", "3bd"]), "objective": "95%"})
            if rng.random() < 0.3:
                rows[-1]["touchpoint"] = "service"
            if rng.random() < 0.5:
                rows[-1]["calendar"] = rng.choice(["office", "always"])
    calendars = {"office": {"zone": zone, "hours": hours, "holidays": ["2026-04-03", "2026-04-06"]}, "always": {"zone": "UTC", "hours": {"mon-sun": ["00:00-24:00"]}}}
    return {"calendar": rng.choice(["office", "always"]), "calendars": calendars, "standards": rows}
