"""The dashboards: what is committed is what the command writes, and what each panel must have. That their queries answer is tested
against a real Prometheus (test_alerts_live.py) and a real PostgreSQL (here)."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from typer.testing import CliRunner

from tribo.cli import app
from tribo.ledger.ledger import Ledger
from tribo.ledger.reader import Reader
from tribo.measure.advance import Frontier
from tribo.measure.standards import compile_standards
from tribo.run.company import DAY, company
from tribo.run.demo import STANDARDS
from tribo.run.notify import at_risk
from tribo.show.metrics import LedgerCollector
from tribo_schemas.event import event_of, instant
from tribo_schemas.standard import load_standards

GRAFANA = Path(__file__).parent.parent / "deploy" / "grafana"
FILES = sorted((GRAFANA / "dashboards").glob("*.json"))
UNITS = {"short", "none", "percentunit", "s", "bytes", "eps"}


def panels() -> list[tuple[str, dict[str, Any]]]:
    return [(path.stem, panel) for path in FILES for panel in json.loads(path.read_text())["panels"]]


def queries(language: str) -> list[tuple[str, str]]:
    """Every query of a panel: (where it stands, its text)."""
    return [
        (f"{name}: {panel['title']}", target[language]) for name, panel in panels() for target in panel["targets"] if language in target
    ]  # fmt: skip


def test_the_committed_dashboards_are_what_the_command_writes(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["dashboards", "--standards", str(STANDARDS), "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {path.name: path.read_text() for path in FILES}, "make deploy"


def test_each_panel_says_what_it_shows_in_which_unit_and_from_where() -> None:
    sources = {source["uid"]: source["type"] for source in yaml.safe_load((GRAFANA / "provisioning/datasources/tribo.yml").read_text())["datasources"]}
    for name, panel in panels():
        where = f"{name}: {panel['title']}"
        assert panel["title"], where
        assert len(panel["description"]) > 20, where
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, where
        assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"], where
        for source in (panel["datasource"], *(target["datasource"] for target in panel["targets"])):
            assert sources[source["uid"]] == source["type"], where
        assert panel["targets"], where


def test_panels_lie_side_by_side() -> None:
    for path in FILES:
        taken: set[tuple[int, int]] = set()
        made = json.loads(path.read_text())
        assert len({panel["id"] for panel in made["panels"]}) == len(made["panels"])
        for panel in made["panels"]:
            place = panel["gridPos"]
            cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
            assert not cells & taken, panel["title"]
            assert max(x for x, _ in cells) < 24
            taken |= cells


def test_variables_annotations_and_links() -> None:
    for path in FILES:
        made = json.loads(path.read_text())
        names = {variable["name"] for variable in made["templating"]["list"]}
        assert names == {"touchpoint", "team", "standard", "page"}
        assert "tribo_config_standards_version" in made["annotations"]["list"][0]["expr"]
        for used in re.findall(r"\$\{?([a-z]\w*)", json.dumps(made["panels"])):
            assert used in names, (path.name, used)
        for panel in made["panels"]:
            for link in panel["fieldConfig"]["defaults"]["links"]:
                assert link["url"].startswith("$page/"), link
    rules = (GRAFANA.parent / "prometheus" / "tribo-rules.yml").read_text()
    uids = {json.loads(path.read_text())["uid"] for path in FILES}
    assert set(re.findall(r"/d/([\w-]+)", rules)) <= uids  # where alerts lead to


def test_thresholds_stand_at_the_targets_of_the_standards() -> None:
    standards = compile_standards(load_standards(STANDARDS))
    text = {panel["title"]: panel for _, panel in panels()}
    for name in standards.names:
        entry = standards.published(name)
        steps = text[entry.says]["fieldConfig"]["defaults"]["thresholds"]["steps"]
        assert [step["value"] for step in steps] == [None, entry.objective], name
        within = entry.within_ms or entry.elapsed_ms
        if entry.kind == "clock" and within:
            share = f"{entry.objective * 100:g}"
            steps = text[f"{entry.says} So it is for {share} %"]["fieldConfig"]["defaults"]["thresholds"]["steps"]
            assert [step["value"] for step in steps] == [None, within / 1000], name


@pytest.mark.skipif(not shutil.which("promtool"), reason="SKIPPED, NOT TESTED: promtool isn't installed")
def test_every_query_is_promql(tmp_path: Path) -> None:
    filled = [(where, re.sub(r"\$__\w+", "5m", re.sub(r'"\$\w+"', '".*"', text))) for where, text in queries("expr")]
    content = {"groups": [{"name": "panels", "rules": [
        {"record": f"panel:{number}", "expr": text, "labels": {"of": where}} for number, (where, text) in enumerate(filled)
    ]}]}  # fmt: skip
    (tmp_path / "panels.yml").write_text(json.dumps(content))
    done = subprocess.run(["promtool", "check", "rules", str(tmp_path / "panels.yml")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_table_of_journeys_answers_from_postgresql(postgres: str) -> None:
    standards = compile_standards(load_standards(STANDARDS))
    start = instant("2026-01-05T00:00:00Z")
    said = []
    for event in company(7, start):
        if instant(event["time"]) > start + 12 * DAY:
            break
        said.append(event_of(event))
    now = start + 12 * DAY
    ledger = Ledger.open(postgres)
    try:
        ledger.apply(said, Frontier(now, complete=True), standards)
    finally:
        ledger.close()
    found = {(sample.name, *sorted(sample.labels.items())): sample.value
             for family in LedgerCollector(lambda: Reader(postgres), standards, now=lambda: now).collect() for sample in family.samples}  # fmt: skip
    with Reader(postgres) as reader:  # the same metrics, and the same promises to be told of, as on SQLite
        risks = at_risk(reader, standards)
    assert risks
    assert len(risks) == sum(number for key, number in found.items() if key[0] == "tribo_promises_at_risk")
    assert any(key[0] == "tribo_promises_next_due_timestamp_seconds" for key in found)
    asked = queries("rawSql")
    assert len(asked) == 4
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = on")
        for where, text in asked:
            filled = re.sub(r"\$__timeFilter\((to_timestamp\([^)]*\))\)", rf"\1 BETWEEN to_timestamp({start / 1000}) AND to_timestamp({now / 1000})", text)
            cursor = connection.execute(filled)
            rows = cursor.fetchall()
            names = [column.name for column in cursor.description or ()]
            assert rows, where
            assert "journey" in names, where
            assert all(":" in row[names.index("journey")] for row in rows), where
