"""Reading and running the scripts in tests/cases: events as `[time, "touchpoint fact item", {fields}]`, and what must come out."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import yaml

from tribo.measure.score import scoreboard
from tribo.measure.standards import compile_standards
from tribo.measure.whole import Input
from tribo.run.measure import measure_events
from tribo_schemas.config import parse_yaml
from tribo_schemas.event import BadEvent, event_of, instant
from tribo_schemas.standard import standards_of

TIME = re.compile(r"^(?:d(\d+) )?(\d\d):(\d\d)(?::(\d\d))?$")


def written(day: datetime, text: str) -> str:
    match = TIME.match(str(text))
    if not match:
        return str(text)
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return (day + timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)).isoformat().replace("+00:00", "Z")


def day_of(case: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(str(case.get("day", "2026-03-02"))).replace(tzinfo=UTC)  # a Monday


def events_of(case: dict[str, Any], prefix: str = "") -> list[dict[str, Any]]:
    events = []
    for number, (at, what, *rest) in enumerate(case["events"], start=1):
        touchpoint, fact, item = what.split()
        extra = dict(rest[0]) if rest else {}
        if "due" in extra:
            extra["due"] = written(day_of(case), extra["due"])
        event = {"id": f"e{number}", "source": "case", "time": written(day_of(case), at)}
        event |= {"touchpoint": touchpoint, "fact": fact, "item": item}
        if "customer" not in extra and not case.get("anonymous"):
            event["customer"] = "c1"
        event |= {key: value for key, value in extra.items() if value is not None}
        if prefix:
            event |= {"id": prefix + event["id"], "item": prefix + item}
            event |= {key: prefix + event[key] for key in ("customer", "retracts") if key in event}
            event |= {"about": [prefix + other for other in event["about"]]} if "about" in event else {}
        events.append(event)
    return events


def measured(case: dict[str, Any], written_events: list[dict[str, Any]]) -> dict[str, Any]:
    taken, rejected = Input(), []
    for event in written_events:
        try:
            taken.add(event_of(event))
        except BadEvent as error:
            rejected.append((event["id"], str(error)))
    file = standards_of(parse_yaml(yaml.safe_dump(case["standards"]).encode(), "case")) if "standards" in case else None
    standards = compile_standards(file)
    until = instant(written(day_of(case), case["until"])) if "until" in case else None
    rows, findings, tally = measure_events(taken.events, standards, until)
    return {
        "journeys": {row.journey: json.loads(json.dumps(row.row())) for row in rows},
        "findings": [finding.row() for finding in findings],
        "standards": {row["name"]: row for row in scoreboard(standards, tally)},
        "rejected": len(set(rejected)),
    }


def differences_of(case: dict[str, Any], got: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    if "journeys" in case and set(case["journeys"]) != set(got["journeys"]):
        lines.append(f"journeys: expected {sorted(case['journeys'])}, got {sorted(got['journeys'])}")
    for name, row in case.get("journeys", {}).items():
        lines += _differences(row, got["journeys"].get(name), name)
    for kind, count in case.get("findings", {}).items():
        number = sum(row["kind"] == kind for row in got["findings"])
        if number != count:
            lines.append(f"{kind}: expected {count}, got {number}")
    for wanted in case.get("has", []):
        if all(_differences(wanted, row, "") for row in got["findings"]):
            lines.append(f"no finding like {wanted} among {[row for row in got['findings'] if row['kind'] == wanted['kind']]}")
    for name, row in case.get("standard", {}).items():
        lines += _differences(row, got["standards"].get(name), name)
    if "rejected" in case and got["rejected"] != case["rejected"]:
        lines.append(f"rejected: expected {case['rejected']}, got {got['rejected']}")
    return lines


def _differences(expected: Any, got: Any, where: str) -> list[str]:
    if isinstance(expected, dict) and isinstance(got, dict):
        return [line for key, value in expected.items() for line in _differences(value, got.get(key), f"{where}.{key}")]
    if isinstance(expected, float) and isinstance(got, float | int):
        return [] if math.isclose(expected, got, abs_tol=1e-6) else [f"{where}: expected {expected}, got {got}"]
    return [] if expected == got and type(expected) is type(got) else [f"{where}: expected {expected!r}, got {got!r}"]
