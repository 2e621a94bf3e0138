"""Real data, measured through the packaged mappings: the figures that were counted apart from Tribo must come out, to the unit."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tribo.wire.mapping import Mapping
from tribo.wire.readers import read
from tribo_schemas.event import Event

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="SKIPPED, NOT TESTED: the real data sets are not beside the project")


def measured(name: str, out: Path, *more: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, Any]]:
    """The journeys, the findings and the summary of `tribo measure` on a data set."""
    command = [sys.executable, "-m", "tribo", "measure", str(DATA / f"{name}.csv.gz"), "--source", name, "--out", str(out), *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    journeys, findings = (
        [json.loads(line) for line in (out / file).read_text().splitlines()] for file in ("journeys.jsonl", "findings.jsonl")
    )
    return journeys, findings, json.loads((out / "summary.json").read_text())


def counted(findings: list[dict[str, Any]], kind: str, **fields: str) -> tuple[int, int]:
    """How many findings of a kind there are, and on how many items."""
    found = [row for row in findings if row["kind"] == kind and all(row.get(name) == value for name, value in fields.items())]
    return len(found), len({row["item"] for row in found})


def promises(journeys: list[dict[str, Any]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for row in journeys:
        total.update(row["promises"])
    return total


def test_servicenow_incidents(tmp_path: Path) -> None:
    journeys, findings, summary = measured("servicenow_incidents", tmp_path)
    assert (summary["records"], summary["rejected"]) == (28_438, 0)
    assert counted(findings, "handoff", level="team") == (3_840, 1_935)
    assert counted(findings, "ping_pong", level="team") == (980, 492)
    assert counted(findings, "reopened") == (68, 54)
    assert sum(row["team_handoffs"] for row in journeys) == 3_840
    assert sum(len(row["items"]) for row in journeys) == 4_989


def test_servicenow_incidents_say_whether_the_desk_met_its_standard() -> None:
    events = Mapping.load("servicenow_incidents").events(read(DATA / "servicenow_incidents.csv.gz"))
    rated = Counter(event.score for event in events if isinstance(event, Event) and event.fact == "rated")
    assert rated == {0.0: 1_825, 1.0: 4_989 - 1_825}


def test_boston_311(tmp_path: Path) -> None:
    journeys, findings, summary = measured("boston_311", tmp_path, "--until", "2016-01-13T05:00:00Z")
    assert (summary["records"], summary["rejected"]) == (24_162, 0)
    total = promises(journeys)
    assert total["made"] == 18_801
    assert (total["kept"], total["kept_late"], total["broken"], total["open"]) == (12_009, 3_799, 2_293, 700)
    assert counted(findings, "promise_broken") == (3_799 + 2_293, 3_799 + 2_293)
    waits = [wait for row in journeys for wait in row["waits"].values()]
    assert all(wait[part] >= 0 for wait in waits for part in ("customer_seconds", "business_seconds", "longest_customer_seconds"))
    assert len(journeys) == 24_162
    assert all(row["customer"] is None for row in journeys)


def test_cfpb_complaints(tmp_path: Path) -> None:
    journeys, findings, summary = measured("cfpb_complaints", tmp_path)
    assert (summary["records"], summary["rejected"], len(journeys)) == (3_186, 0, 3_186)
    topics = Counter(row["topic"] for row in findings if row["kind"] == "complaint")
    assert topics.most_common(3) == [
        ("Incorrect information on credit report", 449),
        ("Loan modification,collection,foreclosure", 401),
        ("Loan servicing, payments, escrow account", 352),
    ]
    assert counted(findings, "reopened") == (595, 595)
    assert counted(findings, "promise_broken") == (93, 93)
    assert promises(journeys)["broken"] == 93
